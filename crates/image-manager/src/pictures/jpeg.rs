//! JPEG: its segments, and decoding at a fraction of its size. 1/8 takes one coefficient of each block of 64 pixels.

use std::io::{self, BufRead, Read, Seek};

use super::header::damaged;
use crate::error::ApiError;

/// A JPEG decoded at a fraction of its size.
pub(super) struct Scaled {
    pub(super) size: (u32, u32),
    pub(super) bytes: Vec<u8>,
    pub(super) colour_profile: Option<Vec<u8>>,
}

/// Most scans of a picture. The decoder goes over all pixels for each scan, however short it is; encoders write about ten.
pub(super) const SCANS_MAX: usize = 100;

/// Counts of a JPEG's segments.
pub(super) struct Segments {
    pub(super) scans: usize,
    /// Length of all application segments, which the decoder keeps.
    pub(super) metadata_bytes: u64,
}

/// Counts the segments of a file as the decoder reads them, up to its end.
pub(super) fn segments(file: &mut (impl BufRead + Seek)) -> io::Result<Segments> {
    let mut found = Segments { scans: 0, metadata_bytes: 0 };
    match count_segments(file, &mut found) {
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
        Ok(()) | Err(_) => Ok(found),
    }
}

fn count_segments(file: &mut (impl BufRead + Seek), found: &mut Segments) -> io::Result<()> {
    while file.skip_until(0xFF)? > 0 {
        let mut marker = [0xFF];
        while marker == [0xFF] {
            file.read_exact(&mut marker)?;
        }
        match marker {
            // A byte of coded pixels, or a marker without a segment.
            [0x00 | 0x01 | 0xD0..=0xD8] => continue,
            [0xD9] => break,
            _ => {}
        }
        let mut length = [0; 2];
        file.read_exact(&mut length)?;
        let length = u16::from_be_bytes(length);
        match marker {
            [0xDA] => found.scans += 1,
            [0xE0..=0xEF] => found.metadata_bytes += u64::from(length),
            _ => {}
        }
        file.seek_relative(i64::from(length.saturating_sub(2)))?;
    }
    Ok(())
}

/// Decodes at `1 / scale`, where `scale` is 1, 2, 4 or 8. All data is read at any scale.
///
/// # Errors
/// 415 where data is damaged or ends early.
pub(super) fn scaled(file: impl Read, scale: u16) -> Result<Scaled, ApiError> {
    let mut decoder = jpeg_decoder::Decoder::new(file);
    decoder.read_info().map_err(damaged)?;
    let full = decoder.info().ok_or_else(|| damaged("it has no frame"))?;
    let (width, height) =
        decoder.scale(full.width.div_ceil(scale), full.height.div_ceil(scale)).map_err(damaged)?;
    let bytes = decoder.decode().map_err(damaged)?;
    Ok(Scaled { size: (width.into(), height.into()), bytes, colour_profile: decoder.icc_profile() })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{encoded, gradient, inspect, thumbnail};
    use super::super::{Format, Size};

    /// Returns the file with bytes before each of its segments, from the second on.
    fn with_stray_bytes(file: &[u8], stray: &[u8]) -> Vec<u8> {
        let (mut torn, mut at) = (file[..2].to_vec(), 2);
        while file[at + 1] != 0xDA {
            let end = at + 2 + usize::from(u16::from_be_bytes([file[at + 2], file[at + 3]]));
            torn.extend(&file[at..end]);
            torn.extend(stray);
            at = end;
        }
        torn.extend(&file[at..]);
        torn
    }

    #[test]
    fn bytes_between_segments_do_no_harm() {
        let file = encoded(&gradient(200, 150), Format::Jpeg);
        let small = thumbnail(&file, Size::new(40, 30)).unwrap();
        for stray in [&[0, 0][..], &[1], &[0xD8, 0xFF, 0x00], &[7; 300]] {
            let torn = with_stray_bytes(&file, stray);
            assert!(torn.len() > file.len() + 3 * stray.len());
            assert_eq!(inspect(&torn), inspect(&file), "{stray:?}");
            assert!(inspect(&torn).is_ok());
            assert_eq!(thumbnail(&torn, Size::new(40, 30)).unwrap(), small, "{stray:?}");
        }
    }
}
