//! Filling the index from the database, in the background: reads go on meanwhile.
//!
//! The loader inserts only what is absent. An entry that it read from an old snapshot and that was removed since points
//! to rows that are gone (while it works, invalidations leave none behind), so it can never be served; it leaves the index
//! when it is next looked at. Before it inserts anything it has checked that every key is found where the database looks
//! for it: in a damaged file a key can hide from the removal of its group.

use std::sync::Arc;

use cache_core::panics::{caught, contained, count};
use cache_core::{CacheKey, Result};

use crate::engine::Engine;
use crate::error::Fault;
use crate::index::{Incoming, Index, Removed};
use crate::recency::Order;
use crate::store::Meta;

/// Keys read from one snapshot.
const CHUNK: usize = 10_000;

/// What callers say when [`spawn`] fails.
pub(crate) const NOT_STARTED: &str = "cannot start the disk cache's loader";

/// Begins a filling of the index, of which this gives the number: from now on the database is asked for what the index does
/// not know.
pub(crate) fn begin(engine: &Engine) -> u64 {
    engine.filling.begin(|| engine.early.begin(engine.queue.lazy(|lazy| lazy.hashes())))
}

/// Ends that filling, unless another has begun: from now on the index knows all.
pub(crate) fn end(engine: &Engine, generation: u64) {
    engine.filling.end(generation, || {
        for hash in engine.early.end() {
            engine.index.shard(hash).find(hash, engine.index.tick());
        }
    });
}

/// Starts to fill the index on a thread of its own, as the filling of this number.
pub(crate) fn spawn(engine: &Arc<Engine>, order: Order, generation: u64) -> Result<(), Fault> {
    let engine = Arc::clone(engine);
    let started = cache_core::sync::spawn("cache-disk-load", move || {
        let Err(message) = caught(|| load(&engine, &order, generation)) else { return };
        count(Arc::clone(&message));
        // Without it the index would stay incomplete: the file is opened again, or replaced.
        if let Some(snapshot) = engine.snapshot.load_full() {
            contained(|| engine.fault(&snapshot, Fault::Panicked(message.to_string())));
        }
    });
    started.map(drop).map_err(|error| Fault::Redb(redb::Error::Io(error)))
}

/// Reads all keys and inserts them in the saved `order`, behind what was used since.
fn load(engine: &Engine, order: &Order, generation: u64) {
    let mut entries = Vec::new();
    let mut after = Some(String::new());
    while let Some(from) = after {
        let Some(snapshot) = engine.snapshot.load_full() else { return };
        let read = snapshot.scan(&from, CHUNK, |key, meta| {
            // A key that does not parse was not written by this format; its rows go with the file.
            if let Ok(key) = CacheKey::parse(key) {
                entries.push((order.part(meta.id), incoming(&engine.index, &key, meta)));
            }
        });
        match read {
            Ok(last) => after = last,
            // Reopening starts another loader.
            Err(fault) => return engine.fault(&snapshot, fault),
        }
    }
    entries.sort_unstable_by_key(|(part, entry)| std::cmp::Reverse((*part, entry.id)));
    let now = engine.index.tick();
    for (age, (_, entry)) in (1..).zip(entries) {
        let (hash, id, cost) = (entry.hash, entry.id, entry.cost);
        let mut shard = engine.index.shard(hash);
        if !engine.filling.is_current(generation) {
            return;
        }
        let is_known = shard.holds(hash, id);
        if !is_known
            && (engine.early.is_superseded(hash) || !shard.insert_oldest(entry, now.wrapping_sub(age)))
        {
            // Replaced meanwhile, or another key with the same hash: its rows would never be evicted.
            engine.queue.push_discard(Removed { hash, id, cost, unwritten: None });
        }
    }
    end(engine, generation);
    engine.queue.wake();
}

fn incoming(index: &Index, key: &CacheKey, meta: Meta) -> Incoming {
    let Meta { id, cost, expires_at } = meta;
    let family = index.families.number(key.family());
    Incoming { hash: index.hash(key.as_str()), id, family, cost, expires_at, pending: None }
}
