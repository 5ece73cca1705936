//! [`Health`] of a cache and [`Explanation`] of one key.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::clock::Timestamp;
use crate::entry::{BackendKind, Entry};
use crate::key::CacheKey;
use crate::panics;

/// The state of a cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    /// The state in one word.
    pub status: HealthStatus,
    /// The store that was configured.
    pub wanted: BackendKind,
    /// The store that is in use.
    pub active: BackendKind,
    /// The state of the circuit breaker; `None` without one.
    pub breaker: Option<BreakerState>,
    /// When this state began.
    pub since: Timestamp,
    /// Why the state is not `Ok`.
    pub cause: Option<String>,
    /// Invalidations in the journal, which the store has not acknowledged yet.
    pub journal_depth: u64,
    /// Where the journal is kept.
    pub journal: JournalKind,
    /// Panics that were caught inside the cache since the start of this process: in the application's log subscriber,
    /// metrics recorder, clock or backend, and in background tasks, which were restarted. Panics of loaders and commits
    /// are not counted: their callers get an error.
    pub panics: u64,
    /// The message of the last one.
    pub last_panic: Option<String>,
    /// The state of the memory in front of the store; `None` without one.
    pub near: Option<NearHealth>,
}

/// The state of the memory in front of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NearHealth {
    /// Whether values in memory are served.
    pub state: NearState,
    /// When this state began.
    pub since: Timestamp,
    /// Why they are not served.
    pub cause: Option<String>,
    /// How many instances keep values of this store in memory, as far as this one knows; each invalidation waits for the others.
    pub sessions: u64,
}

/// Whether values in memory are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NearState {
    /// They are.
    Serving,
    /// They are not: the store was not heard of in time, or is being registered at. Reads go to the store.
    Lapsed,
    /// They are never served at this store.
    Off,
}

impl Health {
    /// Makes the health of a store that works as configured.
    pub fn ok(backend: BackendKind, since: Timestamp) -> Self {
        let (panics, last_panic) = panics::counted();
        Self {
            status: if backend == BackendKind::Null { HealthStatus::Off } else { HealthStatus::Ok },
            wanted: backend,
            active: backend,
            breaker: None,
            since,
            cause: None,
            journal_depth: 0,
            journal: JournalKind::None,
            panics,
            last_panic: last_panic.map(|message| message.to_string()),
            near: None,
        }
    }

    /// Makes the health of a store that works in part, and why.
    pub fn degraded(backend: BackendKind, since: Timestamp, cause: impl Into<String>) -> Self {
        Self { status: HealthStatus::Degraded, cause: Some(cause.into()), ..Self::ok(backend, since) }
    }
}

/// One line for people: `degraded: disk is in use instead of redis: connection refused`.
impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, wanted, active, cause, journal_depth, .. } = self;
        write!(f, "{status}: {active} is in use")?;
        if wanted != active {
            write!(f, " instead of {wanted}")?;
        }
        if *journal_depth > 0 {
            write!(f, ", {journal_depth} invalidations wait for {wanted}")?;
        }
        match cause {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

/// The state of a cache in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// The wanted store answers.
    Ok,
    /// Something is wrong; requests are still answered.
    Degraded,
    /// Caching is switched off.
    Off,
}

impl fmt::Display for HealthStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Off => "off",
        })
    }
}

/// The state of a circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Redis is in use.
    Closed,
    /// Redis is away: the fallback store is in use.
    Open,
    /// Redis is being probed, or receives the invalidations that it missed; the fallback store is in use.
    HalfOpen,
}

/// Where a journal is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum JournalKind {
    /// There is no journal.
    None,
    /// In a file: they survive this process.
    File,
    /// In memory, because no file can be written: they are lost with this process.
    Memory,
}

/// What a backend knows of one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The key.
    pub key: String,
    /// Its group, which is invalidated together.
    pub group: String,
    /// The backend that reports this.
    pub backend: BackendKind,
    /// Whether a lookup would hit now.
    pub found: bool,
    /// Size of the encoded value in bytes.
    pub size_bytes: Option<u64>,
    /// Milliseconds since it was stored.
    pub age_ms: Option<u64>,
    /// Milliseconds until it expires; `None`: never, or not found.
    pub expires_in_ms: Option<u64>,
    /// How the value is encoded.
    pub codec: Option<&'static str>,
    /// Whether a lookup would find the value in the memory of this process; `None` where nothing is kept there.
    pub in_memory: Option<bool>,
    /// Why the last lookup of this process that missed did so, as far as it is remembered.
    pub last_miss: Option<MissCause>,
}

impl Explanation {
    /// Makes the explanation of `key` in `backend`, where it has `entry` at `now`; without a cause of the last miss.
    pub fn of(key: &CacheKey, backend: BackendKind, entry: Option<&Entry>, now: Timestamp) -> Self {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self {
            key: key.as_str().to_owned(),
            group: key.group().to_owned(),
            backend,
            found: entry.is_some(),
            size_bytes: entry.map(|entry| entry.payload.len() as u64),
            age_ms: entry.map(|entry| millis(now.saturating_since(entry.stored_at))),
            expires_in_ms: entry.and_then(|entry| Some(millis(entry.expires_at?.saturating_since(now)))),
            codec: entry.map(|entry| entry.codec.name()),
            in_memory: None,
            last_miss: None,
        }
    }
}

/// Why a lookup missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MissCause {
    /// The key was absent: never stored, or removed longer ago than this process remembers.
    Absent,
    /// It had expired.
    Expired,
    /// It was evicted to make room for others.
    Evicted,
    /// It was invalidated.
    Invalidated,
    /// Its fill was refused, because the value may have been older than an invalidation.
    Refused,
    /// Its bytes were damaged.
    Corrupt,
    /// It was stored by another version of the format or the type.
    ShapeChanged,
    /// The store could not be read at that moment; the entry may be there.
    Unavailable,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_reads_as_one_line() {
        let since = Timestamp::from_millis(0);
        assert_eq!(Health::ok(BackendKind::Disk, since).to_string(), "ok: disk is in use");
        let away = Health {
            wanted: BackendKind::Redis,
            journal_depth: 2,
            ..Health::degraded(BackendKind::Disk, since, "connection refused")
        };
        assert_eq!(
            away.to_string(),
            "degraded: disk is in use instead of redis, 2 invalidations wait for redis: connection refused"
        );
    }
}
