//! What a cache says about itself: its state, and where one key stands.

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::clock::Timestamp;
use crate::entry::{BackendKind, Entry};
use crate::key::CacheKey;
use crate::panics;

/// The state of a cache as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    /// In one word.
    pub status: HealthStatus,
    /// The store that was configured.
    pub wanted: BackendKind,
    /// The store that answers now.
    pub active: BackendKind,
    /// Whether calls go to the wanted store; `None` where there is no breaker.
    pub breaker: Option<BreakerState>,
    /// Since when this has been the state.
    #[serde(serialize_with = "as_millis")]
    pub since: Timestamp,
    /// Why the state is not `Ok`.
    pub cause: Option<String>,
    /// Invalidations that are kept for a store that has not acknowledged them.
    pub journal_depth: u64,
    /// Where they are kept.
    pub journal: JournalKind,
    /// Panics since the start of this process that ended inside the cache: of the application's log subscriber, metrics
    /// recorder, clock or backend, and of background work, which was begun again. Those of loaders and commits are not
    /// counted, because their callers are told.
    pub panics: u64,
    /// The message of the last of them.
    pub last_panic: Option<String>,
}

impl Health {
    /// The health of a store that works as configured.
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
        }
    }

    /// The health of a store that works in part, and why.
    pub fn degraded(backend: BackendKind, since: Timestamp, cause: impl Into<String>) -> Self {
        Self { status: HealthStatus::Degraded, cause: Some(cause.into()), ..Self::ok(backend, since) }
    }
}

/// The state of a cache in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// The wanted store answers.
    Ok,
    /// Something is wrong; requests are answered all the same.
    Degraded,
    /// Caching is switched off.
    Off,
}

/// Whether calls are let through to a store that may be away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Calls go through.
    Closed,
    /// No call goes through.
    Open,
    /// One call goes through, to see.
    HalfOpen,
}

/// Where invalidations wait that a store has not acknowledged.
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

/// Where one key stands in a backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The key.
    pub key: String,
    /// Its group: what is invalidated with it.
    pub group: String,
    /// The backend that was asked.
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
    /// Why the last lookup in this process that missed did so, as far as it is still known.
    pub last_miss: Option<MissCause>,
}

impl Explanation {
    /// The explanation of `key` in `backend`, which holds `entry` for it at `now`; without a cause of the last miss.
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
            last_miss: None,
        }
    }
}

/// Why a lookup missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MissCause {
    /// The key was not there: never stored, or gone longer than this process remembers.
    Absent,
    /// Its time was over.
    Expired,
    /// It made room for others.
    Evicted,
    /// It was invalidated.
    Invalidated,
    /// A fill was refused, because its value may have been older than an invalidation.
    Refused,
    /// What was stored was damaged.
    Corrupt,
    /// What was stored is of another version of the format or the type.
    ShapeChanged,
    /// The store could not be read at that moment: it may be there.
    Unavailable,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field by reference")]
fn as_millis<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(at.as_millis())
}
