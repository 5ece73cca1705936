//! [`CacheBackend`]: the contract of a store.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

use crate::clock::{Clock, SystemClock};
use crate::entry::{BackendKind, Entry, FillOutcome, FillToken, Invalidated, Lookup, NewEntry};
use crate::error::Result;
use crate::health::{Explanation, Health};
use crate::invalidation::Invalidation;
use crate::key::CacheKey;
use crate::pattern::CachePattern;
use crate::stats::CacheStats;

/// One fill of a [`fill_many`](CacheBackend::fill_many).
#[derive(Debug, Clone)]
pub struct Fill {
    /// The key to fill.
    pub key: CacheKey,
    /// The token that the lookup of the key issued.
    pub token: FillToken,
    /// The value.
    pub entry: NewEntry,
}

/// A store of encoded values that never serves what was invalidated.
///
/// The trait is object safe and deals in bytes: types, single flight and fallback are the facade's. Any implementation
/// that passes the conformance suite (crate `cache-conformance`) can be plugged in. Five methods are required; the others
/// have defaults that a store replaces where it can do better. [`CacheBackendExt`] adds `delete`, `clear_pattern` and
/// `clear`.
///
/// # Contract
/// **Freshness.** A value whose load started before [`invalidate`](Self::invalidate) was called is never served to a
/// lookup that starts after it returned `Applied`, in this instance or another on the same store, and no crash
/// brings it back. A load starts when a lookup issues the token of its fill.
///
/// **Tokens.** Every lookup, hit or miss, issues a token. A fill stores only while that token is valid. Any
/// invalidation that covers the key, and any `set` of it, revokes all tokens issued before. Expiry, eviction and
/// fills need not. A token of another backend, of this one before it was reopened, and [`FillToken::never`] are refused.
/// A store may refuse more than it must, and may store or refuse a second fill with one token.
///
/// **Truth.** A hit returns exactly the bytes that were last stored for this key, or, from memory, those that an earlier
/// lookup of this instance found and that nothing has invalidated since. An entry that is damaged, of another
/// version or of another key is a miss. A store may forget any entry at any time.
///
/// **Expiry.** An entry is a miss from the end of its `expires_in` on, by a clock that cannot be set back within
/// the process; without one it never expires.
///
/// **Errors.** After an error of a lookup or a fill, at most a value is lost. After an error of an invalidation the caller
/// must treat it as not done, though it may have been done. No method panics.
///
/// **Wrappers** implement every method, so that no slower default is used: `#[deny(clippy::missing_trait_methods)]`.
#[async_trait]
pub trait CacheBackend: Debug + Send + Sync + 'static {
    /// The kind of this store.
    fn kind(&self) -> BackendKind;

    /// Promises that a pending call is polled again within this time, because the store watches its requests by a timer.
    /// The default, `None`, promises nothing.
    ///
    /// A caller that limits how long it waits needs a timer of its own only for a call that is still pending then. A timer
    /// is a good part of the cost of a hit that takes a few microseconds.
    fn polled_within(&self) -> Option<Duration> {
        None
    }

    /// Looks `key` up in the memory of this process, without asking the store; `None` if it is not there, or may be out of
    /// date. The default keeps nothing in memory.
    ///
    /// # Cost
    /// No wait, no I/O and no copy of the payload: callers ask this before [`lookup`](Self::lookup).
    fn at_hand(&self, _key: &CacheKey) -> Option<Lookup> {
        None
    }

    /// Looks `key` up and issues the token to fill it.
    ///
    /// # Errors
    /// Of kind `Unavailable`, `Timeout`, `Closed` or `Io`; the caller loads the value and does not fill.
    ///
    /// # Cancellation
    /// Dropping the future has no visible effect.
    async fn lookup(&self, key: &CacheKey) -> Result<Lookup>;

    /// Stores `entry` if `token` is still valid.
    ///
    /// # Errors
    /// `TooLarge` for a value over the store's limit for one entry (nothing is evicted for it), else as for
    /// [`lookup`](Self::lookup). The value may have been stored in spite of the error.
    ///
    /// # Cancellation
    /// The value may or may not be stored.
    async fn fill(&self, key: &CacheKey, token: FillToken, entry: NewEntry) -> Result<FillOutcome>;

    /// Stores `entry` in place of any other, and revokes the tokens of this key.
    ///
    /// `set` is for values that no database holds; values that were loaded are filled. It does **not** take part in
    /// freshness: it wins over a concurrent invalidation, one that timed out may be applied after a later invalidation,
    /// and after a crash the value before it may be back.
    ///
    /// # Errors
    /// As for [`fill`](Self::fill).
    async fn set(&self, key: &CacheKey, entry: NewEntry) -> Result<()>;

    /// Removes all of `what`: one transaction, one round trip.
    ///
    /// # Errors
    /// `NotDurable` when the store can neither remove it nor make certain that it is never seen; `Unavailable`,
    /// `Timeout` or `WritesRefused` when it could not be reached. The caller must treat it as not done.
    ///
    /// # Cancellation
    /// Once polled, it completes even if the future is dropped.
    async fn invalidate(&self, what: &[Invalidation]) -> Result<Invalidated>;

    /// Counts the entries that an [`invalidate`](Self::invalidate) of `what` would remove now; `None` where that is not
    /// known, which is the default. Removes nothing, and changes neither figures nor the order of use.
    ///
    /// # Errors
    /// As for [`lookup`](Self::lookup).
    ///
    /// # Cancellation
    /// Dropping the future has no visible effect.
    ///
    /// # Cost
    /// That of the search for what an invalidation removes: O(matches), or a scan for a pattern without a literal prefix.
    async fn count_matches(&self, _what: &Invalidation) -> Result<Option<u64>> {
        Ok(None)
    }

    /// Returns figures of this store and of this process's use of it. The default has none.
    ///
    /// # Cost
    /// O(1): no scan.
    async fn stats(&self) -> Result<CacheStats> {
        Ok(CacheStats { approximate: true, ..CacheStats::empty(self.kind()) })
    }

    /// Looks `key` up without issuing a token.
    async fn get(&self, key: &CacheKey) -> Result<Option<Entry>> {
        Ok(self.lookup(key).await?.entry)
    }

    /// Looks many keys up; the answers are in the order of `keys`.
    async fn lookup_many(&self, keys: &[CacheKey]) -> Result<Vec<Lookup>> {
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            found.push(self.lookup(key).await?);
        }
        Ok(found)
    }

    /// Fills many keys, each by its own token; the outcomes are in the order of `fills`.
    async fn fill_many(&self, fills: Vec<Fill>) -> Result<Vec<FillOutcome>> {
        let mut outcomes = Vec::with_capacity(fills.len());
        for Fill { key, token, entry } in fills {
            outcomes.push(self.fill(&key, token, entry).await?);
        }
        Ok(outcomes)
    }

    /// Looks many keys up without issuing tokens; the answers are in the order of `keys`.
    async fn get_many(&self, keys: &[CacheKey]) -> Result<Vec<Option<Entry>>> {
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            found.push(self.get(key).await?);
        }
        Ok(found)
    }

    /// Sets many keys; see [`set`](Self::set).
    async fn set_many(&self, entries: Vec<(CacheKey, NewEntry)>) -> Result<()> {
        for (key, entry) in entries {
            self.set(&key, entry).await?;
        }
        Ok(())
    }

    /// Describes the entry of `key`, and why the last lookup of it missed, without changing the order of eviction where
    /// that can be avoided.
    ///
    /// The default looks the key up and knows no cause of a miss.
    async fn explain(&self, key: &CacheKey) -> Result<Explanation> {
        let entry = self.get(key).await?;
        Ok(Explanation::of(key, self.kind(), entry.as_ref(), SystemClock.now()))
    }

    /// Returns the state of the store. The default is `Ok` since now.
    async fn health(&self) -> Health {
        Health::ok(self.kind(), SystemClock.now())
    }

    /// Writes what is pending and releases files and connections. Later calls fail with `Closed`; closing twice is no
    /// error.
    ///
    /// The default does nothing, for a store that has nothing to release: later calls go on to work.
    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

/// Shorthands for [`CacheBackend::invalidate`], implemented for every backend.
#[async_trait]
pub trait CacheBackendExt: CacheBackend {
    /// Removes one key; see [`invalidate`](CacheBackend::invalidate).
    async fn delete(&self, key: &CacheKey) -> Result<Invalidated> {
        self.invalidate(&[Invalidation::Key(key.clone())]).await
    }

    /// Removes every key that matches `pattern`; see [`invalidate`](CacheBackend::invalidate).
    async fn clear_pattern(&self, pattern: &CachePattern) -> Result<Invalidated> {
        self.invalidate(&[Invalidation::Pattern(pattern.clone())]).await
    }

    /// Removes everything, every scope included; see [`invalidate`](CacheBackend::invalidate).
    async fn clear(&self) -> Result<Invalidated> {
        self.invalidate(&[Invalidation::Everything]).await
    }
}

impl<B: CacheBackend + ?Sized> CacheBackendExt for B {}

/// Atomic counters and claims, in a name space of their own.
///
/// A counter is not a cached value: `get` does not see it and patterns do not clear it; [`reset`](Self::reset) does.
#[async_trait]
pub trait AtomicBackend: Debug + Send + Sync + 'static {
    /// Adds `by` to the counter `key`, which begins at 0, and returns the sum; it saturates at the ends of `i64`. It need not
    /// be durable: a crash may undo the last ones.
    ///
    /// # Errors
    /// `Unavailable` while the store is unreachable: the answer of another store would be wrong.
    async fn increment(&self, key: &CacheKey, by: i64) -> Result<i64>;

    /// Claims `key` unless it is claimed; `true` for the caller that claimed it.
    ///
    /// # Errors
    /// As for [`increment`](Self::increment).
    async fn add(&self, key: &CacheKey, value: bytes::Bytes) -> Result<bool>;

    /// Removes the counter and the claim of `key`.
    ///
    /// # Errors
    /// As for [`increment`](Self::increment).
    async fn reset(&self, key: &CacheKey) -> Result<()>;
}
