//! The disk backend beside other caches on disk, and the Redis backend beside deadpool-redis.
//!
//! Each peer is set up as its documentation shows, on the same disk, with the same keys and values: [`store`]. [`beside`] has
//! their gets and sets, [`killed`] what a crash loses, [`written`] what reaches the disk. Those that keep values in memory
//! alone stand beside the memory in front of the disk: [`in_memory`].

mod beside;
#[cfg(feature = "peers")]
mod cached_redb;
#[cfg(feature = "peers")]
mod deadpool;
mod diskcache;
#[cfg(feature = "peers")]
mod foyer_hybrid;
#[cfg(feature = "peers")]
mod in_memory;
#[cfg(feature = "peers")]
mod killed;
mod ours;
#[cfg(feature = "peers")]
mod raw;
#[cfg(feature = "peers")]
mod sqlite;
pub mod store;
#[cfg(feature = "peers")]
mod written;

use beside::Rival;
#[cfg(feature = "peers")]
use store::{CACHED, FOYER_EQUAL, FOYER_README, OURS_WITH_MEMORY, SQLITE, SQLITE_MMAP};
use store::{DISKCACHE, OURS};

use crate::Outcome;
use crate::session::Session;

const RIVALS: &[Rival] = &[
    #[cfg(feature = "peers")]
    Rival {
        ours: OURS_WITH_MEMORY,
        peer: FOYER_README,
        targets: [1.0, 2.0, 1.0],
        note: "the peer's 64 MB count entries, so that it holds all values in memory; ours has 32 MB for values and 32 MB \
               for pages and index",
    },
    #[cfg(feature = "peers")]
    Rival { ours: OURS, peer: FOYER_EQUAL, targets: [1.0, 1.0, 1.0], note: "32 MB of memory each" },
    #[cfg(feature = "peers")]
    Rival { ours: OURS, peer: SQLITE, targets: [0.5, 0.333, 0.6], note: "32 MB of memory each" },
    #[cfg(feature = "peers")]
    Rival {
        ours: OURS,
        peer: SQLITE_MMAP,
        targets: [0.5, 0.333, 1.0],
        note: "32 MB of memory each; the peer reads the system's pages in place, too",
    },
    #[cfg(feature = "peers")]
    Rival {
        ours: OURS,
        peer: CACHED,
        targets: [1.0, 0.5, 3.2],
        note: "32 MB of memory beside redb's default of 1 GB, which holds all values",
    },
    Rival {
        ours: OURS,
        peer: DISKCACHE,
        targets: [0.0333, 0.1, 0.2],
        note: "flatters ours: the peer is a Python process, whose interpreter counts",
    },
];

/// Measures the rows.
pub fn run(session: &mut Session) -> Outcome<()> {
    if !cfg!(feature = "peers") {
        session.leave_out(
            "foyer, cached, rusqlite, deadpool-redis, moka, quick_cache",
            "built without the feature `peers`",
        );
    }
    for rival in RIVALS {
        beside::run(session, rival)?;
    }
    #[cfg(feature = "peers")]
    {
        killed::run(session)?;
        written::run(session)?;
        in_memory::run(session)?;
        deadpool::run(session)?;
    }
    Ok(())
}
