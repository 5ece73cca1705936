//! Loading the index from the database, on a thread of its own; reads go on meanwhile.
//!
//! The loader inserts only keys that the index does not know. If an entry that it read from an old snapshot was removed
//! since, its rows are gone (invalidations leave no garbage during a load), so it cannot be served, and it leaves the index
//! when it is next looked up. Before the loader inserts anything, it has checked that every key is where a search for it
//! goes: in a damaged file a key can be hidden from the invalidation of its group.

use std::cmp::Reverse;
use std::sync::Arc;

use cache_core::CacheKey;
use cache_core::panics::{caught, contained, count};

use crate::engine::DiskEngine;
use crate::error::Fault;
use crate::index::UsageOrder;

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
    let mut entries = Vec::new();
    let mut after = Some(String::new());
    while let Some(from) = after {
        let Some(snapshot) = engine.snapshot.load_full() else { return };
        let read = snapshot.scan(&from, CHUNK, |key, meta| {
            // A key that does not parse was not written in this format; its rows go with the file.
            if let Ok(key) = CacheKey::parse(key) {
                let family = engine.index.families.id(key.family());
                entries.push((order.part(meta.rows.id), engine.index.hash(key.as_str()), family, meta));
            }
        });
        match read {
            Ok(last) => after = last,
            // Reopening the file starts another load.
            Err(fault) => return engine.read_failed(&snapshot, fault),
        }
    }
    entries.sort_unstable_by_key(|(part, .., meta)| Reverse((*part, meta.rows.id)));
    let now = engine.index.tick();
    for (age, (_, hash, family, meta)) in (1..).zip(entries) {
        let mut shard = engine.index.shard(hash);
        // Under the lock of the shard, which is passed after the next load has begun.
        let Some(is_superseded) = engine.load.is_superseded(number, hash) else { return };
        let is_known = shard.holds(hash, meta.rows.id);
        if !is_known && (is_superseded || !shard.insert_oldest(hash, family, meta, now.wrapping_sub(age))) {
            // Replaced meanwhile, or another key has the same hash: its rows would never be evicted.
            engine.queue.push_removal(crate::index::PendingRemoval { hash, rows: meta.rows, key: None });
        }
    }
    end(engine, number);
    engine.queue.wake();
}
