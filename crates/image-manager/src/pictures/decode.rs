//! From a file to pixels, and the checks that an upload must pass.

use std::io::Cursor;
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::{Format, Size};
use crate::error::ApiError;

/// Largest picture, in pixels. A compressed file says nothing about how much memory its pixels take.
pub(crate) const MAX_PIXELS: u64 = 100_000_000;

/// What a decoder may allocate: the largest picture at its deepest, four channels of sixteen bits.
const MAX_DECODER_BYTES: u64 = MAX_PIXELS * 8 + 64 * 1024 * 1024;

/// A colour profile longer than this is not copied into thumbnails.
const MAX_PROFILE_BYTES: usize = 64 * 1024;

/// A file that passed all checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Inspected {
    pub(crate) format: Format,
    /// As it is shown: after the EXIF orientation.
    pub(crate) size: Size,
}

/// The pixels of a file as they lie in it, with what is needed to show them right.
#[derive(Debug)]
pub(crate) struct Picture {
    pub(crate) format: Format,
    pub(crate) pixels: DynamicImage,
    pub(crate) orientation: Orientation,
    pub(crate) colour_profile: Option<Vec<u8>>,
}

/// Checks an upload by its content: format, size, and that all its pixels (the first frame's, where it moves) decode.
///
/// # Errors
/// 415 for another format or a damaged file, 413 for too many pixels, before any is decoded.
pub(crate) fn inspect(bytes: &[u8]) -> Result<Inspected, ApiError> {
    let format = recognise(bytes)?;
    let mut decoder = decoder(bytes, format).map_err(damaged)?;
    let stored = Size::from(decoder.dimensions());
    if stored.pixels() > MAX_PIXELS {
        return Err(ApiError::new(
            axum::http::StatusCode::PAYLOAD_TOO_LARGE,
            "too_many_pixels",
            format!("{stored} is more than the {} megapixels that are kept here", MAX_PIXELS / 1_000_000),
        ));
    }
    if stored.pixels() == 0 {
        return Err(damaged("it has no pixels"));
    }
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    match format {
        // The other decoder takes a torn JPEG for a whole one, grey where data is missing.
        Format::Jpeg => decode_jpeg_strictly(bytes)?,
        Format::Png | Format::Gif | Format::WebP => {
            DynamicImage::from_decoder(decoder).map_err(damaged)?;
        }
    }
    Ok(Inspected { format, size: stored.turned(orientation) })
}

impl Picture {
    /// Decodes a file that passed [`inspect`].
    ///
    /// # Errors
    /// [`ApiError::original_missing`] when the file is gone, as when it was replaced meanwhile; else internal.
    pub(crate) fn open(path: &Path) -> Result<Self, ApiError> {
        let bytes = std::fs::read(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => ApiError::original_missing(),
            _ => ApiError::internal("reading an original", error),
        })?;
        Self::decode(&bytes)
    }

    fn decode(bytes: &[u8]) -> Result<Self, ApiError> {
        let broken = |error| ApiError::internal("decoding an original", error);
        let format = recognise(bytes)?;
        let mut decoder = decoder(bytes, format).map_err(broken)?;
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let profile = decoder.icc_profile().ok().flatten();
        let pixels = DynamicImage::from_decoder(decoder).map_err(broken)?;
        let colour_profile = profile.filter(|profile| profile.len() <= MAX_PROFILE_BYTES);
        Ok(Self { format, pixels, orientation, colour_profile })
    }
}

fn recognise(bytes: &[u8]) -> Result<Format, ApiError> {
    match image::guess_format(bytes) {
        Ok(ImageFormat::Jpeg) => Ok(Format::Jpeg),
        Ok(ImageFormat::Png) => Ok(Format::Png),
        Ok(ImageFormat::Gif) => Ok(Format::Gif),
        Ok(ImageFormat::WebP) => Ok(Format::WebP),
        _ => Err(ApiError::unsupported_picture("only JPEG, PNG, GIF and WebP pictures are kept here")),
    }
}

fn decoder(bytes: &[u8], format: Format) -> image::ImageResult<impl ImageDecoder> {
    let format = match format {
        Format::Jpeg => ImageFormat::Jpeg,
        Format::Png => ImageFormat::Png,
        Format::Gif => ImageFormat::Gif,
        Format::WebP => ImageFormat::WebP,
    };
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    reader.into_decoder()
}

fn decode_jpeg_strictly(bytes: &[u8]) -> Result<(), ApiError> {
    // The number of pixels was checked already, and a side of a JPEG has at most sixteen bits.
    let options =
        DecoderOptions::default().set_strict_mode(true).set_max_width(usize::MAX).set_max_height(usize::MAX);
    let mut decoder = zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode().map(drop).map_err(|error| damaged(format!("{error:?}")))
}

fn damaged(cause: impl std::fmt::Display) -> ApiError {
    tracing::debug!(%cause, "a damaged picture was refused");
    ApiError::unsupported_picture("the picture is damaged or incomplete")
}

#[cfg(test)]
mod tests {
    use super::super::testing::{encoded, gradient, jpeg_with_orientation, png_header};
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
        // Nothing but a header: a decoder that began would say that data is missing.
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
    fn trailing_bytes_do_no_harm() {
        for format in [Format::Jpeg, Format::Png, Format::Gif] {
            let mut bytes = encoded(&gradient(30, 30), format);
            bytes.extend([0; 100]);
            assert!(inspect(&bytes).is_ok(), "{format:?}");
        }
    }
}
