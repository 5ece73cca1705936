//! Normal forms: two states that differ only in fields without any effect become equal.

use super::{Of, Reader, Sent, SessionSet, Stage, State};
use crate::bounds::Bounds;

impl State {
    /// Clears the fields on which no later step depends.
    pub(crate) fn normalized(mut self, bounds: &Bounds) -> Self {
        for instance in &mut self.instances {
            if instance.session.is_none() {
                instance.processed = 0;
            }
            // Only a reader that has not yet looked for the value finds values of a former session.
            let reader = instance.reader;
            if !matches!(
                reader,
                Reader::Loaded { of: Of::Former, .. } | Reader::Leased { of: Of::Former, .. }
            ) {
                for memory in &mut instance.memory {
                    *memory = memory.filter(|held| held.of == Of::Current);
                }
            }
        }
        for invalidator in &mut self.invalidators {
            if invalidator.stage == Stage::Waiting && invalidator.pending.is_empty() {
                invalidator.wait = 0;
            }
        }
        self.normalize_registry();
        if !bounds.exception.reads_counters() {
            self.server.uptime = bounds.wait();
            self.server.has_evicted = false;
        }
        self
    }

    fn normalize_registry(&mut self) {
        let Some(registry) = &mut self.server.registry else { return };
        let registered = registry.registered();
        for (silent, invalidator) in registry.silent.iter_mut().zip(&self.invalidators) {
            let is_needed = matches!(invalidator.stage, Stage::Told { .. } | Stage::Waiting);
            *silent = if is_needed { silent.and(registered) } else { SessionSet::default() };
        }
        // Log entries that every session has processed.
        let processed =
            self.instances.iter().filter_map(|instance| match (instance.session, instance.exchange) {
                (Some(_), _) => Some(instance.processed),
                (None, Some(exchange)) => match exchange.sent {
                    Sent::Registered { told, .. } => Some(told),
                    _ => None,
                },
                (None, None) => None,
            });
        let lowest = processed.min().unwrap_or(registry.told).min(registry.told);
        for entry in 0..lowest {
            registry.log[usize::from(entry)] = 0;
        }
    }
}
