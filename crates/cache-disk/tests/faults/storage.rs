//! [`Tapped`]: a storage with a [`Tap`] that may skip every operation or make it fail.

use std::fmt::Debug;
use std::io;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use cache_disk::{DiskConfig, ValuesOperation};
use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

pub(crate) const EIO: i32 = 5;
pub(crate) const ENOSPC: i32 = 28;

/// An operation of redb on its file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Operation<'a> {
    Read,
    Write { offset: u64, data: &'a [u8] },
    SetLength(u64),
    Sync,
}

/// The result of an operation.
#[derive(Debug)]
pub(crate) enum Verdict {
    Pass,
    /// Nothing is done, and success is reported.
    Skip,
    Fail(io::Error),
}

/// The header of redb, which identifies a file: it holds the roots of the last commits.
pub(crate) type Head = [u8; 320];

/// Is called before every operation.
pub(crate) trait Tap: Debug + Send + Sync + 'static {
    /// Called when a file is opened, with its `head` unless it is empty; the returned number is passed with every operation
    /// on it.
    fn open(&self, head: Option<&Head>) -> usize {
        usize::from(head.is_none())
    }

    fn before(&self, file: usize, operation: Operation<'_>) -> Verdict;
}

/// Opens the files of a store through `tap`.
pub(crate) fn tapped(config: DiskConfig, tap: &Arc<impl Tap>) -> DiskConfig {
    let tap: Arc<dyn Tap> = Arc::clone(tap) as Arc<dyn Tap>;
    config.wrap_storage(move |inner| {
        let mut head = [0; 320];
        let is_new = inner.len().is_ok_and(|length| length == 0);
        let file = tap.open((!is_new && inner.read(0, &mut head).is_ok()).then_some(&head));
        Box::new(Tapped { inner, file, tap: Arc::clone(&tap) })
    })
}

/// Reads and writes the values files of a store through `disk`, which counts the operations on them.
pub(crate) fn values_on(config: DiskConfig, disk: &Arc<Faulty>) -> DiskConfig {
    let disk = Arc::clone(disk);
    config.before_values(move |operation| {
        let like = match operation {
            ValuesOperation::Read { .. } => Operation::Read,
            ValuesOperation::Write { .. } => Operation::Write { offset: 0, data: &[] },
            // As a write: a dead disk does not do it.
            ValuesOperation::Free { .. } => Operation::SetLength(0),
            ValuesOperation::Sync => Operation::Sync,
        };
        match disk.before(0, like) {
            Verdict::Pass => Ok(true),
            Verdict::Skip => Ok(false),
            Verdict::Fail(error) => Err(error),
        }
    })
}

#[derive(Debug)]
struct Tapped {
    inner: FileBackend,
    file: usize,
    tap: Arc<dyn Tap>,
}

impl Tapped {
    fn through(&self, operation: Operation<'_>, act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        match self.tap.before(self.file, operation) {
            Verdict::Pass => act(),
            Verdict::Skip => Ok(()),
            Verdict::Fail(error) => Err(error),
        }
    }
}

#[deny(clippy::missing_trait_methods)]
impl StorageBackend for Tapped {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.through(Operation::Read, || self.inner.read(offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.through(Operation::SetLength(len), || self.inner.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.through(Operation::Sync, || self.inner.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.through(Operation::Write { offset, data }, || self.inner.write(offset, data))
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

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}

/// A disk that fails, stalls or loses its process. Skips syncs that do not fail: they only cost time.
#[derive(Debug)]
pub(crate) struct Faulty {
    done: AtomicUsize,
    first: AtomicUsize,
    failures: AtomicUsize,
    errno: i32,
    is_dead: AtomicBool,
    stalled: Mutex<Option<&'static str>>,
    released: Condvar,
}

impl Faulty {
    /// Fails the operation number `first` and the `failures - 1` that follow with `errno`.
    pub(crate) fn new(first: usize, failures: usize, errno: i32) -> Self {
        Self {
            done: AtomicUsize::new(0),
            first: AtomicUsize::new(first),
            failures: AtomicUsize::new(failures),
            errno,
            is_dead: AtomicBool::new(false),
            stalled: Mutex::new(None),
            released: Condvar::new(),
        }
    }

    /// A disk that works until `fail_next`.
    pub(crate) fn sound() -> Arc<Self> {
        Arc::new(Self::new(0, 0, EIO))
    }

    /// Works from now on.
    pub(crate) fn mend(&self) {
        self.failures.store(0, Ordering::SeqCst);
    }

    /// Fails the next `failures` operations.
    pub(crate) fn fail_next(&self, failures: usize) {
        self.first.store(self.operations(), Ordering::SeqCst);
        self.failures.store(failures, Ordering::SeqCst);
    }

    /// The number of operations so far.
    pub(crate) fn operations(&self) -> usize {
        self.done.load(Ordering::SeqCst)
    }

    /// Skips all writes from now on, which leaves the file as kill -9 would.
    pub(crate) fn die(&self) {
        self.is_dead.store(true, Ordering::SeqCst);
    }

    /// Blocks every operation of threads with this name until `release`.
    pub(crate) fn stall(&self, thread: &'static str) {
        *self.stalled.lock().unwrap() = Some(thread);
    }

    pub(crate) fn release(&self) {
        *self.stalled.lock().unwrap() = None;
        self.released.notify_all();
    }

    fn wait_if_stalled(&self) {
        let mut stalled = self.stalled.lock().unwrap();
        while stalled.is_some_and(|name| thread::current().name() == Some(name)) {
            stalled = self.released.wait(stalled).unwrap();
        }
    }
}

impl Tap for Faulty {
    fn before(&self, _file: usize, operation: Operation<'_>) -> Verdict {
        self.wait_if_stalled();
        let number = self.done.fetch_add(1, Ordering::SeqCst);
        let since = number.checked_sub(self.first.load(Ordering::SeqCst));
        if since.is_some_and(|since| since < self.failures.load(Ordering::SeqCst)) {
            return Verdict::Fail(io::Error::from_raw_os_error(self.errno));
        }
        match operation {
            Operation::Read => Verdict::Pass,
            Operation::Sync => Verdict::Skip,
            Operation::Write { .. } | Operation::SetLength(_) => {
                if self.is_dead.load(Ordering::SeqCst) {
                    Verdict::Skip
                } else {
                    Verdict::Pass
                }
            }
        }
    }
}
