//! [`Store`]: a cache on disk as a caller uses it, and [`STORES`]: ours and the peers, each as its documentation sets it up.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use bytes::Bytes;
use cache_core::CacheKey;
use tokio::runtime::Runtime;

#[cfg(feature = "peers")]
use super::{cached_redb, foyer_hybrid, raw, sqlite};
use super::{diskcache, ours};
use crate::Outcome;

/// A cache on disk. Asynchronous ones are called in a task, as a request handler calls them.
pub trait Store {
    /// Looks `keys` up, each of which is there with so many bytes, and returns how long that took.
    fn reads(&mut self, keys: &[&CacheKey], expected: usize) -> Outcome<Duration>;

    /// Stores `entries`, and returns how long the caller had to wait.
    fn writes(&mut self, entries: &[(&CacheKey, Bytes)]) -> Outcome<Duration>;

    /// Waits until everything that was stored is written.
    fn settle(&mut self) -> Outcome<()> {
        Ok(())
    }

    /// Removes `key`.
    fn remove(&mut self, key: &CacheKey) -> Outcome<()> {
        bail!("removing {key} is not measured here")
    }

    /// Whether `key` is there.
    fn holds(&mut self, key: &CacheKey) -> Outcome<bool> {
        bail!("losing {key} is not measured here")
    }
}

/// Where a store is to be opened.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Where its calls run.
    pub runtime: &'a Arc<Runtime>,
    /// A directory of its own.
    pub directory: &'a Path,
    /// About how many entries it will hold.
    pub entries: usize,
}

/// Bytes of memory of ours, its index counted, and of each peer whose memory can be set.
pub(super) const MEMORY: usize = 32 << 20;
/// MiB of disk of each.
pub(super) const DISK_MB: u64 = 1000;

/// Opens the store in a directory, or creates an empty one.
pub type Open = fn(Place<'_>) -> Outcome<Box<dyn Store>>;

/// A store by its name in rows.
#[derive(Debug)]
pub struct Named {
    /// The name.
    pub name: &'static str,
    /// Opens it.
    pub open: Open,
    /// What ours and this store lose when their process is killed; what else is lost with the power.
    pub durability: &'static str,
}

/// What ours and a peer lose.
macro_rules! lost {
    ($of_the_peer:literal) => {
        concat!("kill -9: ours loses up to about a second of values and no removal, the peer ", $of_the_peer)
    };
}

/// Ours with the memory of its defaults.
pub(super) const OURS: Named = Named { name: "ours", open: ours::open, durability: "" };

/// Ours with memory for values in front of as much for pages and the index.
#[cfg(feature = "peers")]
pub(super) const OURS_WITH_MEMORY: Named =
    Named { name: "ours with memory", open: ours::open_with_memory, ..OURS };

#[cfg(feature = "peers")]
pub(super) const RAW: Named =
    Named { name: "raw redb, a commit each", open: raw::open, durability: lost!("nothing; power: the same") };
#[cfg(feature = "peers")]
pub(super) const RAW_LAZY: Named = Named {
    name: "raw redb, durable once a second",
    open: raw::open_lazy,
    durability: lost!("up to a second of both; power: the same"),
};
#[cfg(feature = "peers")]
pub(super) const SQLITE: Named = Named {
    name: "SQLite (rusqlite, WAL)",
    open: sqlite::open,
    durability: lost!("nothing; power: what follows its last checkpoint (synchronous=NORMAL)"),
};
#[cfg(feature = "peers")]
pub(super) const SQLITE_MMAP: Named =
    Named { name: "SQLite (rusqlite, WAL, mmap_size)", open: sqlite::open_mapped, ..SQLITE };
#[cfg(feature = "peers")]
pub(super) const FOYER_README: Named = Named {
    name: "foyer 0.22, as its README",
    open: foyer_hybrid::open_readme,
    durability: lost!("all that its memory holds, which it writes on eviction; power: more"),
};
#[cfg(feature = "peers")]
pub(super) const FOYER_EQUAL: Named =
    Named { name: "foyer 0.22, equal memory", open: foyer_hybrid::open_equal, ..FOYER_README };
#[cfg(feature = "peers")]
pub(super) const FOYER_ON_INSERTION: Named = Named {
    name: "foyer 0.22, written on insertion",
    open: foyer_hybrid::open_on_insertion,
    durability: lost!("what its flusher has not written, and removals come undone; power: more"),
};
#[cfg(feature = "peers")]
pub(super) const CACHED: Named = Named {
    name: "cached 4, redb store",
    open: cached_redb::open,
    durability: lost!("all since its last flush; power: the same"),
};

pub(super) const DISKCACHE: Named = Named {
    name: "Python diskcache, LRU",
    open: diskcache::open,
    durability: lost!("nothing; power: what follows its last checkpoint (synchronous=NORMAL)"),
};

/// The store with this name.
pub fn named(name: &str) -> Option<&'static Named> {
    STORES.iter().find(|store| store.name == name)
}

/// Those that a child can open.
const STORES: &[Named] = &[
    OURS,
    #[cfg(feature = "peers")]
    RAW,
    #[cfg(feature = "peers")]
    RAW_LAZY,
    #[cfg(feature = "peers")]
    SQLITE,
    #[cfg(feature = "peers")]
    FOYER_README,
    #[cfg(feature = "peers")]
    FOYER_ON_INSERTION,
    #[cfg(feature = "peers")]
    CACHED,
];

#[cfg(all(test, feature = "peers"))]
mod tests {
    use super::*;

    #[test]
    fn a_child_finds_a_store_by_its_name_and_a_removed_value_is_gone() {
        let runtime = Arc::new(Runtime::new().unwrap());
        let key = cache_core::images::image_metadata(7);
        for Named { name, .. } in STORES {
            let directory = tempfile::tempdir().unwrap();
            let place = Place { runtime: &runtime, directory: directory.path(), entries: 1 };
            let mut store = (named(name).unwrap().open)(place).unwrap();
            store.writes(&[(&key, Bytes::from_static(b"abc"))]).unwrap();
            store.settle().unwrap();
            assert!(store.holds(&key).unwrap(), "{name}");
            store.reads(&[&key], 3).unwrap();
            store.remove(&key).unwrap();
            assert!(!store.holds(&key).unwrap(), "{name}");
        }
        assert!(named("nothing").is_none());
    }
}
