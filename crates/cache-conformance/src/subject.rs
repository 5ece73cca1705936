//! [`Subject`]: describes a backend to the suite.

use std::fmt::Debug;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use async_trait::async_trait;

use cache_core::{AtomicBackend, CacheBackend, ManualClock};

/// A running law: a future that panics when the backend breaks it.
pub type Law<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// A backend under test: opens its stores, and declares its promises beyond the contract.
#[async_trait]
pub trait Subject: Debug + Send + Sync {
    /// The promises of this backend beyond the contract.
    fn promises(&self) -> Promises;

    /// The clock of every store of this subject.
    fn clock(&self) -> &Arc<ManualClock>;

    /// Opens the store called `place`, a short word that can be the name of a file.
    ///
    /// It is empty when this subject opens it for the first time; different places share nothing. The suite closes a
    /// store (or lets it [`crash`](Self::crash)) before it opens it again: a durable store still has its entries then.
    async fn open(&self, place: &str) -> Opened;

    /// Ends `store`, opened at `place`, as the death of its process would, so that it can be opened again.
    ///
    /// The default drops it without closing it.
    async fn crash(&self, place: &str, store: Opened) {
        let _ = place;
        drop(store);
    }

    /// Runs `law` to completion on this thread; called from several threads at once.
    ///
    /// The default polls it and parks the thread in between, which suits backends without a runtime. For tokio, keep a
    /// multi-thread runtime and call its `block_on`.
    fn run(&self, law: Law<'_>) {
        block_on(law);
    }
}

/// An open store, by the traits that it implements.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The store.
    pub cache: Arc<dyn CacheBackend>,
    /// Its counters, if it has them.
    pub atomic: Option<Arc<dyn AtomicBackend>>,
}

impl Opened {
    /// Wraps a store without counters.
    pub fn cache<B: CacheBackend>(backend: B) -> Self {
        Self { cache: Arc::new(backend), atomic: None }
    }

    /// Wraps a store with counters.
    pub fn with_atomic<B: CacheBackend + AtomicBackend>(backend: B) -> Self {
        let backend = Arc::new(backend);
        Self { cache: Arc::clone(&backend) as Arc<dyn CacheBackend>, atomic: Some(backend) }
    }
}

/// The promises of a backend beyond the contract. Laws that need more are skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promises {
    /// How long stored entries are kept. Default: while the store is open.
    pub keeping: Keeping,
    /// The order of eviction. Default: unspecified.
    pub eviction: Eviction,
    /// The precision of its figures. Default: approximate.
    pub figures: Figures,
    /// The limit of the stores that the suite opens, in bytes. The suite fills them several times: 8 to 16 MiB are
    /// suitable. Default: none.
    pub limit_bytes: Option<u64>,
    /// The largest payload of one entry in bytes: the next byte is refused with `TooLarge`. Default: none.
    ///
    /// A store may count more than the payload as the size of an entry: half this size must be accepted.
    pub largest_value: Option<u64>,
    /// Whether calls after `close` fail with `Closed`, as they must where files or connections are released. Default:
    /// yes; no for a store that keeps the trait's default `close`.
    pub refuses_after_close: bool,
}

/// How long stored entries are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keeping {
    /// Entries may be lost and calls may fail at any time.
    AtWill,
    /// While the store is open and has room.
    WhileOpen,
    /// Also after the store was closed and opened again.
    AcrossReopening,
}

/// The order of eviction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eviction {
    /// Any order, as long as expired entries go first.
    Unspecified,
    /// Exactly the least recently used entry first, over the whole store.
    LeastRecentlyUsed,
}

/// The precision of counts and sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figures {
    /// Approximate, or exact after a while.
    Approximate,
    /// Exact at any time.
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
    /// Returns whether every call must succeed and stored entries must be hits.
    pub fn is_reliable(&self) -> bool {
        self.keeping >= Keeping::WhileOpen
    }
}

/// Runs `future` to completion on this thread, which is parked while it is pending.
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
