//! [`Header`]: what the first part of a file says, and how much memory work on its pixels takes.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use image::metadata::Orientation;
use image::{ImageDecoder, ImageFormat, ImageReader, Limits};
use jpeg_decoder::{CodingProcess, PixelFormat};

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

/// What a file says before its pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) format: Format,
    /// As its pixels lie in the file.
    pub(super) stored: Size,
    pub(super) orientation: Orientation,
    channels: u64,
    /// Every pass adds to all pixels: a progressive JPEG, an interlaced PNG.
    has_passes: bool,
    file_bytes: u64,
}

/// What pixels are decoded for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To see that they all decode.
    Check,
    Thumbnail(Size),
    /// To look at each.
    Pixels,
}

/// Reads the first part of a file.
///
/// # Errors
/// 415 for another format or a damaged file, 413 for too many pixels; [`ApiError::original_missing`] when the file is gone.
pub(super) fn probe(path: &Path) -> Result<Header, ApiError> {
    let file = open(path)?;
    let file_bytes = file.metadata().map_err(|error| ApiError::internal("reading an original", error))?.len();
    let mut file = BufReader::new(file);
    let format = recognise(&mut file)?;
    let header = |size: (u32, u32), orientation, channels, has_passes| {
        let stored = Size::from(size);
        within_limits(stored)?;
        Ok(Header { format, stored, orientation, channels, has_passes, file_bytes })
    };
    match format {
        Format::Jpeg => {
            let mut decoder = jpeg_decoder::Decoder::new(file);
            decoder.read_info().map_err(damaged)?;
            let info = decoder.info().ok_or_else(|| damaged("it has no frame"))?;
            let channels = match info.pixel_format {
                PixelFormat::L8 | PixelFormat::L16 => 1,
                PixelFormat::RGB24 => 3,
                PixelFormat::CMYK32 => 4,
            };
            let is_progressive = info.coding_process == CodingProcess::DctProgressive;
            let size = (info.width.into(), info.height.into());
            header(size, orientation(decoder.exif_data()), channels, is_progressive)
        }
        Format::Png => {
            let rows = PngRows::begin(file)?;
            let channels = rows.channels().count() as u64;
            header(rows.size(), rows.orientation(), channels, rows.is_interlaced())
        }
        Format::Gif | Format::WebP => {
            let mut decoder = frame_decoder(file, format).map_err(damaged)?;
            let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
            header(decoder.dimensions(), orientation, 4, false)
        }
    }
}

impl Header {
    /// What the bytes of a JPEG's pixels mean.
    pub(super) fn jpeg_channels(&self) -> Channels {
        match self.channels {
            1 => Channels::Grey,
            4 => Channels::Cmyk,
            _ => Channels::Rgb,
        }
    }

    /// The size as it is shown: after the EXIF orientation.
    pub(super) fn shown(&self) -> Size {
        self.stored.turned(self.orientation)
    }

    /// Each purpose, where it takes most.
    pub(super) fn purposes(&self) -> [Purpose; 3] {
        [
            Purpose::Check,
            Purpose::Thumbnail(self.shown().fitted(Size::new(THUMBNAIL_SIDE_MAX, THUMBNAIL_SIDE_MAX))),
            Purpose::Pixels,
        ]
    }

    /// Memory that decoding takes at most. `docs/image-manager.md` says the same in words.
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
                        // The decoder for whole pictures keeps two copies of the file.
                        Purpose::Pixels => pixels * (self.channels.min(3) + 1) + 2 * self.file_bytes,
                    }
            }
            (Format::Png, Purpose::Pixels) => pixels * (self.channels + 1),
            (Format::Png, Purpose::Thumbnail(_)) if self.has_passes => pixels * self.channels,
            (Format::Png, _) => 4 * row,
            (Format::Gif | Format::WebP, _) => pixels * 9 + self.file_bytes,
        };
        let result = match purpose {
            // What is left after shrinking by whole factors, up to four times as many pixels, and the steps after that: with
            // alpha in sixteen bits.
            Purpose::Thumbnail(size) => size.pixels() * if self.format == Format::Jpeg { 50 } else { 80 },
            Purpose::Check | Purpose::Pixels => 0,
        };
        decoding + result + 1024 * 1024
    }
}

/// The whole factor, of those a JPEG can be decoded at, that leaves at least `target`.
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
        _ => ApiError::internal("reading an original", error),
    })
}

/// A decoder for the formats that are decoded whole.
pub(super) fn frame_decoder(file: BufReader<File>, format: Format) -> image::ImageResult<impl ImageDecoder> {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    let mut reader = ImageReader::with_format(file, format.decoded_by());
    reader.limits(limits);
    reader.into_decoder()
}

/// How a picture is to be turned, by its EXIF data.
pub(super) fn orientation(exif: Option<&[u8]>) -> Orientation {
    exif.and_then(Orientation::from_exif_chunk).unwrap_or(Orientation::NoTransforms)
}

pub(super) fn damaged(cause: impl std::fmt::Display) -> ApiError {
    tracing::debug!(%cause, "a damaged picture was refused");
    ApiError::unsupported_picture("the picture is damaged or incomplete")
}

fn recognise(file: &mut BufReader<File>) -> Result<Format, ApiError> {
    let failed = |error| ApiError::internal("reading an original", error);
    let mut start = Vec::new();
    file.by_ref().take(32).read_to_end(&mut start).map_err(failed)?;
    file.rewind().map_err(failed)?;
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
