//! A search finds every mistake, each in a configuration that is just large enough for it.

use crate::bounds::{Bounds, Loss, SMALLEST};
use crate::claims::{does_not_end, holds, is_violated};
use crate::mistakes::Mistake;

/// More states than any of these searches needs.
const AT_MOST: usize = 1_000_000;

/// Without lost messages, and without values that are stored again after a removal.
const QUIET: Bounds = Bounds { messages_are_lost: false, refills: false, ..SMALLEST };

const REGISTRY_IS_LOST: Bounds = Bounds { losses: 1, loss_kinds: &[Loss::Registry], ..QUIET };
const LOG_IS_LOST: Bounds = Bounds { losses: 1, loss_kinds: &[Loss::Log], ..QUIET };
const SERVER_RESTARTS: Bounds = Bounds { losses: 1, loss_kinds: &[Loss::Restart], ..QUIET };
const INVALIDATES_ITSELF: Bounds = Bounds { homes: [Some(0), None], ..QUIET };
const TWO_INSTANCES: Bounds = Bounds { instances: 2, ..QUIET };
const TWO_VERSIONS: Bounds = Bounds { invalidations: 2, refills: true, ..QUIET };

macro_rules! finds {
    ($($test:ident: $mistake:ident, $bounds:ident, $steps:literal;)*) => {$(
        #[test]
        fn $test() {
            let bounds = Bounds { mistake: Some(Mistake::$mistake), ..$bounds };
            is_violated(stringify!($mistake), &bounds, AT_MOST, $steps);
        }
    )*};
}

// The number is the length of the shortest history, up to the read that is served a stale value.
finds! {
    no_wait: NoWait, QUIET, 14;
    wait_shorter_than_lease: WaitShorterThanLease, QUIET, 14;
    token_before_lease: TokenBeforeLease, QUIET, 19;
    fill_without_token: FillWithoutToken, QUIET, 15;
    token_at_reply: TokenAtReply, QUIET, 15;
    trusts_new_registry: TrustsNewRegistry, REGISTRY_IS_LOST, 15;
    lease_from_reply: LeaseFromReply, QUIET, 18;
    tells_before_removal: TellsBeforeRemoval, QUIET, 18;
    no_counter: NoCounter, QUIET, 18;
    tokens_before_registering: TokensBeforeRegistering, QUIET, 18;
    lease_though_behind: LeaseThoughBehind, QUIET, 18;
    renews_unregistered: RenewsUnregistered, REGISTRY_IS_LOST, 19;
    own_session_ignored: OwnSessionIgnored, INVALIDATES_ITSELF, 19;
    registry_survives_restart: RegistrySurvivesRestart, SERVER_RESTARTS, 20;
    gap_passed_over: GapPassedOver, LOG_IS_LOST, 21;
    gone_from_lost_registry: GoneFromLostRegistry, REGISTRY_IS_LOST, 21;
    acknowledges_first: AcknowledgesFirst, QUIET, 22;
    shared_session_id: SharedSessionId, TWO_INSTANCES, 22;
    lists_before_removal: ListsBeforeRemoval, TWO_INSTANCES, 23;
    removes_blindly: RemovesBlindly, TWO_VERSIONS, 26;
    tokens_without_session: TokensWithoutSession, QUIET, 15;
    lease_of_another_session: LeaseOfAnotherSession, QUIET, 16;
}

/// Nothing stale is served, but an invalidation waits for a live session.
#[test]
fn acknowledges_nothing() {
    let bounds = Bounds { mistake: Some(Mistake::AcknowledgesNothing), ..QUIET };
    does_not_end("AcknowledgesNothing", &bounds, AT_MOST, 9);
}

/// Without a mistake, the smallest of these configurations holds.
#[test]
fn no_mistake() {
    holds("no mistake", &QUIET, AT_MOST, 2_574);
}
