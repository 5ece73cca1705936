//! [`Reducer`]: the first step of a thumbnail, by whole factors and row by row.

use image::{DynamicImage, ImageBuffer};

use super::Size;

/// The channels of a pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channels {
    Grey,
    GreyAlpha,
    Rgb,
    Rgba,
    /// Amounts of ink.
    Cmyk,
}

impl Channels {
    /// Returns the number of bytes of a pixel.
    pub(super) fn count(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::GreyAlpha => 2,
            Self::Rgb => 3,
            Self::Rgba | Self::Cmyk => 4,
        }
    }
}

/// Shrinks a picture row by row: each pixel of the result is the mean of a block of pixels.
///
/// The factors are whole, and the largest that leave at least the target: less than twice of it each way. Colours count
/// as much as they are opaque: the colour of a transparent pixel is invisible, and must not reach its neighbours.
pub(super) struct Reducer {
    channels: Channels,
    source: Size,
    /// Pixels of a block, across and down.
    block: (usize, usize),
    /// Of the blocks that the present row of blocks has so far; with alpha, colours are multiplied by it.
    sums: Vec<u64>,
    rows: usize,
    opaque: Vec<u8>,
    premultiplied: Vec<u16>,
}

impl Reducer {
    /// Begins a picture of that size, which is to have at least the size of `target` afterwards.
    pub(super) fn new(channels: Channels, source: Size, target: Size) -> Self {
        let factor = |from: u32, to: u32| (from / to.max(1)).max(1) as usize;
        let block = (factor(source.width, target.width), factor(source.height, target.height));
        let sums = vec![0; (source.width as usize).div_ceil(block.0) * channels.count()];
        Self { channels, source, block, sums, rows: 0, opaque: Vec::new(), premultiplied: Vec::new() }
    }

    /// Takes the next row.
    pub(super) fn row(&mut self, row: &[u8]) {
        let count = self.channels.count();
        let blocks = row.chunks(count * self.block.0).zip(self.sums.chunks_exact_mut(count));
        match self.channels {
            Channels::Grey | Channels::Rgb | Channels::Cmyk => {
                for (block, sums) in blocks {
                    for pixel in block.chunks_exact(count) {
                        add(sums, pixel, 1);
                    }
                }
            }
            Channels::GreyAlpha | Channels::Rgba => {
                for (block, sums) in blocks {
                    for pixel in block.chunks_exact(count) {
                        let (Some((alpha, colours)), Some((alphas, sums))) =
                            (pixel.split_last(), sums.split_last_mut())
                        else {
                            continue;
                        };
                        *alphas += u64::from(*alpha);
                        add(sums, colours, u64::from(*alpha));
                    }
                }
            }
        }
        self.rows += 1;
        if self.rows == self.block.1 {
            self.end_blocks();
        }
    }

    fn end_blocks(&mut self) {
        let count = self.channels.count();
        let mut left = self.source.width as usize;
        for sums in self.sums.chunks_exact_mut(count) {
            let pixels = (left.min(self.block.0) * self.rows) as u64;
            left = left.saturating_sub(self.block.0);
            match self.channels {
                Channels::Grey | Channels::Rgb | Channels::Cmyk => {
                    self.opaque.extend(sums.iter().map(|sum| byte(mean(*sum, pixels))));
                }
                Channels::GreyAlpha | Channels::Rgba => {
                    let (alpha, colours) = sums.split_last().unwrap_or((&0, &[]));
                    // Of 65,535 instead of 255, and of 255 times 255.
                    self.premultiplied.extend(colours.iter().map(|sum| word(mean(*sum * 257, 255 * pixels))));
                    self.premultiplied.push(word(mean(*alpha * 257, pixels)));
                }
            }
            sums.fill(0);
        }
        self.rows = 0;
    }

    /// Returns the smaller picture: with alpha sixteen bits a channel, multiplied by it; without eight. Ink is where red,
    /// green, blue and alpha would be. None if it did not get all rows.
    pub(super) fn finish(mut self) -> Option<DynamicImage> {
        if self.rows > 0 {
            self.end_blocks();
        }
        let width = self.source.width.div_ceil(u32::try_from(self.block.0).ok()?);
        let height = self.source.height.div_ceil(u32::try_from(self.block.1).ok()?);
        match self.channels {
            Channels::Grey => ImageBuffer::from_raw(width, height, self.opaque).map(DynamicImage::ImageLuma8),
            Channels::Rgb => ImageBuffer::from_raw(width, height, self.opaque).map(DynamicImage::ImageRgb8),
            Channels::Cmyk => ImageBuffer::from_raw(width, height, self.opaque).map(DynamicImage::ImageRgba8),
            Channels::GreyAlpha => {
                ImageBuffer::from_raw(width, height, self.premultiplied).map(DynamicImage::ImageLumaA16)
            }
            Channels::Rgba => {
                ImageBuffer::from_raw(width, height, self.premultiplied).map(DynamicImage::ImageRgba16)
            }
        }
    }
}

/// Converts the picture to eight bits a channel and colours that are not multiplied by alpha.
pub(super) fn straightened(picture: DynamicImage) -> DynamicImage {
    match picture {
        DynamicImage::ImageLumaA16(pixels) => {
            let (size, mut straight) = (pixels.dimensions(), Vec::new());
            pixels.pixels().for_each(|pixel| straighten(&pixel.0, &mut straight));
            ImageBuffer::from_raw(size.0, size.1, straight).map(DynamicImage::ImageLumaA8).unwrap_or_default()
        }
        DynamicImage::ImageRgba16(pixels) => {
            let (size, mut straight) = (pixels.dimensions(), Vec::new());
            pixels.pixels().for_each(|pixel| straighten(&pixel.0, &mut straight));
            ImageBuffer::from_raw(size.0, size.1, straight).map(DynamicImage::ImageRgba8).unwrap_or_default()
        }
        opaque => opaque,
    }
}

fn straighten(pixel: &[u16], straight: &mut Vec<u8>) {
    let Some((alpha, colours)) = pixel.split_last() else { return };
    let alpha = u64::from(*alpha);
    // Filters overshoot at edges, so that a colour may exceed its alpha.
    straight.extend(colours.iter().map(|colour| byte(mean(u64::from(*colour).min(alpha) * 255, alpha))));
    straight.push(byte(mean(alpha, 257)));
}

fn add(sums: &mut [u64], values: &[u8], weight: u64) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += u64::from(*value) * weight;
    }
}

/// Returns the rounded quotient, 0 for a count of 0.
fn mean(sum: u64, count: u64) -> u64 {
    (sum + count / 2).checked_div(count).unwrap_or(0)
}

fn byte(value: u64) -> u8 {
    u8::try_from(value).unwrap_or(u8::MAX)
}

fn word(value: u64) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reduced(channels: Channels, source: Size, target: Size, pixels: &[u8]) -> DynamicImage {
        let mut reducer = Reducer::new(channels, source, target);
        pixels.chunks(source.width as usize * channels.count()).for_each(|row| reducer.row(row));
        reducer.finish().unwrap()
    }

    #[test]
    fn a_block_becomes_its_mean_also_at_the_edges() {
        let pixels = [0, 10, 100, 20, 30, 200, 50, 70, 7];
        let small = reduced(Channels::Grey, Size::new(3, 3), Size::new(1, 1), &pixels);
        assert_eq!(small.as_bytes(), [54]);
        let small = reduced(Channels::Grey, Size::new(3, 3), Size::new(1, 3), &pixels);
        assert_eq!((small.width(), small.height(), small.as_bytes()), (1, 3, [37, 83, 42].as_slice()));
        let pixels = [0, 10, 100, 200, 20, 30, 200, 100, 50, 70, 7, 9, 1, 2, 3, 4, 9, 9, 9, 9];
        let small = reduced(Channels::Grey, Size::new(4, 5), Size::new(2, 2), &pixels);
        assert_eq!((small.width(), small.height()), (2, 3));
        assert_eq!(small.as_bytes(), [15, 150, 31, 6, 9, 9]);
    }

    #[test]
    fn what_is_transparent_has_no_colour() {
        let white_beside_nothing = [255, 255, 255, 66, 0, 0, 0, 0];
        let small = reduced(Channels::Rgba, Size::new(2, 1), Size::new(1, 1), &white_beside_nothing);
        assert_eq!(straightened(small).as_bytes(), [255, 255, 255, 33]);
        let small = reduced(Channels::GreyAlpha, Size::new(2, 1), Size::new(1, 1), &[200, 255, 9, 0]);
        assert_eq!(straightened(small).as_bytes(), [200, 128]);
        let nothing = reduced(Channels::Rgba, Size::new(1, 1), Size::new(1, 1), &[9, 9, 9, 0]);
        assert_eq!(straightened(nothing).as_bytes(), [0, 0, 0, 0]);
    }

    #[test]
    fn every_colour_of_every_alpha_survives_as_it_is() {
        for alpha in 1..=255 {
            let pixels: Vec<u8> = (0..=255).flat_map(|grey| [grey, alpha]).collect();
            let same = reduced(Channels::GreyAlpha, Size::new(256, 1), Size::new(256, 1), &pixels);
            assert_eq!(straightened(same).as_bytes(), pixels, "alpha {alpha}");
        }
    }

    #[test]
    fn a_picture_that_lost_rows_is_none() {
        let mut reducer = Reducer::new(Channels::Rgb, Size::new(2, 2), Size::new(2, 2));
        reducer.row(&[0; 6]);
        assert!(reducer.finish().is_none());
    }
}
