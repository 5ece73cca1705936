//! [`Epochs`]: fill tokens of a store inside one process, in 32 KiB for any number of keys.
//!
//! A token holds two epochs: the one that covers all keys and that of its key's group (one of 4,096, by hash). An
//! invalidation advances the epochs that cover it, and a token is valid while both are unchanged. Where two groups share
//! an epoch, an invalidation of one also refuses fills of the other.

use std::fmt;
use std::num::NonZeroU64;

use twox_hash::XxHash3_64;

use crate::entry::FillToken;
use crate::invalidation::EpochScope;
use crate::key::CacheKey;
use crate::plants::{Plant, is_planted};
use crate::random::random_nonzero;
use crate::sync::atomic::{AtomicU64, Ordering};

const GROUPS: usize = 4096;

/// The epochs of one opening of a store.
pub struct Epochs {
    issuer: NonZeroU64,
    all: AtomicU64,
    groups: Box<[AtomicU64]>,
}

impl Epochs {
    /// Makes epochs of a new issuer: tokens issued before are not valid here.
    pub fn new() -> Self {
        Self {
            issuer: random_nonzero(),
            all: AtomicU64::new(0),
            groups: (0..GROUPS).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Issues a token for `key`.
    pub fn token(&self, key: &CacheKey) -> FillToken {
        let group = self.group(key.group()).load(Ordering::SeqCst);
        let all = self.all.load(Ordering::SeqCst);
        FillToken::new(self.issuer, u128::from(all) << 64 | u128::from(group))
    }

    /// Returns whether `token` is still valid for `key`.
    ///
    /// A backend calls this under the lock under which it inserts, and an invalidation takes that lock after it advanced
    /// the epoch. Otherwise:
    ///
    /// 1. The fill checks its token, which is valid.
    /// 2. An invalidation advances the epoch, removes the entries and returns.
    /// 3. The fill inserts its older value, and later lookups return it.
    pub fn is_valid(&self, key: &CacheKey, token: FillToken) -> bool {
        is_planted(Plant::NoFence) || self.token(key) == token
    }

    /// Revokes every token that `scope` covers.
    pub fn advance(&self, scope: EpochScope<'_>) {
        match scope {
            EpochScope::Group(group) => self.group(group).fetch_add(1, Ordering::SeqCst),
            EpochScope::All => self.all.fetch_add(1, Ordering::SeqCst),
        };
    }

    #[expect(clippy::indexing_slicing, reason = "the hash is reduced to the number of groups")]
    #[expect(clippy::cast_possible_truncation, reason = "reduced to 12 bits first")]
    fn group(&self, group: &str) -> &AtomicU64 {
        &self.groups[(XxHash3_64::oneshot(group.as_bytes()) % GROUPS as u64) as usize]
    }
}

impl Default for Epochs {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Epochs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Epochs").field("issuer", &self.issuer).field("all", &self.all).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advancing_an_epoch_revokes_the_tokens_it_covers_and_few_others() {
        let epochs = Epochs::new();
        let key = |id: u32| CacheKey::builder("image", id).part("metadata").build().unwrap();
        let tokens: Vec<_> = (0..1000).map(|id| epochs.token(&key(id))).collect();
        epochs.advance(EpochScope::Group(key(7).group()));
        assert!(!epochs.is_valid(&key(7), tokens[7]));
        let lost = (0..1000).filter(|id| !epochs.is_valid(&key(*id), tokens[*id as usize])).count();
        assert!(lost < 10, "{lost} of 1000 tokens lost by one group's invalidation");
        epochs.advance(EpochScope::All);
        assert!((0..1000).all(|id| !epochs.is_valid(&key(id), tokens[id as usize])));
    }

    #[test]
    fn tokens_of_another_opening_are_not_valid() {
        let key = CacheKey::builder("a", "b").build().unwrap();
        assert!(!Epochs::new().is_valid(&key, Epochs::new().token(&key)));
        assert!(!Epochs::new().is_valid(&key, FillToken::never()));
    }
}
