//! [`Journal`]: what this process is about to change, and what a store that is away has not heard of, written down so that
//! a crash cannot make the cache forget it.
//!
//! A change is written down before it is committed and erased after it was invalidated. What stands in the journal of a
//! process that died is invalidated at the next start, before the first read, and only then erased.
//!
//! One thread writes; changes that come while it syncs share the next sync. What is erased in memory is not erased in the
//! file at once: its slot is usually overwritten by the next change, and what a crash leaves there is invalidated once
//! too often.

use std::sync::{Arc, OnceLock};
use std::thread;

use cache_core::plants::{Plant, is_planted};
use cache_core::{Error, ErrorKind, Invalidation, JournalKind, Result};
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::debt::Debt;
use super::hold::{Hold, Place, Tenant};
use super::leftover::{self, Leftover, TakenOver};
use super::slots::{self, Owner, Reason, Record};
use super::table::{Claim, Table};
use super::trust;
use super::writer::Writer;

/// The journal of this process.
#[derive(Debug)]
pub(crate) struct Journal {
    shared: Arc<Shared>,
}

/// A change that is written down.
///
/// Dropped without being finished, it stays in the journal, and the next start invalidates it.
#[derive(Debug)]
#[must_use = "an intent that is not finished is invalidated at the next start"]
pub(crate) struct Intent {
    shared: Arc<Shared>,
    claim: Option<Claim>,
    /// Whether the caller has it: until then nothing was committed that it stands for.
    is_handed_out: bool,
    /// Keeps the directory's locks until the change has ended.
    place: Option<Arc<Place>>,
    is_committing: bool,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) owner: Owner,
    /// `None` where nothing is kept in a directory.
    hold: Option<Arc<Hold>>,
    /// What goes by the directory beside this journal.
    pub(super) tenant: OnceLock<Box<dyn Tenant>>,
    pub(super) state: Mutex<State>,
    /// Signalled when the thread has something to do.
    pub(super) work: Condvar,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) kind: JournalKind,
    /// Why the directory is not this process's at the moment.
    pub(super) cause: Option<String>,
    pub(super) table: Table,
    /// What the owner has not acknowledged.
    debt: Debt,
    /// Changes that wait to be on disk.
    pub(super) waiting: Vec<Waiting>,
    pub(super) is_closing: bool,
    /// Records that wait for somebody else: a store that is not in use, or the next start.
    kept: u64,
    /// Gone when the thread is; there is none where there is no file.
    ended: Option<oneshot::Receiver<()>>,
}

/// A change that waits to be on disk in a directory that is this process's.
pub(super) type Waiting = oneshot::Sender<Result<()>>;

impl Journal {
    /// A journal that writes nothing down: for stores that do not outlive the process, and where there is none.
    pub(crate) fn none() -> Self {
        Self { shared: Shared::new(JournalKind::None, Owner::Disk, Table::new([]), None) }
    }

    /// A journal for where no file can be written: what it holds is lost with the process.
    pub(crate) fn in_memory() -> Self {
        Self { shared: Shared::new(JournalKind::Memory, Owner::Disk, Table::new([]), None) }
    }

    /// Opens the journal of this process for what is owed to `owner`; `own` may hold what is owed to it and to others.
    ///
    /// Where no file can be written, the journal is in memory until one can, and the next run starts empty.
    ///
    /// # Errors
    /// `Io` when its thread cannot be started.
    pub(crate) fn open(own: Leftover, owner: &Owner, hold: &Arc<Hold>) -> Result<Self> {
        let owed = own.owed_to(owner);
        let (instance, error) = match own.take_over(owner) {
            Ok(taken_over) => return Self::start(taken_over, owner, hold),
            Err(failed) => *failed,
        };
        cache_core::log::limited(
            hold.directory(),
            |suppressed| tracing::warn!(%error, suppressed, "cannot write the journal; the next run starts with an empty cache"),
        );
        trust::distrust_or_warn(hold.directory());
        if let Some(place) = hold.place() {
            place.keep(instance);
        }
        let shared = Shared::new(JournalKind::Memory, owner.clone(), Table::new([]), Some(hold));
        let journal = Self::run(shared, Writer::new(hold, true, None))?;
        journal.owe_for_others(&owed);
        Ok(journal)
    }

    /// A journal that writes nothing down, and yet lets no change pass while the directory is another process's: for a
    /// run that does not read what a later one may.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub(crate) fn watching(hold: &Arc<Hold>) -> Result<Self> {
        let kind = if hold.stands().is_ok() { JournalKind::None } else { JournalKind::Memory };
        let shared = Shared::new(kind, Owner::Disk, Table::new([]), Some(hold));
        Self::run(shared, Writer::new(hold, false, None))
    }

    /// Has `tenant` hear of the loss of the directory, and of its return.
    pub(crate) fn tell(&self, tenant: impl Tenant) {
        // There is one for each journal.
        let _ = self.shared.tenant.set(Box::new(tenant));
    }

    /// Writes `what` down; once it returned, a crash does not lose it.
    ///
    /// Where no file can be written it returns all the same: a broken disk must not keep the application from changing
    /// its data. [`kind`](Self::kind) says so, and the next disk run starts empty.
    ///
    /// # Errors
    /// `Closed` after [`close`](Self::close). `Locked` when another process has taken the directory, and does not let go of
    /// it: it would never hear of the change.
    ///
    /// # Cancellation
    /// Dropping the future takes it back.
    ///
    /// # Cost
    /// One sync of the file, shared with all who wait at the same time.
    pub(crate) async fn intend(&self, what: &[Invalidation]) -> Result<Intent> {
        let (mut intent, on_disk) = self.enlist(what)?;
        if let Some(on_disk) = on_disk {
            on_disk.await.map_err(|_| closed())??;
        }
        intent.is_handed_out = true;
        intent.place = self.shared.hold.as_ref().and_then(|hold| hold.place());
        Ok(intent)
    }

    /// Makes sure that the directory still is this process's, before an invalidation is acknowledged: else another process
    /// may cache what it does not hear of.
    ///
    /// # Errors
    /// As for [`intend`](Self::intend).
    ///
    /// # Cost
    /// A few system calls, some microseconds; where the directory is lost, the time to take it again.
    pub(crate) async fn confirm(&self) -> Result<()> {
        match &self.shared.hold {
            Some(hold) if hold.stands().is_err() => {}
            _ => return Ok(()),
        }
        let looked = {
            let mut state = self.shared.state.lock();
            if state.is_closing || state.ended.is_none() {
                return Ok(());
            }
            let (looked, answer) = oneshot::channel();
            state.waiting.push(looked);
            answer
        };
        self.shared.work.notify_one();
        looked.await.map_err(|_| closed())?
    }

    /// Writes down what the owner did not acknowledge; once it returned, a crash does not lose it.
    ///
    /// Where no file can be written it is kept in memory; [`kind`](Self::kind) says so.
    ///
    /// # Errors
    /// `Closed` after [`close`](Self::close).
    ///
    /// # Cancellation
    /// It is owed all the same, and may not be on disk yet.
    ///
    /// # Cost
    /// As for [`intend`](Self::intend).
    pub(crate) async fn owe(&self, what: &[Invalidation]) -> Result<()> {
        if is_planted(Plant::NoJournal) {
            return Ok(());
        }
        let on_disk = {
            let state = &mut *self.shared.state.lock();
            if state.is_closing {
                return Err(closed());
            }
            let has_file = state.ended.is_some();
            state.debt.add(what, &self.shared.owner, has_file.then_some(&mut state.table));
            if !has_file {
                return Ok(());
            }
            // Also for what was owed before: the one who said so first may still be waiting.
            let (written, on_disk) = oneshot::channel();
            state.waiting.push(written);
            on_disk
        };
        self.shared.work.notify_one();
        on_disk.await.map_err(|_| closed())?
    }

    /// Takes on what stands in the journals of processes that are gone, and stays there until they are erased.
    pub(crate) fn owe_for_others(&self, what: &[Invalidation]) {
        self.shared.state.lock().debt.add(what, &self.shared.owner, None);
    }

    /// Whether the owner has acknowledged everything.
    pub(crate) fn owes_nothing(&self) -> bool {
        self.shared.state.lock().debt.is_empty()
    }

    /// What the owner is to be told. What is owed from now on is told the next time, also if it is the same.
    pub(crate) fn begin_to_pay(&self) -> Vec<Invalidation> {
        self.shared.state.lock().debt.begin_to_pay()
    }

    /// Erases what the owner was told, if it `is_paid`; else it stays owed.
    pub(crate) fn end_to_pay(&self, is_paid: bool) {
        let state = &mut *self.shared.state.lock();
        state.debt.end_to_pay(is_paid, &mut state.table);
    }

    /// Where it is kept now.
    pub(crate) fn kind(&self) -> JournalKind {
        self.shared.state.lock().kind
    }

    /// Why the directory is not this process's at the moment; `None` when it is.
    pub(crate) fn cause(&self) -> Option<String> {
        self.shared.state.lock().cause.clone()
    }

    /// How many records wait for somebody else: a store that is not in use, or the next start.
    pub(crate) fn depth(&self) -> u64 {
        let state = self.shared.state.lock();
        state.kept + state.debt.len()
    }

    /// Writes what is pending and lets go of the file and its lock. Closing twice is no error.
    pub(crate) async fn close(&self) {
        let ended = {
            let mut state = self.shared.state.lock();
            state.is_closing = true;
            state.ended.take()
        };
        self.shared.work.notify_one();
        if let Some(ended) = ended {
            // Nothing is ever sent: that the sender is gone is the message.
            let _gone = ended.await;
        }
    }

    fn start(taken_over: TakenOver, owner: &Owner, hold: &Arc<Hold>) -> Result<Self> {
        let TakenOver { instance, file, records } = taken_over;
        let is_owed = |record: &Record| record.owner == *owner;
        let kept = records.iter().filter(|(_, record)| !is_owed(record)).count() as u64;
        let debt = Debt::inherited(records.iter().filter(|(_, record)| is_owed(record)));
        let taken = records.iter().flat_map(|(number, record)| {
            let texts = slots::texts(record.reason, &record.owner, &record.what);
            texts.into_iter().map(move |text| (*number, text))
        });
        let shared = Shared::new(JournalKind::File, owner.clone(), Table::new(taken), Some(hold));
        {
            let mut state = shared.state.lock();
            state.kept = kept;
            state.debt = debt;
        }
        let path = leftover::path_of(&instance);
        if let Some(place) = hold.place() {
            place.keep(instance);
        }
        Self::run(shared, Writer::new(hold, true, Some((file, path))))
    }

    fn run(shared: Arc<Shared>, writer: Writer) -> Result<Self> {
        let (alive, ended) = oneshot::channel::<()>();
        shared.state.lock().ended = Some(ended);
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

    /// Puts `what` into the table. Gives what tells when it is on disk; `None` where there is no disk.
    fn enlist(&self, what: &[Invalidation]) -> Result<(Intent, Option<oneshot::Receiver<Result<()>>>)> {
        let shared = Arc::clone(&self.shared);
        let texts = slots::texts(Reason::Intent, &shared.owner, what);
        let mut state = self.shared.state.lock();
        if state.is_closing {
            return Err(closed());
        }
        let intent =
            |shared, claim| Intent { shared, claim, is_handed_out: false, place: None, is_committing: false };
        if texts.is_empty() || state.ended.is_none() {
            return Ok((intent(shared, None), None));
        }
        let everything = slots::texts(Reason::Intent, &shared.owner, &[Invalidation::Everything]).concat();
        let claim = (state.kind != JournalKind::None).then(|| state.table.claim(texts, everything));
        let (written, on_disk) = oneshot::channel();
        state.waiting.push(written);
        drop(state);
        self.shared.work.notify_one();
        Ok((intent(shared, claim), Some(on_disk)))
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.shared.state.lock().is_closing = true;
        self.shared.work.notify_one();
    }
}

impl Intent {
    /// Notes that the commit begins: until it [has ended](Self::committed), no other process may begin in the directory,
    /// which would invalidate what is noted before it is committed.
    pub(crate) fn commits(&mut self) {
        self.is_committing = true;
    }

    /// Notes that the commit has ended, well or not.
    pub(crate) fn committed(&mut self) {
        self.is_committing = false;
    }

    /// Erases it: what it stands for was invalidated, or never committed.
    pub(crate) fn finish(mut self) {
        self.take_back();
    }

    fn take_back(&mut self) {
        if let Some(claim) = self.claim.take() {
            self.shared.state.lock().table.release(claim);
        }
    }
}

impl Drop for Intent {
    fn drop(&mut self) {
        if self.is_committing {
            // Cut off with its runtime; what it began may go on in the database until the process ends.
            std::mem::forget(self.place.take());
        }
        if !self.is_handed_out {
            self.take_back();
        } else if self.claim.is_some() {
            self.shared.state.lock().kept += 1;
        }
    }
}

impl Shared {
    fn new(kind: JournalKind, owner: Owner, table: Table, hold: Option<&Arc<Hold>>) -> Arc<Self> {
        let (debt, waiting) = (Debt::default(), Vec::new());
        let state =
            State { kind, cause: None, table, debt, waiting, is_closing: false, kept: 0, ended: None };
        let hold = hold.map(Arc::clone);
        Arc::new(Self {
            owner,
            hold,
            tenant: OnceLock::new(),
            state: Mutex::new(state),
            work: Condvar::new(),
        })
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the cache was closed; nothing more is written into its journal")
}

#[cfg(test)]
mod tests;
