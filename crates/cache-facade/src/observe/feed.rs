//! [`CacheEvents`]: invalidations and refused fills as they happen; and the latest invalidations, for explanations.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, OnceLock};

use cache_core::{CacheKey, Invalidated, Invalidation, Timestamp};
use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// How many events a receiver may be behind before it loses the oldest.
const CAPACITY: usize = 256;

/// How many invalidations are remembered at most.
const MOST_REMEMBERED: usize = 256;

/// How many keys, groups and patterns are remembered at most, of one invalidation and of all.
const MOST_NAMED: usize = 1024;

/// An event of a cache, in this process.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum CacheEvent {
    /// An invalidation has ended.
    Invalidated(Arc<InvalidationEvent>),
    /// A loaded value was not stored: it may have been older than an invalidation, or the store was too busy.
    FillRefused {
        /// The key, scope included.
        key: CacheKey,
        /// When.
        at: Timestamp,
    },
    /// The receiver was too slow: this many events are lost to it.
    Missed(u64),
}

/// An invalidation that this process asked for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct InvalidationEvent {
    /// When it ended.
    pub at: Timestamp,
    /// The keys, groups and patterns, scopes included; the first 1,024 of them.
    pub what: Vec<Invalidation>,
    /// How many keys, groups and patterns there were.
    pub count: usize,
    /// The method of [`Cache`](crate::Cache) that was called: `change`, `invalidate`, `delete`, `clear_pattern` or `clear`.
    pub call: &'static str,
    /// The type of the change, such as `shop::PriceChange`, as [`std::any::type_name`] gives it: for people.
    pub change: &'static str,
    /// What came of it; the text of the error where it failed.
    pub outcome: Result<Invalidated, String>,
}

impl InvalidationEvent {
    /// Returns whether `key` (the full text of a key) is among what was invalidated.
    pub fn matches(&self, key: &str) -> bool {
        self.what.iter().any(|what| what.matches(key))
    }
}

/// The call that asks for an invalidation, and the type of its change.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    pub(crate) call: &'static str,
    pub(crate) change: &'static str,
}

impl Origin {
    /// The origin of a `call` with this change.
    pub(crate) fn of<W: ?Sized>(call: &'static str, _change: &W) -> Self {
        // A reference says no more than what it refers to.
        Self { call, change: std::any::type_name::<W>().trim_start_matches('&') }
    }
}

/// Events of a cache, from the moment of [`Cache::events`](crate::Cache::events) on.
///
/// A receiver that is too slow loses events and delays nothing.
pub struct CacheEvents(broadcast::Receiver<CacheEvent>);

impl CacheEvents {
    /// Waits for the next event; `None` once the cache and all its clones were dropped.
    ///
    /// # Cancellation
    /// No event is lost.
    pub async fn next(&mut self) -> Option<CacheEvent> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(missed)) => Some(CacheEvent::Missed(missed)),
            Err(RecvError::Closed) => None,
        }
    }
}

impl fmt::Debug for CacheEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheEvents").finish_non_exhaustive()
    }
}

/// Gives events to receivers, and remembers invalidations. Without a receiver an event that is not remembered is not made.
#[derive(Default)]
pub(crate) struct Feed {
    /// Made by the first receiver.
    sender: OnceLock<broadcast::Sender<CacheEvent>>,
    remembered: Mutex<Remembered>,
}

/// The latest invalidations, oldest first.
#[derive(Default)]
struct Remembered {
    events: VecDeque<Arc<InvalidationEvent>>,
    /// How many keys, groups and patterns they name.
    named: usize,
}

impl Feed {
    /// Begins to receive.
    pub(crate) fn subscribe(&self) -> CacheEvents {
        CacheEvents(self.sender.get_or_init(|| broadcast::Sender::new(CAPACITY)).subscribe())
    }

    /// Notes that an invalidation of `what` has ended.
    pub(crate) fn invalidated(
        &self,
        at: Timestamp,
        what: &[Invalidation],
        origin: Origin,
        outcome: Result<Invalidated, String>,
    ) {
        let event = Arc::new(InvalidationEvent {
            at,
            what: what.iter().take(MOST_NAMED).cloned().collect(),
            count: what.len(),
            call: origin.call,
            change: origin.change,
            outcome,
        });
        self.send(|| CacheEvent::Invalidated(Arc::clone(&event)));
        self.remembered.lock().push(event);
    }

    /// Notes that a loaded value was not stored.
    pub(crate) fn fill_refused(&self, key: &CacheKey, at: impl FnOnce() -> Timestamp) {
        self.send(|| CacheEvent::FillRefused { key: key.clone(), at: at() });
    }

    /// The latest invalidations, oldest first.
    pub(crate) fn remembered(&self) -> Vec<Arc<InvalidationEvent>> {
        self.remembered.lock().events.iter().cloned().collect()
    }

    fn send(&self, event: impl FnOnce() -> CacheEvent) {
        if let Some(sender) = self.sender.get().filter(|sender| sender.receiver_count() > 0) {
            // The last receiver may have gone meanwhile.
            let _ = sender.send(event());
        }
    }
}

impl Remembered {
    fn push(&mut self, event: Arc<InvalidationEvent>) {
        self.named += event.what.len();
        self.events.push_back(event);
        while self.events.len() > MOST_REMEMBERED || (self.named > MOST_NAMED && self.events.len() > 1) {
            let Some(oldest) = self.events.pop_front() else { break };
            self.named -= oldest.what.len();
        }
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed")
            .field("remembered", &self.remembered.lock().events.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: Origin = Origin { call: "invalidate", change: "test" };

    fn key(id: usize) -> CacheKey {
        CacheKey::builder("user", id).build().unwrap()
    }

    fn invalidate(feed: &Feed, ids: std::ops::Range<usize>) {
        let what: Vec<Invalidation> = ids.map(|id| key(id).into()).collect();
        feed.invalidated(Timestamp::from_millis(1), &what, ORIGIN, Ok(Invalidated::Applied { removed: 0 }));
    }

    #[tokio::test]
    async fn a_slow_receiver_loses_the_oldest_events_and_is_told_how_many() {
        let feed = Feed::default();
        let mut events = feed.subscribe();
        for id in 0..CAPACITY + 3 {
            feed.fill_refused(&key(id), || Timestamp::from_millis(1));
        }
        assert!(matches!(events.next().await, Some(CacheEvent::Missed(3))));
        assert!(
            matches!(events.next().await, Some(CacheEvent::FillRefused { key: next, .. }) if next == key(3))
        );
        drop(feed);
        while events.next().await.is_some() {}
    }

    #[test]
    fn without_a_receiver_no_event_is_made() {
        let feed = Feed::default();
        feed.fill_refused(&key(1), || unreachable!("nothing receives"));
        drop(feed.subscribe());
        feed.fill_refused(&key(1), || unreachable!("the receiver has gone"));
    }

    #[test]
    fn what_is_remembered_of_invalidations_is_bounded() {
        let feed = Feed::default();
        for id in 0..2 * MOST_REMEMBERED {
            invalidate(&feed, id..id + 1);
        }
        let remembered = feed.remembered();
        assert_eq!(remembered.len(), MOST_REMEMBERED);
        assert!(remembered[0].matches("user:256") && !remembered[0].matches("user:2560"));
        invalidate(&feed, 0..5000);
        let remembered = feed.remembered();
        assert_eq!((remembered.len(), remembered[0].count, remembered[0].what.len()), (1, 5000, MOST_NAMED));
    }

    #[test]
    fn the_type_of_a_change_is_named_without_its_reference() {
        assert_eq!(Origin::of("change", &&key(1)).change, "cache_core::key::CacheKey");
    }
}
