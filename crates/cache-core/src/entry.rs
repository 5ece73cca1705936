//! What goes into a backend and comes out of it: entries, lookups, fill tokens and their outcomes.

use std::fmt::{self, Display};
use std::num::NonZeroU64;
use std::time::Duration;

use bytes::Bytes;
use serde::{Serialize, Serializer};

use crate::clock::{Monotonic, Timestamp};
use crate::codec_id::CodecId;

/// A value on its way into a backend: its encoded bytes and how long it may be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    /// The encoded value.
    pub payload: Bytes,
    /// How `payload` is encoded.
    pub codec: CodecId,
    /// The shape hash of the value's type; 0 for raw bytes.
    pub shape: u64,
    /// How long the entry may be served. Default: until it is invalidated or evicted.
    pub expires_in: Option<Duration>,
    /// How long the entry counts as fresh, for stale-while-revalidate. Default: as long as it lives.
    pub fresh_for: Option<Duration>,
    /// When the load that made the value began, for stores that bound the age of what they serve.
    pub load_started: Option<Monotonic>,
}

impl NewEntry {
    /// An entry of raw bytes that lives until it is invalidated or evicted.
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self {
            payload: payload.into(),
            codec: CodecId::Raw,
            shape: 0,
            expires_in: None,
            fresh_for: None,
            load_started: None,
        }
    }

    /// The same entry, served for `duration` at most, counted from when it is stored.
    #[must_use]
    pub fn expires_in(self, duration: Duration) -> Self {
        Self { expires_in: Some(duration), ..self }
    }

    /// This entry as a backend keeps it when it is stored at `now`.
    pub fn stored_at(self, now: Timestamp) -> Entry {
        let Self { payload, codec, shape, expires_in, fresh_for, load_started: _ } = self;
        Entry {
            payload,
            codec,
            shape,
            stored_at: now,
            expires_at: expires_in.map(|duration| now.saturating_add(duration)),
            fresh_until: fresh_for.map(|duration| now.saturating_add(duration)),
        }
    }
}

/// A stored value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The encoded value.
    pub payload: Bytes,
    /// How `payload` is encoded.
    pub codec: CodecId,
    /// The shape hash of the value's type; 0 for raw bytes.
    pub shape: u64,
    /// When it was stored.
    pub stored_at: Timestamp,
    /// From when on it is a miss; `None`: never.
    pub expires_at: Option<Timestamp>,
    /// Until when it is fresh; `None`: as long as it lives.
    pub fresh_until: Option<Timestamp>,
}

/// How far in the future an entry with a TTL may have been stored before it is a miss: the clocks of two instances, or
/// of one before and after a restart, may differ this much.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(5);

impl Entry {
    /// Whether the entry may be served at `now`, as far as time is concerned.
    ///
    /// An entry with a TTL that was stored more than five seconds in the future may not: the clock was set back since,
    /// and its TTL cannot be trusted.
    pub fn is_live(&self, now: Timestamp) -> bool {
        match self.expires_at {
            None => true,
            Some(expires_at) => now < expires_at && self.stored_at <= now.saturating_add(CLOCK_TOLERANCE),
        }
    }

    /// Whether the entry is fresh at `now`; otherwise it is stale and ought to be refreshed.
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        self.fresh_until.is_none_or(|until| now < until)
    }
}

/// The permission to fill a key, handed out by every lookup and taken away by every invalidation.
///
/// A token is worthless at any other backend, and at this one after it was reopened.
#[derive(Debug, Clone, Copy)]
pub struct FillToken {
    issuer: u64,
    value: u128,
}

impl FillToken {
    /// A token of `issuer`: a backend instance in one generation and incarnation.
    pub fn new(issuer: NonZeroU64, value: u128) -> Self {
        Self { issuer: issuer.get(), value }
    }

    /// The token of a lookup that could not get one. It is refused by every fill and equals nothing, itself included.
    pub fn never() -> Self {
        Self { issuer: 0, value: 0 }
    }

    /// Whether this is [`never`](Self::never).
    pub fn is_never(self) -> bool {
        self.issuer == 0
    }

    /// Who issued it; `None` for [`never`](Self::never).
    pub fn issuer(self) -> Option<NonZeroU64> {
        NonZeroU64::new(self.issuer)
    }

    /// What the issuer put into it.
    pub fn value(self) -> u128 {
        self.value
    }
}

impl PartialEq for FillToken {
    fn eq(&self, other: &Self) -> bool {
        !self.is_never() && self.issuer == other.issuer && self.value == other.value
    }
}

/// What a lookup found, and the permission to fill what it did not find or what is to be refreshed.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// The live entry, if there is one.
    pub entry: Option<Entry>,
    /// The token for a [`fill`](crate::CacheBackend::fill) of the same key.
    pub token: FillToken,
    /// The store that answered: of a fallback, the one that was asked, whichever serves by now.
    pub backend: BackendKind,
}

/// What became of a fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum FillOutcome {
    /// The value is stored.
    Stored,
    /// The value is not stored, because it may be older than an invalidation. No error: the caller returns its value.
    Refused,
}

/// How far an invalidation has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "an invalidation that was only journaled has not reached the other instances yet"]
pub enum Invalidated {
    /// No read of this store that starts from now on, in any instance, sees what was removed; nor after a crash.
    Applied {
        /// How many live entries were removed; approximate on Redis.
        removed: u64,
    },
    /// The same for this instance. The shared store was away: others follow when this instance reaches it again.
    Journaled {
        /// How many entries of this instance's own store were removed.
        removed: u64,
    },
}

impl Invalidated {
    /// How many entries were removed.
    pub fn removed(self) -> u64 {
        match self {
            Self::Applied { removed } | Self::Journaled { removed } => removed,
        }
    }

    /// Both together: `Applied` only if both are.
    pub fn and(self, other: Self) -> Self {
        let removed = self.removed().saturating_add(other.removed());
        match (self, other) {
            (Self::Applied { .. }, Self::Applied { .. }) => Self::Applied { removed },
            _ => Self::Journaled { removed },
        }
    }
}

/// Which store a backend is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BackendKind {
    /// Files of this instance.
    Disk,
    /// A Redis that instances share.
    Redis,
    /// The memory of this process.
    Memory,
    /// No store: everything is loaded.
    Null,
    /// The disk store that stands in while Redis is away.
    Fallback,
    /// A store of the user's own, by name.
    Custom(&'static str),
}

impl BackendKind {
    /// The name in logs, metrics and statistics; a cache without a store is `none`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Redis => "redis",
            Self::Memory => "memory",
            Self::Null => "none",
            Self::Fallback => "fallback",
            Self::Custom(name) => name,
        }
    }
}

impl Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for BackendKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_equals_nothing_not_even_itself() {
        let never = FillToken::never();
        assert!(never != never);
        let token = FillToken::new(NonZeroU64::MIN, 0);
        assert!(token == token && token != never && token != FillToken::new(NonZeroU64::MAX, 0));
    }

    #[test]
    fn an_entry_from_the_future_with_a_ttl_is_not_live() {
        let now = Timestamp::from_millis(1_000_000);
        let from = |millis| {
            NewEntry::new("x").expires_in(Duration::from_mins(1)).stored_at(Timestamp::from_millis(millis))
        };
        assert!(from(1_000_000).is_live(now) && from(1_005_000).is_live(now));
        assert!(!from(1_005_001).is_live(now) && !from(1_000_000 - 60_000).is_live(now));
        assert!(NewEntry::new("x").stored_at(Timestamp::from_millis(u64::MAX)).is_live(now));
    }

    #[test]
    fn what_was_journaled_in_part_is_not_applied() {
        let applied = Invalidated::Applied { removed: 2 };
        assert_eq!(applied.and(applied), Invalidated::Applied { removed: 4 });
        assert_eq!(applied.and(Invalidated::Journaled { removed: 1 }), Invalidated::Journaled { removed: 3 });
    }
}
