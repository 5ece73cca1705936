//! What a caller pays for storing a value: ours queues it, redb's caller commits it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_core::{CacheBackend, NewEntry};
use redb::Durability;

use super::{LARGE, SMALL};
use crate::Outcome;
use crate::case::{Case, Pace, Spec, Target, Unit};
use crate::raw_redb::Change;
use crate::session::Session;
use crate::stores::{DataSet, Stores};
use crate::workload::{Access, Sequence, image_keys};

/// `set` through the trait beside a `None` commit for each value; both overwrite. What is left to do afterwards (ours:
/// all of the writing) is waited for and not counted: [`sustained`](super::sustained) counts it.
#[derive(Debug)]
pub struct Sets {
    stores: Arc<Stores>,
    sequence: Sequence,
    stored: usize,
}

impl Sets {
    /// Sets of the keys in `stores`, each as likely.
    pub fn new(stores: &Arc<Stores>) -> Self {
        let sequence = Sequence::new(stores.keys.clone(), Access::Uniform, 8);
        Self { stores: Arc::clone(stores), sequence, stored: 0 }
    }
}

impl Case for Sets {
    fn ours(&mut self, operations: u64) -> Outcome<Duration> {
        let Self { stores, sequence, stored } = self;
        let backend: &dyn CacheBackend = &*stores.ours;
        let keys = sequence.take(operations);
        let values: Vec<_> = (*stored..).map(|number| stores.values.of(number)).take(keys.len()).collect();
        *stored += keys.len();
        let taken = stores.runtime.block_on(async {
            let started = Instant::now();
            for (key, value) in keys.into_iter().zip(values) {
                backend.set(key, NewEntry::new(value)).await?;
            }
            Ok::<_, cache_core::Error>(started.elapsed())
        })?;
        stores.settle()?;
        Ok(taken)
    }

    fn peer(&mut self, operations: u64) -> Outcome<Duration> {
        let Self { stores, sequence, stored } = self;
        let keys = sequence.take(operations);
        let values: Vec<_> = (*stored..).map(|number| stores.values.of(number)).take(keys.len()).collect();
        *stored += keys.len();
        let started = Instant::now();
        for (key, value) in keys.into_iter().zip(&values) {
            stores.peer.apply(&[Change::Put(key, value)], Durability::None)?;
        }
        let taken = started.elapsed();
        stores.peer.apply(&[], Durability::Immediate)?;
        Ok(taken)
    }
}

/// Measures the rows.
pub fn run(session: &mut Session) -> Outcome<()> {
    // As many as fit into the queue twice over, so that nobody waits for the writer.
    let rows = [
        ("set 1 KB, as the caller sees it", SMALL, 20_000, 1000, 1000),
        ("set 1 KB into a full cache", SMALL, 50_000, 40, 1000),
        ("set 50 KB, as the caller sees it", LARGE, 1000, 1000, 80),
    ];
    for (name, value_bytes, entries, limit_mb, most) in rows {
        session.doing(name);
        let data = DataSet { limit_mb, ..DataSet::new(image_keys(0, entries), value_bytes) };
        let stores = Arc::new(Stores::create(&session.runtime, data)?);
        let spec = Spec {
            name,
            peer_name: "raw redb, None commit",
            unit: Unit::Micros,
            pace: Pace::FewSlices { most },
            target: Target::Ours(2.0),
        };
        session.measure(&spec, &mut Sets::new(&stores))?;
    }
    Ok(())
}
