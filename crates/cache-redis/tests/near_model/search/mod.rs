//! Visits every state that the bounds allow, breadth first: the first violation found has the shortest history.

mod fingerprint;
mod seen;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::bounds::Bounds;
use crate::liveness::Liveness;
use crate::state::State;
use crate::steps::Steps;
use fingerprint::fingerprint;
use seen::Seen;

/// The result of a search.
#[derive(Debug)]
pub(crate) struct Search {
    pub(crate) states: usize,
    pub(crate) transitions: u64,
    /// States in which an invalidation waits, and that were checked for liveness.
    pub(crate) waiting: usize,
    pub(crate) elapsed: Duration,
    pub(crate) end: End,
}

#[derive(Debug)]
pub(crate) enum End {
    /// All states were visited.
    Complete,
    /// The search stopped at the number of states it was allowed.
    CutOff,
    Violation(Violation),
}

/// A broken promise, and the steps that led to it.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) what: String,
    pub(crate) history: Vec<String>,
}

impl Violation {
    /// The length of the history, with the read that is served a stale value.
    pub(crate) fn steps(&self) -> usize {
        self.history.len() + 1
    }
}

/// Searches up to `at_most` states.
pub(crate) fn search(bounds: &Bounds, at_most: usize, mut liveness: Liveness) -> Search {
    let started = Instant::now();
    let first = State::first(bounds).normalized(bounds);
    let mut seen = Seen::default();
    seen.insert(fingerprint(&first), seen::NONE);
    let mut queue = VecDeque::from([first]);
    let mut transitions = 0;
    let mut end = End::Complete;
    while let Some(state) = queue.pop_front() {
        let steps = Steps::from(bounds, &state);
        if let Some(what) = steps.violation.or_else(|| liveness.check(bounds, &state)) {
            let history = history(bounds, &seen, &state);
            end = End::Violation(Violation { what, history });
            break;
        }
        let parent = fingerprint(&state);
        for step in steps.list {
            transitions += 1;
            if seen.insert(fingerprint(&step.next), parent) {
                queue.push_back(step.next);
            }
        }
        if seen.len() >= at_most {
            end = End::CutOff;
            break;
        }
    }
    Search { states: seen.len(), transitions, waiting: liveness.checked(), elapsed: started.elapsed(), end }
}

/// Returns the names of the steps from the first state to `last`, which it takes again by the fingerprints on the way.
fn history(bounds: &Bounds, seen: &Seen, last: &State) -> Vec<String> {
    let mut way = Vec::new();
    let mut on_the_way = fingerprint(last);
    while let Some(parent) = seen.parent(on_the_way) {
        way.push(on_the_way);
        on_the_way = parent;
    }
    let mut state = State::first(bounds).normalized(bounds);
    let mut names = Vec::new();
    for wanted in way.into_iter().rev() {
        let steps = Steps::named(bounds, &state);
        let step = steps.list.into_iter().find(|step| fingerprint(&step.next) == wanted);
        let step = step.expect("the search has taken this step");
        names.push(step.name);
        state = step.next;
    }
    names
}
