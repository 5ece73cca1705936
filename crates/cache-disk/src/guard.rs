//! [`Guard`]: the storage under redb that counts the blocks it touches and refuses to touch one too many.
//!
//! redb's file doubles in length but is sparse: what counts is the blocks that were ever written. The eviction budget
//! keeps the file well under its limit; this is the strict stop behind it. A refusal reads like a full disk: redb gives
//! up its handle, and the writer reopens the file and evicts.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

// Not the one that tests explore schedules with: redb holds locks of its own while it writes through here.
use parking_lot::Mutex;
use redb::{BackendError, StorageBackend};
use rustix::fs::SeekFrom;

/// The unit in which file systems hand out space, in bytes.
pub(crate) const BLOCK: u64 = 4096;

/// Counts the touched blocks of one file.
#[derive(Debug)]
pub(crate) struct Meter {
    file: File,
    blocks: Mutex<Blocks>,
    allowed: AtomicU64,
    refused: AtomicBool,
}

impl Meter {
    /// A meter of `file`, which may hold data already.
    pub(crate) fn new(file: &File, allowed_bytes: u64) -> io::Result<Arc<Self>> {
        let mut blocks = Blocks::default();
        mark_data(file, &mut blocks)?;
        Ok(Arc::new(Self {
            file: file.try_clone()?,
            blocks: Mutex::new(blocks),
            allowed: AtomicU64::new(allowed_bytes / BLOCK),
            refused: AtomicBool::new(false),
        }))
    }

    /// Space the file takes, in bytes, as `du` counts it.
    pub(crate) fn touched_bytes(&self) -> u64 {
        let counted = self.blocks.lock().count * BLOCK;
        self.file.metadata().map_or(counted, |metadata| counted.max(metadata.blocks() * 512))
    }

    /// Sets how much space the file may take.
    pub(crate) fn allow(&self, bytes: u64) {
        self.allowed.store(bytes / BLOCK, Ordering::Relaxed);
    }

    /// Whether a write was refused since this was last asked.
    pub(crate) fn take_refused(&self) -> bool {
        self.refused.swap(false, Ordering::Relaxed)
    }

    fn before_write(&self, offset: u64, length: usize) -> io::Result<()> {
        let mut blocks = self.blocks.lock();
        let range = block_range(offset, length as u64);
        let new = blocks.untouched(range.clone());
        if new > 0 && blocks.count + new > self.allowed.load(Ordering::Relaxed) {
            self.refused.store(true, Ordering::Relaxed);
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                "the cache reached its limit of space on disk",
            ));
        }
        blocks.touch(range);
        Ok(())
    }
}

fn block_range(offset: u64, length: u64) -> std::ops::Range<u64> {
    offset / BLOCK..offset.saturating_add(length).div_ceil(BLOCK)
}

fn mark_data(file: &File, blocks: &mut Blocks) -> io::Result<()> {
    let length = file.metadata()?.len();
    let mut at = 0;
    while at < length {
        let data = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(data) => data,
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let hole = rustix::fs::seek(file, SeekFrom::Hole(data))?;
        blocks.touch(block_range(data, hole - data));
        at = hole;
    }
    Ok(())
}

/// A bit for every block of the file.
#[derive(Debug, Default)]
struct Blocks {
    bits: Vec<u64>,
    count: u64,
}

impl Blocks {
    fn untouched(&self, range: std::ops::Range<u64>) -> u64 {
        range.filter(|block| !self.is_touched(*block)).count() as u64
    }

    fn is_touched(&self, block: u64) -> bool {
        let word = usize::try_from(block / 64).ok().and_then(|at| self.bits.get(at));
        word.is_some_and(|word| word >> (block % 64) & 1 == 1)
    }

    fn touch(&mut self, range: std::ops::Range<u64>) {
        let words =
            usize::try_from(range.end.div_ceil(64)).expect("a file's blocks fit into the address space");
        if self.bits.len() < words {
            self.bits.resize(words, 0);
        }
        for block in range {
            let word = self.bits.get_mut((block / 64) as usize).expect("resized to hold it");
            let bit = 1 << (block % 64);
            self.count += u64::from(*word & bit == 0);
            *word |= bit;
        }
    }

    fn cut(&mut self, blocks: u64) {
        let words = usize::try_from(blocks.div_ceil(64)).unwrap_or(usize::MAX);
        self.bits.truncate(words);
        if let Some(last) = self.bits.get_mut(words.wrapping_sub(1))
            && !blocks.is_multiple_of(64)
        {
            *last &= (1 << (blocks % 64)) - 1;
        }
        self.count = self.bits.iter().map(|word| u64::from(word.count_ones())).sum();
    }
}

/// A storage that is metered; everything else goes to the one inside.
#[derive(Debug)]
pub(crate) struct Guard<B> {
    inner: B,
    meter: Arc<Meter>,
}

impl<B> Guard<B> {
    pub(crate) fn new(inner: B, meter: Arc<Meter>) -> Self {
        Self { inner, meter }
    }
}

#[deny(clippy::missing_trait_methods)]
impl<B: StorageBackend> StorageBackend for Guard<B> {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)?;
        self.meter.blocks.lock().cut(len.div_ceil(BLOCK));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.meter.before_write(offset, data.len())?;
        self.inner.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::backends::InMemoryBackend;

    fn guard(allowed: u64) -> (Guard<InMemoryBackend>, Arc<Meter>) {
        let file = tempfile::tempfile().unwrap();
        let meter = Meter::new(&file, allowed).unwrap();
        let guard = Guard::new(InMemoryBackend::new(), meter.clone());
        guard.set_len(1 << 20).unwrap();
        (guard, meter)
    }

    #[test]
    fn a_write_that_touches_one_block_too_many_is_refused_and_said() {
        let (guard, meter) = guard(3 * BLOCK);
        guard.write(0, &[1; 4096]).unwrap();
        guard.write(5 * BLOCK, &[1; 8192]).unwrap();
        assert!(!meter.take_refused());
        assert_eq!(guard.write(9 * BLOCK, &[1]).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(meter.take_refused());
        guard.write(BLOCK * 6, &[2; 100]).unwrap();
        assert_eq!(meter.touched_bytes(), 3 * BLOCK);
    }

    #[test]
    fn cutting_the_file_gives_blocks_back() {
        let (guard, meter) = guard(1 << 20);
        guard.write(0, &vec![1; 100 * 4096]).unwrap();
        guard.set_len(70 * BLOCK).unwrap();
        assert_eq!(meter.touched_bytes(), 70 * BLOCK);
        guard.set_len(64 * BLOCK).unwrap();
        assert_eq!(meter.touched_bytes(), 64 * BLOCK);
    }

    #[test]
    fn a_file_with_holes_counts_its_data_alone() {
        let file = tempfile::tempfile().unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &[1; 4096], 0).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &[1; 4096], 1 << 20).unwrap();
        let meter = Meter::new(&file, 1 << 20).unwrap();
        assert_eq!(meter.touched_bytes(), 2 * BLOCK);
    }
}
