//! [`Writer`]: the thread that writes a journal and checks that its directory is still held.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use cache_core::panics::contained;
use cache_core::{Error, ErrorKind, JournalKind, Result};

use super::{JournalFile, OrphanJournal, Shared, State, distrust};
use crate::durability::directory::{HeldDirectory, Locks};

/// How often the directory is checked while nothing is to be written.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// How often in a row the directory may be lost during one write.
const MOST_LOSSES: usize = 5;

pub(super) struct Writer {
    directory: Arc<HeldDirectory>,
    /// Kept until the last write: the next process to take the locks finds no writer.
    locks: Option<Arc<Locks>>,
    /// Whether there is to be a file.
    writes: bool,
    /// `None` while it cannot be created.
    file: Option<JournalFile>,
    /// Whether the store was suspended, and not resumed yet.
    is_suspended: bool,
}

impl Writer {
    pub(super) fn new(directory: &Arc<HeldDirectory>, writes: bool, file: Option<JournalFile>) -> Self {
        let directory = Arc::clone(directory);
        Self { locks: directory.locks(), directory, writes, file, is_suspended: false }
    }

    /// Writes until the journal is closed.
    pub(super) fn run(mut self, shared: &Shared) {
        loop {
            let (waiting, is_last) = {
                let mut state = shared.state.lock();
                if state.waiting.is_empty() && !state.is_closing {
                    // May wake early, which costs a check of the directory.
                    let _ = shared.work.wait_for(&mut state, CHECK_EVERY);
                }
                (std::mem::take(&mut state.waiting), state.is_closing)
            };
            let is_awaited = !waiting.is_empty();
            // A panic counts as a failed write: waiting callers are answered, and everything is written again.
            let done = contained(|| self.write_all(shared, is_awaited, is_last)).unwrap_or_else(|| {
                self.report(shared, Err(&io::Error::other("the write panicked")), is_awaited);
                Ok(())
            });
            for caller in waiting {
                let answer =
                    done.as_ref().copied().map_err(|error| Error::new(error.kind(), error.to_string()));
                // A caller that was dropped does not wait any more.
                let _ = caller.send(answer);
            }
            if is_last {
                return self.directory.release();
            }
        }
    }

    /// Writes the changes, durably if a caller waits, and then checks that the directory is still held. If it is lost,
    /// writes everything again into the next one.
    ///
    /// # Errors
    /// `Locked` when another process has taken the directory and does not release it.
    fn write_all(&mut self, shared: &Shared, is_awaited: bool, is_last: bool) -> Result<()> {
        for _ in 0..MOST_LOSSES {
            if is_last && !is_awaited && self.locks.is_none() {
                return Ok(());
            }
            let outcome = self.try_write(shared, is_awaited, is_last);
            if self.locks.is_some()
                && let Err(cause) = self.check_in_place()
            {
                self.abandon(shared, &cause);
                continue;
            }
            let Err(error) = outcome else { return Ok(()) };
            shared.state.lock().lose(&error, self.writes);
            let is_taken = error.kind() == ErrorKind::Locked && is_awaited;
            return if is_taken { Err(error) } else { Ok(()) };
        }
        Err(Error::new(ErrorKind::Locked, "the cache directory is taken by other processes again and again"))
    }

    /// Takes the directory again if it is lost, creates the file if there is none, resumes the store if it is suspended, and
    /// writes the changes.
    fn try_write(&mut self, shared: &Shared, is_awaited: bool, is_last: bool) -> Result<()> {
        if self.locks.is_none() {
            self.directory
                .retake(is_awaited, |directory| OrphanJournal::claim_without(directory, &shared.target))?;
            self.locks = self.directory.locks();
        }
        let locks = self.locks.clone();
        if self.writes
            && self.file.is_none()
            && let Some(instance) = locks.as_ref().and_then(|locks| locks.instance())
        {
            // With all records, before the store may be trusted: a crash in between would lose them.
            let slots = {
                let table = &mut shared.state.lock().table;
                table.written(false);
                table.take_changes()
            };
            let created = JournalFile::create(instance, &slots);
            self.report(shared, created.as_ref().map(|_| ()).map_err(|error| error as _), true);
            self.file = created.ok();
        }
        let cause = if self.is_suspended { self.resume(shared).err() } else { None };
        let mut state = shared.state.lock();
        if state.cause.is_some() && !self.writes {
            state.kind = JournalKind::None;
        }
        state.cause = cause.map(|cause| cause.to_string());
        if let Some(file) = self.file.as_ref().filter(|_| is_awaited || is_last) {
            let slots = state.table.take_changes();
            drop(state);
            let written = file.write(&slots, is_awaited);
            self.report(shared, written.as_ref().copied().map_err(|error| error as _), is_awaited);
        }
        Ok(())
    }

    /// Resumes the store. One that fails stays suspended, and is resumed again a second later.
    fn resume(&mut self, shared: &Shared) -> Result<()> {
        if let Some(store) = shared.store.get() {
            store.resume()?;
        }
        self.is_suspended = false;
        let directory = self.directory.path();
        cache_core::log::info!(
            limit: directory, directory = %directory.display(), "the cache directory is in use again"
        );
        Ok(())
    }

    /// Checks that the directory, and the journal in it, are still at their paths.
    fn check_in_place(&self) -> Result<()> {
        self.directory.check_in_place()?;
        self.file.as_ref().map_or(Ok(()), JournalFile::check_in_place)
    }

    /// Gives up a lost directory: suspends the store, and then releases the locks.
    fn abandon(&mut self, shared: &Shared, cause: &Error) {
        cache_core::log::warn!(
            limit: self.directory.path(), %cause,
            "the cache directory is lost; the cache starts empty in a new one"
        );
        shared.state.lock().lose(cause, self.writes);
        if let Some(store) = shared.store.get() {
            store.suspend(cause);
        }
        self.is_suspended = true;
        self.file = None;
        self.locks = None;
        self.directory.abandon();
    }

    /// Notes whether the file holds what the table holds. After a failed sync the system may count as written what is not:
    /// nothing is certain until everything was written and synced again.
    fn report(
        &mut self,
        shared: &Shared,
        written: std::result::Result<(), &dyn std::error::Error>,
        is_durable: bool,
    ) {
        if written.is_ok() && !is_durable {
            return;
        }
        let before = {
            let mut state = shared.state.lock();
            state.table.written(written.is_ok());
            let kind = if written.is_ok() { JournalKind::File } else { JournalKind::Memory };
            std::mem::replace(&mut state.kind, kind)
        };
        if let Err(error) = written {
            // The next one is created with all records.
            self.file = None;
            distrust(&self.directory, self.locks.as_ref().and_then(|locks| locks.instance()), error);
        } else if before == JournalKind::Memory {
            cache_core::log::info!(limit: self.directory.path(), "the journal can be written again");
        }
    }
}

impl State {
    /// Notes that the directory is lost, and with it the file if there `is_file`.
    fn lose(&mut self, cause: &Error, is_file: bool) {
        self.cause = Some(cause.to_string());
        if is_file {
            self.kind = JournalKind::Memory;
            self.table.written(false);
        }
    }
}
