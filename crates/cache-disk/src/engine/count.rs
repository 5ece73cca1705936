//! Counts the entries that an invalidation would remove.

use std::collections::HashSet;

use cache_core::plants::{Plant, is_planted};
use cache_core::{Error, ErrorKind, Invalidation, Result};

use super::DiskEngine;
use crate::store::Meta;

/// Keys that are looked at in one snapshot: a snapshot that is in use keeps pages from being freed. Fewer in tests.
const KEYS_AT_ONCE: usize = if cfg!(feature = "testing") { 16 } else { 16_384 };

impl DiskEngine {
    /// Counts the entries that `what` matches; `None` while the index is loaded, and once `is_wanted` says that the count
    /// is not waited for any more.
    ///
    /// Blocks the thread for as long as the search takes. What is stored or removed meanwhile may be counted or not.
    pub(crate) fn count_matches(
        &self,
        what: &Invalidation,
        is_wanted: impl Fn() -> bool,
    ) -> Result<Option<u64>> {
        if !self.is_complete() {
            return Ok(None);
        }
        if let Invalidation::Key(key) = what {
            let hash = self.index.hash(key.as_str());
            return Ok(Some(self.index.shard(hash).peek(hash).is_some().into()));
        }
        // Before the first snapshot, which then holds every entry that is not among these. The other way round, an entry that
        // is written between the two would be in neither.
        let shards = self.index.shards().filter(|_| !is_planted(Plant::UnwrittenUncounted));
        let hash_of = |key: &str| what.matches(key).then(|| self.index.hash(key));
        let unwritten: HashSet<u64> = shards.flat_map(|shard| shard.of_unwritten(hash_of)).collect();
        let mut count = unwritten.len() as u64;
        let mut from = String::new();
        loop {
            // Once the database is reopened, the index is loaded anew.
            if !is_wanted() || !self.is_complete() {
                return Ok(None);
            }
            let Some(snapshot) = self.snapshot.load_full() else {
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    "cannot count: the database is being reopened",
                ));
            };
            let is_live = |key: &str, meta: Meta| {
                let hash = self.index.hash(key);
                !unwritten.contains(&hash) && self.index.shard(hash).holds(hash, meta.at.id)
            };
            let each = |key: &str, meta: Meta| count += u64::from(is_live(key, meta));
            let rest = snapshot.scan_matches(what, &from, KEYS_AT_ONCE, each);
            match rest.map_err(|fault| fault.into_error("cannot count"))? {
                Some(rest) => from = rest,
                None => return Ok(self.is_complete().then_some(count)),
            }
        }
    }
}
