//! How long one request may be kept waiting for the store, however often it asks.

use std::task::Poll;
use std::time::Duration;

use crate::rt;

/// The longest a request waits for the store before it goes on without.
pub(crate) const LONGEST: Duration = Duration::from_millis(250);

/// A timer fires a millisecond or two late: taken off, so that the promise holds with it.
const LATE: Duration = Duration::from_millis(5);

/// What is left of a request's patience.
#[derive(Debug)]
pub(crate) struct Patience {
    left: Duration,
}

impl Patience {
    pub(crate) fn new() -> Self {
        Self { left: LONGEST.saturating_sub(LATE) }
    }

    /// Whether the store has had all the time it gets.
    pub(crate) fn is_spent(&self) -> bool {
        self.left.is_zero()
    }

    /// What `future` gives while patience lasts; `None` after that. One that is ready at once costs no timer.
    pub(crate) async fn wait<F: Future + Unpin>(&mut self, mut future: F) -> Option<F::Output> {
        if let Poll::Ready(output) = rt::poll_once(&mut future).await {
            return Some(output);
        }
        let asked = rt::now();
        let answer = rt::before(asked + self.left, future).await;
        self.left = self.left.saturating_sub(rt::now().duration_since(asked));
        answer
    }
}

/// What `future` gives within the patience of a request that asks the store once.
pub(crate) async fn wait<F: Future + Unpin>(future: F) -> Option<F::Output> {
    Patience::new().wait(future).await
}
