//! [`Subject`]: what a backend's crate tells the suite about the backend it puts to the test.

use std::fmt::Debug;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use async_trait::async_trait;

use cache_core::{AtomicBackend, CacheBackend, ManualClock};

/// A law on its way: a future that panics when the backend breaks it.
pub type Law<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// A backend under test: how to open its stores, and what it promises beyond the contract.
#[async_trait]
pub trait Subject: Debug + Send + Sync {
    /// What this backend promises beyond the contract.
    fn promises(&self) -> Promises;

    /// The clock that every store of this subject runs on.
    fn clock(&self) -> &Arc<ManualClock>;

    /// Opens the store called `place`, a short word that is good as a file's name.
    ///
    /// Its first opening finds it empty, whatever other subjects did; different places share nothing. The suite closes
    /// a store (or lets it [`crash`](Self::crash)) before it opens it again: a durable one then holds what it held.
    async fn open(&self, place: &str) -> Opened;

    /// Ends `store`, opened at `place`, the way the death of its process would, so that it can be opened again.
    ///
    /// The default drops it without closing it.
    async fn crash(&self, place: &str, store: Opened) {
        let _ = place;
        drop(store);
    }

    /// Drives `law` to its end on this thread; called from several threads at once.
    ///
    /// The default polls it and parks the thread in between: enough for backends that need no runtime. One that needs
    /// tokio's keeps a runtime of several threads and calls its `block_on`.
    fn run(&self, law: Law<'_>) {
        block_on(law);
    }
}

/// A store that was opened, by the faces it has.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The store.
    pub cache: Arc<dyn CacheBackend>,
    /// Its counters, if it has them.
    pub atomic: Option<Arc<dyn AtomicBackend>>,
}

impl Opened {
    /// A store without counters.
    pub fn cache<B: CacheBackend>(backend: B) -> Self {
        Self { cache: Arc::new(backend), atomic: None }
    }

    /// A store with counters.
    pub fn with_atomic<B: CacheBackend + AtomicBackend>(backend: B) -> Self {
        let backend = Arc::new(backend);
        Self { cache: Arc::clone(&backend) as Arc<dyn CacheBackend>, atomic: Some(backend) }
    }
}

/// What a backend promises beyond the contract; laws that need more than it promises are passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promises {
    /// How certain it is that what was stored is found again. Default: while the store is open.
    pub keeping: Keeping,
    /// In which order entries make room for others. Default: unspecified.
    pub eviction: Eviction,
    /// How far its figures can be trusted. Default: approximate.
    pub figures: Figures,
    /// The limit of the stores that the suite opens, in bytes; the suite floods them: 8 to 16 MiB are good.
    /// Default: none.
    pub limit_bytes: Option<u64>,
    /// The largest payload of one entry in bytes: the next byte is refused with `TooLarge`. Default: none.
    ///
    /// A store may count other things towards the size of an entry: half as large must be accepted.
    pub largest_value: Option<u64>,
    /// Whether calls after `close` fail with `Closed`, as they must where files or connections are released. Default:
    /// yes; no for a store that keeps the trait's default `close`.
    pub refuses_after_close: bool,
}

/// How certain it is that what was stored is found again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keeping {
    /// Everything may be forgotten at any time and every call may fail: chaos, a store behind outages, no store at all.
    AtWill,
    /// While the store is open and has room.
    WhileOpen,
    /// Also when it was closed and opened again.
    AcrossReopening,
}

/// In which order entries make room for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eviction {
    /// In any order, as long as expired ones go first.
    Unspecified,
    /// Exactly the least recently used first, over the whole store.
    LeastRecentlyUsed,
}

/// How far counts and sizes can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figures {
    /// Roughly, or later.
    Approximate,
    /// Exactly and at once.
    Exact,
}

impl Default for Promises {
    fn default() -> Self {
        Self {
            keeping: Keeping::WhileOpen,
            eviction: Eviction::Unspecified,
            figures: Figures::Approximate,
            limit_bytes: None,
            largest_value: None,
            refuses_after_close: true,
        }
    }
}

impl Promises {
    /// Whether a hit may be demanded, and every call must succeed.
    pub fn is_reliable(&self) -> bool {
        self.keeping >= Keeping::WhileOpen
    }
}

/// Drives `future` to its end on this thread, parked while there is nothing to do.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
