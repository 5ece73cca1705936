//! [`Image`]: the files that a loss of power could leave, built from what a [`Recorder`](super::recorder::Recorder) saw.
//!
//! Blocks that were written to a values file since its last sync may be on the disk or not, in any order, in part, as zeros,
//! or as what the disk held before. Blocks that were freed since may still be there.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use redb::backends::InMemoryBackend;
use redb::{ReadableDatabase, StorageBackend, TableDefinition};

use super::recorder::{Disk, Event, write_sparse};
use super::support::Dice;

const BLOCK: usize = 4096;
const SECTOR: usize = 512;

/// What values files hold: the bytes of a block by its number, or of a whole value where every value is a file of its own.
pub(crate) type Blocks = BTreeMap<u64, Vec<u8>>;

/// The files of a store after a loss of power.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) database: Vec<u8>,
    pub(crate) blocks: Blocks,
    /// Identifies the values files of the database; `None` if it is not complete.
    generation: Option<u64>,
    has_holes: bool,
}

impl Image {
    /// The files after the first `moment` events of `all`.
    pub(crate) fn after(all: &[Event], moment: usize, has_holes: bool, dice: &Dice) -> Self {
        let events = &all[..moment];
        let disk = Disk::after(events, dice);
        let generation = generation_of(&Disk::content(all, disk.file));
        let blocks = lose_power(events, disk.file, has_holes, dice);
        Self { database: disk.lose_power(dice), blocks, generation, has_holes }
    }

    /// Writes the files to `directory`, in place of those that are there.
    pub(crate) fn write_to(&self, directory: &Path) -> io::Result<()> {
        fs::remove_dir_all(directory)?;
        fs::create_dir(directory)?;
        write_sparse(&directory.join("cache.redb"), &self.database);
        let Some(generation) = self.generation else { return Ok(()) };
        let path = |number: u64| directory.join(format!("values-{generation:016x}-{number:012x}"));
        if !self.has_holes {
            return self.blocks.iter().try_for_each(|(id, value)| fs::write(path(*id), value));
        }
        let file = File::create(path(0))?;
        self.blocks.iter().try_for_each(|(id, block)| file.write_all_at(block, id * BLOCK as u64))
    }
}

/// Reads the identity of the values files from a database.
fn generation_of(database: &[u8]) -> Option<u64> {
    let memory = InMemoryBackend::new();
    memory.set_len(database.len() as u64).ok()?;
    memory.write(0, database).ok()?;
    let database = redb::Builder::new().create_with_backend(memory).ok()?;
    let state = database.begin_read().ok()?.open_table(TableDefinition::<&str, &[u8]>::new("state")).ok()?;
    let values = state.get("values").ok()??;
    Some(u64::from_le_bytes(*values.value().first_chunk()?))
}

/// The values files of the database file `of` after `events` and a loss of power.
fn lose_power(events: &[Event], of: usize, has_holes: bool, dice: &Dice) -> Blocks {
    let (mut durable, mut pending, mut current) = (Blocks::new(), Vec::new(), of);
    for event in events {
        match event {
            Event::Created(file) | Event::Opened(file) => current = *file,
            Event::WriteBlocks { .. } | Event::FreeBlocks(_) if current == of => pending.push(event),
            Event::SyncBlocks { is_ok } if current == of => {
                // After a sync that failed, what was written before it may be lost although the next one succeeds.
                let synced = std::mem::take(&mut pending).into_iter().filter(|_| *is_ok || dice.one_in(2));
                synced.for_each(|event| apply(&mut durable, event, has_holes, <[u8]>::to_vec));
            }
            _ => {}
        }
    }
    let chances = dice.between(1, 4);
    while !pending.is_empty() {
        let event = pending.swap_remove(dice.below(pending.len()));
        if chances == 1 || dice.one_in(chances) {
            apply(&mut durable, event, has_holes, |data| torn(data, dice));
        }
    }
    durable
}

/// Applies a write, of which `reaches` the disk what that returns, or frees blocks.
fn apply(blocks: &mut Blocks, event: &Event, has_holes: bool, reaches: impl Fn(&[u8]) -> Vec<u8>) {
    match event {
        Event::WriteBlocks { id, data } => {
            let data = reaches(data);
            let unit = if has_holes { BLOCK } else { data.len().max(1) };
            blocks.extend((*id..).zip(data.chunks(unit).map(<[u8]>::to_vec)));
        }
        Event::FreeBlocks(ids) if has_holes => blocks.retain(|id, _| !ids.contains(id)),
        Event::FreeBlocks(ids) => drop(blocks.remove(&ids.start)),
        _ => {}
    }
}

/// What is on the disk of a write that was not synced.
fn torn(data: &[u8], dice: &Dice) -> Vec<u8> {
    let mut torn = data.to_vec();
    match dice.below(8) {
        0 => torn.truncate(data.len() / 2),
        1 => torn.chunks_mut(SECTOR).filter(|_| dice.one_in(2)).for_each(|sector| sector.fill(0)),
        2 => torn.fill(0),
        3 => torn.fill_with(|| dice.next() as u8),
        _ => {}
    }
    torn
}
