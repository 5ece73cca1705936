//! [`MissLog`]: why recent lookups missed.

use std::collections::VecDeque;

use twox_hash::XxHash3_64;

use crate::health::MissCause;
use crate::invalidation::Invalidation;
use crate::key::CacheKey;

/// How many invalidations are kept for [`MissLog::invalidated`].
const MOST_INVALIDATIONS: usize = 1024;

/// Remembers why keys are absent and why their last lookup missed, for
/// [`Explanation::last_miss`](crate::Explanation::last_miss).
///
/// Keys are known by a 64-bit hash of the caller's choice, for instance [`hash`](Self::hash).
///
/// # Guarantees
/// - Memory is bounded: 16 bytes a slot, allocated once, and at most 1,024 invalidations.
/// - Each call is O(1); only [`missed`](Self::missed) compares a key that was [`stored`](Self::stored) with the
///   invalidations that are kept.
/// - An answer is the cause of the last miss of that hash, or `None` once another hash took its slot. It is never the
///   cause of another hash.
///
/// There is no lock inside: a store keeps the log under the lock of the entries that it describes.
#[derive(Debug)]
pub struct MissLog {
    /// Direct-mapped by the lowest bits of the hash: a newer key replaces an older one.
    slots: Box<[Slot]>,
    /// The latest invalidations, each with the epoch in which it was recorded.
    invalidations: VecDeque<(u32, Invalidation)>,
    /// Counts calls of [`invalidated`](Self::invalidated), from 1.
    epoch: u32,
}

#[derive(Debug, Default, Clone, Copy)]
struct Slot {
    hash: u64,
    /// The epoch in which an entry was last stored; 0 for none.
    stored_in: u32,
    /// Why the entry was removed, or its fill refused, since it was last stored.
    removed: Option<MissCause>,
    last_miss: Option<MissCause>,
}

impl MissLog {
    /// Makes a log of the most recent `slots` hashes, or fewer where two hashes share a slot.
    pub fn new(slots: usize) -> Self {
        Self {
            slots: vec![Slot::default(); slots.max(1)].into_boxed_slice(),
            invalidations: VecDeque::new(),
            epoch: 1,
        }
    }

    /// Hashes `key`. Two keys with one hash may be told each other's cause.
    pub fn hash(key: &CacheKey) -> u64 {
        XxHash3_64::oneshot(key.as_str().as_bytes())
    }

    /// Records that an entry was stored.
    ///
    /// Only stores that are not told of every removal need this; elsewhere the removal that comes first says more.
    pub fn stored(&mut self, hash: u64) {
        let epoch = self.epoch;
        let slot = self.slot(hash);
        (slot.stored_in, slot.removed) = (epoch, None);
    }

    /// Records why an entry is absent: it was removed, or its fill was refused.
    pub fn removed(&mut self, hash: u64, cause: MissCause) {
        self.slot(hash).removed = Some(cause);
    }

    /// Records invalidations whose entries the store cannot name: keys that were stored before, and match, are absent
    /// because they were invalidated.
    pub fn invalidated(&mut self, what: &[Invalidation]) {
        let epoch = self.epoch;
        self.invalidations.extend(what.iter().map(|what| (epoch, what.clone())));
        let surplus = self.invalidations.len().saturating_sub(MOST_INVALIDATIONS);
        self.invalidations.drain(..surplus);
        self.epoch = epoch.saturating_add(1);
    }

    /// Records a miss of `key`, whose hash is `hash`: because of `cause`, or because of what was recorded of the key.
    pub fn missed(&mut self, hash: u64, key: &CacheKey, cause: Option<MissCause>) {
        let Slot { stored_in, removed, .. } = *self.slot(hash);
        let why_absent = || {
            // Entries that the store evicted without telling are absent for a cause that is not known here.
            let is_later = |epoch: u32| stored_in != 0 && epoch >= stored_in;
            let mut latest = self.invalidations.iter().rev().take_while(|(epoch, _)| is_later(*epoch));
            let is_invalidated = latest.any(|(_, what)| what.matches(key.as_str()));
            if is_invalidated { MissCause::Invalidated } else { MissCause::Absent }
        };
        let cause = cause.or(removed).unwrap_or_else(why_absent);
        self.slot(hash).last_miss = Some(cause);
    }

    /// Why the last lookup of `hash` that missed did so, as far as it is remembered.
    pub fn last_miss(&self, hash: u64) -> Option<MissCause> {
        self.slots.get(self.position(hash)).filter(|slot| slot.hash == hash)?.last_miss
    }

    fn slot(&mut self, hash: u64) -> &mut Slot {
        let position = self.position(hash);
        let slot = self.slots.get_mut(position).expect("the position is reduced to the number of slots");
        if slot.hash != hash {
            *slot = Slot { hash, ..Slot::default() };
        }
        slot
    }

    #[expect(clippy::cast_possible_truncation, reason = "reduced to the number of slots first")]
    fn position(&self, hash: u64) -> usize {
        (hash % self.slots.len() as u64) as usize
    }
}

impl Default for MissLog {
    /// Makes a log of 4,096 hashes, for a store that keeps one.
    fn default() -> Self {
        Self::new(4096)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: usize) -> CacheKey {
        CacheKey::builder("user", id).build().unwrap()
    }

    #[test]
    fn the_latest_event_is_the_cause() {
        let mut log = MissLog::new(64);
        let (key, hash) = (key(5), MissLog::hash(&key(5)));
        let cause = |log: &mut MissLog| {
            log.missed(hash, &key, None);
            log.last_miss(hash)
        };
        assert_eq!(log.last_miss(hash), None);
        assert_eq!(cause(&mut log), Some(MissCause::Absent));
        log.removed(hash, MissCause::Evicted);
        assert_eq!(cause(&mut log), Some(MissCause::Evicted));
        log.stored(hash);
        assert_eq!(cause(&mut log), Some(MissCause::Absent), "evicted without a record");
        log.invalidated(&[Invalidation::Everything]);
        assert_eq!(cause(&mut log), Some(MissCause::Invalidated));
        log.removed(hash, MissCause::Refused);
        assert_eq!(cause(&mut log), Some(MissCause::Refused));
        log.stored(hash);
        assert_eq!(cause(&mut log), Some(MissCause::Absent), "stored after the invalidation");
        log.missed(hash, &key, Some(MissCause::Expired));
        assert_eq!(log.last_miss(hash), Some(MissCause::Expired));
    }

    #[test]
    fn an_invalidation_is_the_cause_for_stored_keys_that_it_matches() {
        let mut log = MissLog::new(1 << 16);
        for id in [1, 2] {
            log.stored(MissLog::hash(&key(id)));
        }
        log.invalidated(&[Invalidation::Key(key(1)), Invalidation::Key(key(3))]);
        let mut cause = |id| {
            let hash = MissLog::hash(&key(id));
            log.missed(hash, &key(id), None);
            log.last_miss(hash).unwrap()
        };
        assert_eq!(cause(1), MissCause::Invalidated);
        assert_eq!((cause(2), cause(3)), (MissCause::Absent, MissCause::Absent));
    }

    #[test]
    fn memory_is_bounded_and_a_hash_never_gets_the_cause_of_another() {
        let mut log = MissLog::new(16);
        for id in 0..3 * MOST_INVALIDATIONS {
            log.removed(id as u64, MissCause::Evicted);
            log.missed(id as u64, &key(id), None);
            assert_eq!(log.last_miss(id as u64 + 16), None);
            log.invalidated(&[Invalidation::Key(key(id))]);
        }
        assert_eq!((log.slots.len(), log.invalidations.len()), (16, MOST_INVALIDATIONS));
        assert_eq!(size_of::<Slot>(), 16);
    }
}
