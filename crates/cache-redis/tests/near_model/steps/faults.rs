//! Losses at the server, crashes of instances, and late renewals.

use super::{Cause, Steps};
use crate::bounds::Loss;
use crate::mistakes::Mistake;
use crate::state::Instance;

impl Steps<'_> {
    pub(super) fn losses(&mut self) {
        if self.from.used.losses == self.bounds.losses {
            return;
        }
        for kind in self.bounds.loss_kinds {
            self.loss(*kind);
        }
        if self.bounds.makes(Mistake::RegistrySurvivesRestart)
            && self.from.server.registry.is_some()
            && self.from.server.saved.is_none()
        {
            let mut next = self.from;
            next.server.saved = next.server.registry;
            self.add(Cause::Fault, next, format_args!("redis: saves a snapshot"));
        }
    }

    fn loss(&mut self, kind: Loss) {
        let mut next = self.from;
        next.used.losses += 1;
        match (kind, &mut next.server.registry) {
            (Loss::Registry, registry @ Some(_)) => {
                *registry = None;
                next.server.has_evicted = true;
                self.add(Cause::Fault, next, format_args!("FAULT the registry is evicted"));
            }
            (Loss::Log, Some(registry)) if registry.lost < registry.told => {
                registry.lost = registry.told;
                next.server.has_evicted = true;
                self.add(Cause::Fault, next, format_args!("FAULT the log is evicted"));
            }
            (Loss::ByOperator, registry @ Some(_)) => {
                *registry = None;
                self.add(Cause::Fault, next, format_args!("FAULT an operator removes the registry"));
            }
            (Loss::Registry | Loss::Log | Loss::ByOperator, _) => {}
            (Loss::Restart, _) => {
                next.server.lose_everything();
                next.server.uptime = 0;
                next.server.registry = self.from.server.saved;
                self.add(Cause::Fault, next, format_args!("FAULT the server is restarted"));
            }
            (Loss::Failover, _) => {
                next.server.lose_everything();
                self.add(Cause::Fault, next, format_args!("FAULT another server takes over"));
            }
        }
    }

    pub(super) fn crash(&mut self, number: usize) {
        let instance = self.from.instances[number];
        if self.from.used.crashes == self.bounds.crashes || instance == Instance::default() {
            return;
        }
        let mut next = self.from;
        next.used.crashes += 1;
        next.instances[number] = Instance { late_renewal: instance.late_renewal, ..Instance::default() };
        self.add(Cause::Fault, next, format_args!("FAULT {number}: crashes and starts anew"));
    }

    /// A renewal that its sender has given up is carried out, whatever has become of the session.
    pub(super) fn late_renewal(&mut self, number: usize) {
        let mut next = self.from;
        let Some(late) = next.instances[number].late_renewal.take() else { return };
        if let Some(registry) = &mut next.server.registry
            && (registry.is_registered(late.session) || self.bounds.makes(Mistake::RenewsUnregistered))
        {
            registry.put(late.session, late.acknowledged);
        }
        let session = late.session.0;
        self.add(Cause::Fault, next, format_args!("redis: a late renewal of {number}, session {session}"));
    }
}
