//! Removing for ever: one key, many keys at once, a group. Both sides return when it is on the disk.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_core::{CacheBackend, CacheKey, CachePattern, Invalidated};
use redb::Durability;

use super::SMALL;
use crate::Outcome;
use crate::case::{Case, Pace, Spec, Target, Unit};
use crate::raw_redb::{self, Change};
use crate::session::Session;
use crate::stores::{DataSet, Stores};
use crate::workload::{Sequence, image_keys, listing_keys};

/// Keys of a group.
const GROUP: usize = 100;
/// How many delete at the same time.
const CALLERS: u64 = 16;

/// Deletes of what is there, from one caller or from sixteen at once, beside a `remove` and an `Immediate` commit each.
#[derive(Debug)]
pub struct Deletes {
    stores: Arc<Stores>,
    ours: Sequence,
    peer: Sequence,
    callers: u64,
}

impl Deletes {
    /// Deletes of the keys in `stores` by so many callers.
    pub fn new(stores: &Arc<Stores>, callers: u64) -> Self {
        let keys = Sequence::each_once(stores.keys.clone(), 12 + callers);
        Self { stores: Arc::clone(stores), ours: keys.clone(), peer: keys, callers }
    }
}

impl Case for Deletes {
    fn ours(&mut self, operations: u64) -> Outcome<Duration> {
        let mut parts = vec![Vec::new(); self.callers as usize];
        for (number, key) in self.ours.take(operations).into_iter().enumerate() {
            if let Some(part) = parts.get_mut(number % self.callers as usize) {
                part.push(key.clone());
            }
        }
        self.stores.runtime.block_on(async {
            let started = Instant::now();
            let callers: Vec<_> = parts
                .into_iter()
                .map(|keys| {
                    let ours = Arc::clone(&self.stores.ours);
                    tokio::spawn(async move {
                        for key in &keys {
                            let Invalidated::Applied { .. } = ours.delete(key).await? else {
                                return Err("a delete was not applied".into());
                            };
                        }
                        Outcome::Ok(())
                    })
                })
                .collect();
            for caller in callers {
                caller.await??;
            }
            Ok(started.elapsed())
        })
    }

    fn peer(&mut self, operations: u64) -> Outcome<Duration> {
        let keys = self.peer.take(operations);
        let started = Instant::now();
        for key in keys {
            self.stores.peer.apply(&[Change::Remove(key)], Durability::Immediate)?;
        }
        Ok(started.elapsed())
    }
}

/// Clears of whole groups among many, beside a ranged `retain_in` and an `Immediate` commit.
#[derive(Debug)]
pub struct Clears {
    stores: Arc<Stores>,
    ours: Vec<CacheKey>,
    peer: Vec<CacheKey>,
}

impl Clears {
    /// Clears of the groups in `stores`, one after the other.
    pub fn new(stores: &Arc<Stores>) -> Self {
        let groups: Vec<CacheKey> = stores.keys.iter().step_by(GROUP).cloned().collect();
        Self { stores: Arc::clone(stores), ours: groups.clone(), peer: groups }
    }
}

impl Case for Clears {
    fn ours(&mut self, operations: u64) -> Outcome<Duration> {
        let mut taken = Duration::ZERO;
        for _ in 0..operations {
            let key = self.ours.pop().ok_or("every group was cleared")?;
            let pattern = CachePattern::parse(key.group())?;
            let ours = &self.stores.ours;
            let started = Instant::now();
            let cleared = self.stores.runtime.block_on(ours.clear_pattern(&pattern))?;
            taken += started.elapsed();
            if cleared != (Invalidated::Applied { removed: GROUP as u64 }) {
                return Err(format!("clearing {} gave {cleared:?}", key.group()).into());
            }
        }
        Ok(taken)
    }

    fn peer(&mut self, operations: u64) -> Outcome<Duration> {
        let mut taken = Duration::ZERO;
        for _ in 0..operations {
            let key = self.peer.pop().ok_or("every group was cleared")?;
            let started = Instant::now();
            let removed = self.stores.peer.clear_group(key.group())?;
            taken += started.elapsed();
            if removed != GROUP as u64 {
                return Err(format!("the peer cleared {removed} entries of {}", key.group()).into());
            }
        }
        Ok(taken)
    }
}

/// Measures the rows.
///
/// The targets follow from how often each side syncs: ours twice a commit, so that a file opens in milliseconds after a
/// crash, and redb by default once.
pub fn run(session: &mut Session) -> Outcome<()> {
    let spec = |name, operations, target| Spec {
        name,
        peer_name: raw_redb::NAME,
        unit: Unit::Micros,
        pace: operations,
        target: Target::Ratio(target),
    };
    session.doing("storing entries to delete");
    let stores = Arc::new(Stores::create(&session.runtime, DataSet::new(image_keys(0, 20_000), SMALL))?);
    let one = spec("delete, durable", Pace::Slices { most: 1 }, 2.0);
    session.measure(&one, &mut Deletes::new(&stores, 1))?;
    let many = spec("delete, durable, 16 callers", Pace::Whole { operations: CALLERS * 8 }, 1.0);
    session.measure(&many, &mut Deletes::new(&stores, CALLERS))?;
    drop(stores);

    let (name, groups) = if session.quick {
        ("clear a group of 100 among 100,000", 1000)
    } else {
        ("clear a group of 100 among 1,000,000", 10_000)
    };
    session.doing("storing groups to clear");
    let stores = Arc::new(Stores::create(&session.runtime, DataSet::new(listing_keys(groups, GROUP)?, 100))?);
    session.measure(&spec(name, Pace::FewSlices { most: 1 }, 2.0), &mut Clears::new(&stores))?;
    Ok(())
}
