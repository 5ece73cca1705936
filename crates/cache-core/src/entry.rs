//! The values that backends take and return: entries, lookups, fill tokens and outcomes.

use std::fmt::{self, Display};
use std::num::NonZeroU64;
use std::time::Duration;

use bytes::Bytes;
use serde::{Serialize, Serializer};

use crate::clock::{Monotonic, Timestamp};
use crate::codec_id::CodecId;

/// A value to be stored: its encoded bytes and how long it may be served.
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
    /// When the load of the value started, for stores that bound the age of the values they serve.
    pub load_started: Option<Monotonic>,
}

impl NewEntry {
    /// Makes an entry of raw bytes that lives until it is invalidated or evicted.
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

    /// Limits how long the entry is served, counted from when it is stored.
    #[must_use]
    pub fn expires_in(self, duration: Duration) -> Self {
        Self { expires_in: Some(duration), ..self }
    }

    /// Converts this into the [`Entry`] that a backend stores at `now`.
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
    /// When it expires: a lookup misses from then on; `None`: never.
    pub expires_at: Option<Timestamp>,
    /// When it becomes stale; `None`: not before it expires.
    pub fresh_until: Option<Timestamp>,
}

/// How far in the future an entry with a TTL may have been stored before lookups miss it: by how much the clocks of two
/// instances, or of one before and after a restart, may differ.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(5);

impl Entry {
    /// Returns whether the entry has not expired at `now`.
    ///
    /// An entry with a TTL that was stored more than five seconds in the future counts as expired: the clock was set
    /// back since, and its TTL cannot be trusted.
    pub fn is_live(&self, now: Timestamp) -> bool {
        match self.expires_at {
            None => true,
            Some(expires_at) => now < expires_at && self.stored_at <= now.saturating_add(CLOCK_TOLERANCE),
        }
    }

    /// Returns whether the entry is fresh at `now`; a stale one should be refreshed.
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        self.fresh_until.is_none_or(|until| now < until)
    }
}

/// The permission to fill a key: every lookup issues one, every invalidation revokes it.
///
/// A token is refused by any other backend, and by its own after that was reopened.
#[derive(Debug, Clone, Copy)]
pub struct FillToken {
    issuer: Option<NonZeroU64>,
    value: u128,
    is_shared: bool,
}

impl FillToken {
    /// Makes a token of `issuer`, which identifies one opening of a backend.
    pub fn new(issuer: NonZeroU64, value: u128) -> Self {
        Self { issuer: Some(issuer), value, is_shared: false }
    }

    /// Marks the token as one that an earlier lookup of another caller returned too.
    #[must_use]
    pub fn shared(self) -> Self {
        Self { is_shared: true, ..self }
    }

    /// The token of a lookup that could not get one: every fill refuses it, and it does not even equal itself.
    pub fn never() -> Self {
        Self { issuer: None, value: 0, is_shared: false }
    }

    /// Returns whether this is [`never`](Self::never).
    pub fn is_never(self) -> bool {
        self.issuer.is_none()
    }

    /// The issuer; `None` for [`never`](Self::never).
    pub fn issuer(self) -> Option<NonZeroU64> {
        self.issuer
    }

    /// The value, whose meaning is the issuer's.
    pub fn value(self) -> u128 {
        self.value
    }

    /// Returns whether an earlier lookup returned the token too, as far as the backend knows: its caller, perhaps in another
    /// instance, may be loading the value. Shared or not, tokens of one issuer and value are equal.
    pub fn is_shared(self) -> bool {
        self.is_shared
    }
}

impl PartialEq for FillToken {
    fn eq(&self, other: &Self) -> bool {
        !self.is_never() && self.issuer == other.issuer && self.value == other.value
    }
}

/// The result of a lookup: the entry, and the token to fill or refresh it.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// The live entry, if there is one.
    pub entry: Option<Entry>,
    /// The token for a [`fill`](crate::CacheBackend::fill) of this key.
    pub token: FillToken,
    /// The store that answered; of a cache with a fallback, the one that was in use at that moment.
    pub backend: BackendKind,
}

/// The outcome of a fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum FillOutcome {
    /// The value was stored.
    Stored,
    /// The value was not stored, because it may be older than an invalidation. Not an error: the caller returns its value.
    Refused,
}

/// The outcome of an invalidation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "an invalidation that was only journaled has not reached the other instances yet"]
pub enum Invalidated {
    /// No lookup in this store that starts later, in any instance or after a crash, returns a removed entry.
    Applied {
        /// Live entries removed; approximate on Redis.
        removed: u64,
    },
    /// No lookup of this instance that starts later returns a removed entry. The shared store was unreachable: other
    /// instances see the invalidation once this one reaches it again.
    Journaled {
        /// Entries removed from this instance's own store.
        removed: u64,
    },
}

impl Invalidated {
    /// The number of entries removed.
    pub fn removed(self) -> u64 {
        match self {
            Self::Applied { removed } | Self::Journaled { removed } => removed,
        }
    }
}

/// The kind of a store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BackendKind {
    /// Files of this instance.
    Disk,
    /// A Redis server that instances share.
    Redis,
    /// The memory of this process.
    Memory,
    /// No store: every value is loaded.
    #[default]
    Null,
    /// The disk store used while Redis is unreachable.
    Fallback,
    /// A store of the application, by name.
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
    fn the_token_never_does_not_equal_itself_or_any_other() {
        let never = FillToken::never();
        assert!(never != never);
        let token = FillToken::new(NonZeroU64::MIN, 0);
        assert!(token == token && token != never && token != FillToken::new(NonZeroU64::MAX, 0));
    }

    #[test]
    fn a_token_that_is_shared_equals_one_that_is_not() {
        let token = FillToken::new(NonZeroU64::MIN, 0);
        assert!(token.shared().is_shared() && !token.is_shared() && !FillToken::never().is_shared());
        assert_eq!(token.shared(), token);
    }

    #[test]
    fn an_entry_from_the_future_with_a_ttl_is_not_live() {
        let now = Timestamp::from_millis(1_000_000);
        let from = |millis| {
            NewEntry::new("x").expires_in(Duration::from_secs(60)).stored_at(Timestamp::from_millis(millis))
        };
        assert!(from(1_000_000).is_live(now) && from(1_005_000).is_live(now));
        assert!(!from(1_005_001).is_live(now) && !from(1_000_000 - 60_000).is_live(now));
        assert!(NewEntry::new("x").stored_at(Timestamp::from_millis(u64::MAX)).is_live(now));
    }
}
