//! JPEG at a fraction of its size: 1/8 takes a coefficient of each block of 64 pixels, so that memory for the pixels is no matter.

use std::io::Read;

use super::header::damaged;
use crate::error::ApiError;

/// A JPEG decoded at a fraction of its size.
pub(super) struct Scaled {
    pub(super) size: (u32, u32),
    pub(super) bytes: Vec<u8>,
    pub(super) colour_profile: Option<Vec<u8>>,
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

    /// The file with bytes before each of its segments, from the second on.
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
