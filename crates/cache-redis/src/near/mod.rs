//! [`Near`]: values in the memory of this instance, as fresh as the server.
//!
//! Instances that keep values in memory are registered in the server. A `session` holds the registration, reads the log of
//! changes, forgets what they concern and acknowledges them; each renewal grants it a lease of [`LEASE`]. An invalidation, by an
//! instance with or without memory, removes, is announced, and returns when every registered session has acknowledged it, or
//! when no lease from before can last any more ([`WAIT`]); see `announcement`.
//!
//! The order of each side matters ("docs/decisions/0022"): an invalidation removes, announces, then waits. A session forgets,
//! then acknowledges. A read looks at the lease, takes the value, then compares its token. A value that is read from the server
//! carries a token that was taken before the request.
//!
//! Messages only make it fast: the loss of any of them, or of the registry, costs time or the content of the memory.

mod announcement;
mod known;
mod session;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use cache_core::{
    CacheKey, Clock, FillToken, Invalidation, Lookup, NearCache, NearHealth, NearSession, NearState,
    NearStats, Timestamp,
};
use parking_lot::Mutex;
use tokio::time::Instant;

use self::known::Known;
use crate::config::RedisConfig;
use crate::connection::server_epoch::ServerEpoch;
use crate::connection::server_info::ServerInfo;
use crate::protocol::registry::Registry;

pub(crate) use self::announcement::Announcement;

/// How long a session serves after it asked for its last renewal, by its own clock.
pub(crate) const LEASE: Duration = Duration::from_millis(400);
/// How long an invalidation waits for a session that is silent, by its own clock. The clocks of two machines may run at rates
/// that differ by a fifth: `WAIT / LEASE` is at least (1 + r) / (1 - r) for an error r of a tenth of each.
pub(crate) const WAIT: Duration = Duration::from_millis(500);
/// How long a server has to be up, as it says itself in whole seconds, for leases from before its start to have ended.
const UP_FOR_LONG: Duration = Duration::from_secs(2);

/// Values in memory, the registration of this instance, and what is known of that of others.
#[derive(Debug)]
pub(crate) struct Near {
    /// `None` where this instance keeps nothing in memory; it waits for others all the same.
    pub(crate) cache: Option<NearCache>,
    /// The session whose values are served.
    session: ArcSwapOption<Session>,
    known: Mutex<Known>,
    condition: Mutex<Condition>,
    /// How many sessions there were at the last renewal.
    sessions: AtomicU64,
    counts: Mutex<NearStats>,
    clock: Arc<dyn Clock>,
}

/// One registration of this instance.
#[derive(Debug)]
pub(crate) struct Session {
    /// A name that no other registration has.
    id: String,
    registry: Registry,
    /// The run of the server at which it is registered.
    epoch: Arc<ServerEpoch>,
    near: NearSession,
}

/// Why nothing is served from memory, if that is so, and since when.
#[derive(Debug)]
struct Condition {
    state: NearState,
    cause: Option<String>,
    since: Timestamp,
}

impl Near {
    pub(crate) fn new(config: &RedisConfig, is_cluster: bool) -> Self {
        let clock = Arc::clone(&config.clock);
        let refusal = refusal(config, is_cluster);
        let near = config.near.as_ref().filter(|_| refusal.is_none());
        if let Some(refusal) = refusal.filter(|_| config.near.is_some()) {
            cache_core::log::warn!("Redis: no values are kept in memory, because {refusal}");
        }
        let cache = near.map(|near| NearCache::new(near).with_clock(Arc::clone(&clock)));
        let condition = Condition { state: NearState::Lapsed, cause: None, since: clock.now() };
        Self {
            cache,
            session: ArcSwapOption::empty(),
            known: Mutex::default(),
            condition: Mutex::new(condition),
            sessions: AtomicU64::new(0),
            counts: Mutex::default(),
            clock,
        }
    }

    /// Finds the value of `key` in memory, if the server whose values are there is still in use.
    pub(crate) fn find(
        &self,
        key: &CacheKey,
        is_current: impl FnOnce(&Arc<ServerEpoch>) -> bool,
    ) -> Option<Lookup> {
        let cache = self.cache.as_ref()?;
        let session = self.session.load();
        let session = session.as_ref()?;
        if is_current(&session.epoch) { cache.find(key, &session.near) } else { None }
    }

    /// Whether the value of `key` is in memory; `None` where nothing is kept there.
    pub(crate) fn holds(&self, key: &CacheKey) -> Option<bool> {
        let cache = self.cache.as_ref()?;
        Some(self.session.load().as_ref().is_some_and(|session| cache.holds(key, &session.near)))
    }

    /// Takes the token under which `key` is about to be read at `epoch`; `None` if what is found there is not kept.
    pub(crate) fn token(&self, key: &CacheKey, epoch: &Arc<ServerEpoch>) -> Option<FillToken> {
        self.cache.as_ref()?;
        let session = self.session.load();
        let session = session.as_ref().filter(|session| Arc::ptr_eq(&session.epoch, epoch))?;
        Some(session.near.token(key))
    }

    /// Keeps what a read under `token` has found.
    pub(crate) fn keep(&self, key: &CacheKey, token: Option<FillToken>, found: &Lookup) {
        if let (Some(cache), Some(token)) = (&self.cache, token) {
            cache.put(key, token, found);
        }
    }

    /// Notes the name of the registry, if the server has one; asked at `asked`.
    pub(crate) fn look(&self, registry: Option<String>, asked: Instant) {
        self.known.lock().look(registry, asked);
    }

    /// Forgets what `what` concerns in the memory of this instance.
    pub(crate) fn forget(&self, what: &[Invalidation]) {
        if let Some(session) = self.session.load().as_ref() {
            session.near.forget_each(what.iter().map(Invalidation::epoch_scope));
        }
    }

    /// Whether sessions may be registered that this instance has never heard of: it keeps values in memory itself, or a registry
    /// was seen.
    pub(crate) fn is_strict(&self) -> bool {
        self.cache.is_some() || self.known.lock().has_seen()
    }

    /// Sets why nothing is served; `None` if values are. Returns whether that has changed.
    fn note(&self, state: NearState, cause: Option<String>) -> bool {
        let mut condition = self.condition.lock();
        let has_changed = condition.state != state;
        if has_changed {
            condition.since = self.clock.now();
        }
        (condition.state, condition.cause) = (state, cause);
        has_changed
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
        let Condition { state, cause, since } = &*self.condition.lock();
        let sessions = self.sessions.load(Ordering::Relaxed);
        let is_serving =
            self.session.load().as_ref().is_some_and(|session| session.near.is_serving(&*self.clock));
        let state = if *state == NearState::Serving && !is_serving { NearState::Lapsed } else { *state };
        Some(NearHealth { state, since: *since, cause: cause.clone(), sessions })
    }
}

/// Returns why no values can be kept in memory in front of a server with these settings.
fn refusal(config: &RedisConfig, is_cluster: bool) -> Option<&'static str> {
    if config.trust_restart {
        Some("REDIS_TRUST_RESTART lets a server bring removed values back")
    } else if is_cluster {
        Some("that is not supported in front of a Redis cluster yet")
    } else {
        None
    }
}

/// Whether leases that were granted at an earlier registry of this server have ended, as far as the server tells: it was not
/// started a moment ago, and has never removed a key for want of memory, so not a registry either.
fn has_lost_nothing(info: &ServerInfo) -> bool {
    info.evicted == 0 && info.uptime >= UP_FOR_LONG
}
