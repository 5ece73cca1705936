//! Names of sessions, and sets of them.

use std::fmt::{self, Debug, Formatter};

/// A registration's random id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct SessionId(pub(crate) u8);

/// Session ids, one bit each.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct SessionSet(u8);

impl SessionSet {
    pub(crate) fn insert(&mut self, session: SessionId) {
        self.0 |= 1 << session.0;
    }

    pub(crate) fn remove(&mut self, session: SessionId) {
        self.0 &= !(1 << session.0);
    }

    pub(crate) fn contains(self, session: SessionId) -> bool {
        self.0 & (1 << session.0) != 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = SessionId> {
        (0..8).map(SessionId).filter(move |session| self.contains(*session))
    }
}

impl Debug for SessionSet {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.iter().map(|session| session.0)).finish()
    }
}
