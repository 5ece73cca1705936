//! All work on pixels: validation, thumbnails, analyses. It blocks, and is scheduled by the [`Workshop`].

mod analyse;
mod colour;
mod decode;
mod header;
mod jpeg;
mod png;
mod reduce;
mod thumbnail;
mod workshop;

use image::ImageFormat;
use serde::{Deserialize, Serialize};

pub(crate) use analyse::AnalysisKind;
use analyse::{Findings, analyse};
pub(crate) use decode::Inspected;
pub(crate) use header::THUMBNAIL_SIDE_MAX;
pub(crate) use thumbnail::{Size, thumbnail_type};
pub(crate) use workshop::{Workshop, blocking};

/// A format of pictures that is kept here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Format {
    Jpeg,
    Png,
    Gif,
    WebP,
}

impl Format {
    const ALL: [Self; 4] = [Self::Jpeg, Self::Png, Self::Gif, Self::WebP];

    /// Returns the media type, as it is answered and stored.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Gif => "image/gif",
            Self::WebP => "image/webp",
        }
    }

    /// Returns the format of the decoding library.
    fn decoded_by(self) -> ImageFormat {
        match self {
            Self::Jpeg => ImageFormat::Jpeg,
            Self::Png => ImageFormat::Png,
            Self::Gif => ImageFormat::Gif,
            Self::WebP => ImageFormat::WebP,
        }
    }

    /// Returns the format of that media type.
    pub(crate) fn from_content_type(content_type: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.content_type() == content_type)
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use std::fmt::Write as _;
    use std::io::Cursor;

    use image::{DynamicImage, ImageEncoder, Rgb, RgbImage};

    use super::decode::{self, Inspected};
    use super::header::probe;
    use super::{Format, Size};
    use crate::error::ApiError;

    /// Checks a file as an upload is checked.
    pub(crate) fn inspect(bytes: &[u8]) -> Result<Inspected, ApiError> {
        let file = kept(bytes);
        let header = probe(file.path())?;
        decode::check(file.path(), &header)?;
        Ok(Inspected { format: header.format, size: header.shown() })
    }

    /// Makes the thumbnail of a file.
    pub(crate) fn thumbnail(bytes: &[u8], size: Size) -> Result<Vec<u8>, ApiError> {
        let file = kept(bytes);
        super::thumbnail::thumbnail(file.path(), &probe(file.path())?, size)
    }

    /// Creates a file of these bytes.
    pub(crate) fn kept(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    /// Creates a picture that is dark on the left and bright on the right, with some green from the top down.
    pub(crate) fn gradient(width: u32, height: u32) -> DynamicImage {
        let step = |at: u32, of: u32| u8::try_from(at * 255 / of.max(1)).unwrap();
        let pixel = |x, y| Rgb([step(x, width), step(x, width) / 2 + step(y, height) / 2, step(x, width)]);
        RgbImage::from_fn(width, height, pixel).into()
    }

    /// Encodes the picture as a file.
    pub(crate) fn encoded(pixels: &DynamicImage, format: Format) -> Vec<u8> {
        let mut file = Cursor::new(Vec::new());
        pixels.write_to(&mut file, format.decoded_by()).unwrap();
        file.into_inner()
    }

    /// Creates a JPEG with an EXIF orientation.
    pub(crate) fn jpeg_with_orientation(pixels: &DynamicImage, orientation: u8) -> Vec<u8> {
        let mut exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
        exif.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
        let mut file = Vec::new();
        let mut encoder = image::codecs::jpeg::JpegEncoder::new(&mut file);
        encoder.set_exif_metadata(exif).unwrap();
        pixels.write_with_encoder(encoder).unwrap();
        file
    }

    /// Creates a CMYK JPEG of one colour and 8 pixels a side, written as Adobe does: inverted.
    pub(crate) fn cmyk_jpeg(ink: [u8; 4], profile: Option<&[u8]>) -> Vec<u8> {
        let mut file = vec![0xFF, 0xD8];
        let mut segment = |marker: u8, content: &[u8]| {
            file.extend([0xFF, marker]);
            file.extend(u16::try_from(content.len() + 2).unwrap().to_be_bytes());
            file.extend(content);
        };
        segment(0xEE, b"Adobe\0\x64\0\0\0\0\0");
        let chunks: Vec<&[u8]> = profile.map_or_else(Vec::new, |profile| profile.chunks(60_000).collect());
        for (number, chunk) in (1..).zip(&chunks) {
            segment(
                0xE2,
                &[b"ICC_PROFILE\0", [number, u8::try_from(chunks.len()).unwrap()].as_slice(), chunk].concat(),
            );
        }
        // Quantised by eights, so that a coefficient is the colour; codes of four bits for its length, of one for its end.
        segment(0xDB, &[[0].as_slice(), &[8; 64]].concat());
        segment(0xC0, &[8, 0, 8, 0, 8, 4, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0, 4, 0x11, 0]);
        segment(
            0xC4,
            &[[0, 0, 0, 0, 12].as_slice(), &[0; 12], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]].concat(),
        );
        segment(0xC4, &[[0x10, 1].as_slice(), &[0; 15], &[0]].concat());
        segment(0xDA, &[4, 1, 0, 2, 0, 3, 0, 4, 0, 0, 63, 0]);
        let mut bits = String::new();
        for ink in ink {
            let value = 127 - i32::from(ink);
            let length = 32 - value.unsigned_abs().leading_zeros();
            write!(bits, "{length:04b}").unwrap();
            if length > 0 {
                let coded = if value < 0 { value - 1 + (1 << length) } else { value };
                write!(bits, "{coded:0width$b}", width = length as usize).unwrap();
            }
            bits += "0";
        }
        while !bits.len().is_multiple_of(8) {
            bits += "1";
        }
        for byte in bits.as_bytes().chunks(8) {
            let byte = byte.iter().fold(0, |byte, bit| byte << 1 | (bit - b'0'));
            file.push(byte);
            if byte == 0xFF {
                file.push(0);
            }
        }
        file.extend([0xFF, 0xD9]);
        file
    }

    /// Creates a PNG of that size which ends where its pixels should begin.
    pub(crate) fn png_header(width: u32, height: u32) -> Vec<u8> {
        let mut file = encoded(&gradient(1, 1), Format::Png);
        file.truncate(33);
        file[16..20].copy_from_slice(&width.to_be_bytes());
        file[20..24].copy_from_slice(&height.to_be_bytes());
        let checksum = crc32(&file[12..29]);
        file[29..33].copy_from_slice(&checksum.to_be_bytes());
        // An IDAT chunk of no bytes, so that the header counts as complete.
        file.extend(b"\0\0\0\0IDAT");
        file.extend(crc32(b"IDAT").to_be_bytes());
        file
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, byte| {
            (0..8)
                .fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_is_known_by_its_media_type() {
        for format in Format::ALL {
            assert_eq!(Format::from_content_type(format.content_type()), Some(format));
        }
        assert_eq!(Format::from_content_type("image/svg+xml"), None);
    }
}
