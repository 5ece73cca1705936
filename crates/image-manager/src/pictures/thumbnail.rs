//! Thumbnails: how large, and the pixels.

use std::fmt;
use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::imageops::FilterType;
use image::metadata::Orientation;

use super::Format;
use super::colour::in_srgb;
use super::decode::{Shrunk, shrunk};
use super::header::Header;
use super::reduce::straightened;
use crate::error::ApiError;

/// Of 100; above it files grow faster than pictures improve.
const JPEG_QUALITY: u8 = 85;

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) width: u32,
    pub(crate) height: u32,
}

impl Size {
    pub(crate) fn new(width: u32, height: u32) -> Self {
        Self { width, height }
    }

    pub(crate) fn pixels(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// Returns the largest size of the same shape inside `bounds`, never more than this one, at least one pixel each way.
    pub(crate) fn fitted(self, bounds: Self) -> Self {
        if self.width <= bounds.width && self.height <= bounds.height {
            return self;
        }
        let (width, height) = (u64::from(self.width), u64::from(self.height));
        let (bound_width, bound_height) = (u64::from(bounds.width), u64::from(bounds.height));
        if width * bound_height >= height * bound_width {
            Self { width: bounds.width, height: scaled(height, bound_width, width) }
        } else {
            Self { width: scaled(width, bound_height, height), height: bounds.height }
        }
    }

    /// Returns the size of a picture of this size after it was turned.
    pub(crate) fn turned(self, orientation: Orientation) -> Self {
        match orientation {
            Orientation::NoTransforms
            | Orientation::Rotate180
            | Orientation::FlipHorizontal
            | Orientation::FlipVertical => self,
            Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH => Self { width: self.height, height: self.width },
        }
    }
}

impl From<(u32, u32)> for Size {
    fn from((width, height): (u32, u32)) -> Self {
        Self { width, height }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// Makes a file of `size` (as it is shown) of the picture, upright and in sRGB: JPEG of a JPEG, PNG of all else.
///
/// # Errors
/// When the file is gone, or does not decode.
pub(super) fn thumbnail(path: &Path, header: &Header, size: Size) -> Result<Vec<u8>, ApiError> {
    // Turned after shrinking, when there is less to turn; turning back and forth swaps the sides alike.
    let lying = size.turned(header.orientation);
    let Shrunk { mut pixels, is_ink, colour_profile } = shrunk(path, header, lying)?;
    if lying != Size::new(pixels.width(), pixels.height()) {
        pixels = pixels.resize_exact(lying.width, lying.height, FilterType::CatmullRom);
    }
    let mut pixels = in_srgb(straightened(pixels), is_ink, colour_profile.as_deref());
    pixels.apply_orientation(header.orientation);

    let mut file = Vec::new();
    let encoded = match header.format {
        Format::Jpeg => pixels.write_with_encoder(JpegEncoder::new_with_quality(&mut file, JPEG_QUALITY)),
        Format::Png | Format::Gif | Format::WebP => pixels.write_with_encoder(PngEncoder::new(&mut file)),
    };
    encoded.map_err(|error| ApiError::internal("encoding a thumbnail", error))?;
    Ok(file)
}

/// Returns the media type of a file that [`thumbnail`] made, by its first bytes: the file may come from the cache.
pub(crate) fn thumbnail_type(file: &[u8]) -> &'static str {
    let format = if file.starts_with(&[0xFF, 0xD8]) { Format::Jpeg } else { Format::Png };
    format.content_type()
}

/// Returns `side * numerator / denominator`, rounded, at least 1. The result fits where `numerator <= denominator`.
fn scaled(side: u64, numerator: u64, denominator: u64) -> u32 {
    let rounded = (side * numerator + denominator / 2) / denominator;
    u32::try_from(rounded).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use image::DynamicImage;

    use super::super::Format;
    use super::super::testing::{encoded, gradient, inspect, jpeg_with_orientation, thumbnail};
    use super::*;

    proptest! {
        #[test]
        fn a_fitted_size_fits_and_is_never_larger_than_the_picture(
            width in 1u32..100_000, height in 1u32..100_000, bound_width in 16u32..=2048, bound_height in 16u32..=2048,
        ) {
            let (size, bounds) = (Size::new(width, height), Size::new(bound_width, bound_height));
            let fitted = size.fitted(bounds);
            prop_assert!(fitted.width >= 1 && fitted.height >= 1);
            prop_assert!(fitted.width <= bound_width.min(width) && fitted.height <= bound_height.min(height));
            // One side is as long as it may be, and the other is off by less than a pixel.
            prop_assert!(fitted == size || fitted.width == bound_width || fitted.height == bound_height);
            let (exact_width, exact_height) = (f64::from(width), f64::from(height));
            let scale = (f64::from(bound_width) / exact_width).min(f64::from(bound_height) / exact_height).min(1.0);
            prop_assert!((f64::from(fitted.width) - exact_width * scale).abs() < 1.0);
            prop_assert!((f64::from(fitted.height) - exact_height * scale).abs() < 1.0);
        }
    }

    #[test]
    fn a_thumbnail_has_the_size_that_was_asked_for_and_the_family_of_its_original() {
        for format in Format::ALL {
            let file = thumbnail(&encoded(&gradient(300, 150), format), Size::new(64, 32)).unwrap();
            let inspected = inspect(&file).unwrap();
            assert_eq!(inspected.size, Size::new(64, 32), "{format:?}");
            let family = if format == Format::Jpeg { Format::Jpeg } else { Format::Png };
            assert_eq!(inspected.format, family);
            assert_eq!(thumbnail_type(&file), family.content_type());
        }
    }

    #[test]
    fn a_thumbnail_stands_upright() {
        // Dark on the left and bright on the right; turned by a quarter, dark is on top.
        let bytes = jpeg_with_orientation(&gradient(400, 200), 6);
        let file = thumbnail(&bytes, Size::new(50, 100)).unwrap();
        let shown = image::load_from_memory(&file).unwrap().into_luma8();
        assert_eq!(shown.dimensions(), (50, 100));
        assert!(shown.get_pixel(25, 2).0[0] + 100 < shown.get_pixel(25, 97).0[0]);
        // The orientation must not be in the file as well, or viewers turn it once more.
        assert_eq!(inspect(&file).unwrap().size, Size::new(50, 100));
    }

    #[test]
    fn a_large_picture_keeps_its_brightness_when_it_shrinks() {
        let file = thumbnail(&encoded(&gradient(2000, 1000), Format::Png), Size::new(100, 50)).unwrap();
        let small = image::load_from_memory(&file).unwrap().into_luma8();
        let mean = small.pixels().map(|pixel| u64::from(pixel.0[0])).sum::<u64>() / 5000;
        assert!((120..=136).contains(&mean), "{mean}");
    }

    #[test]
    fn what_is_transparent_leaves_its_neighbours_their_colour() {
        for side in [100, 150, 400, 399] {
            let stripes = image::RgbaImage::from_fn(400, 400, |x, y| {
                if (x / 3 + y / 5) % 2 == 0 { image::Rgba([255, 255, 255, 255]) } else { image::Rgba([0; 4]) }
            });
            for format in [Format::Png, Format::WebP] {
                let file =
                    thumbnail(&encoded(&stripes.clone().into(), format), Size::new(side, side)).unwrap();
                let small = image::load_from_memory(&file).unwrap().into_rgba8();
                let visible = small.pixels().filter(|pixel| pixel.0[3] > 0);
                assert!(visible.clone().count() > 100);
                visible.for_each(|pixel| assert_eq!(pixel.0[..3], [255; 3], "{side} {format:?}"));
            }
        }
    }

    #[test]
    fn sixteen_bits_and_transparency_survive_as_eight_bits() {
        let pixels = image::ImageBuffer::from_pixel(40, 40, image::Rgba([65535u16, 0, 0, 32768]));
        let mut bytes = std::io::Cursor::new(Vec::new());
        DynamicImage::ImageRgba16(pixels).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        let file = thumbnail(bytes.get_ref(), Size::new(20, 20)).unwrap();
        let small = image::load_from_memory(&file).unwrap();
        assert_eq!(small.color(), image::ColorType::Rgba8);
        assert_eq!(small.into_rgba8().get_pixel(10, 10).0, [255, 0, 0, 128]);
    }
}
