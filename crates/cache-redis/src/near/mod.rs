//! [`Near`]: values in the memory of this instance, as fresh as the server.
//!
//! Instances that keep values in memory are registered in the server. A `session` holds the registration, reads the log of
//! changes, forgets what they concern and acknowledges them; each renewal grants it a lease of [`LEASE`]. An invalidation, by an
//! instance with or without memory, removes, is announced, and returns when every registered session has acknowledged it, or
//! when no lease from before can last any more ([`WAIT`]); see `announcement`. `node` holds the sessions at one server, and `known`
//! tells when a registry that is seen for the first time can be relied on.
//!
//! The order of each side matters ("docs/decisions/0022"): an invalidation removes, announces, then waits. A session forgets,
//! then acknowledges. A read looks at the lease, takes the value, then compares its token. A value that is read from the server
//! carries a token that was taken before the request.
//!
//! Messages only make it fast: the loss of any of them, or of the registry, costs time or the content of the memory.

mod announcement;
mod known;
mod node;
mod round;
mod session;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use cache_core::{
    CacheKey, Clock, FillToken, Lookup, NearCache, NearHealth, NearState, NearStats, Timestamp,
};
use parking_lot::Mutex;
use tokio::time::Instant;

use self::known::Known;
use self::session::Session;
use crate::config::RedisConfig;
use crate::connection::server_epoch::ServerEpoch;
use crate::connection::server_info::ServerInfo;
use crate::protocol::registry::Scopes;

pub(crate) use self::announcement::Announcement;

/// How long a session serves after it asked for its last renewal, by its own clock.
pub(crate) const LEASE: Duration = Duration::from_millis(400);
/// How long an invalidation waits for a session that is silent, by its own clock. The clocks of two machines may run at rates
/// that differ by a fifth: `WAIT / LEASE` is at least (1 + r) / (1 - r) for an error r of a tenth of each.
pub(crate) const WAIT: Duration = Duration::from_millis(500);
/// How long a server has to be up, as it says itself in whole seconds, for leases from before its start to have ended.
const UP_FOR_LONG: Duration = Duration::from_secs(2);
/// How long a value is served from memory before Redis is read again, which otherwise would evict what is read most.
const KEPT_FOR: Duration = Duration::from_secs(60);
/// Zones of a cluster.
const ZONES: usize = 64;

/// Values in memory, the registrations of this instance, and what is known of those of others.
///
/// Each zone of a cluster has a registry of its own, in a slot of that zone: an invalidation needs no server but those that hold
/// what it removes, and a server that is away ends what is served of its own zones only. One server has one zone.
#[derive(Debug)]
pub(crate) struct Near {
    /// `None` where this instance keeps nothing in memory; it waits for others all the same.
    pub(crate) cache: Option<NearCache>,
    /// The sessions whose values are served, by zone.
    sessions: Box<[ArcSwapOption<Session>]>,
    /// By zone.
    known: Box<[Mutex<Known>]>,
    /// Whether a registry of any zone was ever seen.
    has_seen: AtomicBool,
    condition: Mutex<Condition>,
    /// How many sessions a registry had at the last renewal.
    registered: AtomicU64,
    counts: Mutex<NearStats>,
    clock: Arc<dyn Clock>,
}

/// A change of values in one zone.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) zone: u8,
    pub(crate) scopes: Scopes,
    /// Whether it is a `set`, which does not wait for long.
    pub(crate) is_set: bool,
}

/// Whether values are served from memory, since when, and why some are not.
#[derive(Debug)]
struct Condition {
    state: NearState,
    cause: Option<String>,
    since: Timestamp,
}

impl Near {
    pub(crate) fn new(config: &RedisConfig, is_cluster: bool) -> Self {
        let clock = Arc::clone(&config.clock);
        // A restart of the server would bring removed values back.
        let near = config.near.as_ref().filter(|_| !config.trust_restart);
        let condition = Condition { state: NearState::Lapsed, cause: None, since: clock.now() };
        let zones = if is_cluster { ZONES } else { 1 };
        Self {
            cache: near.map(|near| NearCache::new(near).with_clock(Arc::clone(&clock)).kept_for(KEPT_FOR)),
            sessions: (0..zones).map(|_| ArcSwapOption::empty()).collect(),
            known: (0..zones).map(|_| Mutex::default()).collect(),
            has_seen: AtomicBool::new(false),
            condition: Mutex::new(condition),
            registered: AtomicU64::new(0),
            counts: Mutex::default(),
            clock,
        }
    }

    /// Finds the value of `key`, whose group is in `zone`, in memory, if the server of the registry is still in use. The caller
    /// checks that the server that issued the token of the value is, too.
    pub(crate) fn find(
        &self,
        key: &CacheKey,
        zone: u8,
        is_current: impl FnOnce(&Arc<ServerEpoch>) -> bool,
    ) -> Option<Lookup> {
        let (cache, session) = (self.cache.as_ref()?, self.slot(zone)?.load());
        let session = session.as_ref().filter(|session| is_current(&session.epoch))?;
        cache.find(key, &session.near)
    }

    /// Whether the value of `key` is in memory; `None` where nothing is kept there.
    pub(crate) fn holds(&self, key: &CacheKey, zone: u8) -> Option<bool> {
        let cache = self.cache.as_ref()?;
        Some(self.session(zone).is_some_and(|session| cache.holds(key, &session.near)))
    }

    /// Takes the token under which `key` is about to be read; `None` if what is found is not kept.
    pub(crate) fn token(&self, key: &CacheKey, zone: u8) -> Option<FillToken> {
        self.cache.as_ref()?;
        Some(self.slot(zone)?.load().as_ref()?.near.token(key))
    }

    /// Keeps what a read under `token` has found.
    pub(crate) fn keep(&self, key: &CacheKey, token: Option<FillToken>, found: &Lookup) {
        if let (Some(cache), Some(token)) = (&self.cache, token) {
            cache.put(key, token, found);
        }
    }

    /// Forgets what `change` concerns in the memory of this instance.
    pub(crate) fn forget(&self, change: &Change) {
        if let Some(session) = self.session(change.zone) {
            session.near.forget_each(change.scopes.iter());
        }
    }

    /// Notes the name of the registry of `zone`, if its server has one, by a reply that came at `at`.
    pub(crate) fn look(&self, zone: u8, registry: Option<String>, at: Instant) {
        if registry.is_some() {
            self.has_seen.store(true, Ordering::Relaxed);
        }
        self.known(zone, |known| known.look(registry, at));
    }

    /// Whether sessions may be registered that this instance has never heard of: it was registered itself, or has seen a registry.
    pub(crate) fn is_strict(&self) -> bool {
        self.has_seen.load(Ordering::Relaxed)
    }

    fn slot(&self, zone: u8) -> Option<&ArcSwapOption<Session>> {
        self.sessions.get(usize::from(zone))
    }

    /// Returns the session of `zone`, also if its lease has ended.
    fn session(&self, zone: u8) -> Option<Arc<Session>> {
        self.slot(zone)?.load_full()
    }

    fn known<T>(&self, zone: u8, use_it: impl FnOnce(&mut Known) -> T) -> Option<T> {
        self.known.get(usize::from(zone)).map(|known| use_it(&mut known.lock()))
    }

    /// Notes whether everything is served from memory, and why not.
    fn note(&self, cause: Option<String>) {
        let is_serving = |slot: &ArcSwapOption<Session>| {
            slot.load().as_ref().is_some_and(|session| session.near.is_serving(&*self.clock))
        };
        let state = if self.sessions.iter().all(is_serving) { NearState::Serving } else { NearState::Lapsed };
        let mut condition = self.condition.lock();
        if condition.state != state {
            condition.since = self.clock.now();
        }
        condition.state = state;
        if state == NearState::Serving {
            condition.cause = None;
        } else if cause.is_some() {
            condition.cause = cause;
        }
    }

    fn count(&self, count: impl FnOnce(&mut NearStats)) {
        count(&mut self.counts.lock());
    }

    pub(crate) fn stats(&self) -> Option<NearStats> {
        let NearStats { hits, outdated, entries, bytes, limit_bytes, .. } = self.cache.as_ref()?.stats();
        Some(NearStats { hits, outdated, entries, bytes, limit_bytes, ..self.counts.lock().clone() })
    }

    pub(crate) fn health(&self) -> Option<NearHealth> {
        self.cache.as_ref()?;
        // The lease may have ended since.
        self.note(None);
        let Condition { state, cause, since } = &*self.condition.lock();
        let sessions = self.registered.load(Ordering::Relaxed);
        Some(NearHealth { state: *state, since: *since, cause: cause.clone(), sessions })
    }
}

/// Whether leases that were granted at an earlier registry of this server have ended, as far as the server tells: it was not
/// started a moment ago, and has never removed a key for want of memory, so not a registry either.
fn has_lost_nothing(info: &ServerInfo) -> bool {
    info.evicted == 0 && info.uptime >= UP_FOR_LONG
}
