//! A directory that is not this process's any more: its file is let go of, and an empty one begun where there is one again.

use std::collections::VecDeque;

use cache_core::{Clock, Error, SystemClock};

use super::sweep::Unswept;
use super::urgent::{Waiting, acknowledge};
use super::{LOOK_EVERY, Writer, heal};
use crate::engine::Engine;
use crate::files::Directory;
use crate::lazy::Lazy;
use crate::loader;
use crate::queue::Urgent;
use crate::recovery;

impl Writer {
    /// Looks at the directory once a second. Where it is gone, or another's, the cache is suspended; where it can be made
    /// anew, an empty database is begun in it.
    pub(super) fn look_when_due(&mut self) {
        let now = SystemClock.monotonic();
        if now.saturating_since(self.looked_at) < LOOK_EVERY {
            return;
        }
        self.looked_at = now;
        self.look();
        if self.engine.is_suspended() && !self.engine.config.is_watched {
            self.let_go();
            if let Err(error) = self.resume() {
                cache_core::log::emit(
                    || tracing::debug!(%error, "the disk cache's directory cannot be made anew yet"),
                );
            }
        }
    }

    /// Suspends the cache if its directory is gone or another's, unless that is for the caller to see.
    pub(super) fn look(&self) {
        let engine = &self.engine;
        if engine.config.is_watched || engine.is_suspended() {
            return;
        }
        if let Err(cause) = self.directory.stands() {
            cache_core::log::limited(
                &engine.config.directory,
                |suppressed| tracing::warn!(%cause, suppressed, "disk cache directory lost, starting empty"),
            );
            engine.suspend(&cause.to_string());
        }
    }

    /// Answers what can be answered while the cache is suspended, which keeps nothing; what is left once that is over.
    pub(super) fn serve_nothing(&mut self, urgent: Vec<Urgent>) -> Vec<Urgent> {
        self.let_go();
        let mut urgent = VecDeque::from(urgent);
        while let Some(operation) = urgent.pop_front() {
            let engine: &Engine = &self.engine;
            match operation {
                Urgent::Invalidate { what, ids, ack } => {
                    acknowledge(vec![Waiting { what, ids, ack }], vec![0]);
                }
                Urgent::Count { ack, .. } => drop(ack.send(Err(engine.suspended()))),
                Urgent::Flush { ack } => drop(ack.send(Err(engine.suspended()))),
                // The fault of a file that was let go of.
                Urgent::Reopen { .. } => {}
                Urgent::Resume { ack } => {
                    let resumed = self.resume();
                    let is_over = resumed.is_ok();
                    drop(ack.send(resumed));
                    if is_over {
                        break;
                    }
                }
            }
        }
        urgent.into()
    }

    /// Drops the file, then the lock: whoever takes the directory next finds nobody writing.
    fn let_go(&mut self) {
        self.store = None;
        // What a loader has read is not to be served.
        let generation = loader::begin(&self.engine);
        loader::end(&self.engine, generation);
        drop(self.engine.queue.lazy(std::mem::take::<Lazy>));
        self.answer_flushes_when_due();
        self.unsynced.clear();
        self.owed.clear();
        self.unswept = Unswept::default();
        self.retired.clear();
        self.counter_bytes = 0;
        self.is_dirty = false;
        self.is_damaged = false;
        self.is_condemned = false;
        self.is_short = false;
        self.freeing = None;
        self.directory.unlock();
    }

    /// Begins an empty database in the directory.
    fn resume(&mut self) -> Result<(), Error> {
        let path = self.directory.path().to_owned();
        self.directory = Directory::open(&path)?;
        let opened = recovery::start_anew(&self.directory, &self.engine.config)?;
        self.engine.end_suspension();
        self.retry_after = heal::FIRST_RETRY;
        self.install(opened).map(drop).map_err(|fault| fault.into_error("cannot read the new disk cache"))
    }
}
