//! Sets without end: what the writer keeps up with, everything on the disk before the clock stops.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_core::CacheKey;
use cache_disk::DiskBackend;
use redb::Durability;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::{LARGE, SMALL};
use crate::Outcome;
use crate::case::{Case, Pace, Spec, Target, Unit};
use crate::raw_redb::{Change, RawRedb};
use crate::session::Session;
use crate::stores::{directory, open_ours, set};
use crate::workload::{Values, image_keys};

/// How many callers set at the same time.
const CALLERS: usize = 16;
/// Bytes that either side commits at a time: ours drains its queue in as much.
const BATCH_BYTES: usize = 1 << 20;
/// Bytes after which either side makes its commits durable.
const DURABLE_EVERY: usize = 4 << 20;
/// Memory for pages of either store.
const PAGE_CACHE: usize = 64 << 20;

/// What is stored, and how much of it stays.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Bytes of each value.
    pub value_bytes: usize,
    /// The limit of our cache in MiB; from 256 on it makes its commits durable as rarely as by default.
    pub limit_mb: u64,
    /// How many entries the peer keeps; then it removes the first for each new one, as a cache does.
    pub kept: usize,
}

/// Sixteen callers of ours beside one thread that hands the same values to redb in batches.
#[derive(Debug)]
pub struct Sustained {
    runtime: Arc<Runtime>,
    ours: Arc<DiskBackend>,
    peer: RawRedb,
    load: Load,
    values: Arc<Values>,
    next_ours: usize,
    next_peer: usize,
    _directory: TempDir,
}

impl Sustained {
    /// Both stores, filled to where they begin to forget, or empty where they do not.
    pub fn new(runtime: &Arc<Runtime>, load: Load) -> Outcome<Self> {
        let directory = directory()?;
        let path: &Path = directory.path();
        let mut sustained = Self {
            runtime: Arc::clone(runtime),
            ours: open_ours(runtime, path.join("ours"), load.limit_mb, PAGE_CACHE)?,
            peer: RawRedb::create(path, PAGE_CACHE)?,
            load,
            values: Arc::new(Values::new(load.value_bytes)),
            next_ours: 0,
            next_peer: 0,
            _directory: directory,
        };
        if load.kept < usize::MAX {
            sustained.ours(load.kept as u64)?;
            sustained.peer(load.kept as u64)?;
        }
        Ok(sustained)
    }

    fn keys(next: &mut usize, operations: u64) -> Vec<CacheKey> {
        let keys = image_keys(*next, operations as usize);
        *next += keys.len();
        keys
    }
}

impl Case for Sustained {
    fn ours(&mut self, operations: u64) -> Outcome<Duration> {
        let keys = Self::keys(&mut self.next_ours, operations);
        let parts: Vec<Vec<CacheKey>> =
            keys.chunks(keys.len().div_ceil(CALLERS)).map(<[_]>::to_vec).collect();
        self.runtime.block_on(async {
            let started = Instant::now();
            let callers: Vec<_> = parts
                .into_iter()
                .map(|keys| {
                    let (ours, values) = (Arc::clone(&self.ours), Arc::clone(&self.values));
                    tokio::spawn(async move {
                        for (number, key) in keys.iter().enumerate() {
                            set(&ours, key, values.of(number)).await?;
                        }
                        Ok::<_, cache_core::Error>(())
                    })
                })
                .collect();
            for caller in callers {
                caller.await??;
            }
            self.ours.flush().await?;
            Ok(started.elapsed())
        })
    }

    fn peer(&mut self, operations: u64) -> Outcome<Duration> {
        let first = self.next_peer;
        let keys = Self::keys(&mut self.next_peer, operations);
        let oldest = first.saturating_sub(self.load.kept);
        let gone = image_keys(oldest, self.next_peer.saturating_sub(self.load.kept) - oldest);
        let values: Vec<_> = (0..keys.len()).map(|number| self.values.of(number)).collect();
        let a_batch = BATCH_BYTES / self.load.value_bytes;
        let mut gone = gone.chunks(a_batch);
        let mut written = 0;
        let started = Instant::now();
        for (keys, values) in keys.chunks(a_batch).zip(values.chunks(a_batch)) {
            let removes = gone.next().unwrap_or_default().iter().map(Change::Remove);
            let puts = keys.iter().zip(values).map(|(key, value)| Change::Put(key, value));
            written += keys.len() * self.load.value_bytes;
            let is_due = written >= DURABLE_EVERY;
            let durability = if is_due { Durability::Immediate } else { Durability::None };
            self.peer.apply(&removes.chain(puts).collect::<Vec<_>>(), durability)?;
            if is_due {
                written = 0;
            }
        }
        self.peer.apply(&[], Durability::Immediate)?;
        Ok(started.elapsed())
    }
}

/// Measures the rows.
pub fn run(session: &mut Session) -> Outcome<()> {
    let megabytes = Unit::MegabytesPerSecond { value_bytes: LARGE as u64 };
    let times = if session.quick { 1 } else { 4 };
    let rows = [
        ("sustained sets 1 KB, 16 callers", SMALL, 1000, usize::MAX, 20_000, Unit::PerSecond, 50_000.0),
        ("sustained sets 1 KB, evicting", SMALL, 256, 170_000, 20_000, Unit::PerSecond, 50_000.0),
        ("sustained sets 50 KB, evicting", LARGE, 256, 4700, 1000, megabytes, 80.0),
    ];
    for (name, value_bytes, limit_mb, kept, operations, unit, target) in rows {
        session.doing(name);
        let load = Load { value_bytes, limit_mb, kept };
        let mut case = Sustained::new(&session.runtime, load)?;
        let spec = Spec {
            name,
            peer_name: "raw redb, batches",
            unit,
            pace: Pace::Whole { operations: operations * times },
            target: Target::Ours(target),
        };
        session.measure(&spec, &mut case)?;
    }
    Ok(())
}
