//! From a file to pixels, and the checks that an upload must pass.

use std::io::BufReader;
use std::path::Path;

use image::{DynamicImage, ImageBuffer, ImageDecoder};

use super::colour::as_light;
use super::header::{Header, damaged, frame_decoder, open, scale};
use super::jpeg;
use super::png::PngRows;
use super::reduce::{Channels, Reducer};
use super::{Format, Size};
use crate::error::ApiError;

/// A file that passed all checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Inspected {
    pub(crate) format: Format,
    /// As it is shown: after the EXIF orientation.
    pub(crate) size: Size,
}

/// A picture that was shrunk while it was decoded, as [`Reducer::finish`] leaves it.
pub(super) struct Shrunk {
    pub(super) pixels: DynamicImage,
    pub(super) is_ink: bool,
    pub(super) colour_profile: Option<Vec<u8>>,
}

/// Checks that all pixels decode; of an animation those of the first frame.
///
/// # Errors
/// 415 for a damaged file.
pub(super) fn check(path: &Path, header: &Header) -> Result<(), ApiError> {
    match header.format {
        Format::Jpeg => jpeg::scaled(BufReader::new(open(path)?), 8).map(drop),
        Format::Png => PngRows::begin(BufReader::new(open(path)?))?.passes(|_| {}),
        Format::Gif | Format::WebP => frame(path, header.format).map(drop),
    }
}

/// Decodes to at least `target` (as the pixels lie in the file), and less than twice of it each way where that is possible.
///
/// # Errors
/// As [`check`]; such a file was refused when it was uploaded.
pub(super) fn shrunk(path: &Path, header: &Header, target: Size) -> Result<Shrunk, ApiError> {
    let incomplete = || ApiError::internal("decoding an original", "rows are missing");
    let (reducer, is_ink, colour_profile) = match header.format {
        Format::Jpeg => {
            let jpeg::Scaled { size, bytes, colour_profile } =
                jpeg::scaled(BufReader::new(open(path)?), scale(header.stored, target))?;
            let channels = header.jpeg_channels();
            let reducer = reduced(channels, size.into(), target, &bytes);
            (reducer, channels == Channels::Cmyk, colour_profile)
        }
        Format::Png => {
            let rows = PngRows::begin(BufReader::new(open(path)?))?;
            let colour_profile = rows.colour_profile().map(<[u8]>::to_vec);
            let mut reducer = Reducer::new(rows.channels(), header.stored, target);
            rows.rows(|row| reducer.row(row))?;
            (reducer, false, colour_profile)
        }
        Format::Gif | Format::WebP => {
            let (pixels, colour_profile) = frame(path, header.format)?;
            let size = Size::new(pixels.width(), pixels.height());
            let channels = if pixels.color().has_alpha() { Channels::Rgba } else { Channels::Rgb };
            (reduced(channels, size, target, pixels.as_bytes()), false, colour_profile)
        }
    };
    Ok(Shrunk { pixels: reducer.finish().ok_or_else(incomplete)?, is_ink, colour_profile })
}

/// Decodes all pixels, with eight bits a channel.
///
/// # Errors
/// As [`shrunk`].
pub(super) fn pixels(path: &Path, header: &Header) -> Result<DynamicImage, ApiError> {
    let ((width, height), channels, bytes) = match header.format {
        Format::Gif | Format::WebP => return frame(path, header.format).map(|(pixels, _)| pixels),
        Format::Jpeg => {
            let jpeg::Scaled { size, bytes, .. } = jpeg::scaled(BufReader::new(open(path)?), 1)?;
            (size, header.jpeg_channels(), bytes)
        }
        Format::Png => {
            let rows = PngRows::begin(BufReader::new(open(path)?))?;
            let ((width, height), channels) = (rows.size(), rows.channels());
            let mut bytes = Vec::with_capacity(width as usize * height as usize * channels.count());
            rows.rows(|row| bytes.extend_from_slice(row))?;
            ((width, height), channels, bytes)
        }
    };
    let pixels = match channels {
        Channels::Grey => ImageBuffer::from_raw(width, height, bytes).map(DynamicImage::ImageLuma8),
        Channels::GreyAlpha => ImageBuffer::from_raw(width, height, bytes).map(DynamicImage::ImageLumaA8),
        Channels::Rgb => ImageBuffer::from_raw(width, height, bytes).map(DynamicImage::ImageRgb8),
        Channels::Rgba | Channels::Cmyk => {
            ImageBuffer::from_raw(width, height, bytes).map(DynamicImage::ImageRgba8)
        }
    };
    let pixels = pixels.ok_or_else(|| ApiError::internal("decoding an original", "rows are missing"))?;
    Ok(if channels == Channels::Cmyk { as_light(&pixels) } else { pixels })
}

fn reduced(channels: Channels, source: Size, target: Size, pixels: &[u8]) -> Reducer {
    let mut reducer = Reducer::new(channels, source, target);
    pixels.chunks_exact((source.width as usize * channels.count()).max(1)).for_each(|row| reducer.row(row));
    reducer
}

/// Decodes a picture, or the first frame of an animation, and returns its colour profile too.
fn frame(path: &Path, format: Format) -> Result<(DynamicImage, Option<Vec<u8>>), ApiError> {
    let mut decoder = frame_decoder(BufReader::new(open(path)?), format).map_err(damaged)?;
    let colour_profile = decoder.icc_profile().ok().flatten();
    Ok((DynamicImage::from_decoder(decoder).map_err(damaged)?, colour_profile))
}

#[cfg(test)]
mod tests {
    use super::super::header::probe;
    use super::super::testing::{encoded, gradient, inspect, jpeg_with_orientation, kept, png_header};
    use super::*;

    #[test]
    fn every_format_passes_with_its_size() {
        for format in Format::ALL {
            let bytes = encoded(&gradient(37, 21), format);
            let expected = Inspected { format, size: Size::new(37, 21) };
            assert_eq!(inspect(&bytes), Ok(expected));
        }
    }

    #[test]
    fn a_file_that_was_cut_off_is_refused() {
        for format in Format::ALL {
            let bytes = encoded(&gradient(200, 150), format);
            for cut in [0, 1, 3, 12, bytes.len() / 4, bytes.len() / 2, bytes.len() * 9 / 10] {
                let refused = inspect(&bytes[..cut]).unwrap_err();
                assert_eq!(refused.status().as_u16(), 415, "{format:?} cut to {cut} of {}", bytes.len());
            }
        }
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        let svg: &[u8] = b"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1\" height=\"1\"/>";
        for bytes in [svg, b"", b"hello", b"BM\0\0", b"II*\0", b"%PDF-1.4", &[0; 4096]] {
            assert_eq!(inspect(bytes).unwrap_err().status().as_u16(), 415);
        }
    }

    #[test]
    fn too_many_pixels_are_refused_by_the_header_alone() {
        // The file is a header alone: decoding it would be refused as incomplete.
        let refused = inspect(&png_header(10_001, 10_000)).unwrap_err();
        assert_eq!(refused.status().as_u16(), 413);
        let refused = inspect(&png_header(u32::MAX >> 1, u32::MAX >> 1)).unwrap_err();
        assert!(matches!(refused.status().as_u16(), 413 | 415));
        assert_eq!(inspect(&png_header(10_000, 10_000)).unwrap_err().status().as_u16(), 415);
    }

    #[test]
    fn a_picture_on_its_side_has_the_size_it_is_shown_with() {
        for orientation in 1..=8 {
            let bytes = jpeg_with_orientation(&gradient(40, 20), orientation);
            let expected = if orientation < 5 { Size::new(40, 20) } else { Size::new(20, 40) };
            assert_eq!(inspect(&bytes).unwrap().size, expected, "EXIF orientation {orientation}");
        }
    }

    #[test]
    fn a_jpeg_that_passes_the_check_has_pixels_whatever_its_sampling() {
        for sampling in [[0x11; 3], [0x41, 0x11, 0x11], [0x31, 0x11, 0x11], [0x12, 0x11, 0x11]] {
            let bytes = black_jpeg(64, 64, sampling);
            assert!(inspect(&bytes).is_ok(), "{sampling:?}");
            let file = kept(&bytes);
            let pixels = pixels(file.path(), &probe(file.path()).unwrap()).unwrap();
            assert_eq!((pixels.width(), pixels.height()), (64, 64));
        }
    }

    /// Creates a JPEG whose coefficients are all 0, with the sampling factors of its three channels.
    fn black_jpeg(width: u16, height: u16, sampling: [u8; 3]) -> Vec<u8> {
        let mut file = vec![0xFF, 0xD8];
        let mut segment = |marker: u8, content: &[u8]| {
            file.extend([0xFF, marker]);
            file.extend(u16::try_from(content.len() + 2).unwrap().to_be_bytes());
            file.extend(content);
        };
        segment(0xDB, &[[0].as_slice(), &[8; 64]].concat());
        let [one, two, three] = sampling;
        let ([high, low], [wide, narrow]) = (height.to_be_bytes(), width.to_be_bytes());
        segment(0xC0, &[8, high, low, wide, narrow, 3, 1, one, 0, 2, two, 0, 3, three, 0]);
        for class in [0, 0x10] {
            segment(0xC4, &[[class, 1].as_slice(), &[0; 15], &[0]].concat());
        }
        segment(0xDA, &[3, 1, 0, 2, 0, 3, 0, 0, 63, 0]);
        // Two bits a block, and more of them than there are blocks.
        file.extend(vec![0; usize::from(width) * usize::from(height) / 64]);
        file.extend([0xFF, 0xD9]);
        file
    }

    #[test]
    fn trailing_bytes_do_no_harm() {
        for format in [Format::Jpeg, Format::Png, Format::Gif] {
            let mut bytes = encoded(&gradient(30, 30), format);
            bytes.extend([0; 100]);
            assert!(inspect(&bytes).is_ok(), "{format:?}");
        }
    }
}
