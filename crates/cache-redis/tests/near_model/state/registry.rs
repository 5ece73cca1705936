//! The registry of sessions with its log of invalidations.

use super::{Key, SessionId, SessionSet};
use crate::bounds::{INVALIDATIONS, INVALIDATORS, KEYS, SESSIONS};

/// The registry's hash and the log's stream, which begin and end together.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Registry {
    /// The nonce `g` of the registry: another one whenever it is made.
    pub(crate) generation: u8,
    /// The invalidations told so far: `n`.
    pub(crate) told: u8,
    /// Up to where each registered session has acknowledged.
    pub(crate) acknowledged: [Option<u8>; SESSIONS],
    /// The keys that were invalidated.
    pub(crate) log: [Key; INVALIDATIONS],
    /// The first entries, which the log has lost.
    pub(crate) lost: u8,
    /// The sessions that have not renewed since each invalidator looked at them. REMOVE finds this out by the value it
    /// has seen, which every renewal changes.
    pub(crate) silent: [SessionSet; INVALIDATORS],
}

impl Registry {
    pub(crate) fn new(generation: u8) -> Self {
        Self {
            generation,
            told: 0,
            acknowledged: [None; SESSIONS],
            log: [0; INVALIDATIONS],
            lost: 0,
            silent: Default::default(),
        }
    }

    pub(crate) fn is_registered(&self, session: SessionId) -> bool {
        self.acknowledged[usize::from(session.0)].is_some()
    }

    pub(crate) fn registered(&self) -> SessionSet {
        let mut set = SessionSet::default();
        for (session, acknowledged) in (0..).map(SessionId).zip(self.acknowledged) {
            if acknowledged.is_some() {
                set.insert(session);
            }
        }
        set
    }

    /// Sets a session's value, which is what registering and renewing do.
    pub(crate) fn put(&mut self, session: SessionId, acknowledged: u8) {
        self.acknowledged[usize::from(session.0)] = Some(acknowledged);
        for silent in &mut self.silent {
            silent.remove(session);
        }
    }

    pub(crate) fn remove(&mut self, sessions: SessionSet) {
        for session in sessions.iter() {
            self.acknowledged[usize::from(session.0)] = None;
        }
    }

    /// Whether `session` has acknowledged `count` invalidations, or is not registered any more.
    pub(crate) fn is_done(&self, session: SessionId, count: u8) -> bool {
        self.acknowledged[usize::from(session.0)].is_none_or(|acknowledged| acknowledged >= count)
    }

    /// Counts an invalidation of `key` and returns its number.
    pub(crate) fn tell(&mut self, key: Key) -> u8 {
        self.log[usize::from(self.told)] = key;
        self.told += 1;
        self.told
    }

    /// Which keys the entries after `from` and up to `up_to` name, unless one of them is lost.
    pub(crate) fn read(&self, from: u8, up_to: u8) -> Option<[bool; KEYS]> {
        if self.lost > from {
            return None;
        }
        let mut keys = [false; KEYS];
        for entry in from..up_to {
            keys[usize::from(self.log[usize::from(entry)])] = true;
        }
        Some(keys)
    }
}
