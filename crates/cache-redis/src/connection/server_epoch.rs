//! [`ServerEpochs`]: which run of which server is in use. A restart or a failover may bring back removed values.
//!
//! The incarnation, a hash of the server's `run_id`, is part of every key. One epoch is current at a time; connections and
//! tokens of any other are refused. A server that was already up while another one was in use may have missed
//! invalidations, as in a planned failover there and back: its groups are removed before it is read.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use cache_core::{Clock, Monotonic, Result, random_nonzero};
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

use crate::last_server::LastServerRecord;

/// How much a server's uptime and the clocks may be off.
const MARGIN: Duration = Duration::from_secs(6);

/// One run of one server, as this process uses it.
#[derive(Debug)]
pub(crate) struct ServerEpoch {
    pub(crate) incarnation: u64,
    /// The end of the keys of its groups.
    pub(crate) suffix: String,
    /// The issuer of its tokens: a token of another epoch is refused.
    pub(crate) issuer: NonZeroU64,
}

impl ServerEpoch {
    pub(crate) fn new(incarnation: u64) -> Self {
        Self { incarnation, suffix: format!(":@{incarnation:016x}"), issuer: random_nonzero() }
    }
}

/// Computes the incarnation of a server from its `run_id`.
pub(crate) fn incarnation_of(run_id: &str) -> u64 {
    xxh3_64(run_id.as_bytes())
}

/// The current epoch, and what decides about the next.
#[derive(Debug)]
pub(crate) struct ServerEpochs {
    current: ArcSwapOption<ServerEpoch>,
    /// The last use of a server in this process.
    last_use: Mutex<Option<Monotonic>>,
    /// Held by the one connection that enters an epoch.
    pub(crate) entering: tokio::sync::Mutex<()>,
    switches: AtomicU64,
    record: Option<Arc<dyn LastServerRecord>>,
    clock: Arc<dyn Clock>,
}

/// What a connection must do before its server is used.
#[derive(Debug)]
pub(crate) enum Admission {
    /// Nothing: the epoch is current.
    Current(Arc<ServerEpoch>),
    /// Close: another server was entered after this connection began.
    Outdated,
    /// Remove the server's groups, then enter its epoch.
    AfterClearing,
    /// Enter its epoch: it holds nothing that could be stale.
    AtOnce,
}

impl ServerEpochs {
    pub(crate) fn new(record: Option<Arc<dyn LastServerRecord>>, clock: Arc<dyn Clock>) -> Self {
        Self {
            current: ArcSwapOption::empty(),
            last_use: Mutex::new(None),
            entering: tokio::sync::Mutex::new(()),
            switches: AtomicU64::new(0),
            record,
            clock,
        }
    }

    /// Whether connections and tokens of `epoch` may be used.
    pub(crate) fn is_current(&self, epoch: &Arc<ServerEpoch>) -> bool {
        self.current.load().as_ref().is_some_and(|current| Arc::ptr_eq(current, epoch))
    }

    /// How many epochs were entered so far. Read it before connecting.
    pub(crate) fn switches(&self) -> u64 {
        self.switches.load(Ordering::SeqCst)
    }

    /// Ends the current epoch. The next server is admitted as another one, even if it is the same.
    pub(crate) fn leave(&self) {
        self.current.store(None);
    }

    /// Records that the current server was used for something that must not be lost.
    ///
    /// An invalidation calls this before it checks whether its epoch is still current; [`admit`](Self::admit) ends the
    /// current epoch before it reads the last use. So either the invalidation sees the switch, or the switch sees the use.
    pub(crate) fn record_use(&self) {
        let now = self.clock.monotonic();
        if let Some(last) = &mut *self.last_use.lock() {
            *last = (*last).max(now);
        }
    }

    /// Decides about a server of `incarnation` that has been up for `uptime`; there had been `switches` when its connection
    /// began. The caller holds `entering`.
    pub(crate) fn admit(&self, incarnation: u64, uptime: Duration, switches: u64) -> Admission {
        if let Some(current) = self.current.load_full() {
            if current.incarnation == incarnation {
                return Admission::Current(current);
            }
            if switches != self.switches() {
                return Admission::Outdated;
            }
        }
        self.leave();
        if self.may_hold_stale(incarnation, uptime) { Admission::AfterClearing } else { Admission::AtOnce }
    }

    /// Makes `incarnation` the current epoch. The caller holds `entering`, and has cleared the server if it had to.
    ///
    /// # Errors
    /// Those of the record.
    pub(crate) fn enter(&self, incarnation: u64) -> Result<Arc<ServerEpoch>> {
        if let Some(record) = &self.record {
            record.entered(incarnation)?;
        }
        let epoch = Arc::new(ServerEpoch::new(incarnation));
        *self.last_use.lock() = Some(self.clock.monotonic());
        self.switches.fetch_add(1, Ordering::SeqCst);
        self.current.store(Some(Arc::clone(&epoch)));
        Ok(epoch)
    }

    /// Whether the server was up at the last use of another one, so that it may have missed invalidations.
    fn may_hold_stale(&self, incarnation: u64, uptime: Duration) -> bool {
        let last_use = *self.last_use.lock();
        let since = match last_use {
            Some(at) => self.clock.monotonic().saturating_since(at),
            None => match self.record.as_ref().and_then(|record| record.last()) {
                Some(last) if last.incarnation != incarnation => self.clock.now().saturating_since(last.at),
                Some(_) | None => return false,
            },
        };
        since <= uptime.saturating_add(MARGIN)
    }
}

#[cfg(test)]
mod tests {
    use cache_core::ManualClock;

    use super::*;
    use crate::last_server::LastUse;

    const HOUR: Duration = Duration::from_hours(1);

    fn epochs() -> (ServerEpochs, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new());
        (ServerEpochs::new(None, clock.clone()), clock)
    }

    #[test]
    fn the_first_server_of_a_process_is_entered_at_once_and_then_current() {
        let (epochs, _) = epochs();
        assert!(matches!(epochs.admit(1, HOUR, 0), Admission::AtOnce));
        let epoch = epochs.enter(1).unwrap();
        assert!(epochs.is_current(&epoch));
        assert!(matches!(epochs.admit(1, HOUR, 0), Admission::Current(_)));
    }

    #[test]
    fn a_server_that_was_up_at_the_last_use_of_another_is_cleared() {
        let (epochs, clock) = epochs();
        epochs.enter(1).unwrap();
        clock.advance(Duration::from_secs(100));
        assert!(matches!(epochs.admit(2, Duration::from_secs(100), 1), Admission::AfterClearing));
        assert!(epochs.current.load().is_none(), "nothing is read or acknowledged meanwhile");
    }

    #[test]
    fn a_server_that_started_after_the_last_use_of_another_is_not_cleared() {
        let (epochs, clock) = epochs();
        epochs.enter(1).unwrap();
        clock.advance(Duration::from_secs(100));
        assert!(matches!(epochs.admit(2, Duration::from_secs(50), 1), Admission::AtOnce));
        epochs.record_use();
        assert!(matches!(epochs.admit(2, Duration::from_secs(50), 1), Admission::AfterClearing));
    }

    #[test]
    fn returning_to_a_server_after_a_failed_switch_is_a_switch() {
        let (epochs, _) = epochs();
        epochs.enter(1).unwrap();
        assert!(matches!(epochs.admit(2, HOUR, 1), Admission::AfterClearing));
        assert!(matches!(epochs.admit(1, HOUR, 1), Admission::AfterClearing));
    }

    #[test]
    fn a_connection_that_began_before_a_switch_does_not_switch_back() {
        let (epochs, _) = epochs();
        epochs.enter(1).unwrap();
        let began_at = epochs.switches();
        epochs.enter(2).unwrap();
        assert!(matches!(epochs.admit(1, HOUR, began_at), Admission::Outdated));
        assert!(matches!(epochs.admit(1, HOUR, epochs.switches()), Admission::AfterClearing));
    }

    #[derive(Debug)]
    struct FixedRecord(LastUse);

    impl LastServerRecord for FixedRecord {
        fn last(&self) -> Option<LastUse> {
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
            let record = Arc::new(FixedRecord(LastUse { incarnation: 1, at }));
            let epochs = ServerEpochs::new(Some(record), clock.clone());
            epochs.admit(incarnation, Duration::from_secs(uptime), 0)
        };
        assert!(matches!(start(1, 1000), Admission::AtOnce), "the same server");
        assert!(matches!(start(2, 1000), Admission::AfterClearing), "it was up before");
        assert!(matches!(start(2, 50), Admission::AtOnce), "it is new");
    }
}
