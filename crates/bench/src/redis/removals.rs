//! Clearing a group among a million entries, beside one key and beside a scan.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_core::{CacheBackend, CacheKey, Invalidation, NewEntry};
use redis::AsyncCommands;

use super::Rig;
use crate::Outcome;
use crate::case::{Case, Pace, Spec, Target, Unit};
use crate::session::Session;
use crate::workload::{Values, listing_keys};

/// Entries of a group.
const GROUP: usize = 100;
const BYTES: usize = 16;
/// Entries and keys that are stored in one go.
const AT_ONCE: usize = 10_000;

/// What stands beside the removal of a group.
#[derive(Debug, Clone, Copy)]
enum Peer {
    /// `UNLINK` of one key.
    OneKey,
    /// `SCAN` for the keys of a group, and `UNLINK` of them.
    Scan,
}

#[derive(Debug)]
struct Removals {
    rig: Arc<Rig>,
    entries: Vec<CacheKey>,
    values: Values,
    next: usize,
    peer: Peer,
}

impl Removals {
    /// The next group's entries.
    fn group(&mut self) -> Vec<CacheKey> {
        let from = self.next % (self.entries.len() / GROUP) * GROUP;
        self.next += 1;
        self.entries.get(from..from + GROUP).unwrap_or_default().to_vec()
    }

    fn entry(&self) -> NewEntry {
        NewEntry::new(self.values.of(0))
    }
}

impl Case for Removals {
    fn ours(&mut self, operations: u64) -> Outcome<Duration> {
        let mut taken = Duration::ZERO;
        for _ in 0..operations {
            let group = self.group();
            let what = group.first().map(CacheKey::to_group).map(Invalidation::Group).ok_or("no group")?;
            let again = group.into_iter().map(|key| (key, self.entry())).collect();
            taken += self.rig.runtime.block_on(async {
                let started = Instant::now();
                let removed = self.rig.cache.invalidate(&[what]).await?;
                let taken = started.elapsed();
                if removed.removed() != GROUP as u64 {
                    return Err(format!("{removed:?}").into());
                }
                self.rig.cache.set_many(again).await?;
                Outcome::Ok(taken)
            })?;
        }
        Ok(taken)
    }

    fn peer(&mut self, operations: u64) -> Outcome<Duration> {
        let mut taken = Duration::ZERO;
        for _ in 0..operations {
            let group = self.group();
            let first = group.first().ok_or("no group")?;
            let mut shared = self.rig.shared.clone();
            let value = self.values.of(0);
            taken += self.rig.runtime.block_on(async {
                let started = Instant::now();
                let (removed, wanted): (u64, u64) = match self.peer {
                    Peer::OneKey => (shared.unlink(first.as_str()).await?, 1),
                    Peer::Scan => (scan(&mut shared, first.group()).await?, GROUP as u64),
                };
                let taken = started.elapsed();
                if removed != wanted {
                    return Err(format!("{removed} of {wanted} were removed").into());
                }
                let mut again = redis::pipe();
                for key in group.iter().take(wanted as usize) {
                    again.set(key.as_str(), &value[..]).ignore();
                }
                let () = again.query_async(&mut shared).await?;
                Outcome::Ok(taken)
            })?;
        }
        Ok(taken)
    }
}

async fn scan(shared: &mut redis::aio::MultiplexedConnection, group: &str) -> Outcome<u64> {
    let (mut cursor, mut removed) = (0_u64, 0_u64);
    loop {
        let mut command = redis::cmd("SCAN");
        command.arg(cursor).arg("MATCH").arg(format!("{group}:*")).arg("COUNT").arg(1000);
        let (next, found): (u64, Vec<String>) = command.query_async(shared).await?;
        if !found.is_empty() {
            let count: u64 = shared.unlink(found).await?;
            removed += count;
        }
        cursor = next;
        if cursor == 0 {
            return Ok(removed);
        }
    }
}

/// A server with so many entries in groups of a hundred, and as many plain keys; what is removed is beside a scan.
pub(crate) fn beside_scan(session: &Session, count: usize) -> Outcome<impl Case + use<>> {
    Ok(Removals { peer: Peer::Scan, ..stored(session, count)? })
}

fn stored(session: &Session, count: usize) -> Outcome<Removals> {
    let rig = Arc::new(Rig::start(&session.runtime)?);
    let entries = listing_keys(count / GROUP, GROUP)?;
    let values = Values::new(BYTES);
    session.runtime.block_on(async {
        let mut shared = rig.shared.clone();
        for some in entries.chunks(AT_ONCE) {
            let ours = some.iter().map(|key| (key.clone(), NewEntry::new(values.of(0)))).collect();
            rig.cache.set_many(ours).await?;
            let mut plain = redis::pipe();
            for key in some {
                plain.set(key.as_str(), &values.of(0)[..]).ignore();
            }
            let () = plain.query_async(&mut shared).await?;
        }
        Outcome::Ok(())
    })?;
    Ok(Removals { rig, entries, values, next: 0, peer: Peer::OneKey })
}

/// Measures the rows.
pub fn run(session: &mut Session) -> Outcome<()> {
    let count = if session.quick { 100_000 } else { 1_000_000 };
    session.doing("storing entries and as many plain keys");
    let mut removals = stored(session, count)?;
    let spec = Spec {
        name: if session.quick { "redis clear 100 of 100,000" } else { "redis clear 100 of 1,000,000" },
        peer_name: "UNLINK of one key",
        unit: Unit::Micros,
        pace: Pace::FewSlices { most: 100 },
        target: Target::Ratio(1.5),
    };
    session.measure(&spec, &mut removals)?;
    removals.peer = Peer::Scan;
    let spec = Spec {
        name: if session.quick {
            "redis clear 100 of 100,000, beside a scan"
        } else {
            "redis clear 100 of 1,000,000, beside a scan"
        },
        peer_name: "SCAN and UNLINK",
        // A tenth of the keys is scanned in a tenth of the time.
        target: Target::Ratio(if session.quick { 0.002 } else { 0.0002 }),
        pace: Pace::Whole { operations: 1 },
        ..spec
    };
    session.measure(&spec, &mut removals)?;
    Ok(())
}
