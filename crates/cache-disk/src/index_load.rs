//! Loading the index from the database, on a thread of its own; reads go on meanwhile.
//!
//! The loader inserts only keys that the index does not know. If an entry that it read from an old snapshot was removed
//! since, its row is gone (invalidations leave no garbage during a load), so it cannot be served, and it leaves the index
//! when it is next looked up. Blocks can be read until they are freed: an invalidation notes the keys that it removes, and
//! the loader passes them over. Before it inserts a key, it has checked that it is where a search for it goes: in a damaged
//! file a key can be hidden from the invalidation of its group.
//!
//! A crash can leave rows whose blocks were never written, which are removed, and blocks that no row leads to, which are freed.

use std::iter;
use std::ops::Range;
use std::sync::Arc;

use cache_core::CacheKey;
use cache_core::panics::{caught, contained, count};
use cache_core::sync::atomic::Ordering;

use crate::engine::DiskEngine;
use crate::error::Fault;
use crate::index::{Index, PendingRemoval, UsageOrder};
use crate::queue::Command;

/// Keys that are read from one snapshot.
const CHUNK: usize = 10_000;

/// Begins a load, and returns its number: from now on, keys that the index does not know are looked up in the database.
pub(crate) fn begin(engine: &DiskEngine) -> u64 {
    engine.load.begin(|| engine.queue.write_behind(|queued| queued.hashes()))
}

/// Ends load `number` unless another has begun: the index is complete.
pub(crate) fn end(engine: &DiskEngine, number: u64) {
    for hash in engine.load.end(number) {
        engine.index.shard(hash).find(hash, engine.index.tick());
    }
}

/// Starts the thread of load `number`.
pub(crate) fn spawn(engine: &Arc<DiskEngine>, order: UsageOrder, number: u64) -> Result<(), Fault> {
    let engine = Arc::clone(engine);
    let started = cache_core::sync::spawn("cache-disk-load", move || {
        let Err(message) = caught(|| load(&engine, &order, number)) else { return };
        count(Arc::clone(&message));
        // The index would stay incomplete: the file is reopened or replaced.
        if let Some(snapshot) = engine.snapshot.load_full() {
            contained(|| engine.read_failed(&snapshot, Fault::Panicked(message.to_string())));
        }
    });
    started.map(drop).map_err(|error| Fault::Redb(redb::Error::Io(error)))
}

/// Reads all keys and inserts them in the saved `order`, behind the entries that were used since.
fn load(engine: &DiskEngine, order: &UsageOrder, number: u64) {
    let boundary = engine.next_id.load(Ordering::SeqCst);
    let Some(first) = engine.snapshot.load_full() else { return };
    let (opening, values) = (first.opening, first.values());
    drop(first);
    // A file system that cannot tell has no entry removed, and all blocks freed that no entry has.
    let data = values.data().unwrap_or_else(|_| iter::once(0..boundary).collect());
    let now = engine.index.tick();
    let (mut entries, mut lost) = (Vec::new(), Vec::new());
    let mut after = Some(String::new());
    while let Some(from) = after {
        let Some(snapshot) = engine.snapshot.load_full() else { return };
        let read = snapshot.scan(&from, CHUNK, |key, meta| {
            // A key that does not parse was not written in this format; its rows go with the file.
            let Ok(key) = CacheKey::parse(key) else { return };
            let hash = engine.index.hash(key.as_str());
            if meta.at.blocks() > 0 && !is_within(&data, meta.at.id) {
                lost.push(PendingRemoval { hash, at: meta.at, key: Some(key) });
            } else {
                let family = engine.index.families.id(key.family());
                entries.push((
                    hash,
                    family,
                    key,
                    meta,
                    UsageOrder::PARTS - u32::from(order.part(meta.at.id)),
                ));
            }
        });
        match read {
            Ok(end) => after = end,
            // Reopening the file starts another load.
            Err(fault) => return engine.read_failed(&snapshot, fault),
        }
        // A shard stays in the processor's cache while its entries are inserted.
        entries.sort_unstable_by_key(|(hash, ..)| Index::shard_of(*hash));
        for (hash, family, key, meta, age) in entries.drain(..) {
            let mut shard = engine.index.shard(hash);
            // Under the lock of the shard, which is passed after the next load has begun.
            let Some(is_superseded) = engine.load.is_superseded(number, hash) else { return };
            let is_known = shard.holds(hash, meta.at.id);
            if !is_known && (is_superseded || !shard.insert_oldest(hash, family, meta, now.wrapping_sub(age)))
            {
                // Replaced meanwhile, or another key has the same hash: its rows would never be evicted.
                engine.queue.push_removal(PendingRemoval { hash, at: meta.at, key: Some(key) });
            }
        }
    }
    engine.index.shards().for_each(|mut shard| shard.sort_unused(now));
    // Nothing is evicted before the index is complete: what leaves until then is removed with its blocks.
    let live = engine.index.in_blocks();
    end(engine, number);
    engine.queue_removals(lost);
    let below = |range: Range<u64>| range.start..range.end.min(boundary);
    let blocks = without(&data, live.iter().map(|at| at.id..at.end())).map(below);
    let blocks = blocks.filter(|range| !range.is_empty()).collect();
    // By the writer: another opening of the file, or another process, may have them by now.
    engine.queue.push(Command::Free { opening, blocks });
}

/// Whether one of the ascending `ranges` contains `id`.
fn is_within(ranges: &[Range<u64>], id: u64) -> bool {
    let behind = ranges.partition_point(|range| range.end <= id);
    ranges.get(behind).is_some_and(|range| range.contains(&id))
}

/// The parts of the ascending ranges `all` that none of `taken` covers, which ascend, too.
fn without(all: &[Range<u64>], taken: impl Iterator<Item = Range<u64>>) -> impl Iterator<Item = Range<u64>> {
    let mut left = Vec::new();
    let mut taken = taken.peekable();
    for range in all {
        let mut start = range.start;
        while start < range.end {
            match taken.peek() {
                Some(next) if next.end <= start => drop(taken.next()),
                Some(next) if next.start < range.end => {
                    left.push(start..next.start.max(start));
                    start = next.end;
                }
                _ => {
                    left.push(start..range.end);
                    break;
                }
            }
        }
    }
    left.into_iter().filter(|range| !range.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_entry_has_is_left() {
        let taken = [2..3, 5..9, 12..14, 30..31];
        let left: Vec<Range<u64>> = without(&[1..4, 6..13, 14..20], taken.into_iter()).collect();
        assert_eq!(left, [1..2, 3..4, 9..12, 14..20]);
        let whole = [1..4, 6..7];
        assert_eq!(without(&whole, iter::empty()).collect::<Vec<_>>(), whole);
    }

    #[test]
    fn an_id_is_found_in_its_range() {
        let found: Vec<u64> = (0..9).filter(|id| is_within(&[1..3, 5..6], *id)).collect();
        assert_eq!(found, [1, 2, 5]);
    }
}
