//! Everything that looks at pixels: validation, thumbnails, analyses. All of it blocks, and takes turns on the cores.

mod analyse;
mod decode;
mod thumbnail;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

pub(crate) use analyse::{AnalysisKind, Findings, analyse};
pub(crate) use decode::{Picture, inspect};
pub(crate) use thumbnail::{Size, thumbnail, thumbnail_type};

use crate::error::ApiError;

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

    /// The media type, as it is answered and stored.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Gif => "image/gif",
            Self::WebP => "image/webp",
        }
    }

    /// The format of that media type.
    pub(crate) fn from_content_type(content_type: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.content_type() == content_type)
    }
}

/// Runs work on pixels: no more at once than there are cores, whatever the number of requests.
///
/// A decoded picture takes up to eight bytes a pixel, so that this also bounds the memory.
#[derive(Debug, Clone)]
pub(crate) struct Workshop {
    benches: Arc<Semaphore>,
}

impl Workshop {
    /// One place for each core.
    pub(crate) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { benches: Arc::new(Semaphore::new(cores)) }
    }

    /// Runs `work` on a thread that may block, once there is a free core.
    ///
    /// # Cancellation
    /// Work that waits is dropped; work that began runs to its end and keeps its core until then.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let bench = Arc::clone(&self.benches).acquire_owned().await.expect("nobody closes the semaphore");
        let done = tokio::task::spawn_blocking(move || {
            let _bench = bench;
            work()
        });
        done.await.unwrap_or_else(|panic| Err(ApiError::internal("work on a picture", panic)))
    }
}

impl Default for Workshop {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use std::io::Cursor;

    use image::{DynamicImage, ImageEncoder, ImageFormat, Rgb, RgbImage};

    use super::Format;

    /// Dark on the left, bright on the right, with some green from the top down.
    pub(crate) fn gradient(width: u32, height: u32) -> DynamicImage {
        let step = |at: u32, of: u32| u8::try_from(at * 255 / of.max(1)).unwrap();
        let pixel = |x, y| Rgb([step(x, width), step(x, width) / 2 + step(y, height) / 2, step(x, width)]);
        RgbImage::from_fn(width, height, pixel).into()
    }

    /// The picture as a file.
    pub(crate) fn encoded(pixels: &DynamicImage, format: Format) -> Vec<u8> {
        let format = match format {
            Format::Jpeg => ImageFormat::Jpeg,
            Format::Png => ImageFormat::Png,
            Format::Gif => ImageFormat::Gif,
            Format::WebP => ImageFormat::WebP,
        };
        let mut file = Cursor::new(Vec::new());
        pixels.write_to(&mut file, format).unwrap();
        file.into_inner()
    }

    /// A JPEG whose EXIF data say how it is to be turned.
    pub(crate) fn jpeg_with_orientation(pixels: &DynamicImage, orientation: u8) -> Vec<u8> {
        let mut exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
        exif.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
        let mut file = Vec::new();
        let mut encoder = image::codecs::jpeg::JpegEncoder::new(&mut file);
        encoder.set_exif_metadata(exif).unwrap();
        pixels.write_with_encoder(encoder).unwrap();
        file
    }

    /// A PNG of that size which ends where its pixels should begin.
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
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn every_format_is_known_by_its_media_type() {
        for format in Format::ALL {
            assert_eq!(Format::from_content_type(format.content_type()), Some(format));
        }
        assert_eq!(Format::from_content_type("image/svg+xml"), None);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn no_more_work_runs_at_once_than_there_are_places() {
        static RUNNING: AtomicUsize = AtomicUsize::new(0);
        let workshop = Workshop { benches: Arc::new(Semaphore::new(2)) };
        let mut pieces = tokio::task::JoinSet::new();
        for _ in 0..64 {
            let workshop = workshop.clone();
            pieces.spawn(async move {
                workshop
                    .run(|| {
                        let running = RUNNING.fetch_add(1, Ordering::SeqCst) + 1;
                        std::thread::yield_now();
                        RUNNING.fetch_sub(1, Ordering::SeqCst);
                        Ok(running)
                    })
                    .await
            });
        }
        while let Some(piece) = pieces.join_next().await {
            assert!(piece.unwrap().unwrap() <= 2);
        }
    }
}
