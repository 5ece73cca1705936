//! The steps that may follow a state.
//!
//! A step is carried out at once. Tasks, messages and time take turns in any order between them: so a message may take
//! any number of ticks or be lost, and a process may stand still between any two of its steps, for ever.

mod faults;
mod filler;
mod invalidator;
mod reader;
mod registration;
mod renewal;
mod server;
mod time;
mod waiting;

use std::fmt::Arguments;

use crate::bounds::Bounds;
use crate::state::State;

/// The origin of a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cause {
    Time,
    /// A process of the application that loads a value and fills Redis.
    Loader,
    Fault,
    /// A message is lost or late.
    Lost,
    /// The session task of an instance, or the server on behalf of it.
    Session(usize),
    Reader(usize),
    Invalidator(usize),
    /// An invalidator that asks for news of the pending sessions.
    Poll(usize),
}

/// A transition to another state.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) cause: Cause,
    /// Empty unless names were asked for.
    pub(crate) name: String,
    pub(crate) next: State,
}

/// All steps from one state.
#[derive(Debug)]
pub(crate) struct Steps<'a> {
    bounds: &'a Bounds,
    from: State,
    are_named: bool,
    pub(crate) list: Vec<Step>,
    /// A read that is served what it must not see.
    pub(crate) violation: Option<String>,
}

impl<'a> Steps<'a> {
    /// Returns the steps from `state`, without names.
    pub(crate) fn from(bounds: &'a Bounds, state: &State) -> Self {
        Self::all(bounds, state, false)
    }

    /// Returns the steps from `state` with their names.
    pub(crate) fn named(bounds: &'a Bounds, state: &State) -> Self {
        Self::all(bounds, state, true)
    }

    fn all(bounds: &'a Bounds, state: &State, are_named: bool) -> Self {
        let list = Vec::with_capacity(24);
        let mut steps = Self { bounds, from: *state, are_named, list, violation: None };
        steps.time();
        steps.server();
        steps.losses();
        for number in 0..bounds.instances {
            steps.crash(number);
            steps.late_renewal(number);
            steps.session(number);
            if number < bounds.readers {
                steps.reader(number);
                steps.filler(number);
            }
        }
        for number in 0..bounds.invalidators {
            steps.invalidator(number);
        }
        steps
    }

    fn session(&mut self, number: usize) {
        let instance = &self.from.instances[number];
        match (instance.exchange, instance.session) {
            (None, None) => self.register(number),
            (None, Some(session)) => self.renew(number, session),
            (Some(exchange), session) => self.exchange(number, session, exchange),
        }
    }

    fn add(&mut self, cause: Cause, next: State, name: Arguments<'_>) {
        if cause == Cause::Lost && !self.bounds.messages_are_lost {
            return;
        }
        let name = if self.are_named { name.to_string() } else { String::new() };
        self.list.push(Step { cause, name, next: next.normalized(self.bounds) });
    }
}
