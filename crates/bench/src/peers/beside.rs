//! Gets and sets of ours beside those of a peer with the same entries, which memory does not hold.

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::store::{Named, Place, Store};
use crate::Outcome;
use crate::case::{Case, Pace, Spec, Target, Unit};
use crate::disk::{LARGE, SMALL};
use crate::session::Session;
use crate::stores::directory;
use crate::workload::{Access, Sequence, Values, image_keys};

/// Bytes of values that are stored before both sides are waited for: little enough that no queue overflows.
const LOADED_AT_ONCE: usize = 2 << 20;
/// Entries with small values: three times as much as memory holds.
const SMALL_ENTRIES: usize = 100_000;
/// Entries with large values: six times as much.
const LARGE_ENTRIES: usize = 4000;

/// A peer, ours as it stands beside it, and what that has to reach: at most so many times the peer's time for a get of
/// 1 KB, a set of 1 KB, and a get of 50 KB.
pub(super) struct Rival {
    pub(super) ours: Named,
    pub(super) peer: Named,
    pub(super) targets: [f64; 3],
    /// What the rows of its gets say.
    pub(super) note: &'static str,
}

/// Ours and a peer with the same entries.
struct Beside {
    ours: Box<dyn Store>,
    peer: Box<dyn Store>,
    sequence: Sequence,
    values: Values,
    value_bytes: usize,
    sets: bool,
    _directory: TempDir,
}

impl Beside {
    fn new(session: &Session, rival: &Rival, entries: usize, value_bytes: usize) -> Outcome<Self> {
        let root = directory()?;
        let open = |store: &Named, path: PathBuf| {
            std::fs::create_dir(&path)?;
            (store.open)(Place { runtime: &session.runtime, directory: &path, entries })
        };
        let mut ours = open(&rival.ours, root.path().join("ours"))?;
        let mut peer = open(&rival.peer, root.path().join("peer"))?;
        let (keys, values) = (image_keys(0, entries), Values::new(value_bytes));
        let entries: Vec<_> = keys.iter().enumerate().map(|(number, key)| (key, values.of(number))).collect();
        for entries in entries.chunks(LOADED_AT_ONCE / value_bytes) {
            for store in [&mut ours, &mut peer] {
                store.writes(entries)?;
                store.settle()?;
            }
        }
        let sequence = Sequence::new(keys, Access::Zipf, 21);
        Ok(Self { ours, peer, sequence, values, value_bytes, sets: false, _directory: root })
    }

    fn run(&mut self, is_ours: bool, operations: u64) -> Outcome<Duration> {
        let Self { ours, peer, sequence, values, value_bytes, sets, .. } = self;
        let store = if is_ours { ours } else { peer };
        if *sets {
            let taken = store.writes(&sequence.entries(operations, values))?;
            store.settle()?;
            return Ok(taken);
        }
        store.reads(&sequence.take(operations), *value_bytes)
    }
}

impl Case for Beside {
    fn ours(&mut self, operations: u64) -> Outcome<Duration> {
        self.run(true, operations)
    }

    fn peer(&mut self, operations: u64) -> Outcome<Duration> {
        self.run(false, operations)
    }
}

/// Measures the rows of a peer; one that this machine lacks is left out.
pub(super) fn run(session: &mut Session, rival: &Rival) -> Outcome<()> {
    let Rival { ours: _, peer: Named { name, durability, .. }, targets: [get, set, get_large], note } =
        *rival;
    session.doing(name);
    let spec = |what, most, target, note| {
        Spec::new(what, name, Unit::Micros, Pace::FewSlices { most }, Target::Ratio(target)).note(note)
    };
    let mut case = match Beside::new(session, rival, SMALL_ENTRIES, SMALL) {
        Ok(case) => case,
        Err(error) => {
            session.leave_out(name, &format!("{error:#}"));
            return Ok(());
        }
    };
    session.measure(&spec("get 1 KB, zipf, 100 MB", 1000, get, note), &mut case)?;
    case.sets = true;
    session.measure(&spec("set 1 KB", 200, set, durability), &mut case)?;
    drop(case);
    let mut case = Beside::new(session, rival, LARGE_ENTRIES, LARGE)?;
    session.measure(&spec("get 50 KB, zipf, 200 MB", 1000, get_large, note), &mut case)?;
    Ok(())
}
