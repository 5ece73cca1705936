//! Rules by which an invalidator that has never seen a registry returns at once because it finds none.
//!
//! It has no memory tier. The danger is always the same: an instance registers and holds a lease, the registry is lost,
//! and the instance has not noticed yet.

use crate::bounds::{Bounds, Exception, Loss, SMALLEST};
use crate::claims::{self, holds, is_violated};

/// Where a search is cut off in every build: only those with two losses.
const QUICK: usize = 200_000;

/// Losses that the counters of the server show.
const COUNTED: &[Loss] = &[Loss::Registry, Loss::Log, Loss::Restart];
const ALL: &[Loss] = &[Loss::Registry, Loss::Log, Loss::Restart, Loss::Failover, Loss::ByOperator];

/// One invalidation and one loss.
const fn once(exception: Exception, loss_kinds: &'static [Loss]) -> Bounds {
    Bounds { losses: 1, loss_kinds, messages_are_lost: false, exception, ..SMALLEST }
}

/// Two invalidations and two losses.
const fn twice(exception: Exception, loss_kinds: &'static [Loss]) -> Bounds {
    Bounds { losses: 2, invalidations: 2, ..once(exception, loss_kinds) }
}

/// Asserts that `exception` is right as long as only `losses` happen.
fn is_right(name: &str, exception: Exception, losses: &'static [Loss], once_states: usize, whole: usize) {
    let twice = twice(exception, losses);
    if let Some(at_most) = claims::whole_searches() {
        let bounds = Bounds { messages_are_lost: true, sessions: 3, ..twice };
        return holds(name, &bounds, at_most, whole.min(at_most));
    }
    holds(&format!("{name}, one loss"), &once(exception, losses), QUICK, once_states);
    holds(&format!("{name}, two losses"), &twice, QUICK, QUICK);
}

#[test]
fn an_exception_is_right_while_nothing_is_lost() {
    holds("X0", &Bounds { losses: 0, ..once(Exception::Always, &[]) }, QUICK, 8_572);
}

#[test]
fn an_exception_without_a_rule_is_wrong() {
    is_violated("X1, evicted", &once(Exception::Always, &[Loss::Registry]), QUICK, 15);
    is_violated("X1, restarted", &once(Exception::Always, &[Loss::Restart]), QUICK, 15);
}

#[test]
fn an_exception_for_a_server_that_has_lost_nothing_is_right() {
    is_right("X2", Exception::LosslessServer, COUNTED, 117_377, 20_026_936);
}

/// The hole that is left: no counter shows these losses.
#[test]
fn the_rule_does_not_see_a_removal_by_an_operator_or_a_failover() {
    is_violated("X3, operator", &once(Exception::LosslessServer, &[Loss::ByOperator]), QUICK, 15);
    is_violated("X3, failover", &once(Exception::LosslessServer, &[Loss::Failover]), QUICK, 15);
}

/// The counters must be read together with the look that finds no registry, or after it: an `INFO` from before does not
/// count what has been evicted since.
#[test]
fn counters_read_at_connect_are_too_old() {
    is_violated("X4", &once(Exception::LosslessWhenConnected, &[Loss::Registry]), QUICK, 15);
}

/// That there was no registry at the first look says nothing of one that was made and lost since.
#[test]
fn a_wait_that_counts_from_the_first_look_is_too_short() {
    is_violated("X5", &twice(Exception::LosslessElseFirstLook, &[Loss::Registry]), QUICK, 23);
}

/// An alternative without a hole: the invalidator makes the registry that it does not find, and waits this once.
#[test]
fn an_invalidator_that_makes_the_registry_needs_no_exception() {
    is_right("X6", Exception::MakesRegistry, ALL, 90_478, 16_179_209);
}
