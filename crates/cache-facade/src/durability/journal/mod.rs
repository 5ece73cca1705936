//! [`Journal`]: changes that this process has begun, and invalidations that a store has not acknowledged, on disk, so that a
//! crash does not lose them.
//!
//! A change is written before it is committed and erased after it was invalidated. The next start invalidates what is in
//! the journal of a dead process, before the first read, and only then erases it.
//!
//! One thread writes; changes that arrive during a sync share the next one. A record that is erased in memory is not erased in the
//! file at once: the next change usually overwrites its slot, and a record that a crash leaves there is invalidated once too
//! often.
//!
//! In reading order: [`format`](mod@format) (the bytes), [`table`] (the slots in memory), [`file`](mod@file), [`outbox`]
//! (unacknowledged invalidations), [`orphan_journal`] (of a dead process), [`writer`] (the thread).

mod file;
pub(crate) mod format;
pub(crate) mod orphan_journal;
mod outbox;
mod table;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::thread;

use cache_core::plants::{Plant, is_planted};
use cache_core::{Error, ErrorKind, Invalidation, JournalKind, Result};
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use self::file::JournalFile;
use self::format::{Reason, Target};
use self::orphan_journal::OrphanJournal;
use self::outbox::{Entry, Outbox};
use self::table::Table;
use self::writer::Writer;
use super::directory::{HeldDirectory, Locks, Suspend};
use super::last_run;
use super::lock::LockFile;
use super::zones::ZoneSet;

/// The journal of this process.
#[derive(Debug)]
pub(crate) struct Journal {
    shared: Arc<Shared>,
}

/// A change that is written in the journal.
///
/// One that is dropped without being finished stays in the journal, and the next start invalidates it.
#[derive(Debug)]
#[must_use = "an intent that is not finished is invalidated at the next start"]
pub(crate) struct Intent {
    shared: Arc<Shared>,
    /// Its number in [`State::intents`]; `None` when nothing was written.
    number: Option<u64>,
    /// Whether [`Journal::intend`] has returned it: nothing is committed before.
    is_handed_out: bool,
    /// Keeps the directory locked until the change has ended.
    locks: Option<Arc<Locks>>,
    is_committing: bool,
}

#[derive(Debug)]
struct Shared {
    target: Target,
    /// `None` for a journal without a directory.
    directory: Option<Arc<HeldDirectory>>,
    /// The store that depends on the directory.
    store: OnceLock<Box<dyn Suspend>>,
    state: Mutex<State>,
    /// Signalled when the thread has work.
    work: Condvar,
}

#[derive(Debug)]
struct State {
    kind: JournalKind,
    /// Why the directory is lost; `None` while it is held.
    cause: Option<String>,
    table: Table,
    outbox: Outbox,
    /// Changes in progress, by number, and whether the commit has ended.
    intents: HashMap<u64, (Entry, bool)>,
    next_intent: u64,
    /// Callers that wait until all changes of the table are on disk, in a directory that this process holds.
    waiting: Vec<oneshot::Sender<Result<()>>>,
    is_closing: bool,
    /// Records that stay in the file: for a store that is not in use, or for the next start.
    kept: u64,
    /// Completes when the thread has ended; `None` when there is none.
    ended: Option<oneshot::Receiver<()>>,
}

impl Journal {
    /// Creates a journal that records nothing: for stores that do not outlive the process.
    pub(crate) fn none() -> Self {
        Self { shared: Arc::new(Shared::new(JournalKind::None, Target::Disk, None)) }
    }

    /// Creates a journal without a file: its pending invalidations are lost with the process.
    pub(crate) fn in_memory() -> Self {
        Self { shared: Arc::new(Shared::new(JournalKind::Memory, Target::Disk, None)) }
    }

    /// Opens the journal of this process for `target`; `own` may hold records for it and for others.
    ///
    /// If no file can be written, the journal is in memory until one can, and the next run starts empty.
    ///
    /// # Errors
    /// `Io` when its thread cannot be started.
    pub(crate) fn open(own: OrphanJournal, target: &Target, directory: &Arc<HeldDirectory>) -> Result<Self> {
        let pending = own.pending_for(target);
        let mut shared = Shared::new(JournalKind::File, target.clone(), Some(directory));
        let state = shared.state.get_mut();
        let (instance, opened) = own.take_over(target);
        let file = match opened {
            Ok((file, records)) => {
                let is_targets = |(_, record): &&(usize, format::Record)| record.target == *target;
                state.outbox = Outbox::recovered(records.iter().filter(is_targets));
                state.kept = records.iter().filter(|record| !is_targets(record)).count() as u64;
                state.table = Table::new(records.iter().flat_map(|(number, record)| {
                    let texts = format::texts(record.reason, &record.target, &record.what);
                    texts.into_iter().map(move |text| (*number, text))
                }));
                Some(file)
            }
            Err(error) => {
                state.kind = JournalKind::Memory;
                state.outbox.add(&pending, ZoneSet::ALL, target, None);
                distrust(directory, Some(&instance), &error);
                None
            }
        };
        directory.keep(instance);
        Self::run(shared, Writer::new(directory, true, file))
    }

    /// Opens a journal that records nothing, but lets no change pass while another process holds the directory: for a run
    /// that does not use the store there.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub(crate) fn watching(directory: &Arc<HeldDirectory>) -> Result<Self> {
        let is_held = directory.check_in_place().is_ok();
        let kind = if is_held { JournalKind::None } else { JournalKind::Memory };
        let shared = Shared::new(kind, Target::Disk, Some(directory));
        Self::run(shared, Writer::new(directory, false, None))
    }

    /// Suspends `store` while the directory is lost.
    pub(crate) fn suspends(&self, store: impl Suspend) {
        // Each journal has one store.
        let _ = self.shared.store.set(Box::new(store));
    }

    /// Writes `what`; a crash after it returned does not lose it.
    ///
    /// It also returns when no file can be written: a broken disk must not keep the application from changing its data.
    /// [`kind`](Self::kind) tells, and the next run starts empty.
    ///
    /// # Errors
    /// `Closed` after [`close`](Self::close). `Locked` when another process has taken the directory and does not release it:
    /// it does not receive this process's invalidations.
    ///
    /// # Cancellation
    /// Dropping the future takes it back.
    ///
    /// # Cost
    /// One sync of the file, shared with all callers that wait at the same time.
    pub(crate) async fn intend(&self, what: &[Invalidation]) -> Result<Intent> {
        let (mut intent, on_disk) = self.enlist(what)?;
        if let Some(on_disk) = on_disk {
            self.wait(on_disk).await?;
        }
        intent.is_handed_out = true;
        intent.locks = self.shared.directory.as_ref().and_then(|directory| directory.locks());
        Ok(intent)
    }

    /// Checks that this process still holds the directory, before an invalidation is acknowledged: otherwise another process
    /// may cache values that it does not cover. Takes the directory again if it is lost.
    ///
    /// # Errors
    /// As for [`intend`](Self::intend).
    ///
    /// # Cost
    /// A few system calls, some microseconds; for a lost directory, the time to take it again.
    pub(crate) async fn confirm(&self) -> Result<()> {
        match &self.shared.directory {
            Some(directory) if directory.check_in_place().is_err() => {}
            _ => return Ok(()),
        }
        let looked = {
            let mut state = self.shared.state.lock();
            if state.is_closing || state.ended.is_none() {
                return Ok(());
            }
            state.wait_for_disk()
        };
        self.wait(looked).await
    }

    /// Writes invalidations that `owed`, zones of the target, did not acknowledge; a crash after it returned does not lose them.
    ///
    /// Where `owed` are all zones that `what` concerns, the record of a change with the same invalidations, whose commit has ended,
    /// becomes theirs: it costs no second write. Otherwise that change may still have to be invalidated in the other zones.
    ///
    /// If no file can be written, they are kept in memory; [`kind`](Self::kind) tells.
    ///
    /// # Errors
    /// `Closed` after [`close`](Self::close).
    ///
    /// # Cancellation
    /// They are pending all the same, and may not be on disk yet.
    ///
    /// # Cost
    /// As for [`intend`](Self::intend), or nothing.
    pub(crate) async fn append(
        &self,
        what: &[Invalidation],
        owed: ZoneSet,
        are_all_owed: bool,
    ) -> Result<()> {
        if is_planted(Plant::NoJournal) {
            return Ok(());
        }
        let on_disk = {
            let state = &mut *self.shared.state.lock();
            if state.is_closing {
                return Err(closed());
            }
            let has_file = state.ended.is_some();
            if are_all_owed && state.defer(what, owed) {
                return Ok(());
            }
            state.outbox.add(what, owed, &self.shared.target, has_file.then_some(&mut state.table));
            if !has_file {
                return Ok(());
            }
            // Also when nothing is new: the caller that added it first may still be waiting.
            state.wait_for_disk()
        };
        self.wait(on_disk).await
    }

    /// Makes invalidations pending that the journals of dead processes hold until they are erased.
    pub(crate) fn append_recorded(&self, what: &[Invalidation]) {
        self.shared.state.lock().outbox.add(what, ZoneSet::ALL, &self.shared.target, None);
    }

    /// Returns the zones to which something is owed, where `concerns` returns those that an invalidation concerns.
    ///
    /// # Cost
    /// One call of `concerns` for each pending invalidation.
    pub(crate) fn owed(&self, concerns: impl Fn(&Invalidation) -> ZoneSet) -> ZoneSet {
        self.shared.state.lock().outbox.owed(&concerns)
    }

    /// Takes what is owed to `zones`, to be sent to them: each invalidation with those of the zones that it is owed to. Those
    /// appended from now on are sent the next time, even if they are equal.
    pub(crate) fn take_batch(
        &self,
        zones: ZoneSet,
        concerns: impl Fn(&Invalidation) -> ZoneSet,
    ) -> Vec<(Invalidation, ZoneSet)> {
        self.shared.state.lock().outbox.take_batch(zones, &concerns)
    }

    /// Notes that `zones` have acknowledged the batch, and erases what is not owed to any other zone.
    pub(crate) fn ack(&self, zones: ZoneSet, concerns: impl Fn(&Invalidation) -> ZoneSet) {
        let state = &mut *self.shared.state.lock();
        state.outbox.ack(zones, &concerns, &mut state.table);
    }

    /// Where the journal is kept now.
    pub(crate) fn kind(&self) -> JournalKind {
        self.shared.state.lock().kind
    }

    /// Why the directory is lost; `None` while it is held.
    pub(crate) fn cause(&self) -> Option<String> {
        self.shared.state.lock().cause.clone()
    }

    /// How many records are pending, for this target, for a store that is not in use, or for the next start.
    pub(crate) fn depth(&self) -> u64 {
        let state = self.shared.state.lock();
        state.kept + state.outbox.len() as u64
    }

    /// Writes all changes and releases the file and its lock. Closing twice is no error.
    pub(crate) async fn close(&self) {
        let ended = {
            let mut state = self.shared.state.lock();
            state.is_closing = true;
            state.ended.take()
        };
        self.shared.work.notify_one();
        if let Some(ended) = ended {
            // Nothing is ever sent: the sender is dropped when the thread ends.
            let _dropped = ended.await;
        }
    }

    async fn wait(&self, on_disk: oneshot::Receiver<Result<()>>) -> Result<()> {
        self.shared.work.notify_one();
        on_disk.await.map_err(|_| closed())?
    }

    fn run(mut shared: Shared, writer: Writer) -> Result<Self> {
        let (alive, ended) = oneshot::channel::<()>();
        shared.state.get_mut().ended = Some(ended);
        let shared = Arc::new(shared);
        let of_the_writer = Arc::clone(&shared);
        let write = move || {
            writer.run(&of_the_writer);
            drop(alive);
        };
        match thread::Builder::new().name("cache-journal".to_owned()).spawn(write) {
            Ok(_detached) => Ok(Self { shared }),
            Err(error) => {
                let message = format!("cannot start the thread of the journal: {error}");
                Err(Error::new(ErrorKind::Io, message).with_source(error))
            }
        }
    }

    /// Puts `what` into the table. The receiver tells when it is on disk; there is none without a thread.
    fn enlist(&self, what: &[Invalidation]) -> Result<(Intent, Option<oneshot::Receiver<Result<()>>>)> {
        let shared = Arc::clone(&self.shared);
        let mut intent =
            Intent { shared, number: None, is_handed_out: false, locks: None, is_committing: false };
        let target = &self.shared.target;
        let texts = format::texts(Reason::Intent, target, what);
        let state = &mut *self.shared.state.lock();
        if state.is_closing {
            return Err(closed());
        }
        if texts.is_empty() || state.ended.is_none() {
            return Ok((intent, None));
        }
        if state.kind != JournalKind::None {
            let claim = state.table.claim(texts, format::everything(Reason::Intent, target));
            intent.number = Some(state.next_intent);
            let entry = Entry { what: what.to_vec(), claim, owed: ZoneSet::ALL };
            state.intents.insert(state.next_intent, (entry, false));
            state.next_intent += 1;
        }
        Ok((intent, Some(state.wait_for_disk())))
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.shared.state.lock().is_closing = true;
        self.shared.work.notify_one();
    }
}

impl Intent {
    /// Notes that the commit begins. Until it [ends](Self::end_commit), no other process may start in the directory: it would
    /// invalidate what is noted before it is committed.
    pub(crate) fn begin_commit(&mut self) {
        self.is_committing = true;
    }

    /// Notes that the commit has ended, successfully or not.
    pub(crate) fn end_commit(&mut self) {
        self.is_committing = false;
        if let Some(number) = self.number
            && let Some((_, is_committed)) = self.shared.state.lock().intents.get_mut(&number)
        {
            *is_committed = true;
        }
    }

    /// Erases the record: the change was invalidated, was appended to the pending invalidations, or never committed.
    pub(crate) fn finish(mut self) {
        self.take_back();
    }

    fn take_back(&mut self) {
        if let Some(number) = self.number.take() {
            let state = &mut *self.shared.state.lock();
            if let Some((entry, _)) = state.intents.remove(&number) {
                state.table.release(entry.claim);
            }
        }
    }
}

impl Drop for Intent {
    fn drop(&mut self) {
        if self.is_committing {
            // The runtime was shut down; the commit may go on in the database until the process ends.
            std::mem::forget(self.locks.take());
        }
        if !self.is_handed_out {
            self.take_back();
        } else if let Some(number) = self.number {
            let mut state = self.shared.state.lock();
            state.kept += u64::from(state.intents.remove(&number).is_some());
        }
    }
}

impl Shared {
    fn new(kind: JournalKind, target: Target, directory: Option<&Arc<HeldDirectory>>) -> Self {
        let state = State {
            kind,
            cause: None,
            table: Table::new([]),
            outbox: Outbox::default(),
            intents: HashMap::new(),
            next_intent: 0,
            waiting: Vec::new(),
            is_closing: false,
            kept: 0,
            ended: None,
        };
        Self {
            target,
            directory: directory.map(Arc::clone),
            store: OnceLock::new(),
            state: Mutex::new(state),
            work: Condvar::new(),
        }
    }
}

impl State {
    /// Turns the record of a change into invalidations that are pending for `owed`; returns whether there is one of exactly `what`.
    ///
    /// The change may be another one with the same invalidations: its commit has ended too, so that sending them covers both.
    fn defer(&mut self, what: &[Invalidation], owed: ZoneSet) -> bool {
        if self.outbox.is_full(what.len()) {
            return false;
        }
        let is_same =
            |_: &u64, (entry, is_committed): &mut (Entry, bool)| *is_committed && entry.what == what;
        let deferred = self.intents.extract_if(is_same).next();
        deferred.map(|(_, (entry, _))| self.outbox.adopt(Entry { owed, ..entry })).is_some()
    }

    /// Completes when all changes of the table are on disk. The thread has to be notified.
    fn wait_for_disk(&mut self) -> oneshot::Receiver<Result<()>> {
        let (written, on_disk) = oneshot::channel();
        self.waiting.push(written);
        on_disk
    }
}

/// Logs that no journal can be written, and makes the next start empty: by a damaged journal in this process's instance, which
/// no other process can make good, else by the record of the last run.
fn distrust(directory: &HeldDirectory, instance: Option<&LockFile>, error: &dyn std::error::Error) {
    cache_core::log::warn!(
        limit: directory.path(), error = %error,
        "cannot write the journal; the next run starts with an empty cache"
    );
    if instance.is_none_or(|instance| JournalFile::damage(instance).is_err()) {
        last_run::distrust_or_warn(directory.path());
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the cache was closed; nothing more is written into its journal")
}
