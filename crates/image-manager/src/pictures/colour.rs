//! Conversion to sRGB: thumbnails need no colour profile then.
//!
//! A profile may be much longer than the thumbnail, so it is applied instead of copied, and CMYK becomes RGB.

use image::{DynamicImage, ImageBuffer, RgbImage};
use moxcms::{CmsError, ColorProfile, DataColorSpace, Layout, TransformOptions};

/// Converts the picture, of eight bits a channel, to sRGB. A profile that cannot be read, or is for other colours, counts
/// as none.
pub(super) fn in_srgb(picture: DynamicImage, is_ink: bool, profile: Option<&[u8]>) -> DynamicImage {
    let converted = profile.map(|profile| converted(&picture, is_ink, profile));
    match converted {
        Some(Ok(Some(converted))) => return converted,
        Some(Ok(None)) => {
            tracing::debug!("a colour profile for other colours than the picture's was left out");
        }
        Some(Err(error)) => tracing::debug!(%error, "a colour profile that cannot be used was left out"),
        None => {}
    }
    if is_ink { as_light(&picture) } else { picture }
}

fn converted(picture: &DynamicImage, is_ink: bool, profile: &[u8]) -> Result<Option<DynamicImage>, CmsError> {
    let profile = ColorProfile::new_from_slice(profile)?;
    let (from, to, wanted) = match picture {
        DynamicImage::ImageRgba8(_) if is_ink => (Layout::Rgba, Layout::Rgb, DataColorSpace::Cmyk),
        DynamicImage::ImageRgba8(_) => (Layout::Rgba, Layout::Rgba, DataColorSpace::Rgb),
        DynamicImage::ImageRgb8(_) => (Layout::Rgb, Layout::Rgb, DataColorSpace::Rgb),
        DynamicImage::ImageLuma8(_) => (Layout::Gray, Layout::Rgb, DataColorSpace::Gray),
        DynamicImage::ImageLumaA8(_) => (Layout::GrayAlpha, Layout::Rgba, DataColorSpace::Gray),
        _ => return Ok(None),
    };
    if profile.color_space != wanted {
        return Ok(None);
    }
    let transform =
        profile.create_transform_8bit(from, &ColorProfile::new_srgb(), to, TransformOptions::default())?;
    let (width, height) = (picture.width(), picture.height());
    let pixels = width as usize * height as usize;
    if to == Layout::Rgba {
        let mut light = vec![0; pixels * 4];
        transform.transform(picture.as_bytes(), &mut light)?;
        return Ok(ImageBuffer::from_raw(width, height, light).map(DynamicImage::ImageRgba8));
    }
    let mut light = vec![0; pixels * 3];
    transform.transform(picture.as_bytes(), &mut light)?;
    Ok(ImageBuffer::from_raw(width, height, light).map(DynamicImage::ImageRgb8))
}

/// Converts CMYK to RGB without a profile, by the usual rule.
pub(super) fn as_light(ink: &DynamicImage) -> DynamicImage {
    let light = |ink: u8, black: u8| {
        let light = u16::from(255 - ink) * u16::from(255 - black) / 255;
        u8::try_from(light).unwrap_or(u8::MAX)
    };
    let pixels = ink.as_bytes().chunks_exact(4).flat_map(|pixel| match *pixel {
        [cyan, magenta, yellow, black] => [light(cyan, black), light(magenta, black), light(yellow, black)],
        _ => [0; 3],
    });
    RgbImage::from_raw(ink.width(), ink.height(), pixels.collect()).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use image::codecs::jpeg::JpegEncoder;
    use image::codecs::png::PngEncoder;
    use image::{ImageDecoder, ImageEncoder, Rgb};

    use super::super::Size;
    use super::super::testing::{cmyk_jpeg, inspect, thumbnail};
    use super::*;

    /// Creates a profile by which any ink but black is the same grey, and black is black.
    fn grey_ink() -> Vec<u8> {
        let mut table = b"mft1\0\0\0\0\x04\x03\x02\0".to_vec();
        for row in [[1, 0, 0], [0, 1, 0], [0, 0, 1]] {
            table.extend(row.iter().flat_map(|number: &i32| (number << 16).to_be_bytes()));
        }
        table.extend((0..4).flat_map(|_| 0..=255));
        // The last ink changes first.
        for corner in 0..16 {
            let lightness = if corner % 2 == 1 {
                0
            } else if corner == 0 {
                255
            } else {
                128
            };
            table.extend([lightness, 128, 128]);
        }
        table.extend((0..3).flat_map(|_| 0..=255));
        let mut profile = vec![0; 128];
        profile[8..12].copy_from_slice(&[2, 0x40, 0, 0]);
        profile[12..24].copy_from_slice(b"prtrCMYKLab ");
        profile[36..40].copy_from_slice(b"acsp");
        profile.extend(1_u32.to_be_bytes());
        profile.extend(b"A2B0");
        profile.extend(144_u32.to_be_bytes());
        profile.extend(u32::try_from(table.len()).unwrap().to_be_bytes());
        profile.extend(table);
        let length = u32::try_from(profile.len()).unwrap();
        profile[..4].copy_from_slice(&length.to_be_bytes());
        profile
    }

    fn display_p3(length: usize) -> Vec<u8> {
        let mut profile = ColorProfile::new_display_p3().encode().unwrap();
        profile.resize(profile.len().max(length), 0);
        let length = u32::try_from(profile.len()).unwrap();
        profile[..4].copy_from_slice(&length.to_be_bytes());
        profile
    }

    fn shown(file: &[u8]) -> [u8; 3] {
        let mut decoder = image::ImageReader::new(std::io::Cursor::new(file))
            .with_guessed_format()
            .unwrap()
            .into_decoder()
            .unwrap();
        assert_eq!(decoder.icc_profile().unwrap(), None);
        DynamicImage::from_decoder(decoder).unwrap().into_rgb8().get_pixel(2, 2).0
    }

    #[track_caller]
    fn assert_near(colour: [u8; 3], expected: [u8; 3]) {
        assert!(
            colour.iter().zip(expected).all(|(one, other)| one.abs_diff(other) <= 3),
            "{colour:?} {expected:?}"
        );
    }

    #[test]
    fn ink_becomes_light_by_its_profile_which_is_not_kept() {
        let size = Size::new(8, 8);
        for (ink, expected) in [
            ([0, 0, 0, 0], [255, 255, 255]),
            ([255, 0, 0, 0], [0, 255, 255]),
            ([0, 255, 0, 0], [255, 0, 255]),
            ([0, 0, 0, 255], [0, 0, 0]),
            ([0, 0, 255, 127], [128, 128, 0]),
        ] {
            let file = cmyk_jpeg(ink, None);
            assert_eq!(inspect(&file).unwrap().size, size);
            assert_near(shown(&thumbnail(&file, size).unwrap()), expected);
            // One that cannot be read, and one for other colours, change nothing.
            for profile in [b"nonsense".to_vec(), display_p3(0)] {
                assert_near(shown(&thumbnail(&cmyk_jpeg(ink, Some(&profile)), size).unwrap()), expected);
            }
        }
        let grey = shown(&thumbnail(&cmyk_jpeg([255, 0, 0, 0], Some(&grey_ink())), size).unwrap());
        assert_near(grey, [119, 119, 119]);
        let black = shown(&thumbnail(&cmyk_jpeg([0, 0, 0, 255], Some(&grey_ink())), size).unwrap());
        assert_near(black, [0, 0, 0]);
    }

    #[test]
    fn a_profile_of_any_length_is_applied_and_not_copied() {
        let pixels = RgbImage::from_pixel(40, 40, Rgb([200, 60, 60]));
        for length in [0, 70_000, 400_000] {
            let profile = display_p3(length);
            let (mut jpeg, mut png) = (Vec::new(), Vec::new());
            let mut encoder = JpegEncoder::new_with_quality(&mut jpeg, 100);
            encoder.set_icc_profile(profile.clone()).unwrap();
            pixels.write_with_encoder(encoder).unwrap();
            let mut encoder = PngEncoder::new(&mut png);
            encoder.set_icc_profile(profile).unwrap();
            pixels.write_with_encoder(encoder).unwrap();
            for file in [jpeg, png] {
                let small = thumbnail(&file, Size::new(20, 20)).unwrap();
                assert!(small.len() < 2000, "{} bytes", small.len());
                // Display P3 reaches further: the same numbers are a deeper red, which sRGB says with more red.
                let [red, green, blue] = shown(&small);
                assert!(red > 210 && green < 50 && blue < 60, "{red} {green} {blue}");
            }
        }
    }
}
