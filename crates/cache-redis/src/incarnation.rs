//! Which server this is: a restart or a failover may bring back what was removed.
//!
//! The hash of the server's `run_id` is part of every key. One incarnation is current at a time; connections and tokens
//! of any other are worthless. What a server that is not new holds under its own incarnation is cleared before the first
//! read, because invalidations went elsewhere while it was away (a planned failover there and back).

use std::fmt::Debug;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use cache_core::{Clock, Monotonic, Result, Timestamp, random_nonzero};
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

/// How much a server's uptime and the clocks may be off.
const MARGIN: Duration = Duration::from_secs(6);

/// The last use of a server that something rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contact {
    /// Which server in which of its lives.
    pub incarnation: u64,
    /// An upper bound of when it was used last.
    pub at: Timestamp,
}

/// Remembers the last contact across restarts of the process.
///
/// # Contract
/// [`last`](Self::last) is never earlier than any acknowledgement of an invalidation. Whoever keeps it writes it ahead,
/// and durably, before anything is acknowledged beyond it.
pub trait ContactRecord: Debug + Send + Sync + 'static {
    /// The last contact of earlier processes; `None` where there was none.
    fn last(&self) -> Option<Contact>;

    /// Called before anything is read from or acknowledged by a server in another incarnation.
    ///
    /// # Errors
    /// Whatever keeps it from being durable; the server is not used then.
    fn entered(&self, incarnation: u64) -> Result<()>;
}

/// One life of one server, as this process uses it.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) incarnation: u64,
    /// What the keys of its groups end with.
    pub(crate) suffix: String,
    /// Who issues the tokens of this world: none of another world stands here.
    pub(crate) issuer: NonZeroU64,
}

impl World {
    pub(crate) fn of(incarnation: u64) -> Self {
        Self { incarnation, suffix: format!(":@{incarnation:016x}"), issuer: random_nonzero() }
    }
}

/// The incarnation of a server by its `run_id`.
pub(crate) fn incarnation_of(run_id: &str) -> u64 {
    xxh3_64(run_id.as_bytes())
}

/// The current world, and what is needed to enter another.
#[derive(Debug)]
pub(crate) struct Worlds {
    current: ArcSwapOption<World>,
    /// The incarnation entered last, and when something was acknowledged last.
    last: Mutex<Option<(u64, Monotonic)>>,
    /// Held by the one connection that enters a world.
    pub(crate) entering: tokio::sync::Mutex<()>,
    switches: AtomicU64,
    record: Option<Arc<dyn ContactRecord>>,
    clock: Arc<dyn Clock>,
}

/// What it takes to enter the world of a server.
#[derive(Debug)]
pub(crate) enum Entry {
    /// It is the current one.
    Current(Arc<World>),
    /// A connection that began before another world was entered reports an older one.
    Outdated,
    /// Another: what it holds is to be cleared first.
    AfterClearing,
    /// Another, which holds nothing that could be stale.
    AtOnce,
}

impl Worlds {
    pub(crate) fn new(record: Option<Arc<dyn ContactRecord>>, clock: Arc<dyn Clock>) -> Self {
        Self {
            current: ArcSwapOption::empty(),
            last: Mutex::new(None),
            entering: tokio::sync::Mutex::new(()),
            switches: AtomicU64::new(0),
            record,
            clock,
        }
    }

    /// Whether connections and tokens of `world` are good.
    pub(crate) fn is_current(&self, world: &Arc<World>) -> bool {
        self.current.load().as_ref().is_some_and(|current| Arc::ptr_eq(current, world))
    }

    pub(crate) fn current(&self) -> Option<Arc<World>> {
        self.current.load_full()
    }

    /// How many worlds were entered so far: to be read before connecting.
    pub(crate) fn switches(&self) -> u64 {
        self.switches.load(Ordering::SeqCst)
    }

    /// The current server may not be used any more; whatever is entered next is entered as another.
    pub(crate) fn leave(&self) {
        self.current.store(None);
    }

    /// Something was acknowledged, or is about to be, by the current server.
    ///
    /// To be called **before** looking whether the world is still current: whoever enters another takes the current one
    /// away first and reads the last contact then, so one of the two sees the other.
    pub(crate) fn touched(&self) {
        let now = self.clock.monotonic();
        if let Some((_, at)) = &mut *self.last.lock() {
            *at = (*at).max(now);
        }
    }

    /// What to do with a connection that began when there had been `switches`, to a server of `incarnation` that has been
    /// up for `uptime`. The caller holds `entering`.
    pub(crate) fn approach(&self, incarnation: u64, uptime: Duration, switches: u64) -> Entry {
        if let Some(current) = self.current() {
            if current.incarnation == incarnation {
                return Entry::Current(current);
            }
            if switches != self.switches() {
                return Entry::Outdated;
            }
        }
        self.current.store(None);
        if self.may_hold_stale(incarnation, uptime) { Entry::AfterClearing } else { Entry::AtOnce }
    }

    /// Makes `incarnation` the current one. The caller holds `entering`, and has cleared what was to be cleared.
    ///
    /// # Errors
    /// Those of the record.
    pub(crate) fn enter(&self, incarnation: u64) -> Result<Arc<World>> {
        if let Some(record) = &self.record {
            record.entered(incarnation)?;
        }
        let world = Arc::new(World::of(incarnation));
        *self.last.lock() = Some((incarnation, self.clock.monotonic()));
        self.switches.fetch_add(1, Ordering::SeqCst);
        self.current.store(Some(Arc::clone(&world)));
        Ok(world)
    }

    /// Whether the server may have been in use before our last contact with another: then it missed invalidations.
    fn may_hold_stale(&self, incarnation: u64, uptime: Duration) -> bool {
        if let Some((_, at)) = *self.last.lock() {
            let since = self.clock.monotonic().saturating_since(at);
            return since <= uptime.saturating_add(MARGIN);
        }
        match self.record.as_ref().and_then(|record| record.last()) {
            None => false,
            Some(contact) if contact.incarnation == incarnation => false,
            Some(contact) => {
                let since = self.clock.now().saturating_since(contact.at);
                since <= uptime.saturating_add(MARGIN)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use cache_core::ManualClock;

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn worlds() -> (Worlds, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new());
        (Worlds::new(None, clock.clone()), clock)
    }

    #[test]
    fn the_first_server_of_a_process_is_entered_at_once_and_then_current() {
        let (worlds, _) = worlds();
        assert!(matches!(worlds.approach(1, HOUR, 0), Entry::AtOnce));
        let world = worlds.enter(1).unwrap();
        assert!(worlds.is_current(&world));
        assert!(matches!(worlds.approach(1, HOUR, 0), Entry::Current(_)));
    }

    #[test]
    fn a_server_that_lived_before_our_last_contact_is_cleared() {
        let (worlds, clock) = worlds();
        worlds.enter(1).unwrap();
        clock.advance(Duration::from_secs(100));
        assert!(matches!(worlds.approach(2, Duration::from_secs(100), 1), Entry::AfterClearing));
        assert!(worlds.current().is_none(), "nobody reads or is acknowledged meanwhile");
    }

    #[test]
    fn a_server_that_started_after_our_last_contact_is_not_cleared() {
        let (worlds, clock) = worlds();
        worlds.enter(1).unwrap();
        clock.advance(Duration::from_secs(100));
        assert!(matches!(worlds.approach(2, Duration::from_secs(50), 1), Entry::AtOnce));
        worlds.touched();
        assert!(matches!(worlds.approach(2, Duration::from_secs(50), 1), Entry::AfterClearing));
    }

    #[test]
    fn coming_back_to_a_server_after_a_switch_that_failed_is_a_switch() {
        let (worlds, _) = worlds();
        worlds.enter(1).unwrap();
        assert!(matches!(worlds.approach(2, HOUR, 1), Entry::AfterClearing));
        assert!(matches!(worlds.approach(1, HOUR, 1), Entry::AfterClearing));
    }

    #[test]
    fn a_connection_that_began_before_a_switch_does_not_switch_back() {
        let (worlds, _) = worlds();
        worlds.enter(1).unwrap();
        let began_at = worlds.switches();
        worlds.enter(2).unwrap();
        assert!(matches!(worlds.approach(1, HOUR, began_at), Entry::Outdated));
        assert!(matches!(worlds.approach(1, HOUR, worlds.switches()), Entry::AfterClearing));
    }

    #[derive(Debug)]
    struct Written(Contact);

    impl ContactRecord for Written {
        fn last(&self) -> Option<Contact> {
            Some(self.0)
        }

        fn entered(&self, _incarnation: u64) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_record_of_earlier_processes_decides_at_the_start() {
        let clock = Arc::new(ManualClock::new());
        let at = clock.now();
        clock.advance(Duration::from_secs(100));
        let start = |incarnation: u64, uptime: u64| {
            let record = Arc::new(Written(Contact { incarnation: 1, at }));
            let worlds = Worlds::new(Some(record), clock.clone());
            worlds.approach(incarnation, Duration::from_secs(uptime), 0)
        };
        assert!(matches!(start(1, 1000), Entry::AtOnce), "the same server");
        assert!(matches!(start(2, 1000), Entry::AfterClearing), "it lived before");
        assert!(matches!(start(2, 50), Entry::AtOnce), "it is new");
    }
}
