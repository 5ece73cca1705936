//! [`Expected`]: the answers that a store may give after a sequence of operations.

use std::collections::BTreeMap;

use cache_core::{CacheKey, Entry, Invalidation, Timestamp};

/// The entries that each key may have, and the tokens that may still be valid.
#[derive(Debug, Default)]
pub(super) struct Expected {
    keys: BTreeMap<CacheKey, Allowed>,
    /// The keys of the tokens that may be valid, by the number of the token.
    tokens: BTreeMap<usize, CacheKey>,
}

#[derive(Debug, Default)]
struct Allowed {
    /// The entries that a hit may return now; a miss is always allowed.
    now: Vec<Entry>,
    /// All entries stored since the key was last invalidated: a crash may bring any of them back.
    stored: Vec<Entry>,
}

impl Expected {
    /// Checks that a read of `key` at `now` may return `entry`.
    pub(super) fn read(&self, key: &CacheKey, entry: Option<&Entry>, now: Timestamp) {
        let Some(entry) = entry else { return };
        let allowed = self.keys.get(key).map(|allowed| allowed.now.as_slice()).unwrap_or_default();
        assert!(
            allowed.contains(entry),
            "{key} is a hit of {} bytes stored at {:?}; allowed are a miss and {:?}",
            entry.payload.len(),
            entry.stored_at,
            allowed.iter().map(|entry| (entry.payload.len(), entry.stored_at)).collect::<Vec<_>>()
        );
        assert!(entry.is_live(now), "{key} is a hit past its time: {:?} at {now:?}", entry.expires_at);
    }

    /// Notes that a lookup of `key` issued the token `number`.
    pub(super) fn handed_out(&mut self, key: &CacheKey, number: usize) {
        self.tokens.insert(number, key.clone());
    }

    /// Notes that the tokens of the keys that `is_covered` are revoked.
    pub(super) fn took_tokens(&mut self, is_covered: impl Fn(&CacheKey) -> bool) {
        self.tokens.retain(|_, key| !is_covered(key));
    }

    /// Checks that a fill of `key` by the token `number` may be accepted.
    pub(super) fn filled(&self, key: &CacheKey, number: usize) {
        assert!(self.tokens.contains_key(&number), "{key} was filled by a revoked token");
    }

    /// Notes that `entry` was stored under `key`.
    pub(super) fn stored(&mut self, key: &CacheKey, entry: Entry) {
        let allowed = self.keys.entry(key.clone()).or_default();
        allowed.now = vec![entry.clone()];
        allowed.stored.push(entry);
    }

    /// Notes that a fill failed: it may have been carried out if its token was valid.
    pub(super) fn maybe_filled(&mut self, key: &CacheKey, number: usize, entry: Entry) {
        if self.tokens.contains_key(&number) {
            let allowed = self.keys.entry(key.clone()).or_default();
            allowed.now.push(entry.clone());
            allowed.stored.push(entry);
        }
    }

    /// Notes that `what` was invalidated.
    pub(super) fn invalidated(&mut self, what: &[Invalidation]) {
        let is_covered = |key: &CacheKey| what.iter().any(|what| what.matches(key.as_str()));
        self.keys.retain(|key, _| !is_covered(key));
        self.took_tokens(is_covered);
    }

    /// Notes that the process died: a replaced value may be back, an invalidated one may not.
    pub(super) fn crashed(&mut self) {
        for allowed in self.keys.values_mut() {
            allowed.now.clone_from(&allowed.stored);
        }
    }
}
