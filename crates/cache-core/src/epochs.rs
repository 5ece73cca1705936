//! [`Epochs`]: the fence of a store inside one process, in 32 KiB whatever the number of keys.
//!
//! A token is the pair of the epoch that covers all keys and the epoch of its key's group (one of 4,096, by hash). An
//! invalidation bumps the epochs that cover it; equality decides. A collision of two groups only refuses a fill.

use std::fmt;
use std::num::NonZeroU64;

use xxhash_rust::xxh3::xxh3_64;

use crate::entry::FillToken;
use crate::invalidation::EpochScope;
use crate::key::CacheKey;
use crate::plants::{Plant, is_planted};
use crate::random::random_nonzero;
use crate::sync::atomic::{AtomicU64, Ordering};

const GROUPS: usize = 4096;

/// Epochs of one opening of a store; see the module's documentation.
pub struct Epochs {
    issuer: NonZeroU64,
    all: AtomicU64,
    groups: Box<[AtomicU64]>,
}

impl Epochs {
    /// Epochs of a new issuer: no token that was handed out before stands here.
    pub fn new() -> Self {
        Self {
            issuer: random_nonzero(),
            all: AtomicU64::new(0),
            groups: (0..GROUPS).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// The token that stands now for `key`.
    pub fn token(&self, key: &CacheKey) -> FillToken {
        let group = self.group(key.group()).load(Ordering::SeqCst);
        let all = self.all.load(Ordering::SeqCst);
        FillToken::new(self.issuer, u128::from(all) << 64 | u128::from(group))
    }

    /// Whether `token` still stands for `key`.
    ///
    /// A backend calls this under the lock under which it inserts, and an invalidation passes that lock after it bumped:
    /// otherwise an invalidation could run to its end between the check and the insertion.
    pub fn stands(&self, key: &CacheKey, token: FillToken) -> bool {
        is_planted(Plant::NoFence) || self.token(key) == token
    }

    /// Takes away every token that `scope` covers.
    pub fn bump(&self, scope: EpochScope<'_>) {
        match scope {
            EpochScope::Group(group) => self.group(group).fetch_add(1, Ordering::SeqCst),
            EpochScope::All => self.all.fetch_add(1, Ordering::SeqCst),
        };
    }

    #[expect(clippy::indexing_slicing, reason = "the hash is reduced to the number of groups")]
    #[expect(clippy::cast_possible_truncation, reason = "reduced to 12 bits first")]
    fn group(&self, group: &str) -> &AtomicU64 {
        &self.groups[(xxh3_64(group.as_bytes()) % GROUPS as u64) as usize]
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
    fn a_bump_takes_away_the_tokens_it_covers_and_few_others() {
        let epochs = Epochs::new();
        let key = |id: u32| CacheKey::builder("image", id).part("metadata").build().unwrap();
        let tokens: Vec<_> = (0..1000).map(|id| epochs.token(&key(id))).collect();
        epochs.bump(EpochScope::Group(key(7).group()));
        assert!(!epochs.stands(&key(7), tokens[7]));
        let lost = (0..1000).filter(|id| !epochs.stands(&key(*id), tokens[*id as usize])).count();
        assert!(lost < 10, "{lost} of 1000 tokens lost by one group's invalidation");
        epochs.bump(EpochScope::All);
        assert!((0..1000).all(|id| !epochs.stands(&key(id), tokens[id as usize])));
    }

    #[test]
    fn tokens_of_another_opening_do_not_stand() {
        let key = CacheKey::builder("a", "b").build().unwrap();
        assert!(!Epochs::new().stands(&key, Epochs::new().token(&key)));
        assert!(!Epochs::new().stands(&key, FillToken::never()));
    }
}
