//! The configurations in which the protocol must hold.

use crate::bounds::{Bounds, Loss, SMALLEST};

/// Late renewals.
pub(crate) const A: Bounds =
    Bounds { invalidations: 2, losses: 1, late_renewals: true, sessions: 3, ..SMALLEST };

/// The instance invalidates itself, and crashes.
pub(crate) const B: Bounds =
    Bounds { homes: [Some(0), None], invalidations: 2, losses: 1, crashes: 1, sessions: 3, ..SMALLEST };

/// Two instances.
pub(crate) const C: Bounds = Bounds { instances: 2, losses: 1, sessions: 3, ..SMALLEST };

/// Two instances and two invalidations: too many states for a complete search.
pub(crate) const C2: Bounds = Bounds { invalidations: 2, ..C };

/// A crash and two losses.
pub(crate) const D: Bounds = Bounds { invalidations: 2, losses: 2, crashes: 1, sessions: 3, ..SMALLEST };

/// Two keys.
pub(crate) const E: Bounds = Bounds { keys: 2, invalidations: 2, ..SMALLEST };

/// Two invalidators, one of them in the instance's process.
pub(crate) const F: Bounds = Bounds { invalidators: 2, invalidations: 2, ..SMALLEST };

/// Leases of two ticks.
pub(crate) const G: Bounds = Bounds { lease: 2, invalidations: 2, losses: 1, ..SMALLEST };

/// Three invalidations.
pub(crate) const H: Bounds = Bounds { invalidations: 3, losses: 1, ..SMALLEST };

/// Losses that no counter of the server shows.
pub(crate) const I: Bounds =
    Bounds { invalidations: 2, losses: 1, loss_kinds: &[Loss::Failover, Loss::ByOperator], ..SMALLEST };

/// A fill beside a read: one of them has loaded the former session, the other the current one.
pub(crate) const J: Bounds =
    Bounds { fills_beside_reads: true, invalidations: 2, losses: 1, sessions: 3, ..SMALLEST };

/// Two invalidators, one of them in the instance's process, and a loss.
pub(crate) const K: Bounds = Bounds { losses: 1, ..F };

/// Liveness with two instances.
pub(crate) const L: Bounds = Bounds { instances: 2, ..SMALLEST };

/// Liveness with two invalidations and a loss.
pub(crate) const M: Bounds = Bounds { invalidations: 2, losses: 1, ..SMALLEST };
