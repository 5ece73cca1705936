//! [`Header`]: size and format of a picture from its file's header, and the memory that work on its pixels takes.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;

use image::metadata::Orientation;
use image::{ImageDecoder, ImageFormat, ImageReader, Limits};
use jpeg_decoder::{CodingProcess, PixelFormat};

use super::jpeg::{SCANS_MAX, Segments, segments};
use super::png::PngRows;
use super::reduce::Channels;
use super::{Format, Size};
use crate::error::ApiError;

/// Largest picture, in pixels. A compressed file says nothing about how much memory its pixels take.
pub(crate) const MAX_PIXELS: u64 = 100_000_000;

/// What a decoder may allocate: the largest picture with four channels, and what it needs besides.
pub(super) const MAX_DECODER_BYTES: u64 = MAX_PIXELS * 8 + 64 * 1024 * 1024;

/// Longest side of a thumbnail.
pub(crate) const THUMBNAIL_SIDE_MAX: u32 = 2048;

/// The properties of a picture that are known before its pixels are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) format: Format,
    /// Size of the picture in the file, before the EXIF orientation.
    pub(super) stored: Size,
    pub(super) orientation: Orientation,
    channels: u64,
    /// Every pass adds to all pixels: a progressive JPEG, an interlaced PNG.
    has_passes: bool,
    /// Bytes that a decoder keeps and copies beside the pixels: colour profiles and other metadata, of GIF and WebP the
    /// file.
    kept_bytes: u64,
}

/// The purpose of decoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To check that all pixels decode.
    Check,
    Thumbnail(Size),
    /// To analyse all pixels.
    Pixels,
}

/// Reads the first part of a file.
///
/// # Errors
/// 415 for another format or a damaged file, 413 for too many pixels; [`ApiError::original_missing`] when the file is gone.
pub(super) fn probe(path: &Path) -> Result<Header, ApiError> {
    let file = open(path)?;
    let file_bytes = file.metadata().map_err(|error| unreadable(&error))?.len();
    let mut file = BufReader::new(file);
    let format = recognise(&mut file)?;
    let header = |size: (u32, u32), orientation, channels, has_passes, kept_bytes| {
        let stored = Size::from(size);
        within_limits(stored)?;
        Ok(Header { format, stored, orientation, channels, has_passes, kept_bytes })
    };
    match format {
        Format::Jpeg => {
            let Segments { scans, metadata_bytes } =
                segments(&mut file).map_err(|error| unreadable(&error))?;
            if scans > SCANS_MAX {
                let message = format!("a JPEG of more than {SCANS_MAX} scans is not kept here");
                return Err(ApiError::unsupported_picture(message));
            }
            file.rewind().map_err(|error| unreadable(&error))?;
            let mut decoder = jpeg_decoder::Decoder::new(file);
            decoder.read_info().map_err(damaged)?;
            let info = decoder.info().ok_or_else(|| damaged("it has no frame"))?;
            // The decoder panics on some of them.
            if info.coding_process == CodingProcess::Lossless {
                return Err(ApiError::unsupported_picture("lossless JPEG is not kept here"));
            }
            let channels = match info.pixel_format {
                // Samples of sixteen bits occur in lossless JPEG only.
                PixelFormat::L8 | PixelFormat::L16 => 1,
                PixelFormat::RGB24 => 3,
                PixelFormat::CMYK32 => 4,
            };
            let is_progressive = info.coding_process == CodingProcess::DctProgressive;
            let size = (info.width.into(), info.height.into());
            header(size, orientation(decoder.exif_data()), channels, is_progressive, metadata_bytes)
        }
        Format::Png => {
            let rows = PngRows::begin(file)?;
            let channels = rows.channels().count() as u64;
            let profile_bytes = rows.colour_profile().map_or(0, <[u8]>::len) as u64;
            header(rows.size(), rows.orientation(), channels, rows.is_interlaced(), profile_bytes)
        }
        Format::Gif => {
            let mut options = gif::DecodeOptions::new();
            // A frame outside of the screen could have more pixels than the screen, by whose size memory is counted.
            options.check_frame_consistency(true);
            let mut decoder = options.read_info(file).map_err(damaged)?;
            decoder.next_frame_info().map_err(damaged)?.ok_or_else(|| damaged("it has no frame"))?;
            let size = (decoder.width().into(), decoder.height().into());
            header(size, Orientation::NoTransforms, 4, false, file_bytes)
        }
        Format::WebP => {
            let mut decoder = frame_decoder(file, format).map_err(damaged)?;
            let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
            header(decoder.dimensions(), orientation, 4, false, file_bytes)
        }
    }
}

impl Header {
    /// Returns the channels of a JPEG's pixels.
    pub(super) fn jpeg_channels(&self) -> Channels {
        match self.channels {
            1 => Channels::Grey,
            4 => Channels::Cmyk,
            _ => Channels::Rgb,
        }
    }

    /// Returns the size as it is shown: after the EXIF orientation.
    pub(super) fn shown(&self) -> Size {
        self.stored.turned(self.orientation)
    }

    /// Returns each purpose with the parameters that take most memory.
    pub(super) fn purposes(&self) -> [Purpose; 3] {
        [
            Purpose::Check,
            Purpose::Thumbnail(self.shown().fitted(Size::new(THUMBNAIL_SIDE_MAX, THUMBNAIL_SIDE_MAX))),
            Purpose::Pixels,
        ]
    }

    /// Returns the memory that decoding takes at most, as `docs/image-manager.md` describes it.
    pub(super) fn bytes_for(&self, purpose: Purpose) -> u64 {
        let pixels = self.stored.pixels();
        let row = u64::from(self.stored.width) * 8;
        let decoding = match (self.format, purpose) {
            (Format::Jpeg, _) => {
                // The coefficients of all passes, two bytes each.
                let passes = if self.has_passes { pixels * self.channels * 2 } else { row * 64 };
                let at_scale = |scale: u64| 2 * pixels * self.channels / (scale * scale);
                passes
                    + match purpose {
                        Purpose::Check => at_scale(8),
                        Purpose::Thumbnail(size) => {
                            at_scale(scale(self.stored, size.turned(self.orientation)).into())
                        }
                        Purpose::Pixels => at_scale(1),
                    }
            }
            (Format::Png, Purpose::Pixels) => pixels * (self.channels + 1),
            (Format::Png, Purpose::Thumbnail(_)) if self.has_passes => pixels * self.channels,
            (Format::Png, _) => 4 * row,
            (Format::Gif | Format::WebP, _) => pixels * 9,
        };
        let result = match purpose {
            // The picture after shrinking by whole factors, up to four times as many pixels, and the steps after that: with
            // alpha in sixteen bits.
            Purpose::Thumbnail(size) => size.pixels() * if self.format == Format::Jpeg { 50 } else { 80 },
            Purpose::Check | Purpose::Pixels => 0,
        };
        decoding + result + 2 * self.kept_bytes + 1024 * 1024
    }
}

/// Returns the largest factor by which a JPEG decoder can reduce and that leaves at least `target`.
pub(super) fn scale(stored: Size, target: Size) -> u16 {
    let fits = |factor: u32| {
        stored.width.div_ceil(factor) >= target.width && stored.height.div_ceil(factor) >= target.height
    };
    [8, 4, 2].into_iter().find(|factor| fits(u32::from(*factor))).unwrap_or(1)
}

/// Opens an original.
///
/// # Errors
/// [`ApiError::original_missing`] when it is gone, as when it was replaced meanwhile; else internal.
pub(super) fn open(path: &Path) -> Result<File, ApiError> {
    File::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => ApiError::original_missing(),
        _ => unreadable(&error),
    })
}

fn unreadable(error: &io::Error) -> ApiError {
    ApiError::internal("reading an original", error)
}

/// Creates a decoder for the formats that are decoded whole.
pub(super) fn frame_decoder(file: BufReader<File>, format: Format) -> image::ImageResult<impl ImageDecoder> {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    let mut reader = ImageReader::with_format(file, format.decoded_by());
    reader.limits(limits);
    reader.into_decoder()
}

/// Returns the orientation in EXIF data.
pub(super) fn orientation(exif: Option<&[u8]>) -> Orientation {
    exif.and_then(Orientation::from_exif_chunk).unwrap_or(Orientation::NoTransforms)
}

pub(super) fn damaged(cause: impl std::fmt::Display) -> ApiError {
    tracing::debug!(%cause, "a damaged picture was refused");
    ApiError::unsupported_picture("the picture is damaged or incomplete")
}

fn recognise(file: &mut BufReader<File>) -> Result<Format, ApiError> {
    let mut start = Vec::new();
    file.by_ref().take(32).read_to_end(&mut start).map_err(|error| unreadable(&error))?;
    file.rewind().map_err(|error| unreadable(&error))?;
    match image::guess_format(&start) {
        Ok(ImageFormat::Jpeg) => Ok(Format::Jpeg),
        Ok(ImageFormat::Png) => Ok(Format::Png),
        Ok(ImageFormat::Gif) => Ok(Format::Gif),
        Ok(ImageFormat::WebP) => Ok(Format::WebP),
        _ => Err(ApiError::unsupported_picture("only JPEG, PNG, GIF and WebP pictures are kept here")),
    }
}

fn within_limits(stored: Size) -> Result<(), ApiError> {
    if stored.pixels() > MAX_PIXELS {
        return Err(ApiError::new(
            axum::http::StatusCode::PAYLOAD_TOO_LARGE,
            "too_many_pixels",
            format!("{stored} is more than the {} megapixels that are kept here", MAX_PIXELS / 1_000_000),
        ));
    }
    if stored.pixels() == 0 { Err(damaged("it has no pixels")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use image::codecs::jpeg::JpegEncoder;
    use image::codecs::png::PngEncoder;
    use image::{DynamicImage, ImageEncoder};

    use super::super::testing::{encoded, gradient, inspect, kept, thumbnail};
    use super::*;

    #[track_caller]
    fn assert_refused(bytes: &[u8]) {
        assert_eq!(inspect(bytes).unwrap_err().status().as_u16(), 415);
        assert_eq!(thumbnail(bytes, Size::new(16, 16)).unwrap_err().status().as_u16(), 415);
    }

    fn memory(bytes: &[u8]) -> u64 {
        probe(kept(bytes).path()).unwrap().bytes_for(Purpose::Check)
    }

    #[test]
    fn a_gif_whose_first_frame_lies_outside_its_screen_is_refused() {
        let mut bytes = encoded(&gradient(50, 40), Format::Gif);
        assert!(inspect(&bytes).is_ok());
        bytes[6..10].copy_from_slice(&[1, 0, 1, 0]);
        assert_refused(&bytes);
    }

    #[test]
    fn a_jpeg_of_too_many_scans_is_refused() {
        let mut bytes = encoded(&gradient(50, 40), Format::Jpeg);
        let end = bytes.split_off(bytes.len() - 2);
        let scan = [0xFF, 0xDA, 0, 8, 1, 1, 0, 0, 63, 0];
        let with = |scans: usize| [bytes.clone(), scan.repeat(scans), end.clone()].concat();
        assert_eq!(segments(&mut io::Cursor::new(with(7))).unwrap().scans, 8);
        assert_refused(&with(SCANS_MAX));
    }

    #[test]
    fn a_lossless_jpeg_is_refused() {
        let mut bytes = encoded(&gradient(50, 40), Format::Jpeg);
        let frame = bytes.windows(2).position(|marker| marker == [0xFF, 0xC0]).unwrap();
        bytes[frame + 1] = 0xC3;
        assert_refused(&bytes);
    }

    #[test]
    fn metadata_count_as_memory() {
        fn file<E: ImageEncoder>(pixels: &DynamicImage, mut encoder: E, profile: usize) {
            encoder.set_icc_profile(vec![7; profile]).unwrap();
            pixels.write_with_encoder(encoder).unwrap();
        }
        let pixels = gradient(50, 40);
        let encode = |format, profile| {
            let mut bytes = Vec::new();
            match format {
                Format::Jpeg => file(&pixels, JpegEncoder::new(&mut bytes), profile),
                _ => file(&pixels, PngEncoder::new(&mut bytes), profile),
            }
            memory(&bytes)
        };
        for format in [Format::Jpeg, Format::Png] {
            assert!(encode(format, 1_000_000) >= encode(format, 10) + 1_990_000, "{format:?}");
        }
        let mut bytes = encoded(&pixels, Format::Gif);
        let before = memory(&bytes);
        bytes.extend([0; 1000]);
        assert_eq!(memory(&bytes), before + 2000);
    }

    #[test]
    fn a_colour_profile_that_inflates_beyond_the_limit_is_left_out() {
        let mut bytes = Vec::new();
        let mut encoder = PngEncoder::new(&mut bytes);
        encoder.set_icc_profile(vec![0; 50 << 20]).unwrap();
        gradient(50, 40).write_with_encoder(encoder).unwrap();
        assert!(memory(&bytes) < 4 << 20, "{}", memory(&bytes));
    }
}
