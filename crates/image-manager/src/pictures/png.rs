//! [`PngRows`]: a PNG row by row with eight bits a channel, so that a large one needs no memory for all its pixels.

use std::fs::File;
use std::io::BufReader;

use image::metadata::Orientation;
use png::{ColorType, Decoder, Limits, Reader, Transformations};

use super::header::{damaged, orientation};
use super::reduce::Channels;
use crate::error::ApiError;

/// Memory for a row and for metadata: a colour profile that inflates to more is left out.
const LIMITS: Limits = Limits { bytes: 8 * 1024 * 1024 };

/// A PNG whose header was read.
pub(super) struct PngRows {
    reader: Reader<BufReader<File>>,
    channels: Channels,
}

impl PngRows {
    /// Reads the header. The caller must refuse a size over the limit, and read no rows then.
    ///
    /// # Errors
    /// 415 for a damaged file.
    pub(super) fn begin(file: BufReader<File>) -> Result<Self, ApiError> {
        let mut decoder = Decoder::new_with_limits(file, LIMITS);
        decoder.set_ignore_text_chunk(true);
        decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
        let reader = decoder.read_info().map_err(damaged)?;
        let channels = match reader.output_color_type().0 {
            ColorType::Grayscale => Channels::Grey,
            ColorType::GrayscaleAlpha => Channels::GreyAlpha,
            ColorType::Rgba => Channels::Rgba,
            ColorType::Rgb | ColorType::Indexed => Channels::Rgb,
        };
        Ok(Self { reader, channels })
    }

    pub(super) fn size(&self) -> (u32, u32) {
        self.reader.info().size()
    }

    pub(super) fn channels(&self) -> Channels {
        self.channels
    }

    pub(super) fn is_interlaced(&self) -> bool {
        self.reader.info().interlaced
    }

    pub(super) fn orientation(&self) -> Orientation {
        orientation(self.reader.info().exif_metadata.as_deref())
    }

    pub(super) fn colour_profile(&self) -> Option<&[u8]> {
        self.reader.info().icc_profile.as_deref()
    }

    /// Calls `each` with the rows of an interlaced picture's passes, of any other with its rows.
    ///
    /// # Errors
    /// 415 where the data is damaged or ends early.
    pub(super) fn passes(mut self, mut each: impl FnMut(&[u8])) -> Result<(), ApiError> {
        while let Some(row) = self.reader.next_row().map_err(damaged)? {
            each(row.data());
        }
        Ok(())
    }

    /// Calls `each` with the rows of the picture, from the top. An interlaced one is decoded whole before.
    ///
    /// # Errors
    /// As [`passes`](Self::passes).
    pub(super) fn rows(mut self, mut each: impl FnMut(&[u8])) -> Result<(), ApiError> {
        if !self.is_interlaced() {
            return self.passes(each);
        }
        let bytes = self.reader.output_buffer_size().ok_or_else(|| damaged("it is too large"))?;
        let mut pixels = vec![0; bytes];
        self.reader.next_frame(&mut pixels).map_err(damaged)?;
        let width = self.size().0 as usize;
        pixels.chunks_exact((width * self.channels.count()).max(1)).for_each(&mut each);
        Ok(())
    }
}
