//! Commands that callers wait for: invalidations, counters, flushes.

use std::collections::HashSet;

use cache_core::plants::{Plant, is_planted};
use cache_core::{CacheKey, Error, ErrorKind, Invalidation, MissCause};

use super::Writer;
use super::flush::Flush;
use crate::budget;
use crate::database_file::OpenDatabase;
use crate::error::Fault;
use crate::queue::{Command, CounterChange, Cursor, Invalidate};
use crate::store::{Batch, CommitMode, Location, Written};

/// Keys that one transaction looks at for an invalidation, which takes milliseconds: others are served before it goes on.
/// Fewer in tests.
const KEYS_AT_ONCE: usize = if cfg!(feature = "shuttle") {
    2
} else if cfg!(feature = "testing") {
    16
} else {
    2048
};

impl Writer {
    /// Executes the queued commands, all invalidations in one durable commit: of those with many entries, one part.
    pub(super) fn serve(&mut self, commands: Vec<Command>) {
        if self.engine.is_suspended() {
            self.release_directory();
        }
        let mut invalidations = Vec::new();
        for command in commands {
            match command {
                Command::Invalidate(invalidate) => invalidations.push(invalidate),
                Command::Count { key, change, ack } => drop(ack.send(self.count(&key, &change))),
                Command::Flush(ack) => {
                    let position = self.engine.queue.write_behind(|queued| queued.end());
                    self.flushes.push(Flush { position, ack });
                }
                Command::Free { opening, blocks } => self.free_later(opening, blocks),
                Command::Reopen { opening, fault } => self.read_failed(opening, &fault),
                Command::Resume(ack) => {
                    let resumed = self.resume();
                    drop(ack.send(resumed.map_err(|fault| fault.into_error("cannot resume the disk cache"))));
                }
            }
        }
        // Behind the others, which need not wait for all of them.
        invalidations.append(&mut self.unfinished);
        if !invalidations.is_empty() {
            self.invalidate(invalidations);
        }
    }

    fn invalidate(&mut self, waiting: Vec<Invalidate>) {
        let mut done =
            if self.engine.is_suspended() { Ok(Vec::new()) } else { self.try_invalidate(&waiting) };
        // The acknowledgement would be wrong if another process served the directory by now.
        self.check_directory();
        if self.engine.is_suspended() {
            // Nothing is stored or served from here on.
            done = Ok(Vec::new());
        }
        let done: Result<Vec<Progress>, Fault> = done.or_else(|fault| {
            cache_core::log::warn!(
                limit: self.directory.path(), cause = %fault,
                "disk cache cannot make an invalidation durable, starting empty"
            );
            Ok(all_for_the_clear(&waiting, self.replace()?))
        });
        for (at, mut waiting) in waiting.into_iter().enumerate() {
            let progress = done.as_ref().map(|done| done.get(at).cloned().unwrap_or_default());
            if let Ok(Progress { removed, rest: Some(rest) }) = progress {
                waiting.from = rest;
                waiting.removed += removed;
                // They are removed.
                waiting.entries = Vec::new();
                self.unfinished.push(waiting);
                continue;
            }
            let Invalidate { what, removed: before, ack, .. } = waiting;
            // After the removal, and also where it failed: the caller may have gone away.
            self.engine.invalidate_near(&what);
            let answer = match progress {
                Ok(Progress { removed, .. }) => Ok(before + removed),
                Err(fault) => {
                    let message = format!(
                        "the disk cache can neither remove the stale entries nor start empty: {fault}"
                    );
                    Err(Error::new(ErrorKind::NotDurable, message))
                }
            };
            // The caller may have gone away; the invalidation is done all the same.
            drop(ack.send(answer));
        }
    }

    /// Removes the entries that `waiting` names, at the second try after reopening the file; returns how many for
    /// each: if they left with a whole file, all for the first that clears everything.
    fn try_invalidate(&mut self, waiting: &[Invalidate]) -> Result<Vec<Progress>, Fault> {
        // One that goes on in parts could not start an empty file.
        let clears =
            waiting.iter().any(|one| one.from.is_start() && one.what.contains(&Invalidation::Everything));
        let done = if clears {
            self.clear().map(|removed| all_for_the_clear(waiting, removed))
        } else {
            self.remove(waiting)
        };
        done.or_else(|fault| {
            // Closes the file, with which lazily committed values go: they could bring back a removed value.
            self.fail(&fault);
            self.reopen()?;
            self.remove(waiting).inspect_err(|fault| self.fail(fault))
        })
    }

    /// Removes entries that `waiting` names, durably, as many as one transaction should; returns how many for each.
    fn remove(&mut self, waiting: &[Invalidate]) -> Result<Vec<Progress>, Fault> {
        let Some(file) = self.file.get_mut() else { return Err(Fault::Unavailable) };
        let commit = if is_planted(Plant::LazyDelete) { CommitMode::Lazy } else { CommitMode::Durable };
        let (is_dirty, is_complete) = (file.is_dirty, self.engine.is_complete());
        let Written { value: (unlinked, garbage, is_changed), freed } =
            file.store.write(commit, |batch| {
                let (unlinked, has_removed) = remove_keys(batch, waiting)?;
                let entries: Vec<Location> =
                    unlinked.iter().flat_map(|one| &one.entries).map(|(_, at)| *at).collect();
                // Removals of an earlier lazy commit must be durable, too, before this is acknowledged.
                let is_changed = is_dirty || has_removed || !entries.is_empty();
                let garbage = if is_complete {
                    batch.note_garbage(entries)?
                } else {
                    // An entry that the running load has read would refer to garbage.
                    batch.remove_records(&entries)?;
                    Vec::new()
                };
                if !is_changed {
                    batch.abort();
                }
                Ok((unlinked, garbage, is_changed))
            })?;
        file.garbage.extend(garbage);
        file.free(&freed);
        file.is_dirty = is_changed;
        if is_changed {
            self.publish()?;
            if commit == CommitMode::Durable {
                self.synced();
            }
        }
        let index = &self.engine.index;
        let is_in_index = |(key, at): &&(String, Location)| {
            let hash = index.hash(key);
            if !is_complete {
                // The running load may have read the key, and its blocks can still be read. It looks for this under the lock
                // of the shard.
                self.engine.load.supersede(hash);
            }
            index.shard(hash).remove_if(hash, at.id, MissCause::Invalidated).is_some()
        };
        let removed = unlinked.iter().map(|one| one.entries.len()).sum();
        self.compacts_after = self.compacts_after.saturating_sub(budget::written(0, removed));
        let progress = |one: Unlinked| Progress {
            removed: one.entries.iter().filter(is_in_index).count() as u64,
            rest: one.rest,
        };
        let progress = unlinked.into_iter().map(progress).collect();
        self.set_allowance();
        Ok(progress)
    }

    /// Replaces the database by an empty file, so that its space is free at once; keeps the counters. Returns how many
    /// entries it removed.
    fn clear(&mut self) -> Result<u64, Fault> {
        let counters = self.store()?.counters()?;
        let opened = OpenDatabase::start_beside(&self.directory, &self.engine.config, &counters)?;
        self.directory.install()?;
        self.install(opened)
    }

    fn count(&mut self, key: &CacheKey, change: &CounterChange) -> Result<i64, Error> {
        let most = self.engine.config.limit_bytes / 16;
        let Some(file) = self.file.get_mut() else {
            return Err(Fault::Unavailable.into_error("cannot count"));
        };
        let room = most.saturating_sub(file.counter_bytes);
        let written = file.store.write(CommitMode::Lazy, |batch| change_counter(batch, key, change, room));
        match written.map(|written| written.value) {
            Ok(Some((answer, difference))) => {
                file.counter_bytes = file.counter_bytes.saturating_add_signed(difference);
                file.is_dirty = true;
                Ok(answer)
            }
            Ok(None) => {
                let message = format!(
                    "the disk cache's counters have used up their {most} bytes; reset some or raise CACHE_SIZE_MB"
                );
                Err(Error::new(ErrorKind::WritesRefused, message))
            }
            Err(fault) => {
                self.fail(&fault);
                Err(fault.into_error("cannot count"))
            }
        }
    }
}

/// How far an invalidation came in one transaction.
#[derive(Debug, Default, Clone)]
struct Progress {
    removed: u64,
    /// Where the next transaction begins, if this was not all.
    rest: Option<Cursor>,
}

/// Gives the count of a file that left as a whole to the first of `waiting` that clears everything, or to the first of all.
fn all_for_the_clear(waiting: &[Invalidate], removed: u64) -> Vec<Progress> {
    let clear = waiting.iter().position(|one| one.what.contains(&Invalidation::Everything)).unwrap_or(0);
    let mut done = vec![Progress::default(); clear];
    done.push(Progress::all(removed));
    done
}

impl Progress {
    fn all(removed: u64) -> Self {
        Self { removed, rest: None }
    }
}

/// What one invalidation removed from the table of keys in one transaction.
#[derive(Debug, Default)]
struct Unlinked {
    /// Keys, and where the records of their entries are.
    entries: Vec<(String, Location)>,
    rest: Option<Cursor>,
}

/// Removes entries that `waiting` names; the records of the returned ones, given for each call, remain. Also returns
/// whether any were removed completely.
fn remove_keys(batch: &mut Batch<'_>, waiting: &[Invalidate]) -> Result<(Vec<Unlinked>, bool), redb::Error> {
    let (mut all, mut has_removed) = (Vec::with_capacity(waiting.len()), false);
    for Invalidate { what, entries, from, .. } in waiting {
        let mut unlinked = Unlinked::default();
        // Also a key that the index does not know: an entry that was evicted or replaced lazily may still be in the last
        // durable state.
        for (at, one) in what.iter().enumerate().skip(from.at) {
            let first = if at == from.at { from.key.as_str() } else { "" };
            let rest = batch.unlink(one, first, KEYS_AT_ONCE, &mut unlinked.entries)?;
            unlinked.rest = match rest {
                Some(key) => Some(Cursor { at, key }),
                None if unlinked.entries.len() < KEYS_AT_ONCE || at + 1 == what.len() => continue,
                None => Some(Cursor { at: at + 1, key: String::new() }),
            };
            break;
        }
        let known: HashSet<u64> = unlinked.entries.iter().map(|(_, at)| at.id).collect();
        let others: Vec<Location> = entries.iter().filter(|at| !known.contains(&at.id)).copied().collect();
        has_removed |= batch.remove_entries(&others)? > 0;
        all.push(unlinked);
    }
    Ok((all, has_removed))
}

/// Returns the answer, and by how many bytes the counters grew; `None` if that would be more than `room`.
fn change_counter(
    batch: &mut Batch<'_>,
    key: &CacheKey,
    change: &CounterChange,
    room: u64,
) -> Result<Option<(i64, i64)>, redb::Error> {
    let (counter, claim) = (format!("+{key}"), format!("={key}"));
    let (name, value, answer, is_new) = match change {
        CounterChange::Add(by) => {
            let before = batch.counter(&counter)?;
            let value =
                before.as_deref().and_then(|bytes| bytes.try_into().ok()).map_or(0, i64::from_le_bytes);
            let sum = value.saturating_add(*by);
            (counter, sum.to_le_bytes().to_vec(), sum, before.is_none())
        }
        CounterChange::Claim(_) if batch.counter(&claim)?.is_some() => return Ok(Some((0, 0))),
        CounterChange::Claim(value) => (claim, value.to_vec(), 1, true),
        CounterChange::Reset => {
            let mut freed = 0;
            for name in [counter, claim] {
                let value = batch.remove_counter(&name)?;
                freed += value.map_or(0, |value| budget::counter_cost(&name, &value));
            }
            return Ok(Some((0, -freed.cast_signed())));
        }
    };
    let cost = if is_new { budget::counter_cost(&name, &value) } else { 0 };
    if cost > room {
        return Ok(None);
    }
    batch.set_counter(&name, &value)?;
    Ok(Some((answer, cost.cast_signed())))
}
