//! An invalidation waits until every session has forgotten, or until no lease from before can be alive.

use super::{Cause, Steps};
use crate::bounds::Exception;
use crate::mistakes::Mistake;
use crate::state::{SessionSet, Stage, State};

impl Steps<'_> {
    /// Takes the reply to TELL.
    pub(super) fn begins_wait(&mut self, number: usize, is_lossless: bool) {
        let mut next = self.from;
        self.looks(number, is_lossless, &mut next);
        let wait = self.bounds.wait();
        let invalidator = &mut next.invalidators[number];
        invalidator.stage = Stage::Waiting;
        invalidator.wait = wait;
        // The memory of its own process forgets at once, and its session need not acknowledge.
        if let Some(home) = self.bounds.homes[number] {
            let instance = &mut next.instances[home];
            if !self.bounds.makes(Mistake::OwnSessionIgnored) {
                instance.forget(invalidator.key);
            }
            if let Some(own) = instance.session {
                invalidator.pending.remove(own);
            }
        }
        let pending = invalidator.pending;
        self.add(
            Cause::Invalidator(number),
            next,
            format_args!("P{number}: has the reply and waits for {pending:?}"),
        );
    }

    /// Compares the registry that TELL has found with the known one.
    ///
    /// Another registry, or none, means that a registry may have been lost with sessions that hold a lease: the list of
    /// sessions is worth nothing until those leases are over.
    fn looks(&self, number: usize, is_lossless: bool, next: &mut State) {
        let exception = self.bounds.exception;
        let invalidator = &mut next.invalidators[number];
        let found = invalidator.generation;
        let mut wait = self.bounds.wait();
        invalidator.has_seen |= found.is_some() && exception != Exception::Never;
        if found.is_some() && found == invalidator.known {
            return;
        }
        invalidator.known = found;
        let is_excepted = found.is_none() && !invalidator.has_seen && self.bounds.homes[number].is_none();
        if is_excepted && exception == Exception::LosslessElseFirstLook {
            wait = *invalidator.first_look.get_or_insert(wait);
        }
        let is_trusted = (is_excepted && is_lossless) || self.bounds.makes(Mistake::TrustsNewRegistry);
        invalidator.distrust = if is_trusted { 0 } else { wait };
    }

    pub(super) fn waits(&mut self, number: usize) {
        let invalidator = self.from.invalidators[number];
        let is_over = invalidator.pending.is_empty() || invalidator.wait == 0;
        if (is_over && invalidator.distrust == 0) || self.bounds.makes(Mistake::NoWait) {
            self.returns(number);
        }
        if !invalidator.pending.is_empty() {
            self.polls(number);
        }
    }

    /// Removes the sessions that were silent during the wait, and returns `Applied`.
    fn returns(&mut self, number: usize) {
        let mut next = self.from;
        let invalidator = self.from.invalidators[number];
        let mut silent = SessionSet::default();
        if let Some(registry) = &mut next.server.registry
            && Some(registry.generation) == invalidator.generation
            && !self.bounds.makes(Mistake::NoWait)
        {
            silent = invalidator.pending;
            if !self.bounds.makes(Mistake::RemovesBlindly) {
                silent = silent.and(registry.silent[number]);
            }
            registry.remove(silent);
        }
        let acknowledged = &mut next.acknowledged[usize::from(invalidator.key)];
        *acknowledged = invalidator.version.max(*acknowledged);
        next.invalidators[number].end();
        let (key, version) = (invalidator.key, invalidator.version);
        self.add(
            Cause::Invalidator(number),
            next,
            format_args!(
                "P{number}: v{version} of key {key} is applied; removes the silent sessions {silent:?}"
            ),
        );
    }

    /// Asks the registry for news of the pending sessions.
    fn polls(&mut self, number: usize) {
        let mut next = self.from;
        let invalidator = &mut next.invalidators[number];
        let believes_any = self.bounds.makes(Mistake::GoneFromLostRegistry);
        // In another registry, or in none, the absence of a session proves nothing.
        let is_same = self.from.server.registry.map(|registry| registry.generation) == invalidator.generation;
        if !is_same && !believes_any {
            return;
        }
        for session in invalidator.pending.iter() {
            if self.from.server.registry.is_none_or(|registry| registry.is_done(session, invalidator.count)) {
                invalidator.pending.remove(session);
            }
        }
        let pending = invalidator.pending;
        if pending != self.from.invalidators[number].pending {
            self.add(Cause::Poll(number), next, format_args!("P{number}: polls, and waits for {pending:?}"));
        }
    }
}
