//! The condition of the database: whether it works, and the suspension of a cache that lost its directory.

use std::sync::{Arc, Weak};

use cache_core::sync::atomic::Ordering;
use cache_core::{EpochScope, Error, ErrorKind, Timestamp};

use super::DiskEngine;
use crate::error::Fault;
use crate::fs::Shortage;
use crate::queue::Command;
use crate::store::Snapshot;

/// Whether the database works, since when, and why not.
#[derive(Debug, Clone)]
pub(crate) struct Condition {
    pub(crate) since: Timestamp,
    pub(crate) cause: Option<String>,
    /// Whether the failure was logged.
    is_logged: bool,
}

impl Condition {
    pub(super) fn ok(since: Timestamp) -> Self {
        Self { since, cause: None, is_logged: false }
    }
}

impl DiskEngine {
    /// Whether the database failed and is not open again yet.
    pub(crate) fn has_failed(&self) -> bool {
        self.condition.lock().cause.is_some()
    }

    /// Whether the database cannot be read at the moment.
    pub(crate) fn is_away(&self) -> bool {
        self.snapshot.load().is_none()
    }

    /// Notes that the database failed: reads miss until the writer has reopened it.
    pub(crate) fn degrade(&self, fault: &Fault) {
        self.snapshot.store(None);
        self.note(fault);
    }

    /// Handles the failure of a read through `snapshot`: reads miss, and the writer reopens the database.
    ///
    /// The failure does not count if the database was replaced meanwhile: the old one is closed.
    pub(crate) fn read_failed(&self, snapshot: &Snapshot, fault: Fault) {
        let opening = snapshot.opening;
        let last = self.snapshot.rcu(|last| last.clone().filter(|last| last.opening != opening));
        if last.is_some_and(|last| last.opening == opening) {
            self.note(&fault);
        }
        self.queue.push(Command::Reopen { opening, fault });
    }

    fn note(&self, fault: &Fault) {
        self.stats.lock().errors += 1;
        let is_disk_full = self.space.load().shortage() == Some(Shortage::Disk);
        let unwritable = fault.unwritable().or(is_disk_full.then_some("the disk is full"));
        let suppressed = {
            let mut condition = self.condition.lock();
            // `publish` replaces the snapshot first: a late reader does not degrade a restored database again.
            if condition.cause.is_none() && self.is_away() {
                let cause = unwritable.map_or_else(|| fault.to_string(), |why| format!("{why}: {fault}"));
                condition.since = self.now();
                condition.cause = Some(cause);
            }
            if condition.cause.is_none() || condition.is_logged {
                return;
            }
            // A failure shortly after another is logged later, if it lasts.
            let Some(suppressed) = cache_core::log::admitted(&self.config.directory) else { return };
            condition.is_logged = true;
            suppressed
        };
        let directory = self.config.directory.display();
        match unwritable {
            Some(why) => {
                cache_core::log::warn!(%directory, cause = %fault, suppressed, "disk cache cannot be written: {why}");
            }
            None => {
                cache_core::log::warn!(%directory, cause = %fault, suppressed, "disk cache database failed, reopening it");
            }
        }
    }

    /// Has readers read `snapshot`, and notes that the database works; returns the snapshot that it replaced. Does nothing
    /// while the cache is suspended.
    pub(crate) fn publish(&self, snapshot: Snapshot) -> Weak<Snapshot> {
        let (before, was_logged) = {
            let mut condition = self.condition.lock();
            if self.is_suspended() {
                return Weak::new();
            }
            let before = self.snapshot.swap(Some(Arc::new(snapshot)));
            let was_logged = condition.cause.is_some() && condition.is_logged;
            if condition.cause.is_some() {
                *condition = Condition::ok(self.now());
            }
            (before, was_logged)
        };
        if was_logged {
            let directory = self.config.directory.display();
            cache_core::log::info!(%directory, "disk cache database available again");
        }
        before.map_or_else(Weak::new, |before| Arc::downgrade(&before))
    }

    /// Stops serving and storing, until [`end_suspension`](Self::end_suspension).
    pub(crate) fn suspend(&self, cause: &str) {
        {
            // One step with the snapshot, which the next commit of the writer would publish again.
            let mut condition = self.condition.lock();
            self.is_suspended.store(true, Ordering::SeqCst);
            self.snapshot.store(None);
            *condition = Condition { since: self.now(), cause: Some(cause.to_owned()), is_logged: true };
        }
        // The lock of every shard is passed: a fill that did not see the flag has inserted by then, and is removed.
        self.index.remove_unwritten();
        self.index.remove_stored();
        self.forget_near(EpochScope::All);
    }

    /// Stores values again. Fills with older tokens are refused: their values may be out of date.
    pub(crate) fn end_suspension(&self) {
        self.epochs.advance(EpochScope::All);
        self.is_suspended.store(false, Ordering::SeqCst);
    }

    pub(crate) fn is_suspended(&self) -> bool {
        self.is_suspended.load(Ordering::SeqCst)
    }

    /// The error of an operation that failed because the cache is suspended.
    pub(crate) fn suspended(&self) -> Error {
        let cause = self.condition.lock().cause.clone();
        Error::new(ErrorKind::Unavailable, cause.unwrap_or_default())
    }
}
