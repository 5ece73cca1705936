//! A process that invalidates.

use super::{Key, SessionSet, Version};

/// One caller of `invalidate`, one invalidation after the other, and what its backend knows of the registry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Invalidator {
    pub(crate) stage: Stage,
    pub(crate) key: Key,
    /// The version that the invalidation makes visible.
    pub(crate) version: Version,
    /// The number of the invalidation in the registry.
    pub(crate) count: u8,
    /// The registry that TELL has found.
    pub(crate) generation: Option<u8>,
    /// The sessions that have not acknowledged yet.
    pub(crate) pending: SessionSet,
    /// Ticks until leases from before TELL are over.
    pub(crate) wait: u8,
    /// The registry that was there at the last look.
    pub(crate) known: Option<u8>,
    /// Ticks until the known registry has been known for the length of the wait.
    pub(crate) distrust: u8,
    /// Whether it has ever seen a registry: only for the exceptions.
    pub(crate) has_seen: bool,
    /// Ticks until its first look for a registry is as long ago as a wait: only for `LosslessElseFirstLook`.
    pub(crate) first_look: Option<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) enum Stage {
    #[default]
    Idle,
    /// The row is changed, and `invalidate` called.
    Committed,
    /// The value is removed from Redis.
    Removed,
    /// TELL is carried out; the reply is on its way, and says whether the server may have lost something.
    Told { is_lossless: bool },
    /// It waits for the pending sessions.
    Waiting,
}

impl Invalidator {
    /// Ends the invalidation: only the knowledge of the registry stays.
    pub(crate) fn end(&mut self) {
        *self = Self {
            known: self.known,
            distrust: self.distrust,
            has_seen: self.has_seen,
            first_look: self.first_look,
            ..Self::default()
        };
    }
}
