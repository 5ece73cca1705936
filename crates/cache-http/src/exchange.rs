//! [`Exchange`]: a request on its way to the handler, and what becomes of it, shared by the call and its load.
//!
//! A load runs as a task of its own, and may run in the background after the call has its answer, or not at all. The one that
//! takes the request calls the handler; there is no second copy of it.

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use parking_lot::Mutex;

/// Shared by a call and its load.
pub(crate) struct Exchange<S, Q, B, E>(Mutex<State<S, Q, B, E>>);

enum State<S, Q, B, E> {
    /// Neither has called the handler.
    Waiting(S, Request<Q>),
    /// The handler was called.
    Called,
    Ended(Ended<B, E>),
}

/// What came of a load that gave its response to no call.
pub(crate) enum Ended<B, E> {
    /// The record of the response, which is being stored.
    Stored(Bytes),
    /// The handler's own error, or a response that counts as one.
    Failed(Result<Response<B>, E>),
}

impl<S, Q, B, E> Exchange<S, Q, B, E> {
    pub(crate) fn new(service: S, request: Request<Q>) -> Self {
        Self(Mutex::new(State::Waiting(service, request)))
    }

    /// Takes the service and the request; `None` where they were taken.
    pub(crate) fn take(&self) -> Option<(S, Request<Q>)> {
        let mut state = self.0.lock();
        match std::mem::replace(&mut *state, State::Called) {
            State::Waiting(service, request) => Some((service, request)),
            other @ (State::Called | State::Ended(_)) => {
                *state = other;
                None
            }
        }
    }

    /// Reads the headers of the request, unless it was taken.
    pub(crate) fn headers<T>(&self, read: impl FnOnce(&HeaderMap) -> T) -> Option<T> {
        match &*self.0.lock() {
            State::Waiting(_, request) => Some(read(request.headers())),
            State::Called | State::Ended(_) => None,
        }
    }

    /// Leaves what came of the load.
    pub(crate) fn end(&self, ended: Ended<B, E>) {
        *self.0.lock() = State::Ended(ended);
    }

    /// Takes what came of the load.
    pub(crate) fn ended(&self) -> Option<Ended<B, E>> {
        let mut state = self.0.lock();
        match std::mem::replace(&mut *state, State::Called) {
            State::Ended(ended) => Some(ended),
            other @ (State::Waiting(..) | State::Called) => {
                *state = other;
                None
            }
        }
    }
}
