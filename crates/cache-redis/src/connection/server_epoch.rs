//! [`ServerEpochs`]: which run of which server is in use. A restart or a failover may bring back removed values.
//!
//! The incarnation, a hash of the server's `run_id` and replication id, is the upper half of every nonce: a value whose nonce
//! begins with another incarnation is a miss. One epoch is current at a time; connections and tokens of any other are
//! refused. A server that was already up while another one was in use may have missed removals: those of the time since
//! it took over are repeated before it is read, or all its groups are removed where that time is not known well enough.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use cache_core::{Clock, FillToken, Invalidation, Monotonic, Result, Timestamp, random_nonzero};
use parking_lot::Mutex;
use twox_hash::XxHash3_64;

use super::history::History;
use super::server_info::ServerInfo;
use crate::protocol::removal::group_of;

/// How much a server's uptime and the clocks may be off.
const MARGIN: Duration = Duration::from_secs(6);

/// Removals by a scan of the server that are repeated at most.
const MOST_SCANS: usize = 3;

/// One run of one server, as this process uses it.
#[derive(Debug)]
pub(crate) struct ServerEpoch {
    pub(crate) incarnation: u64,
    /// The issuer of its tokens: a token of another epoch is refused.
    pub(crate) issuer: NonZeroU64,
}

impl ServerEpoch {
    pub(crate) fn new(incarnation: u64) -> Self {
        Self { incarnation, issuer: random_nonzero() }
    }

    /// Makes a nonce that no other call, process or machine gets, but by a chance of 1 in 2^64.
    pub(crate) fn fresh_nonce(&self) -> u128 {
        u128::from(self.incarnation) << 64 | u128::from(random_nonzero().get())
    }

    /// Whether `nonce` was made in this incarnation of the server.
    pub(crate) fn has_made(&self, nonce: u128) -> bool {
        nonce >> 64 == u128::from(self.incarnation)
    }
}

/// Computes the incarnation of a server from its `run_id`, which is new after a restart, and its replication id, which is new
/// after a promotion; in a cluster from its `run_id`, its id and its config epoch, which rises also when slots return to it.
///
/// The `run_id` alone does not tell a failover there and back: the first server comes back with the values that were removed
/// in between. The others alone do not tell a restart of a server that reads them from its files.
pub(crate) fn incarnation_of(info: &ServerInfo) -> u64 {
    let ServerInfo { run_id, replication, cluster, .. } = info;
    XxHash3_64::oneshot(
        match cluster {
            None => format!("{run_id} {}", replication.id),
            Some(view) => format!("{run_id} {} {}", view.id, view.epoch),
        }
        .as_bytes(),
    )
}

/// The current epoch of one server, and what decides about the next.
#[derive(Debug)]
pub(crate) struct ServerEpochs {
    /// The name of the server in the history: its id in a cluster.
    name: String,
    current: ArcSwapOption<ServerEpoch>,
    /// Whether the server was not checked in its current epoch, or another one has taken its place.
    has_no_lease: AtomicBool,
    /// When the current server was checked last, in milliseconds since `created`, and as a [`Timestamp`].
    checked: AtomicU64,
    checked_wall: AtomicU64,
    created: Monotonic,
    lease: Duration,
    /// The incarnation that was entered last.
    entered: Mutex<Option<u64>>,
    /// Whether this process began with this server.
    is_first: bool,
    history: Arc<History>,
    /// Held by the one connection that enters an epoch.
    pub(crate) entering: tokio::sync::Mutex<()>,
    switches: AtomicU64,
    /// How many times an epoch was ended or entered.
    attempts: AtomicU64,
    clock: Arc<dyn Clock>,
}

/// What a connection must do before its server is used.
#[derive(Debug)]
pub(crate) enum Admission {
    /// Nothing: the epoch is current.
    Current(Arc<ServerEpoch>),
    /// Close: another server was entered after this connection began.
    Outdated,
    /// Repeat these removals, then enter its epoch.
    AfterRemoving(Vec<Invalidation>),
}

impl ServerEpochs {
    /// Creates the epochs of the server `name`, which is used for `lease` after a check.
    pub(crate) fn new(
        name: &str,
        is_first: bool,
        lease: Duration,
        history: Arc<History>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            current: ArcSwapOption::empty(),
            has_no_lease: AtomicBool::new(true),
            checked: AtomicU64::new(0),
            checked_wall: AtomicU64::new(0),
            created: clock.monotonic(),
            lease,
            entered: Mutex::default(),
            is_first,
            history,
            entering: tokio::sync::Mutex::new(()),
            switches: AtomicU64::new(0),
            attempts: AtomicU64::new(0),
            clock,
        }
    }

    /// The name of the server in the history.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether connections and tokens of `epoch` may be used.
    pub(crate) fn is_current(&self, epoch: &Arc<ServerEpoch>) -> bool {
        self.current.load().as_ref().is_some_and(|current| Arc::ptr_eq(current, epoch))
    }

    /// Whether `token` is one of the current epoch.
    pub(crate) fn has_issued(&self, token: FillToken) -> bool {
        self.current.load().as_ref().is_some_and(|current| token.issuer() == Some(current.issuer))
    }

    /// Whether the current epoch is one of `incarnation`.
    pub(crate) fn is_in(&self, incarnation: u64) -> bool {
        self.current.load().as_ref().is_some_and(|current| current.incarnation == incarnation)
    }

    /// Whether the last check of the server was less than the lease ago. A process that was stopped for longer may not have
    /// heard of another server. Both clocks count: the monotonic one stops while a machine is suspended.
    pub(crate) fn is_lease_valid(&self) -> bool {
        let wall = Timestamp::from_millis(self.checked_wall.load(Ordering::Relaxed));
        !self.has_no_lease.load(Ordering::Acquire)
            && self.since_check() < self.lease
            && self.clock.now().saturating_since(wall) < self.lease
    }

    /// Notes what the current server said in reply to a request that was sent at `asked`.
    pub(crate) fn check(&self, info: &ServerInfo, asked: Monotonic) {
        let since = u64::try_from(asked.saturating_since(self.created).as_millis()).unwrap_or(u64::MAX);
        self.checked.fetch_max(since, Ordering::Relaxed);
        self.checked_wall.store(self.clock.now().as_millis(), Ordering::Relaxed);
        self.has_no_lease.store(false, Ordering::Release);
        self.history.checked(info, asked);
    }

    /// How long ago the last check of the server in its current epoch was sent.
    pub(crate) fn since_check(&self) -> Duration {
        let checked = Duration::from_millis(self.checked.load(Ordering::Relaxed));
        self.clock.monotonic().saturating_since(self.created).saturating_sub(checked)
    }

    /// How many epochs were entered so far.
    pub(crate) fn switches(&self) -> u64 {
        self.switches.load(Ordering::SeqCst)
    }

    /// How many times an epoch was ended or entered. Read it before connecting.
    pub(crate) fn attempts(&self) -> u64 {
        self.attempts.load(Ordering::SeqCst)
    }

    /// Ends the lease: the server is not used before it is checked again.
    pub(crate) fn end_lease(&self) {
        self.has_no_lease.store(true, Ordering::Release);
    }

    /// Ends the current epoch. The next server is admitted as another one, even if it is the same.
    pub(crate) fn leave(&self) {
        self.attempts.fetch_add(1, Ordering::SeqCst);
        self.current.store(None);
    }

    /// Decides about a server of `incarnation`; there had been `attempts` when its connection began. The caller holds
    /// `entering`.
    pub(crate) fn admit(&self, incarnation: u64, info: &ServerInfo, attempts: u64) -> Admission {
        let current = self.current.load_full().filter(|current| current.incarnation == incarnation);
        if let Some(current) = current {
            return Admission::Current(current);
        }
        if attempts != self.attempts() {
            return Admission::Outdated;
        }
        self.leave();
        Admission::AfterRemoving(self.missed_by(incarnation, info))
    }

    /// Makes `incarnation` the current epoch. The caller holds `entering`, and has repeated what the server has missed.
    ///
    /// # Errors
    /// Those of the record.
    pub(crate) fn enter(&self, incarnation: u64) -> Result<Arc<ServerEpoch>> {
        self.history.enter(&self.name, incarnation)?;
        let epoch = Arc::new(ServerEpoch::new(incarnation));
        *self.entered.lock() = Some(incarnation);
        self.switches.fetch_add(1, Ordering::SeqCst);
        self.attempts.fetch_add(1, Ordering::SeqCst);
        // The checks of another server say nothing about this one.
        self.end_lease();
        self.checked.store(0, Ordering::Relaxed);
        self.current.store(Some(Arc::clone(&epoch)));
        Ok(epoch)
    }

    /// Returns what the server may have missed while this process used another one.
    ///
    /// Values that it is read for were stored after it took over: only removals since then can be missing.
    fn missed_by(&self, incarnation: u64, info: &ServerInfo) -> Vec<Invalidation> {
        let (entered, now) = (*self.entered.lock(), self.clock.monotonic());
        let uptime = info.uptime.saturating_add(MARGIN);
        // Offsets need no clock of the server, and so none is mixed in.
        let age = self.history.age(info, now).unwrap_or(uptime);
        or_everything(match (entered, self.history.earlier()) {
            // No other server has acknowledged anything since this one did.
            (Some(entered), _) if entered == incarnation => Some(Vec::new()),
            (None, None) if self.is_first => Some(Vec::new()),
            (None, Some(last)) if self.is_first => {
                (self.clock.now().saturating_since(last) > age).then(Vec::new)
            }
            _ => self.history.removals(age, now),
        })
    }
}

/// Returns `missed`, or everything where that is unknown or takes as long: a pattern takes a scan of the server, too.
pub(crate) fn or_everything(missed: Option<Vec<Invalidation>>) -> Vec<Invalidation> {
    let is_short = |missed: &Vec<Invalidation>| {
        missed.iter().filter(|what| group_of(what).is_none()).count() <= MOST_SCANS
    };
    missed.filter(is_short).unwrap_or_else(|| vec![Invalidation::Everything])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cache_core::{CacheKey, ManualClock};

    use super::*;
    use crate::connection::server_info::Replication;
    use crate::last_server::{LastServerRecord, LastUse};

    const HOUR: Duration = Duration::from_secs(3600);
    const BEAT: Duration = Duration::from_secs(1);

    fn epochs() -> (ServerEpochs, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new());
        let history = Arc::new(History::new(None, clock.as_ref()));
        (ServerEpochs::new("", true, 3 * BEAT, history, clock.clone()), clock)
    }

    fn up_for(uptime: Duration) -> ServerInfo {
        ServerInfo { uptime, ..ServerInfo::default() }
    }

    fn key() -> Invalidation {
        Invalidation::Key(CacheKey::parse("image:5:metadata").unwrap())
    }

    /// What has to be removed before the server is entered; `None` where it is current or outdated.
    fn missed(admission: Admission) -> Option<Vec<Invalidation>> {
        match admission {
            Admission::AfterRemoving(what) => Some(what),
            Admission::Current(_) | Admission::Outdated => None,
        }
    }

    #[test]
    fn the_first_server_of_a_process_is_entered_at_once_and_then_current() {
        let (epochs, _) = epochs();
        assert_eq!(missed(epochs.admit(1, &up_for(HOUR), epochs.attempts())), Some(Vec::new()));
        let epoch = epochs.enter(1).unwrap();
        assert!(epochs.is_current(&epoch));
        assert!(matches!(epochs.admit(1, &up_for(HOUR), epochs.attempts()), Admission::Current(_)));
    }

    #[test]
    fn a_server_that_was_up_before_this_process_used_another_is_cleared() {
        let (epochs, clock) = epochs();
        epochs.enter(1).unwrap();
        clock.advance(Duration::from_secs(100));
        let admission = epochs.admit(2, &up_for(Duration::from_secs(100)), epochs.attempts());
        assert_eq!(missed(admission), Some(vec![Invalidation::Everything]));
        assert!(epochs.current.load().is_none(), "nothing is read or acknowledged meanwhile");
    }

    #[test]
    fn a_server_is_told_the_removals_since_it_started() {
        let (epochs, clock) = epochs();
        epochs.enter(1).unwrap();
        epochs.history.removed(&[key()], epochs.clock.monotonic());
        clock.advance(Duration::from_secs(100));
        assert_eq!(
            missed(epochs.admit(2, &up_for(Duration::from_secs(50)), epochs.attempts())),
            Some(Vec::new())
        );
        epochs.history.removed(&[key()], epochs.clock.monotonic());
        assert_eq!(
            missed(epochs.admit(2, &up_for(Duration::from_secs(50)), epochs.attempts())),
            Some(vec![key()])
        );
    }

    #[test]
    fn a_promoted_replica_is_told_the_removals_since_the_last_heartbeat_that_it_has_followed() {
        let (epochs, clock) = epochs();
        let master = |offset| {
            let replication = Replication { id: "a".to_owned(), offset, ..Replication::default() };
            ServerInfo { run_id: "run of a".to_owned(), replication, ..up_for(HOUR) }
        };
        epochs.enter(1).unwrap();
        epochs.history.removed(&[Invalidation::Everything], epochs.clock.monotonic());
        clock.advance(10 * BEAT);
        epochs.check(&master(100), clock.monotonic());
        clock.advance(BEAT);
        epochs.history.removed(&[key()], epochs.clock.monotonic());
        let previous_id = "a".to_owned();
        let replica = |previous_end| {
            let id = "b".to_owned();
            let replication = Replication { id, offset: 200, previous_id: previous_id.clone(), previous_end };
            ServerInfo { replication, ..up_for(HOUR) }
        };
        assert_eq!(missed(epochs.admit(2, &replica(150), epochs.attempts())), Some(vec![key()]));
        let unknown = missed(epochs.admit(2, &replica(101), epochs.attempts()));
        assert_eq!(unknown, Some(vec![Invalidation::Everything]), "it may have taken over long ago");
    }

    /// As a server reports whose clock was set back after it started: by an hour, say.
    #[test]
    fn an_uptime_that_is_unknown_is_long_and_does_not_shorten_the_age_of_a_promoted_replica() {
        let parse = |text: &str| ServerInfo::parse(text, 0);
        let (epochs, clock) = epochs();
        epochs.enter(1).unwrap();
        clock.advance(60 * BEAT);
        epochs.check(&parse("run_id:a\r\nmaster_replid:a\r\nmaster_repl_offset:100"), clock.monotonic());
        epochs.history.removed(&[key()], epochs.clock.monotonic());
        clock.advance(10 * BEAT);
        let back = "run_id:b\r\nuptime_in_seconds:-3599\r\nmaster_replid:b";
        let admission = epochs.admit(2, &parse(back), epochs.attempts());
        assert_eq!(missed(admission), Some(vec![Invalidation::Everything]));
        let promoted = format!("{back}\r\nmaster_replid2:a\r\nsecond_repl_offset:150");
        assert_eq!(missed(epochs.admit(2, &parse(&promoted), epochs.attempts())), Some(vec![key()]));
        // Nothing is known of how far the old master had written.
        epochs.check(&parse("run_id:c\r\nmaster_replid:c"), clock.monotonic());
        let successor = format!("{back}\r\nmaster_replid2:c\r\nsecond_repl_offset:150");
        let admission = epochs.admit(3, &parse(&successor), epochs.attempts());
        assert_eq!(missed(admission), Some(vec![Invalidation::Everything]));
    }

    #[test]
    fn the_same_run_of_a_server_with_another_replication_id_is_told_the_removals_since_its_last_check() {
        let (epochs, clock) = epochs();
        let run = |replication_id: &str| {
            ServerInfo::parse(
                &format!("run_id:a\r\nuptime_in_seconds:3600\r\nmaster_replid:{replication_id}"),
                0,
            )
        };
        epochs.enter(1).unwrap();
        epochs.history.removed(&[Invalidation::Everything], epochs.clock.monotonic());
        clock.advance(60 * BEAT);
        epochs.check(&run("x"), clock.monotonic());
        clock.advance(BEAT);
        epochs.history.removed(&[key()], epochs.clock.monotonic());
        assert_eq!(missed(epochs.admit(2, &run("y"), epochs.attempts())), Some(vec![key()]));
    }

    #[test]
    fn many_patterns_are_repeated_as_one_clear() {
        let (epochs, clock) = epochs();
        epochs.enter(1).unwrap();
        clock.advance(60 * BEAT);
        let pattern = |n: usize| {
            Invalidation::Pattern(cache_core::CachePattern::parse(&format!("image{n}:*")).unwrap())
        };
        let patterns: Vec<_> = (0..MOST_SCANS).map(pattern).collect();
        epochs.history.removed(&patterns, epochs.clock.monotonic());
        let young = up_for(BEAT);
        assert_eq!(missed(epochs.admit(2, &young, epochs.attempts())), Some(patterns));
        epochs.history.removed(&[pattern(9)], epochs.clock.monotonic());
        assert_eq!(missed(epochs.admit(2, &young, epochs.attempts())), Some(vec![Invalidation::Everything]));
    }

    #[test]
    fn a_connection_that_is_older_than_a_failed_switch_is_outdated() {
        let (epochs, _) = epochs();
        epochs.enter(1).unwrap();
        let began_at = epochs.attempts();
        assert!(matches!(epochs.admit(2, &up_for(HOUR), epochs.attempts()), Admission::AfterRemoving(_)));
        assert!(matches!(epochs.admit(1, &up_for(HOUR), began_at), Admission::Outdated));
    }

    #[test]
    fn returning_to_the_server_that_was_entered_last_repeats_nothing() {
        let (epochs, _) = epochs();
        let before = epochs.enter(1).unwrap();
        epochs.history.removed(&[key()], epochs.clock.monotonic());
        let everything = Some(vec![Invalidation::Everything]);
        assert_eq!(missed(epochs.admit(2, &up_for(HOUR), epochs.attempts())), everything);
        assert_eq!(missed(epochs.admit(1, &up_for(HOUR), epochs.attempts())), Some(Vec::new()));
        let after = epochs.enter(1).unwrap();
        assert!(!epochs.is_current(&before) && epochs.is_current(&after));
    }

    #[test]
    fn a_connection_that_began_before_a_switch_does_not_switch_back() {
        let (epochs, _) = epochs();
        epochs.enter(1).unwrap();
        let began_at = epochs.attempts();
        epochs.enter(2).unwrap();
        assert!(matches!(epochs.admit(1, &up_for(HOUR), began_at), Admission::Outdated));
        assert!(matches!(epochs.admit(1, &up_for(HOUR), epochs.attempts()), Admission::AfterRemoving(_)));
    }

    #[test]
    fn a_server_is_used_for_a_lease_after_a_check_by_both_clocks() {
        let (epochs, clock) = epochs();
        clock.advance(HOUR);
        epochs.check(&up_for(HOUR), clock.monotonic());
        clock.advance(Duration::from_millis(2_999));
        assert!(epochs.is_lease_valid());
        clock.advance(Duration::from_millis(1));
        assert!(!epochs.is_lease_valid());
        epochs.check(&up_for(HOUR), clock.monotonic());
        assert!(epochs.is_lease_valid());
        // A machine that was suspended: its monotonic clock stood still.
        clock.jump_wall(60_000);
        assert!(!epochs.is_lease_valid());
        // The checks of another server do not count.
        epochs.check(&up_for(HOUR), clock.monotonic());
        epochs.enter(2).unwrap();
        assert!(!epochs.is_lease_valid());
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
            let history = Arc::new(History::new(Some(record), clock.as_ref()));
            history.begin(&BTreeMap::from([(String::new(), incarnation)]));
            let epochs = ServerEpochs::new("", true, 3 * BEAT, history, clock.clone());
            missed(epochs.admit(incarnation, &up_for(Duration::from_secs(uptime)), epochs.attempts()))
        };
        let everything = Some(vec![Invalidation::Everything]);
        assert_eq!(start(1, 1000), Some(Vec::new()), "the same server");
        assert_eq!(start(2, 1000), everything, "it was up before");
        assert_eq!(start(2, 50), Some(Vec::new()), "it is new");
    }
}
