//! Rules of the protocol that a search can be told to break, to prove that it notices.

/// A broken rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mistake {
    /// Invalidations do not wait, as with invalidations by pub/sub or `CLIENT TRACKING` alone.
    NoWait,
    /// The wait is shorter than the lease: the drift of clocks is ignored.
    WaitShorterThanLease,
    /// A read compares the token before it looks at the lease.
    TokenBeforeLease,
    /// A value is put into memory without the token of its read.
    FillWithoutToken,
    /// The token of a value is taken when the reply comes, not before the request. In the model the reply comes in the
    /// step that puts the value, so this is the same step as `FillWithoutToken`.
    TokenAtReply,
    /// An invalidation returns at once because the sessions of a registry are done, though it has not known this
    /// registry for the length of the wait.
    TrustsNewRegistry,
    /// The lease counts from the reply, not from the request.
    LeaseFromReply,
    /// An invalidation is told before the value is removed from Redis.
    TellsBeforeRemoval,
    /// An invalidation waits, but is not counted in the registry and not written to the log.
    NoCounter,
    /// A session's tokens are made when the registration is sent, not when its reply comes.
    TokensBeforeRegistering,
    /// A renewal extends the lease although the session has not processed everything told.
    LeaseThoughBehind,
    /// A renewal enters a session that is not registered any more.
    RenewsUnregistered,
    /// An invalidator neither waits for the session of its own process nor forgets at once.
    OwnSessionIgnored,
    /// The registry survives a restart: its name does not hold the incarnation.
    RegistrySurvivesRestart,
    /// Entries that the log has lost are passed over.
    GapPassedOver,
    /// A session that is gone counts as done although the registry was lost.
    GoneFromLostRegistry,
    /// A session acknowledges before it forgets.
    AcknowledgesFirst,
    /// Two processes use one session id: a name instead of random bits.
    SharedSessionId,
    /// The sessions to wait for are listed before the removal from Redis.
    ListsBeforeRemoval,
    /// A silent session is removed although it may have renewed since.
    RemovesBlindly,
    /// Tokens do not name their session: the next session serves values that were read under the former one.
    TokensWithoutSession,
    /// A read looks at the lease of the session that is current then, not of the one whose tokens it will compare.
    LeaseOfAnotherSession,
    /// A renewal acknowledges nothing, so that every invalidation waits for the leases to be over.
    AcknowledgesNothing,
}
