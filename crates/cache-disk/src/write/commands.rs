//! Commands that callers wait for: invalidations, counters, flushes.

use std::collections::HashSet;

use cache_core::plants::{Plant, is_planted};
use cache_core::{CacheKey, Error, ErrorKind, Invalidation, MissCause};

use super::Writer;
use super::flush::Flush;
use crate::budget;
use crate::database_file::OpenDatabase;
use crate::error::Fault;
use crate::queue::{Command, CounterChange, Invalidate};
use crate::store::{Batch, CommitMode, Rows};

impl Writer {
    /// Executes the queued commands, all invalidations in one durable commit.
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
                Command::Reopen { opening, fault } => self.read_failed(opening, &fault),
                Command::Resume(ack) => {
                    let resumed = self.resume();
                    drop(ack.send(resumed.map_err(|fault| fault.into_error("cannot resume the disk cache"))));
                }
            }
        }
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
        let done: Result<Vec<u64>, Fault> = done.or_else(|fault| {
            cache_core::log::warn!(
                limit: self.directory.path(), cause = %fault,
                "disk cache cannot make an invalidation durable, starting empty"
            );
            Ok(vec![self.replace()?])
        });
        for (at, Invalidate { what, ack, .. }) in waiting.into_iter().enumerate() {
            // After the removal, and also where it failed: the caller may have gone away.
            self.engine.invalidate_near(&what);
            let answer = match &done {
                Ok(removed) => Ok(removed.get(at).copied().unwrap_or(0)),
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
    /// each, or all for the first if they left with a whole file.
    fn try_invalidate(&mut self, waiting: &[Invalidate]) -> Result<Vec<u64>, Fault> {
        let clears = waiting.iter().any(|one| one.what.contains(&Invalidation::Everything));
        let done = if clears { self.clear().map(|removed| vec![removed]) } else { self.remove(waiting) };
        done.or_else(|fault| {
            // Closes the file, with which lazily committed values go: they could bring back a removed value.
            self.fail(&fault);
            self.reopen()?;
            self.remove(waiting).inspect_err(|fault| self.fail(fault))
        })
    }

    /// Removes the entries that `waiting` names, durably; returns how many for each.
    fn remove(&mut self, waiting: &[Invalidate]) -> Result<Vec<u64>, Fault> {
        let Some(file) = self.file.get_mut() else { return Err(Fault::Unavailable) };
        let commit = if is_planted(Plant::LazyDelete) { CommitMode::Lazy } else { CommitMode::Durable };
        let (is_dirty, is_complete) = (file.is_dirty, self.engine.is_complete());
        let (unlinked, garbage, is_changed) = file.store.write(commit, |batch| {
            let (unlinked, has_removed) = remove_keys(batch, waiting)?;
            let mut rows: Vec<Rows> = unlinked.iter().flatten().map(|(_, rows)| *rows).collect();
            // Removals of an earlier lazy commit must be durable, too, before this is acknowledged.
            let is_changed = is_dirty || has_removed || !rows.is_empty();
            let garbage = if is_complete {
                batch.note_garbage(rows)?
            } else {
                // An entry that the running load has read would refer to rows of garbage.
                rows.sort_unstable();
                batch.remove_all_rows(&rows)?;
                Vec::new()
            };
            if !is_changed {
                batch.abort();
            }
            Ok((unlinked, garbage, is_changed))
        })?;
        file.garbage.extend(garbage);
        file.is_dirty = is_changed;
        if is_changed {
            self.publish()?;
            if commit == CommitMode::Durable {
                self.synced();
            }
        }
        let index = &self.engine.index;
        let is_in_index = |(key, rows): &&(String, Rows)| {
            let hash = index.hash(key);
            index.shard(hash).remove_if(hash, rows.id, MissCause::Invalidated).is_some()
        };
        let removed = unlinked.iter().map(|one| one.iter().filter(is_in_index).count() as u64).collect();
        self.set_allowance();
        Ok(removed)
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
        match file.store.write(CommitMode::Lazy, |batch| change_counter(batch, key, change, room)) {
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

/// Keys that were removed, and the rows of their entries.
type Unlinked = Vec<(String, Rows)>;

/// Removes the entries that `waiting` names; the rows of the returned ones, given for each call, remain. Also returns
/// whether any were removed completely.
fn remove_keys(batch: &mut Batch<'_>, waiting: &[Invalidate]) -> Result<(Vec<Unlinked>, bool), redb::Error> {
    let (mut all, mut has_removed) = (Vec::with_capacity(waiting.len()), false);
    for Invalidate { what, ids, .. } in waiting {
        let mut unlinked = Vec::new();
        for one in what {
            // Also a key that the index does not know: an entry that was evicted or replaced lazily may still be in the
            // last durable state.
            unlinked.extend(batch.unlink(one)?);
        }
        let known: HashSet<u64> = unlinked.iter().map(|(_, rows)| rows.id).collect();
        for id in ids.iter().filter(|id| !known.contains(id)) {
            has_removed |= batch.remove_id(*id)?;
        }
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
