//! Clearing a group among a million entries, beside one key and beside a scan.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use cache_core::{CacheBackend, CacheKey, Invalidation, NewEntry};
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;

use super::Rig;
use crate::Outcome;
use crate::case::{Case, Pace, Spec, Target, Unit};
use crate::session::Session;
use crate::workload::{Values, listing_keys};

/// Entries of a group.
const GROUP: usize = 100;
const BYTES: usize = 16;

/// The peer of the removal of a group.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Peer {
    /// `UNLINK` of one key.
    OneKey,
    /// `SCAN` for the keys of a group, and `UNLINK` of them.
    Scan,
}

/// A server with entries in groups of a hundred, and as many plain keys.
#[derive(Debug)]
pub(crate) struct Removals {
    rig: Arc<Rig>,
    entries: Vec<CacheKey>,
    values: Values,
    next: usize,
    peer: Peer,
}

impl Removals {
    /// Starts a server and stores `count` entries and keys.
    pub(crate) fn start(session: &Session, count: usize, peer: Peer) -> Outcome<Self> {
        let rig = Rig::start(&session.runtime)?;
        let (entries, values) = (listing_keys(count / GROUP, GROUP)?, Values::new(BYTES));
        session.runtime.block_on(rig.store(&entries, &values))?;
        Ok(Self { rig, entries, values, next: 0, peer })
    }

    /// Runs `remove` for the next groups; it returns the time of the removal alone.
    fn each(
        &mut self,
        operations: u64,
        remove: &impl AsyncFn(&Self, &[CacheKey]) -> Outcome<Duration>,
    ) -> Outcome<Duration> {
        let mut taken = Duration::ZERO;
        for _ in 0..operations {
            let from = self.next % (self.entries.len() / GROUP) * GROUP;
            self.next += 1;
            let group = self.entries.get(from..from + GROUP).unwrap_or_default();
            taken += self.rig.runtime.block_on(remove(self, group))?;
        }
        Ok(taken)
    }
}

impl Case for Removals {
    fn ours(&mut self, operations: u64) -> Outcome<Duration> {
        self.each(operations, &async |this, group| {
            let what = group.first().map(CacheKey::to_group).map(Invalidation::Group).context("no group")?;
            let again = group.iter().map(|key| (key.clone(), NewEntry::new(this.values.of(0)))).collect();
            let started = Instant::now();
            let removed = this.rig.cache.invalidate(&[what]).await?;
            let taken = started.elapsed();
            ensure!(removed.removed() == GROUP as u64, "{removed:?}");
            this.rig.cache.set_many(again).await?;
            Ok(taken)
        })
    }

    fn peer(&mut self, operations: u64) -> Outcome<Duration> {
        self.each(operations, &async |this, group| {
            let first = group.first().context("no group")?;
            let mut shared = this.rig.shared.clone();
            let started = Instant::now();
            let (removed, wanted): (u64, u64) = match this.peer {
                Peer::OneKey => (shared.unlink(first.as_str()).await?, 1),
                Peer::Scan => (scan(&mut shared, first.group()).await?, GROUP as u64),
            };
            let taken = started.elapsed();
            ensure!(removed == wanted, "{removed} of {wanted} were removed");
            let mut again = redis::pipe();
            for key in group.iter().take(wanted as usize) {
                again.set(key.as_str(), &this.values.of(0)[..]).ignore();
            }
            let () = again.query_async(&mut shared).await?;
            Ok(taken)
        })
    }
}

async fn scan(shared: &mut MultiplexedConnection, group: &str) -> Outcome<u64> {
    let (mut cursor, mut removed) = (0_u64, 0_u64);
    loop {
        let mut command = redis::cmd("SCAN");
        command.arg(cursor).arg("MATCH").arg(format!("{group}:*")).arg("COUNT").arg(1000);
        let (next, found): (u64, Vec<String>) = command.query_async(shared).await?;
        if !found.is_empty() {
            removed += shared.unlink::<_, u64>(found).await?;
        }
        cursor = next;
        if cursor == 0 {
            return Ok(removed);
        }
    }
}

/// Measures the rows.
pub fn run(session: &mut Session) -> Outcome<()> {
    // A tenth of the keys is scanned in a tenth of the time.
    let (count, name, beside_a_scan, target) = if session.quick {
        (100_000, "redis clear 100 of 100,000", "redis clear 100 of 100,000, beside a scan", 0.002)
    } else {
        (1_000_000, "redis clear 100 of 1,000,000", "redis clear 100 of 1,000,000, beside a scan", 0.0002)
    };
    session.doing("storing entries and as many plain keys");
    let mut removals = Removals::start(session, count, Peer::OneKey)?;
    let (pace, ratio) = (Pace::FewSlices { most: 100 }, Target::Ratio(1.5));
    let spec = Spec::new(name, "UNLINK of one key", Unit::Micros, pace, ratio);
    session.measure(&spec, &mut removals)?;
    removals.peer = Peer::Scan;
    let (pace, ratio) = (Pace::Whole { operations: 1 }, Target::Ratio(target));
    let spec = Spec::new(beside_a_scan, "SCAN and UNLINK", Unit::Micros, pace, ratio)
        .note("flatters ours: the peer has no groups, and looks at every key");
    session.measure(&spec, &mut removals)?;
    Ok(())
}
