//! [`Expected`]: what a store may answer, after all that was done to it.

use std::collections::BTreeMap;

use cache_core::{CacheKey, Entry, Invalidation, Timestamp};

/// What each key may be, and which of the tokens handed out may still stand.
#[derive(Debug, Default)]
pub(super) struct Expected {
    keys: BTreeMap<CacheKey, Allowed>,
    /// By the number of the token: the key it is for, while it may stand.
    tokens: BTreeMap<usize, CacheKey>,
}

#[derive(Debug, Default)]
struct Allowed {
    /// What a hit may return now; a miss is always allowed.
    now: Vec<Entry>,
    /// All that was stored since the key was last invalidated: a crash may bring any of it back.
    stored: Vec<Entry>,
}

impl Expected {
    /// A read of `key` at `now` returned `entry`.
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

    /// A lookup of `key` handed out the token of `number`.
    pub(super) fn handed_out(&mut self, key: &CacheKey, number: usize) {
        self.tokens.insert(number, key.clone());
    }

    /// The tokens of the keys that `is_covered` no longer stand.
    pub(super) fn took_tokens(&mut self, is_covered: impl Fn(&CacheKey) -> bool) {
        self.tokens.retain(|_, key| !is_covered(key));
    }

    /// A fill of `key` by the token of `number` was accepted.
    pub(super) fn filled(&self, key: &CacheKey, number: usize) {
        assert!(self.tokens.contains_key(&number), "{key} was filled by a token that was taken away");
    }

    /// `entry` was stored under `key`.
    pub(super) fn stored(&mut self, key: &CacheKey, entry: Entry) {
        let allowed = self.keys.entry(key.clone()).or_default();
        allowed.now = vec![entry.clone()];
        allowed.stored.push(entry);
    }

    /// A fill failed: it may have been carried out if its token stood.
    pub(super) fn maybe_filled(&mut self, key: &CacheKey, number: usize, entry: Entry) {
        if self.tokens.contains_key(&number) {
            let allowed = self.keys.entry(key.clone()).or_default();
            allowed.now.push(entry.clone());
            allowed.stored.push(entry);
        }
    }

    /// `what` was removed.
    pub(super) fn invalidated(&mut self, what: &[Invalidation]) {
        let is_covered = |key: &CacheKey| what.iter().any(|what| what.matches(key.as_str()));
        self.keys.retain(|key, _| !is_covered(key));
        self.took_tokens(is_covered);
    }

    /// The process died: a value that was replaced may be back, one that was invalidated may not.
    pub(super) fn crashed(&mut self) {
        for allowed in self.keys.values_mut() {
            allowed.now.clone_from(&allowed.stored);
        }
    }
}
