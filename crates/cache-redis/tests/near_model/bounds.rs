//! The bounds of a search: how many processes, keys, messages and faults its histories have.

use crate::mistakes::Mistake;

/// The sizes of the arrays in a state: the most that a configuration can ask for.
pub(crate) const INSTANCES: usize = 2;
pub(crate) const INVALIDATORS: usize = 2;
pub(crate) const KEYS: usize = 2;
/// Session ids are never used twice, so this also bounds the registrations in a history.
pub(crate) const SESSIONS: usize = 3;
pub(crate) const INVALIDATIONS: usize = 3;

/// A configuration. A search visits every history within it.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each switches one thing that may happen")]
pub(crate) struct Bounds {
    /// The most ticks that a lease lasts, and the fewest that an invalidation waits.
    ///
    /// The protocol waits W = 500 ms for leases of H = 400 ms, because clocks that measure durations may be wrong by a
    /// tenth. The model counts in real time: a lease lasts as long as the slowest clock allows, and a wait is as short
    /// as the fastest clock makes it. In the worst case the two are equal.
    pub(crate) lease: u8,
    pub(crate) keys: u8,
    pub(crate) instances: usize,
    /// The first instances read and have a memory tier; the others only hold sessions.
    pub(crate) readers: usize,
    /// An instance fills its memory while another task of it reads, instead of one after the other.
    pub(crate) fills_beside_reads: bool,
    pub(crate) invalidators: usize,
    /// The instance in whose process each invalidator runs; `None` for a process without a memory tier.
    pub(crate) homes: [Option<usize>; INVALIDATORS],
    pub(crate) invalidations: u8,
    /// Redis is filled again after a removal. Without it, only the first version of a value is ever read.
    pub(crate) refills: bool,
    pub(crate) sessions: u8,
    /// Requests and replies may be lost, and sessions given up.
    pub(crate) messages_are_lost: bool,
    /// A renewal that its sender has given up may be carried out later.
    pub(crate) late_renewals: bool,
    pub(crate) crashes: u8,
    pub(crate) losses: u8,
    pub(crate) loss_kinds: &'static [Loss],
    pub(crate) exception: Exception,
    pub(crate) mistake: Option<Mistake>,
}

/// A kind of loss at the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Loss {
    /// The registry is evicted, which the server counts.
    Registry,
    /// The log is evicted.
    Log,
    /// The server is restarted empty; its uptime starts anew.
    Restart,
    /// Another server that has run for long takes over. It knows no registry of that name, because the name holds the
    /// incarnation.
    Failover,
    /// An operator removes the registry (`UNLINK`, `FLUSHALL`), which no counter shows.
    ByOperator,
}

/// A rule by which an invalidation that finds no registry returns at once.
///
/// It spares applications without any memory tier the wait. It is for an invalidator without a memory tier that has
/// never seen a registry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exception {
    /// Never: it waits.
    Never,
    /// Always.
    Always,
    /// Where the server has evicted nothing and has been up for longer than the wait, as its reply to TELL says.
    LosslessServer,
    /// The same, but as `INFO` said when the invalidator connected.
    LosslessWhenConnected,
    /// As `LosslessServer`; else the wait counts from the invalidator's first look, not from this invalidation's.
    LosslessElseFirstLook,
    /// Never; but an invalidation that finds no registry makes one, so that later ones see whether it was lost.
    MakesRegistry,
}

impl Exception {
    /// Whether a decision depends on the server's counters, which the model leaves out otherwise.
    pub(crate) fn reads_counters(self) -> bool {
        matches!(self, Self::LosslessServer | Self::LosslessWhenConnected | Self::LosslessElseFirstLook)
    }
}

/// One instance, one invalidator without a memory tier, one key, one invalidation; no faults but lost messages.
pub(crate) const SMALLEST: Bounds = Bounds {
    lease: 1,
    keys: 1,
    instances: 1,
    readers: 1,
    fills_beside_reads: false,
    invalidators: 1,
    homes: [None, Some(0)],
    invalidations: 1,
    refills: true,
    sessions: 2,
    messages_are_lost: true,
    late_renewals: false,
    crashes: 0,
    losses: 0,
    loss_kinds: &[Loss::Registry, Loss::Log, Loss::Restart],
    exception: Exception::Never,
    mistake: None,
};

impl Bounds {
    pub(crate) fn makes(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    /// The fewest ticks that an invalidation waits for sessions that do not answer.
    pub(crate) fn wait(&self) -> u8 {
        if self.makes(Mistake::WaitShorterThanLease) { self.lease - 1 } else { self.lease }
    }
}
