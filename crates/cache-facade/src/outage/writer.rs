//! [`Writer`]: the thread that writes a journal.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use cache_core::JournalKind;
use cache_core::panics::contained;
use tokio::sync::oneshot;

use super::journal::Shared;
use super::leftover;
use super::slots::Slot;
use super::trust;

pub(super) struct Writer {
    shared: Arc<Shared>,
    file: File,
    /// The cache directory, whose trust record goes when the journal cannot be written.
    directory: PathBuf,
}

/// What there is to do: slots to write, and those who wait for them to be on disk.
struct Work {
    slots: Vec<(usize, Slot)>,
    waiting: Vec<oneshot::Sender<()>>,
    is_last: bool,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, file: File, directory: PathBuf) -> Self {
        Self { shared, file, directory }
    }

    /// Writes until the journal is closed.
    pub(super) fn run(&self) {
        loop {
            let Work { slots, waiting, is_last } = self.next_work();
            // A panic counts as a failed write: those who wait are answered, and all is written again.
            let written = contained(|| self.write(&slots, !waiting.is_empty()));
            let written = written.unwrap_or_else(|| Err(io::Error::other("the write panicked")));
            self.report(written, !waiting.is_empty());
            for change in waiting {
                // A change that was taken back does not wait any more.
                let _ = change.send(());
            }
            if is_last {
                return;
            }
        }
    }

    fn next_work(&self) -> Work {
        let mut state = self.shared.state.lock();
        while state.waiting.is_empty() && !state.is_closing {
            self.shared.work.wait(&mut state);
        }
        Work {
            slots: state.table.take_changes(),
            waiting: std::mem::take(&mut state.waiting),
            is_last: state.is_closing,
        }
    }

    fn write(&self, slots: &[(usize, Slot)], durably: bool) -> io::Result<()> {
        for (number, slot) in slots {
            self.file.write_all_at(slot, leftover::offset(*number))?;
        }
        if durably { self.file.sync_data() } else { Ok(()) }
    }

    /// Notes whether the file holds what it should. After a failed sync the system may take for written what is not, so
    /// that nothing is certain until all was written and synced again.
    fn report(&self, written: io::Result<()>, durably: bool) {
        let mut state = self.shared.state.lock();
        match written {
            Err(error) => {
                state.table.written(false);
                if state.kind == JournalKind::File {
                    state.kind = JournalKind::Memory;
                    drop(state);
                    cache_core::log::limited(
                        &self.directory,
                        |suppressed| tracing::warn!(%error, suppressed, "cannot write the journal; the next run starts with an empty cache"),
                    );
                    trust::distrust_or_warn(&self.directory, &self.shared.owner);
                }
            }
            Ok(()) if durably => {
                state.table.written(true);
                if state.kind == JournalKind::Memory {
                    state.kind = JournalKind::File;
                    drop(state);
                    cache_core::log::limited(&self.directory, |suppressed| {
                        tracing::info!(suppressed, "the journal can be written again")
                    });
                }
            }
            Ok(()) => {}
        }
    }
}
