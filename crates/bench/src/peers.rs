//! The disk backend beside other caches on disk, and the Redis backend beside deadpool-redis.
//!
//! Each peer is set up as its documentation shows, on the same disk, with the same keys and values. Those that keep values in
//! memory alone stand beside the memory in front of the disk.

#[cfg(feature = "peers")]
mod cached_redb;
#[cfg(feature = "peers")]
mod deadpool;
mod diskcache;
#[cfg(feature = "peers")]
mod foyer_disk;
#[cfg(feature = "peers")]
mod in_memory;
#[cfg(feature = "peers")]
mod sqlite;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cache_core::{CacheBackend, CacheKey, NewEntry};
use cache_disk::DiskBackend;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::Outcome;
use crate::case::{Case, Pace, Spec, Target, Unit, check, timed_async};
use crate::disk::{LARGE, SMALL};
use crate::session::Session;
use crate::stores::{directory, open_ours, set};
use crate::workload::{Access, Sequence, Values, image_keys};

/// Bytes of values that are stored before both sides are waited for: little enough that no queue overflows.
const LOADED_AT_ONCE: usize = 2 << 20;

/// Another cache on disk.
pub trait Peer {
    /// Looks `keys` up, each of which is there with so many bytes, and returns how long that took.
    fn reads(&mut self, keys: &[&CacheKey], expected: usize) -> Outcome<Duration>;

    /// Stores `entries`, and returns how long the caller had to wait.
    fn writes(&mut self, entries: &[(&CacheKey, Bytes)]) -> Outcome<Duration>;

    /// Waits until everything that was stored is written.
    fn settle(&mut self) -> Outcome<()> {
        Ok(())
    }
}

/// Opens an empty store of a peer in a directory of its own.
type Open = fn(&Arc<Runtime>, &Path) -> Outcome<Box<dyn Peer>>;

/// A peer by name, and what ours has to reach beside it: at most so many times its time for a get of 1 KB, a set of 1 KB,
/// and a get of 50 KB.
type Rival = (&'static str, Open, [f64; 3]);

const RIVALS: &[Rival] = &[
    #[cfg(feature = "peers")]
    ("foyer 0.22, its disk", foyer_disk::open, [0.125, 1.0, 0.667]),
    #[cfg(feature = "peers")]
    ("SQLite (rusqlite, WAL)", sqlite::open, [0.5, 0.333, 1.0]),
    #[cfg(feature = "peers")]
    ("cached 4, redb store", cached_redb::open, [1.0, 0.5, 3.2]),
    ("Python diskcache, LRU", diskcache::open, [0.0333, 0.1, 0.2]),
];

/// Ours and a peer with the same entries.
struct Beside {
    runtime: Arc<Runtime>,
    ours: Arc<DiskBackend>,
    peer: Box<dyn Peer>,
    sequence: Sequence,
    values: Values,
    value_bytes: usize,
    sets: bool,
    _directory: TempDir,
}

impl Beside {
    fn new(session: &Session, open: Open, entries: usize, value_bytes: usize) -> Outcome<Self> {
        let directory = directory()?;
        let runtime = Arc::clone(&session.runtime);
        let ours = open_ours(&runtime, directory.path().join("ours"), 1000, 32 << 20)?;
        let peer_directory = directory.path().join("peer");
        std::fs::create_dir(&peer_directory)?;
        let mut peer = open(&runtime, &peer_directory)?;
        let (keys, values) = (image_keys(0, entries), Values::new(value_bytes));
        let entries: Vec<_> = keys.iter().enumerate().map(|(number, key)| (key, values.of(number))).collect();
        for entries in entries.chunks(LOADED_AT_ONCE / value_bytes) {
            peer.writes(entries)?;
            peer.settle()?;
            runtime.block_on(async {
                for (key, value) in entries {
                    set(&ours, key, value.clone()).await?;
                }
                ours.flush().await
            })?;
        }
        let sequence = Sequence::new(keys, Access::Uniform, 21);
        Ok(Self { runtime, ours, peer, sequence, values, value_bytes, sets: false, _directory: directory })
    }
}

impl Case for Beside {
    fn ours(&mut self, operations: u64) -> Outcome<Duration> {
        let backend: &dyn CacheBackend = &*self.ours;
        let Self { runtime, sequence, values, value_bytes, sets, .. } = self;
        runtime.block_on(async {
            if *sets {
                let entries = sequence.entries(operations, values);
                let set = async |(key, value)| Ok(backend.set(key, NewEntry::new(value)).await?);
                let taken = timed_async(entries, set).await?;
                self.ours.flush().await?;
                return Ok(taken);
            }
            timed_async(sequence.take(operations), async |key| {
                check(backend.lookup(key).await?.entry.map(|entry| entry.payload.len()), *value_bytes)
            })
            .await
        })
    }

    fn peer(&mut self, operations: u64) -> Outcome<Duration> {
        if self.sets {
            let taken = self.peer.writes(&self.sequence.entries(operations, &self.values))?;
            self.peer.settle()?;
            return Ok(taken);
        }
        self.peer.reads(&self.sequence.take(operations), self.value_bytes)
    }
}

/// Measures the rows.
pub fn run(session: &mut Session) -> Outcome<()> {
    if !cfg!(feature = "peers") {
        session.leave_out(
            "foyer, cached, rusqlite, deadpool-redis, moka, quick_cache",
            "built without the feature `peers`",
        );
    }
    for rival in RIVALS {
        beside(session, *rival)?;
    }
    #[cfg(feature = "peers")]
    in_memory::run(session)?;
    #[cfg(feature = "peers")]
    deadpool::run(session)?;
    Ok(())
}

fn beside(session: &mut Session, (peer_name, open, [get, set, get_large]): Rival) -> Outcome<()> {
    let (small, large) = if session.quick { (5_000, 500) } else { (20_000, 500) };
    session.doing(peer_name);
    let spec = |name, most, target| {
        Spec::new(name, peer_name, Unit::Micros, Pace::FewSlices { most }, Target::Ratio(target))
    };
    let mut case = match Beside::new(session, open, small, SMALL) {
        Ok(case) => case,
        Err(error) => {
            session.leave_out(peer_name, &error.to_string());
            return Ok(());
        }
    };
    session.measure(&spec("get 1 KB", 1000, get), &mut case)?;
    case.sets = true;
    session.measure(&spec("set 1 KB", 200, set), &mut case)?;
    drop(case);
    let mut case = Beside::new(session, open, large, LARGE)?;
    session.measure(&spec("get 50 KB", 1000, get_large), &mut case)?;
    Ok(())
}
