//! [`Workshop`]: schedules work on pixels within a limit of memory, so that small work never waits for large work.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::header::{Header, Purpose, probe};
use super::{AnalysisKind, Findings, Inspected, Size, analyse, decode, thumbnail};
use crate::error::ApiError;

/// A picture of more pixels is large work however little memory it takes: decoding it takes seconds.
const SMALL_PIXELS: u64 = 24_000_000;

/// Memory of one permit of [`Lane::memory`].
const UNIT_BYTES: u64 = 64 * 1024;

/// Runs work on pixels, bounded by cores and by the memory of all decodings together.
///
/// There are two lanes, each first come, first served. One sixteenth of the memory is for small work (a picture up to 24
/// megapixels that takes half of that lane at most), the rest for all other work; so that small work waits only for small
/// work, and two large pictures that do not fit together come one after the other.
#[derive(Debug, Clone)]
pub(crate) struct Workshop {
    /// Bounds the headers that are read at once: they may hold long metadata.
    headers: Arc<Semaphore>,
    small: Lane,
    large: Lane,
}

#[derive(Debug, Clone)]
struct Lane {
    places: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    units: u32,
}

impl Workshop {
    /// Bounds all decodings together by `memory_bytes`.
    pub(crate) fn new(memory_bytes: u64) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let small_bytes = memory_bytes / 16;
        Self {
            headers: Arc::new(Semaphore::new(cores)),
            small: Lane::new(cores, small_bytes),
            large: Lane::new(cores.max(2) - 1, memory_bytes - small_bytes),
        }
    }

    /// Checks an upload by its content: format, size, and that all its pixels (of an animation, the first frame's) decode.
    ///
    /// # Errors
    /// 415 for another format or a damaged file; 413, before any pixel is decoded, for too many pixels and for a picture
    /// that some later use could not decode within the limit of memory.
    ///
    /// # Cancellation
    /// Work that waits is dropped; work that began runs to its end and keeps its memory until then.
    pub(crate) async fn inspect(&self, path: PathBuf) -> Result<Inspected, ApiError> {
        self.with(path, Purpose::Check, |path, header| {
            decode::check(path, header)?;
            Ok(Inspected { format: header.format, size: header.shown() })
        })
        .await
    }

    /// Makes an upright file of `size` (as it is shown) of the picture.
    ///
    /// # Errors
    /// [`ApiError::original_missing`] when the file is gone, as when it was replaced meanwhile; 413 when it
    /// does not fit into the limit of memory; else internal.
    ///
    /// # Cancellation
    /// As [`inspect`](Self::inspect).
    pub(crate) async fn thumbnail(&self, path: PathBuf, size: Size) -> Result<Vec<u8>, ApiError> {
        self.with(path, Purpose::Thumbnail(size), move |path, header| {
            thumbnail::thumbnail(path, header, size)
        })
        .await
    }

    /// Analyses the pixels of a file.
    ///
    /// # Errors
    /// As [`thumbnail`](Self::thumbnail).
    ///
    /// # Cancellation
    /// As [`inspect`](Self::inspect).
    pub(crate) async fn analyse(&self, path: PathBuf, kind: AnalysisKind) -> Result<Findings, ApiError> {
        self.with(path, Purpose::Pixels, move |path, header| Ok(analyse(kind, decode::pixels(path, header)?)))
            .await
    }

    async fn with<T: Send + 'static>(
        &self,
        path: PathBuf,
        purpose: Purpose,
        work: impl FnOnce(&std::path::Path, &Header) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let turn = Arc::clone(&self.headers).acquire_owned().await.expect(NEVER_CLOSED);
        let probed = blocking(move || {
            let _turn = turn;
            probe(&path).map(|header| (path, header))
        });
        let (path, header) = probed.await?;
        // A picture that passes the check must pass every later use.
        let uses = if purpose == Purpose::Check { header.purposes() } else { [purpose; 3] };
        uses.into_iter().try_for_each(|purpose| self.large.admits(header.bytes_for(purpose)))?;
        self.run(header.stored.pixels(), header.bytes_for(purpose), move || work(&path, &header)).await
    }

    /// Runs `work` on a thread that may block, once its lane has a core and `bytes` for it.
    async fn run<T: Send + 'static>(
        &self,
        pixels: u64,
        bytes: u64,
        work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let is_small = pixels <= SMALL_PIXELS && units(bytes) <= self.small.units / 2;
        let lane = if is_small { &self.small } else { &self.large };
        let place = Arc::clone(&lane.places).acquire_owned().await.expect(NEVER_CLOSED);
        let memory = Arc::clone(&lane.memory).acquire_many_owned(units(bytes)).await.expect(NEVER_CLOSED);
        blocking(move || {
            let _held = (place, memory);
            work()
        })
        .await
    }
}

const NEVER_CLOSED: &str = "nothing closes the semaphores";

impl Lane {
    fn new(places: usize, bytes: u64) -> Self {
        let units = u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX);
        // More permits than these a semaphore does not take.
        let memory = Semaphore::new((units as usize).min(Semaphore::MAX_PERMITS));
        Self { places: Arc::new(Semaphore::new(places)), memory: Arc::new(memory), units }
    }

    /// Refuses work that could never run in this lane.
    fn admits(&self, bytes: u64) -> Result<(), ApiError> {
        if units(bytes) <= self.units {
            return Ok(());
        }
        let (wanted, limit) = (bytes >> 20, (u64::from(self.units) * UNIT_BYTES) >> 20);
        Err(ApiError::too_large(format!(
            "decoding this picture takes up to {wanted} MB, and one picture may take {limit} MB (DECODE_MEMORY_MB)"
        )))
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

/// Runs work on a thread that may block, at once.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| Err(ApiError::internal("work on a picture", panic)))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::*;

    const MB: u64 = 1024 * 1024;

    #[tokio::test(flavor = "multi_thread")]
    async fn all_work_together_stays_within_the_memory() {
        static HELD: AtomicU64 = AtomicU64::new(0);
        let workshop = Workshop::new(64 * MB);
        let mut pieces = tokio::task::JoinSet::new();
        for number in 0..200_usize {
            let workshop = workshop.clone();
            let bytes = [MB, 2 * MB, 20 * MB, 60 * MB, 33 * MB][number % 5];
            pieces.spawn(async move {
                workshop
                    .run(1, bytes, move || {
                        let held = HELD.fetch_add(bytes, Ordering::SeqCst) + bytes;
                        std::thread::yield_now();
                        HELD.fetch_sub(bytes, Ordering::SeqCst);
                        Ok(held)
                    })
                    .await
            });
        }
        while let Some(piece) = pieces.join_next().await {
            assert!(piece.unwrap().unwrap() <= 64 * MB);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn small_work_passes_large_work() {
        let workshop = Workshop::new(64 * MB);
        let (release, released) = std::sync::mpsc::channel::<()>();
        let released = Arc::new(parking_lot::Mutex::new(released));
        let mut large = tokio::task::JoinSet::new();
        for (pixels, bytes) in [(1, 50 * MB), (1, 50 * MB), (90_000_000, MB), (1, 20 * MB)] {
            let (workshop, released) = (workshop.clone(), Arc::clone(&released));
            large.spawn(async move {
                workshop
                    .run(pixels, bytes, move || {
                        let _ = released.lock().recv();
                        Ok(())
                    })
                    .await
            });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        for _ in 0..20 {
            let small = tokio::time::timeout(Duration::from_secs(30), workshop.run(1000, MB, || Ok(())));
            small.await.expect("small work does not wait for large work").unwrap();
        }
        drop(release);
        while let Some(piece) = large.join_next().await {
            piece.unwrap().unwrap();
        }
    }

    #[test]
    fn what_could_never_run_is_refused() {
        let workshop = Workshop::new(64 * MB);
        assert!(workshop.large.admits(60 * MB).is_ok());
        let refused = workshop.large.admits(60 * MB + 1).unwrap_err();
        assert_eq!(refused.status().as_u16(), 413);
        assert!(refused.to_string().contains("DECODE_MEMORY_MB"), "{refused}");
    }
}
