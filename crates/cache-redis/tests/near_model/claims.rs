//! The claims that tests make about a search, and their report.

use crate::bounds::Bounds;
use crate::liveness::Liveness;
use crate::search::{End, Search, Violation, search};

/// Where searches of whole configurations are cut off, if they are asked for by `NEAR_MODEL_STATES`.
pub(crate) fn whole_searches() -> Option<usize> {
    let states = std::env::var("NEAR_MODEL_STATES").ok()?;
    Some(states.parse().expect("NEAR_MODEL_STATES is a number of states"))
}

/// A claim of the bounds, of which at most the first number of states is searched, and at least the second must be seen.
pub(crate) type Claim = fn(&str, &Bounds, usize, usize);

/// Asserts that no history within `bounds` violates the promise, and that the search has seen enough states: a model
/// that can take no steps violates nothing.
pub(crate) fn holds(name: &str, bounds: &Bounds, at_most: usize, at_least: usize) {
    accept(name, &search(bounds, at_most, Liveness::Unchecked), at_least);
}

/// The same, and that no invalidation waits without need.
pub(crate) fn holds_and_ends(name: &str, bounds: &Bounds, at_most: usize, at_least: usize) {
    let search = search(bounds, at_most, Liveness::Checked(0));
    accept(name, &search, at_least);
    assert!(
        search.waiting > at_least / 100,
        "{name}: an invalidation waits in only {} states",
        search.waiting
    );
}

fn accept(name: &str, search: &Search, at_least: usize) {
    report(name, search);
    assert!(!matches!(search.end, End::Violation(_)), "{name}: the promise is broken");
    assert!(search.states >= at_least, "{name}: only {} states", search.states);
}

/// Asserts that a shortest violation within `bounds` has `steps` steps.
pub(crate) fn is_violated(name: &str, bounds: &Bounds, at_most: usize, steps: usize) {
    breaks(name, search(bounds, at_most, Liveness::Unchecked), steps);
}

/// Asserts that a state in which an invalidation waits without need follows after `steps - 1` steps at the earliest.
pub(crate) fn does_not_end(name: &str, bounds: &Bounds, at_most: usize, steps: usize) {
    breaks(name, search(bounds, at_most, Liveness::Checked(0)), steps);
}

fn breaks(name: &str, search: Search, steps: usize) {
    report(name, &search);
    let End::Violation(violation) = search.end else {
        panic!("{name}: not found in {} states", search.states)
    };
    assert_eq!(violation.steps(), steps, "{name}: steps of the shortest history");
}

/// Prints a row of a table, and the history of a violation.
fn report(name: &str, Search { states, transitions, waiting, elapsed, end }: &Search) {
    let how = match end {
        End::Complete => "complete".to_owned(),
        End::CutOff => "cut off there".to_owned(),
        End::Violation(violation) => format!("violated in {} steps", violation.steps()),
    };
    println!("| {name} | {states} | {transitions} | {how} | {waiting} waiting | {elapsed:.1?} |");
    if let End::Violation(Violation { what, history }) = end {
        for (number, step) in (1..).zip(history) {
            println!("{number:5}. {step}");
        }
        println!("{:5}. {what}", history.len() + 1);
    }
}
