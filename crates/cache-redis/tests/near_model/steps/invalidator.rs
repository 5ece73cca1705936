//! An invalidation: remove, then tell, then wait.

use super::{Cause, Steps};
use crate::bounds::Exception;
use crate::mistakes::Mistake;
use crate::state::{Invalidator, Key, Stage};

impl Steps<'_> {
    pub(super) fn invalidator(&mut self, number: usize) {
        self.heartbeat(number);
        let invalidator = self.from.invalidators[number];
        match invalidator.stage {
            Stage::Idle => {
                if self.from.used.invalidations < self.bounds.invalidations {
                    for key in 0..self.bounds.keys {
                        self.commits(number, key);
                    }
                }
                return;
            }
            Stage::Committed if self.bounds.makes(Mistake::TellsBeforeRemoval) => {
                self.tells(number, Stage::Removed);
            }
            Stage::Committed => self.removes(number, Stage::Removed),
            Stage::Removed if self.bounds.makes(Mistake::TellsBeforeRemoval) => {
                self.removes(number, self.told_stage());
            }
            Stage::Removed => self.tells(number, self.told_stage()),
            Stage::Told { is_lossless } => self.begins_wait(number, is_lossless),
            Stage::Waiting => return self.waits(number),
        }
        // An error: the change goes into the journal, and does not count as done.
        let mut next = self.from;
        next.invalidators[number].end();
        self.add(Cause::Lost, next, format_args!("P{number}: its request or the reply is lost"));
    }

    /// The backend looks for the registry from time to time, so that it has known it for long when it matters.
    fn heartbeat(&mut self, number: usize) {
        let mut next = self.from;
        let invalidator = &mut next.invalidators[number];
        let is_waiting = matches!(invalidator.stage, Stage::Told { .. } | Stage::Waiting);
        let Some(registry) = self.from.server.registry else { return };
        if is_waiting || invalidator.known == Some(registry.generation) {
            return;
        }
        invalidator.known = Some(registry.generation);
        invalidator.distrust = self.bounds.wait();
        invalidator.has_seen = self.bounds.exception != Exception::Never;
        let generation = registry.generation;
        self.add(
            Cause::Invalidator(number),
            next,
            format_args!("P{number}: its heartbeat sees registry {generation}"),
        );
    }

    fn commits(&mut self, number: usize, key: Key) {
        let mut next = self.from;
        next.used.invalidations += 1;
        let version = &mut next.database[usize::from(key)];
        *version += 1;
        let version = *version;
        let invalidator = &mut next.invalidators[number];
        *invalidator = Invalidator { stage: Stage::Committed, key, version, ..*invalidator };
        if self.bounds.makes(Mistake::ListsBeforeRemoval)
            && let Some(registry) = self.from.server.registry
        {
            invalidator.pending = registry.registered();
            invalidator.generation = Some(registry.generation);
        }
        self.add(
            Cause::Invalidator(number),
            next,
            format_args!("P{number}: commits v{version} of key {key} and calls invalidate"),
        );
    }

    fn removes(&mut self, number: usize, stage: Stage) {
        let mut next = self.from;
        let invalidator = &mut next.invalidators[number];
        invalidator.stage = stage;
        let key = invalidator.key;
        next.server.remove(key);
        self.add(Cause::Invalidator(number), next, format_args!("redis: removes key {key} for P{number}"));
    }

    fn tells(&mut self, number: usize, stage: Stage) {
        let mut next = self.from;
        next.tell(self.bounds, number);
        let before = &self.from.invalidators[number];
        let invalidator = &mut next.invalidators[number];
        invalidator.stage = stage;
        if self.bounds.makes(Mistake::ListsBeforeRemoval) {
            (invalidator.pending, invalidator.generation) = (before.pending, before.generation);
        }
        let Invalidator { count, generation, pending, .. } = *invalidator;
        self.add(
            Cause::Invalidator(number),
            next,
            format_args!(
                "redis: TELL of P{number}: number {count} in registry {generation:?}, sessions {pending:?}"
            ),
        );
    }

    /// The stage after TELL, with what the reply says about the server where an exception depends on it.
    fn told_stage(&self) -> Stage {
        let server = &self.from.server;
        let is_up = server.uptime >= self.bounds.wait();
        Stage::Told {
            is_lossless: match self.bounds.exception {
                Exception::Never | Exception::MakesRegistry => false,
                Exception::Always => true,
                Exception::LosslessServer | Exception::LosslessElseFirstLook => is_up && !server.has_evicted,
                // A restart makes it connect again. It has not seen what was evicted since it connected.
                Exception::LosslessWhenConnected => is_up,
            },
        }
    }
}
