//! The states of the model.

mod instance;
mod invalidator;
mod normal;
mod registry;
mod session_set;

pub(crate) use instance::{Exchange, Filler, Held, Instance, LateRenewal, LogEntries, Of, Reader, Sent};
pub(crate) use invalidator::{Invalidator, Stage};
pub(crate) use registry::Registry;
pub(crate) use session_set::{SessionId, SessionSet};

use crate::bounds::{Bounds, Exception, INSTANCES, INVALIDATORS, KEYS};
use crate::mistakes::Mistake;

/// A key's number.
pub(crate) type Key = u8;
/// A row's version in the database.
pub(crate) type Version = u8;

/// A moment of a history: all that decides which steps can follow.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct State {
    /// The committed versions.
    pub(crate) database: [Version; KEYS],
    /// The versions that completed invalidations have made visible: no read that starts now may see less.
    pub(crate) acknowledged: [Version; KEYS],
    pub(crate) server: Server,
    pub(crate) instances: [Instance; INSTANCES],
    pub(crate) invalidators: [Invalidator; INVALIDATORS],
    pub(crate) used: Used,
}

/// The Redis server.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Server {
    /// The versions of the values it holds.
    pub(crate) values: [Option<Version>; KEYS],
    /// A load whose fill is still accepted: a removal of the key refuses it, by the nonces that are tested elsewhere.
    pub(crate) load: Option<(Key, Version)>,
    pub(crate) registry: Option<Registry>,
    /// The registry of the last snapshot, which only `Mistake::RegistrySurvivesRestart` restores.
    pub(crate) saved: Option<Registry>,
    /// Whether it has counted an eviction since it was started.
    pub(crate) has_evicted: bool,
    /// Ticks since it was started, up to the length of the wait.
    pub(crate) uptime: u8,
}

/// How much of the bounds has been used up.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Used {
    pub(crate) sessions: u8,
    pub(crate) registries: u8,
    pub(crate) invalidations: u8,
    pub(crate) crashes: u8,
    pub(crate) losses: u8,
}

impl State {
    /// Redis holds the first version of each key. No instance has registered yet.
    pub(crate) fn first(bounds: &Bounds) -> Self {
        Self {
            database: [0; KEYS],
            acknowledged: [0; KEYS],
            server: Server {
                values: [Some(0); KEYS],
                load: None,
                registry: None,
                saved: None,
                has_evicted: false,
                uptime: bounds.wait(),
            },
            instances: Default::default(),
            invalidators: Default::default(),
            used: Used::default(),
        }
    }

    /// Carries TELL out for the invalidator `number`.
    pub(crate) fn tell(&mut self, bounds: &Bounds, number: usize) {
        if self.server.registry.is_none() && bounds.exception == Exception::MakesRegistry {
            self.make_registry();
        }
        let invalidator = &mut self.invalidators[number];
        invalidator.generation = None;
        invalidator.pending = SessionSet::default();
        invalidator.count = 0;
        if let Some(registry) = &mut self.server.registry {
            invalidator.generation = Some(registry.generation);
            invalidator.pending = registry.registered();
            registry.silent[number] = invalidator.pending;
            if !bounds.makes(Mistake::NoCounter) {
                invalidator.count = registry.tell(invalidator.key);
            }
        }
    }

    /// Makes a registry with a generation that was never used before.
    pub(crate) fn make_registry(&mut self) {
        self.used.registries += 1;
        self.server.registry = Some(Registry::new(self.used.registries));
    }
}

impl Server {
    /// Removes a key's value. A load of it that is under way is refused later.
    pub(crate) fn remove(&mut self, key: Key) {
        self.values[usize::from(key)] = None;
        self.load = self.load.filter(|(loaded, _)| *loaded != key);
    }

    /// Loses all data, and the connections with what was under way on them.
    pub(crate) fn lose_everything(&mut self) {
        self.values = [None; KEYS];
        self.load = None;
        self.registry = None;
        self.has_evicted = false;
    }
}
