//! [`Recorder`]: records every write, and builds the files that a power loss at any moment could leave.
//!
//! Writes since the last successful sync may be on the disk or not, in any order, and torn at sectors. Writes before a
//! failed sync may be lost, although later syncs succeed.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use cache_disk::{DiskConfig, ValuesOperation};

use super::storage::{EIO, Head, Operation, Tap, Verdict, tapped};
use super::support::Dice;

const SECTOR: usize = 512;

/// Records the operations on the files of a store, in order.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    events: Mutex<Vec<Event>>,
    /// One more than the syncs that succeed before one fails; none fails at zero.
    syncs_until_failure: AtomicUsize,
}

#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// The file of this number was created.
    Created(usize),
    /// The file of this number was opened again.
    Opened(usize),
    Write {
        file: usize,
        offset: u64,
        data: Vec<u8>,
    },
    SetLength {
        file: usize,
        length: u64,
    },
    Sync {
        file: usize,
        is_ok: bool,
    },
    /// The part of a value that is in blocks was written, from the block of this number on.
    WriteBlocks {
        id: u64,
        data: Vec<u8>,
    },
    FreeBlocks(Range<u64>),
    SyncBlocks {
        is_ok: bool,
    },
    /// The store acknowledged an invalidation.
    Acknowledged,
}

impl Recorder {
    /// A recorder for a file that holds `content` and for values files that hold `blocks`, all of it durable.
    pub(crate) fn of(content: Vec<u8>, blocks: BTreeMap<u64, Vec<u8>>) -> Self {
        let mut events = vec![
            Event::Created(0),
            Event::Write { file: 0, offset: 0, data: content },
            Event::Sync { file: 0, is_ok: true },
        ];
        events.extend(blocks.into_iter().map(|(id, data)| Event::WriteBlocks { id, data }));
        events.push(Event::SyncBlocks { is_ok: true });
        Self { events: Mutex::new(events), ..Self::default() }
    }

    /// A recorder that lets the sync after `syncs` others fail.
    pub(crate) fn failing_after(syncs: usize) -> Self {
        let recorder = Self::default();
        recorder.fail_after(syncs);
        recorder
    }

    /// Records an operation on the values files; returns whether it is to be done.
    fn before_values(&self, operation: &ValuesOperation<'_>) -> io::Result<bool> {
        let event = match operation {
            ValuesOperation::Read { .. } => return Ok(true),
            ValuesOperation::Write { id, parts } => {
                Event::WriteBlocks { id: *id, data: parts.iter().flat_map(|part| part.to_vec()).collect() }
            }
            ValuesOperation::Free { ids } => Event::FreeBlocks(ids.clone()),
            ValuesOperation::Sync => {
                let fails = self.is_sync_to_fail();
                self.events().push(Event::SyncBlocks { is_ok: !fails });
                return if fails { Err(io::Error::from_raw_os_error(EIO)) } else { Ok(false) };
            }
        };
        self.events().push(event);
        Ok(true)
    }

    fn is_sync_to_fail(&self) -> bool {
        self.syncs_until_failure.load(Ordering::SeqCst) > 0
            && self.syncs_until_failure.fetch_sub(1, Ordering::SeqCst) == 1
    }

    /// Lets the sync after `syncs` others fail from now on.
    pub(crate) fn fail_after(&self, syncs: usize) {
        self.syncs_until_failure.store(syncs + 1, Ordering::SeqCst);
    }

    /// Records an acknowledgement; returns the number of events so far.
    pub(crate) fn acknowledged(&self) -> usize {
        let mut events = self.events();
        events.push(Event::Acknowledged);
        events.len()
    }

    pub(crate) fn events(&self) -> MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap()
    }
}

/// Opens the files of a store through `recorder`, which also records what is done to its values files.
pub(crate) fn recorded(config: DiskConfig, recorder: &Arc<Recorder>) -> DiskConfig {
    let values = Arc::clone(recorder);
    tapped(config, recorder).before_values(move |operation| values.before_values(&operation))
}

impl Tap for Recorder {
    fn open(&self, head: Option<&Head>) -> usize {
        let mut events = self.events();
        let Some(head) = head else {
            let files = events.iter().filter(|event| matches!(event, Event::Created(_))).count();
            events.push(Event::Created(files));
            return files;
        };
        // The opened file is recognized by its head. A replacement that was never installed has another one.
        let mut heads = HashMap::new();
        for event in events.iter() {
            if let Event::Write { file, offset: 0, data } = event
                && data.len() >= head.len()
            {
                heads.insert(*file, &data[..head.len()]);
            }
        }
        let is_same = |file: &usize| heads.get(file).is_some_and(|known| known == head);
        let file = heads.keys().copied().filter(is_same).max().expect("every opened file was written before");
        events.push(Event::Opened(file));
        file
    }

    fn before(&self, file: usize, operation: Operation<'_>) -> Verdict {
        let (event, verdict) = match operation {
            Operation::Read => return Verdict::Pass,
            Operation::Write { offset, data } => {
                (Event::Write { file, offset, data: data.to_vec() }, Verdict::Pass)
            }
            Operation::SetLength(length) => (Event::SetLength { file, length }, Verdict::Pass),
            Operation::Sync => {
                let fails = self.is_sync_to_fail();
                let verdict =
                    if fails { Verdict::Fail(io::Error::from_raw_os_error(EIO)) } else { Verdict::Skip };
                (Event::Sync { file, is_ok: !fails }, verdict)
            }
        };
        self.events().push(event);
        verdict
    }
}

/// The content of one file on the disk, as events go on.
#[derive(Debug, Default)]
pub(crate) struct Disk<'a> {
    /// The number of the file.
    pub(crate) file: usize,
    durable: Vec<u8>,
    pending: Vec<&'a Event>,
}

impl<'a> Disk<'a> {
    /// The content of the file that is in use after `events`.
    ///
    /// Until the first acknowledgement after a file was created, the one before it may still be in use.
    pub(crate) fn after(events: &'a [Event], dice: &Dice) -> Self {
        let mut in_use = events.iter().enumerate().filter_map(|(at, event)| match event {
            Event::Created(file) => Some((at, true, *file)),
            Event::Opened(file) => Some((at, false, *file)),
            _ => None,
        });
        let (at, is_new, last) = in_use.next_back().expect("a store has a file");
        let is_settled = !is_new || events[at..].iter().any(|event| matches!(event, Event::Acknowledged));
        let before = in_use.next_back().map_or(last, |(.., before)| before);
        let file = if is_settled || dice.one_in(2) { last } else { before };
        let mut disk = Self { file, ..Self::default() };
        for event in events {
            disk.apply(file, event, dice);
        }
        disk
    }

    /// The content of `file` after `events` if the power stays on.
    pub(crate) fn content(events: &[Event], file: usize) -> Vec<u8> {
        let mut content = Vec::new();
        let is_of_file = |event: &&Event| matches!(event, Event::Write { file: of, .. } | Event::SetLength { file: of, .. } if *of == file);
        events.iter().filter(is_of_file).for_each(|event| write(&mut content, event, |_| true));
        content
    }

    fn apply(&mut self, of: usize, event: &'a Event, dice: &Dice) {
        match event {
            Event::Write { file, .. } | Event::SetLength { file, .. } if *file == of => {
                self.pending.push(event);
            }
            Event::Sync { file, is_ok } if *file == of => {
                for event in std::mem::take(&mut self.pending) {
                    if *is_ok || dice.one_in(2) {
                        write(&mut self.durable, event, |_| true);
                    }
                }
            }
            _ => {}
        }
    }

    /// The file after a power loss: with some of the writes that were not synced, in any order, some of them torn.
    pub(crate) fn lose_power(mut self, dice: &Dice) -> Vec<u8> {
        let chances = dice.between(1, 4);
        let mut rest = std::mem::take(&mut self.pending);
        while !rest.is_empty() {
            let event = rest.swap_remove(dice.below(rest.len()));
            if chances > 1 && !dice.one_in(chances) {
                continue;
            }
            let is_torn = dice.one_in(4);
            write(&mut self.durable, event, |_| !is_torn || dice.one_in(2));
        }
        self.durable
    }
}

/// Writes the sectors of `event` for which `reaches` is true.
fn write(file: &mut Vec<u8>, event: &Event, reaches: impl Fn(usize) -> bool) {
    match event {
        Event::Write { offset, data, .. } => {
            let offset = usize::try_from(*offset).unwrap();
            if file.len() < offset + data.len() {
                file.resize(offset + data.len(), 0);
            }
            for (number, sector) in data.chunks(SECTOR).enumerate().filter(|(number, _)| reaches(*number)) {
                let at = offset + number * SECTOR;
                file[at..at + sector.len()].copy_from_slice(sector);
            }
        }
        Event::SetLength { length, .. } => file.resize(usize::try_from(*length).unwrap(), 0),
        _ => {}
    }
}

/// Writes `content` to `path`, with holes where it is zero, as in files of redb.
pub(crate) fn write_sparse(path: &Path, content: &[u8]) {
    let file = std::fs::File::create(path).unwrap();
    file.set_len(content.len() as u64).unwrap();
    for (number, block) in content.chunks(4096).enumerate() {
        if block.iter().any(|byte| *byte != 0) {
            file.write_all_at(block, number as u64 * 4096).unwrap();
        }
    }
}
