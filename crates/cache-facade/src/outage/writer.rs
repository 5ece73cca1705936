//! [`Writer`]: the thread that writes a journal, and looks after the directory that it is in.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cache_core::panics::contained;
use cache_core::{Error, ErrorKind, JournalKind, Result};

use super::hold::{Hold, Place};
use super::journal::{Shared, Waiting};
use super::slots::Slot;
use super::{files, leftover, trust};

/// How often the directory is looked at while nothing is to be written.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often in a row a directory may be lost while one note is written.
const MOST_LOSSES: usize = 5;

pub(super) struct Writer {
    hold: Arc<Hold>,
    /// What is held, until the last write: whoever takes the locks next finds nobody writing.
    place: Option<Arc<Place>>,
    /// Whether there is to be a file.
    writes: bool,
    /// The file and its path; `None` while it cannot be made.
    file: Option<(File, PathBuf)>,
    /// Whether the store beside the journal was told of a loss, and of no return yet.
    is_suspended: bool,
}

/// Those who wait for their notes to be on disk, and whether more will come.
struct Work {
    waiting: Vec<Waiting>,
    is_last: bool,
}

impl Writer {
    pub(super) fn new(hold: &Arc<Hold>, writes: bool, file: Option<(File, PathBuf)>) -> Self {
        Self { hold: Arc::clone(hold), place: hold.place(), writes, file, is_suspended: false }
    }

    /// Writes until the journal is closed.
    pub(super) fn run(mut self, shared: &Shared) {
        loop {
            let Work { waiting, is_last } = next_work(shared);
            // A panic counts as a failed write: those who wait are answered, and all is written again.
            let done =
                contained(|| self.carry_out(shared, !waiting.is_empty(), is_last)).unwrap_or_else(|| {
                    let error = io::Error::other("the write panicked");
                    self.report(shared, Err(error), !waiting.is_empty());
                    Ok(())
                });
            for change in waiting {
                let answer =
                    done.as_ref().copied().map_err(|error| Error::new(error.kind(), error.to_string()));
                // A change that was taken back does not wait any more.
                let _ = change.send(answer);
            }
            if is_last {
                return self.hold.release();
            }
        }
    }

    /// Writes what has changed, durably where somebody waits for it, and then looks whether the directory still is this
    /// process's. Where it is lost, all is written again in the next one.
    ///
    /// # Errors
    /// `Locked` when another process has taken the directory, and does not let go of it.
    fn carry_out(&mut self, shared: &Shared, is_waited_for: bool, is_last: bool) -> Result<()> {
        for _ in 0..MOST_LOSSES {
            if is_last && !is_waited_for && self.place.is_none() {
                return Ok(());
            }
            let is_new = match self.settle_in(shared, is_waited_for) {
                Ok(is_new) => is_new,
                Err(error) => {
                    if self.place.is_some()
                        && let Err(cause) = self.look()
                    {
                        self.lose(shared, &cause);
                        continue;
                    }
                    note_cause(shared, &error, self.writes);
                    let is_anothers = error.kind() == ErrorKind::Locked && is_waited_for;
                    return if is_anothers { Err(error) } else { Ok(()) };
                }
            };
            let durably = is_waited_for || is_new;
            if (durably || is_last)
                && let Some((file, _)) = &self.file
            {
                let slots = shared.state.lock().table.take_changes();
                self.report(shared, write(file, &slots, durably), durably);
            }
            match self.look() {
                Ok(()) => return Ok(()),
                Err(cause) => self.lose(shared, &cause),
            }
        }
        Err(Error::new(ErrorKind::Locked, "the cache directory is taken by others again and again"))
    }

    /// Sees to it that there is a directory, a file in it, and a store beside it that knows; whether anything of it is new.
    fn settle_in(&mut self, shared: &Shared, is_waited_for: bool) -> Result<bool> {
        if self.place.is_none() {
            self.hold.retake(&shared.owner, is_waited_for)?;
            self.place = self.hold.place();
        }
        let is_new = self.writes && self.file.is_none();
        if is_new && let Some(instance) = self.place.as_ref().and_then(|place| place.instance()) {
            self.file = Some((leftover::new_file(instance, &[])?, leftover::path_of(instance)));
            shared.state.lock().table.written(false);
        }
        let cause = if self.is_suspended { self.resume(shared).err() } else { None };
        let mut state = shared.state.lock();
        if state.cause.is_some() && !self.writes {
            state.kind = JournalKind::None;
        }
        state.cause = cause.map(|cause| cause.to_string());
        drop(state);
        Ok(is_new)
    }

    /// Has the store beside the journal begin again; one that cannot is asked again a second later, and keeps nothing till
    /// then.
    fn resume(&mut self, shared: &Shared) -> Result<()> {
        if let Some(tenant) = shared.tenant.get() {
            tenant.resume()?;
        }
        self.is_suspended = false;
        let directory = self.hold.directory();
        cache_core::log::limited(
            directory,
            |suppressed| tracing::info!(directory = %directory.display(), suppressed, "the cache directory is in use again"),
        );
        Ok(())
    }

    /// Whether the directory, and this journal in it, are where they were made.
    fn look(&self) -> Result<()> {
        self.hold.stands()?;
        self.file.as_ref().map_or(Ok(()), |(file, path)| files::stands(file, path))
    }

    /// Gives a directory up that is not this process's any more: first nothing is served, then the locks go.
    fn lose(&mut self, shared: &Shared, cause: &Error) {
        cache_core::log::limited(
            self.hold.directory(),
            |suppressed| tracing::warn!(%cause, suppressed, "the cache directory is lost; the cache starts empty in a new one"),
        );
        note_cause(shared, cause, self.writes);
        if let Some(tenant) = shared.tenant.get() {
            tenant.suspend(cause);
        }
        self.is_suspended = true;
        self.file = None;
        self.place = None;
        self.hold.let_go();
    }

    /// Notes whether the file holds what it should. After a failed sync the system may take for written what is not, so
    /// that nothing is certain until all was written and synced again.
    fn report(&self, shared: &Shared, written: io::Result<()>, durably: bool) {
        let mut state = shared.state.lock();
        match written {
            Err(error) => {
                state.table.written(false);
                if state.kind == JournalKind::File {
                    state.kind = JournalKind::Memory;
                    drop(state);
                    cache_core::log::limited(
                        self.hold.directory(),
                        |suppressed| tracing::warn!(%error, suppressed, "cannot write the journal; the next run starts with an empty cache"),
                    );
                    trust::distrust_or_warn(self.hold.directory());
                }
            }
            Ok(()) if durably => {
                state.table.written(true);
                if state.kind == JournalKind::Memory {
                    state.kind = JournalKind::File;
                    drop(state);
                    cache_core::log::limited(self.hold.directory(), |suppressed| {
                        tracing::info!(suppressed, "the journal can be written again");
                    });
                }
            }
            Ok(()) => {}
        }
    }
}

fn next_work(shared: &Shared) -> Work {
    let mut state = shared.state.lock();
    if state.waiting.is_empty() && !state.is_closing {
        // May wake early, which costs a look at the directory.
        let _ = shared.work.wait_for(&mut state, LOOK_EVERY);
    }
    Work { waiting: std::mem::take(&mut state.waiting), is_last: state.is_closing }
}

fn write(file: &File, slots: &[(usize, Slot)], durably: bool) -> io::Result<()> {
    for (number, slot) in slots {
        file.write_all_at(slot, leftover::offset(*number))?;
    }
    if durably { file.sync_data() } else { Ok(()) }
}

fn note_cause(shared: &Shared, cause: &Error, writes: bool) {
    let mut state = shared.state.lock();
    state.cause = Some(cause.to_string());
    if writes {
        state.kind = JournalKind::Memory;
        state.table.written(false);
    }
}
