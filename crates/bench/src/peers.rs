//! The disk backend beside other caches on disk, and the Redis backend beside deadpool-redis.
//!
//! Each peer is set up as its documentation shows, on the same disk, with the same keys and values. moka and `quick_cache` are
//! not here: they keep values in memory alone, and this cache has no memory tier that could stand beside them.

#[cfg(feature = "peers")]
mod cached_redb;
#[cfg(feature = "peers")]
mod deadpool;
mod diskcache;
#[cfg(feature = "peers")]
mod foyer_disk;
#[cfg(feature = "peers")]
mod sqlite;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cache_core::{CacheBackend, CacheKey, NewEntry};
use cache_disk::DiskBackend;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::Outcome;
use crate::case::{Case, Pace, Spec, Target, Unit};
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

    /// Waits until what was stored is written.
    fn settle(&mut self) -> Outcome<()> {
        Ok(())
    }
}

/// Opens an empty store of a peer in a directory of its own.
type Open = fn(&Arc<Runtime>, &Path) -> Outcome<Box<dyn Peer>>;

/// A peer by name, and what ours has to reach beside it: at most so many times its time for a get of 1 KB, of 50 KB, and a
/// set of 1 KB.
struct Rival {
    name: &'static str,
    open: Open,
    get_small: f64,
    get_large: f64,
    set_small: f64,
}

const RIVALS: &[Rival] = &[
    #[cfg(feature = "peers")]
    Rival {
        name: "foyer 0.22, its disk",
        open: foyer_disk::open,
        get_small: 0.125,
        get_large: 0.667,
        set_small: 1.0,
    },
    #[cfg(feature = "peers")]
    Rival {
        name: "SQLite (rusqlite, WAL)",
        open: sqlite::open,
        get_small: 0.5,
        get_large: 1.0,
        set_small: 0.333,
    },
    #[cfg(feature = "peers")]
    Rival {
        name: "cached 4, redb store",
        open: cached_redb::open,
        get_small: 1.0,
        get_large: 3.2,
        set_small: 0.5,
    },
    Rival {
        name: "Python diskcache, LRU",
        open: diskcache::open,
        get_small: 0.0333,
        get_large: 0.2,
        set_small: 0.1,
    },
];

/// Ours and a peer with the same entries.
struct Beside {
    runtime: Arc<Runtime>,
    ours: Arc<DiskBackend>,
    peer: Box<dyn Peer>,
    sequence: Sequence,
    values: Values,
    value_bytes: usize,
    does: Does,
    _directory: TempDir,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Does {
    Get,
    Set,
}

impl Beside {
    fn new(session: &Session, rival: &Rival, entries: usize, value_bytes: usize) -> Outcome<Self> {
        let directory = directory()?;
        let runtime = Arc::clone(&session.runtime);
        let ours = open_ours(&runtime, directory.path().join("ours"), 1000, 32 << 20)?;
        let peer_directory = directory.path().join("peer");
        std::fs::create_dir(&peer_directory)?;
        let mut peer = (rival.open)(&runtime, &peer_directory)?;
        let (keys, values) = (image_keys(0, entries), Values::new(value_bytes));
        let at_once = LOADED_AT_ONCE / value_bytes;
        for (batch, part) in keys.chunks(at_once).enumerate() {
            let of = |at: usize| values.of(batch * at_once + at);
            let entries: Vec<_> = part.iter().enumerate().map(|(at, key)| (key, of(at))).collect();
            peer.writes(&entries)?;
            peer.settle()?;
            runtime.block_on(async {
                for (key, value) in entries {
                    set(&ours, key, value).await?;
                }
                ours.flush().await
            })?;
        }
        let sequence = Sequence::new(keys, Access::Uniform, 21);
        let does = Does::Get;
        Ok(Self { runtime, ours, peer, sequence, values, value_bytes, does, _directory: directory })
    }

    fn entries(&mut self, operations: u64) -> Vec<(CacheKey, Bytes)> {
        let Self { sequence, values, .. } = self;
        let keys = sequence.take(operations).into_iter().enumerate();
        keys.map(|(at, key)| (key.clone(), values.of(at))).collect()
    }
}

impl Case for Beside {
    fn ours(&mut self, operations: u64) -> Outcome<Duration> {
        let backend: Arc<DiskBackend> = Arc::clone(&self.ours);
        let backend: &dyn CacheBackend = &*backend;
        if self.does == Does::Set {
            let entries = self.entries(operations);
            return self.runtime.block_on(async {
                let started = Instant::now();
                for (key, value) in entries {
                    backend.set(&key, NewEntry::new(value)).await?;
                }
                let taken = started.elapsed();
                self.ours.flush().await?;
                Ok(taken)
            });
        }
        let keys = self.sequence.take(operations);
        self.runtime.block_on(async {
            let started = Instant::now();
            for key in keys {
                let found = backend.lookup(key).await?.entry.map(|entry| entry.payload.len());
                if found != Some(self.value_bytes) {
                    return Err(format!("ours gave {found:?} bytes for {key}").into());
                }
            }
            Ok(started.elapsed())
        })
    }

    fn peer(&mut self, operations: u64) -> Outcome<Duration> {
        if self.does == Does::Set {
            let entries = self.entries(operations);
            let entries: Vec<_> = entries.iter().map(|(key, value)| (key, value.clone())).collect();
            let taken = self.peer.writes(&entries)?;
            self.peer.settle()?;
            return Ok(taken);
        }
        let keys = self.sequence.take(operations);
        self.peer.reads(&keys, self.value_bytes)
    }
}

/// Measures the rows.
pub fn run(session: &mut Session) -> Outcome<()> {
    if !cfg!(feature = "peers") {
        session.leave_out("foyer, cached, rusqlite, deadpool-redis", "built without the feature `peers`");
    }
    for rival in RIVALS {
        beside(session, rival)?;
    }
    #[cfg(feature = "peers")]
    deadpool::run(session)?;
    Ok(())
}

fn beside(session: &mut Session, rival: &Rival) -> Outcome<()> {
    let (small, large) = if session.quick { (5_000, 500) } else { (20_000, 2_000) };
    session.doing(rival.name);
    let spec = |name, target, pace| Spec {
        name,
        peer_name: rival.name,
        unit: Unit::Micros,
        pace,
        target: Target::Ratio(target),
    };
    let reads = Pace::FewSlices { most: 1000 };
    let mut case = match Beside::new(session, rival, small, SMALL) {
        Ok(case) => case,
        // What is not on this machine is said and left out.
        Err(why) => {
            session.leave_out(rival.name, &why.to_string());
            return Ok(());
        }
    };
    session.measure(&spec("get 1 KB", rival.get_small, reads), &mut case)?;
    case.does = Does::Set;
    session.measure(&spec("set 1 KB", rival.set_small, Pace::FewSlices { most: 200 }), &mut case)?;
    drop(case);
    let mut case = Beside::new(session, rival, large, LARGE)?;
    session.measure(&spec("get 50 KB", rival.get_large, reads), &mut case)?;
    Ok(())
}
