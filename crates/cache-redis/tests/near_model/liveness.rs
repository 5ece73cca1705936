//! An invalidation does not wait for time to pass where every session it waits for is alive and gets its turns.
//!
//! That it returns after the wait whatever the others do needs no search: its own clock decides.

use crate::bounds::Bounds;
use crate::state::{Stage, State};
use crate::steps::{Cause, Steps};

/// The turns after which every live session must have acknowledged.
const TURNS: usize = 12;

/// Whether a search checks liveness, and in how many states it has.
#[derive(Debug)]
pub(crate) enum Liveness {
    Unchecked,
    Checked(usize),
}

impl Liveness {
    /// Describes an invalidation in `state` that would wait without need.
    pub(crate) fn check(&mut self, bounds: &Bounds, state: &State) -> Option<String> {
        let Self::Checked(count) = self else { return None };
        let is_pending = |number: &usize| {
            let invalidator = &state.invalidators[*number];
            invalidator.stage == Stage::Waiting && !invalidator.pending.is_empty()
        };
        *count += usize::from((0..bounds.invalidators).any(|number| is_pending(&number)));
        let mut waiting = (0..bounds.invalidators).filter(is_pending);
        let stuck =
            waiting.find(|number| can_end(bounds, state, *number) && !ends(bounds, state, *number))?;
        Some(format!("P{stuck}: waits for live sessions that do not acknowledge"))
    }

    pub(crate) fn checked(&self) -> usize {
        match self {
            Self::Unchecked => 0,
            Self::Checked(count) => *count,
        }
    }
}

/// Whether acknowledgements alone can end the wait: the registry is the one that was told and has been known for long,
/// and every pending session has a task.
fn can_end(bounds: &Bounds, state: &State, number: usize) -> bool {
    let invalidator = &state.invalidators[number];
    let Some(registry) = state.server.registry else { return false };
    let has_task = |session| state.instances[..bounds.instances].iter().any(|it| it.session == Some(session));
    invalidator.distrust == 0
        && invalidator.generation == Some(registry.generation)
        && invalidator.pending.iter().all(|session| !registry.is_registered(session) || has_task(session))
}

/// Gives each session and the invalidator turns, without time, faults or lost messages.
fn ends(bounds: &Bounds, state: &State, number: usize) -> bool {
    let mut state = *state;
    let mut take = |cause| {
        let step = Steps::from(bounds, &state).list.into_iter().find(|step| step.cause == cause);
        if let Some(step) = step {
            state = step.next;
        }
        state.invalidators[number].pending.is_empty()
    };
    (0..TURNS).any(|_| {
        for instance in 0..bounds.instances {
            take(Cause::Session(instance));
        }
        take(Cause::Poll(number))
    })
}
