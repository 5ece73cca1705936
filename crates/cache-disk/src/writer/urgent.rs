//! What somebody waits for: invalidations, counters, flushes.

use std::collections::HashSet;

use cache_core::plants::{Plant, is_planted};
use cache_core::{CacheKey, Error, ErrorKind, Invalidation, MissCause};

use super::{Flush, Writer};
use crate::budget;
use crate::error::Fault;
use crate::queue::{Ack, CounterChange, Urgent};
use crate::recovery;
use crate::store::{Batch, Commit, Rows};

/// How far an invalidation is committed before it is acknowledged.
fn acknowledged() -> Commit {
    if is_planted(Plant::LazyDelete) { Commit::Lazy } else { Commit::Durable }
}

/// An invalidation that somebody waits for.
pub(super) struct Waiting {
    pub(super) what: Vec<Invalidation>,
    pub(super) ids: Vec<u64>,
    pub(super) ack: Ack<u64>,
}

impl Writer {
    /// Serves what has gathered: all invalidations in one durable commit.
    pub(super) fn serve(&mut self, urgent: Vec<Urgent>) {
        let urgent = if self.engine.is_suspended() { self.serve_nothing(urgent) } else { urgent };
        let mut invalidations = Vec::new();
        for operation in urgent {
            match operation {
                Urgent::Invalidate { what, ids, ack } => invalidations.push(Waiting { what, ids, ack }),
                Urgent::Count { key, change, ack } => drop(ack.send(self.count(&key, &change))),
                Urgent::Flush { ack } => {
                    self.flushes.push(Flush { mark: self.engine.queue.lazy(|lazy| lazy.end()), ack });
                }
                Urgent::Reopen { opening, fault } => self.reopen_if_open(opening, &fault),
                // Nothing was suspended.
                Urgent::Resume { ack } => drop(ack.send(Ok(()))),
            }
        }
        if !invalidations.is_empty() {
            self.invalidate(invalidations);
        }
    }

    fn invalidate(&mut self, waiting: Vec<Waiting>) {
        let clears = waiting.iter().any(|one| one.what.contains(&Invalidation::Everything));
        let done = if clears { self.clear(&waiting) } else { self.remove(&waiting) };
        match done {
            Ok(removed) => {
                // Where the directory is gone, what was removed there says nothing: nothing is served from here on.
                self.look();
                acknowledge(waiting, removed);
            }
            Err(fault) => {
                // What was committed lazily may be what brings an old value back: with the file, all of it goes.
                self.fail(&fault);
                match self.retry(&waiting) {
                    Ok(removed) => acknowledge(waiting, removed),
                    Err(error) => self.start_anew_for(waiting, &error),
                }
            }
        }
    }

    /// Removes what every one of `waiting` names, and nothing returns after a crash; how much each removed.
    pub(super) fn remove(&mut self, waiting: &[Waiting]) -> Result<Vec<u64>, Fault> {
        let Some(store) = &self.store else { return Err(Fault::Unavailable) };
        let is_dirty = self.is_dirty;
        // What the loader has read already would lead to rows that remain.
        let is_loading = !self.engine.is_complete();
        let (removed, remains, commit) = store.write(acknowledged(), |batch| {
            let removed = forget_all(batch, waiting)?;
            let mut rows: Vec<Rows> =
                removed.iter().flat_map(|one| one.entries.iter().map(|(_, rows)| *rows)).collect();
            let remains = if is_loading {
                rows.sort_unstable();
                batch.sweep_rows(&rows)?;
                Vec::new()
            } else {
                batch.leave(rows)?
            };
            // What an earlier lazy commit removed must be durable too before this is acknowledged.
            let any = removed.iter().any(|one| one.others || !one.entries.is_empty());
            let commit = if any || is_dirty { acknowledged() } else { Commit::Nothing };
            Ok(((removed, remains, commit), commit))
        })?;
        self.unswept.extend(remains);
        match commit {
            Commit::Durable => {
                self.publish()?;
                self.synced();
            }
            Commit::Lazy => {
                self.publish()?;
                self.is_dirty = true;
            }
            Commit::Nothing => {}
        }
        let index = &self.engine.index;
        let in_index = |(key, rows): &&(String, Rows)| {
            let hash = index.hash(key);
            let mut shard = index.shard(hash);
            let is_removed = shard.remove_if(hash, rows.id).is_some();
            if is_removed {
                shard.causes.record(hash, MissCause::Invalidated);
            }
            is_removed
        };
        let counts = removed.iter().map(|one| one.entries.iter().filter(in_index).count() as u64).collect();
        self.set_allowance();
        Ok(counts)
    }

    /// Puts an empty file in the place of the database: its space is free at once.
    fn clear(&mut self, waiting: &[Waiting]) -> Result<Vec<u64>, Fault> {
        let counters = match &self.store {
            Some(store) => store.counters()?,
            None => return Err(Fault::Unavailable),
        };
        let opened = recovery::start_beside(&self.directory, &self.engine.config).map_err(Fault::Refused)?;
        opened.store.write(Commit::Durable, |batch| {
            for (name, value) in &counters {
                batch.set_counter(name, Some(value))?;
            }
            Ok(((), Commit::Durable))
        })?;
        self.directory.install().map_err(Fault::Refused)?;
        let removed = self.install(opened)?;
        let mut counts = vec![0; waiting.len()];
        if let Some(at) = waiting.iter().position(|one| one.what.contains(&Invalidation::Everything))
            && let Some(count) = counts.get_mut(at)
        {
            *count = removed;
        }
        Ok(counts)
    }

    fn retry(&mut self, waiting: &[Waiting]) -> Result<Vec<u64>, Error> {
        if self.is_condemned {
            return Err(Error::new(ErrorKind::NotDurable, "the file holds what could not be removed"));
        }
        self.reopen()?;
        self.remove(waiting).map_err(|fault| {
            let error = Error::new(ErrorKind::NotDurable, fault.to_string());
            self.fail(&fault);
            error
        })
    }

    /// The last resort: with the file goes whatever could come back.
    fn start_anew_for(&mut self, waiting: Vec<Waiting>, cause: &Error) {
        cache_core::log::limited(
            self.directory.path(),
            |suppressed| tracing::warn!(%cause, suppressed, "disk cache cannot make an invalidation durable, starting empty"),
        );
        match self.start_anew() {
            Ok(removed) => {
                let counts = vec![removed; waiting.len()];
                acknowledge(waiting, counts);
            }
            Err(error) => {
                let text = error.to_string();
                for Waiting { ack, .. } in waiting {
                    let message =
                        format!("the disk cache can neither remove what is stale nor start anew: {text}");
                    drop(ack.send(Err(Error::new(ErrorKind::NotDurable, message))));
                }
            }
        }
    }

    fn count(&mut self, key: &CacheKey, change: &CounterChange) -> Result<i64, Error> {
        let most = self.most_counter_bytes();
        let room = most.saturating_sub(self.counter_bytes);
        let Some(store) = &self.store else { return Err(Fault::Unavailable.into_error("cannot count")) };
        let done =
            store.write(Commit::Lazy, |batch| Ok((change_counter(batch, key, change, room)?, Commit::Lazy)));
        match done {
            Ok(Some((answer, difference))) => {
                self.counter_bytes = self.counter_bytes.saturating_add_signed(difference);
                self.is_dirty = true;
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

    /// Answers those who wait for a flush, once what was queued before them is written: what comes after them, and without
    /// end, may wait.
    pub(super) fn answer_flushes_when_due(&mut self) {
        let Some(first) = self.flushes.first() else { return };
        let is_due =
            self.engine.is_complete() && self.engine.queue.lazy(|lazy| lazy.beginning()).reaches(first.mark);
        if self.store.is_none() || is_due {
            if let Err(fault) = self.sync() {
                self.fail(&fault);
            }
            self.answer_flushes();
        }
    }

    fn answer_flushes(&mut self) {
        let written = self.engine.queue.lazy(|lazy| lazy.beginning());
        let is_due = |flush: &mut Flush| self.store.is_none() || written.reaches(flush.mark);
        for Flush { ack, .. } in self.flushes.extract_if(.., is_due) {
            let done = if self.store.is_some() {
                Ok(())
            } else {
                Err(Fault::Unavailable.into_error("cannot flush"))
            };
            drop(ack.send(done));
        }
    }
}

/// What one of those who wait removed.
struct Forgotten {
    entries: Vec<(String, Rows)>,
    /// Whether anything else was removed.
    others: bool,
}

/// Takes out what each names; the rows of the entries that it returns remain.
fn forget_all(batch: &mut Batch<'_>, waiting: &[Waiting]) -> Result<Vec<Forgotten>, redb::Error> {
    let mut all = Vec::with_capacity(waiting.len());
    for Waiting { what, ids, .. } in waiting {
        let mut entries = Vec::new();
        for one in what {
            match one {
                // By its full key whatever the index says: a row that was evicted or overwritten lazily may still
                // stand in the last durable state.
                Invalidation::Key(key) => {
                    let rows = batch.forget_key(key.as_str())?;
                    entries.extend(rows.map(|rows| (key.as_str().to_owned(), rows)));
                }
                Invalidation::Group(_) | Invalidation::Pattern(_) | Invalidation::Everything => {
                    entries.extend(batch.forget_matching(one)?);
                }
            }
        }
        let known: HashSet<u64> = entries.iter().map(|(_, rows)| rows.id).collect();
        let mut others = false;
        for id in ids.iter().filter(|id| !known.contains(id)) {
            others |= batch.remove_id(*id)?;
        }
        all.push(Forgotten { entries, others });
    }
    Ok(all)
}

/// The answer, and by how many bytes the counters grew; `None` if that is more than `room`.
fn change_counter(
    batch: &mut Batch<'_>,
    key: &CacheKey,
    change: &CounterChange,
    room: u64,
) -> Result<Option<(i64, i64)>, redb::Error> {
    let (counter, claim) = (format!("+{key}"), format!("={key}"));
    match change {
        CounterChange::Add(by) => {
            let before = batch.counter(&counter)?;
            let value =
                before.as_deref().and_then(|bytes| bytes.try_into().ok()).map_or(0, i64::from_le_bytes);
            let sum = value.saturating_add(*by);
            let cost = if before.is_none() { budget::counter_cost(&counter, &[0; 8]) } else { 0 };
            if cost > room {
                return Ok(None);
            }
            batch.set_counter(&counter, Some(&sum.to_le_bytes()))?;
            Ok(Some((sum, cost.cast_signed())))
        }
        CounterChange::Claim(_) if batch.counter(&claim)?.is_some() => Ok(Some((0, 0))),
        CounterChange::Claim(value) => {
            let cost = budget::counter_cost(&claim, value);
            if cost > room {
                return Ok(None);
            }
            batch.set_counter(&claim, Some(value))?;
            Ok(Some((1, cost.cast_signed())))
        }
        CounterChange::Reset => {
            let mut gone = 0;
            for name in [counter, claim] {
                let value = batch.counter(&name)?;
                gone += value.map_or(0, |value| budget::counter_cost(&name, &value));
                batch.set_counter(&name, None)?;
            }
            Ok(Some((0, -gone.cast_signed())))
        }
    }
}

pub(super) fn acknowledge(waiting: Vec<Waiting>, removed: Vec<u64>) {
    for (Waiting { ack, .. }, removed) in waiting.into_iter().zip(removed) {
        // Whoever asked may have gone away; it is done all the same.
        drop(ack.send(Ok(removed)));
    }
}
