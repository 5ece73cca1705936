//! What a caller pays for storing a value: ours queues it, redb's caller commits it.

use std::sync::Arc;

use cache_core::{CacheBackend, NewEntry};
use redb::Durability;

use super::{LARGE, SMALL};
use crate::Outcome;
use crate::case::{Case, Pace, Spec, Target, Unit, pair, timed, timed_async};
use crate::raw_redb::Change;
use crate::session::Session;
use crate::stores::{DataSet, Stores};
use crate::workload::{Access, Sequence, image_keys};

/// `set` through the trait beside a `None` commit for each value; both overwrite, each key as likely.
///
/// The work that is left to do afterwards (ours: all of the writing) is waited for and not counted:
/// [`sustained`](super::sustained) counts it.
pub fn sets(stores: &Arc<Stores>) -> impl Case + use<> {
    let (ours, peer) = (Arc::clone(stores), Arc::clone(stores));
    let sequence = Sequence::new(stores.keys.clone(), Access::Uniform, 8);
    let (mut of_ours, mut of_peer) = (sequence.clone(), sequence);
    pair(
        move |operations| {
            let backend: &dyn CacheBackend = &*ours.ours;
            let entries = of_ours.entries(operations, &ours.values);
            let taken = ours.runtime.block_on(timed_async(entries, async |(key, value)| {
                Ok(backend.set(key, NewEntry::new(value)).await?)
            }))?;
            ours.settle()?;
            Ok(taken)
        },
        move |operations| {
            let entries = of_peer.entries(operations, &peer.values);
            let taken = timed(entries, |(key, value)| {
                peer.peer.apply(&[Change::Put(key, &value)], Durability::None)
            })?;
            peer.peer.apply(&[], Durability::Immediate)?;
            Ok(taken)
        },
    )
}

/// Measures the rows.
pub fn run(session: &mut Session) -> Outcome<()> {
    // As many as fit into the queue twice over, so that no caller waits for the writer.
    let rows = [
        ("set 1 KB, as the caller sees it", SMALL, 20_000, 1000, 1000),
        ("set 1 KB into a full cache", SMALL, 50_000, 40, 1000),
        ("set 50 KB, as the caller sees it", LARGE, 1000, 1000, 80),
    ];
    for (name, value_bytes, entries, limit_mb, most) in rows {
        session.doing(name);
        let data = DataSet { limit_mb, ..DataSet::new(image_keys(0, entries), value_bytes) };
        let stores = Stores::create(&session.runtime, data)?;
        let (pace, target) = (Pace::FewSlices { most }, Target::Ours(2.0));
        let spec = Spec::new(name, "raw redb, None commit", Unit::Micros, pace, target)
            .note(
                "flatters ours, which writes later: the sustained rows count that. kill -9: ours loses up to about a second, \
                 the peer all since its last durable commit",
            );
        session.measure(&spec, &mut sets(&stores))?;
    }
    Ok(())
}
