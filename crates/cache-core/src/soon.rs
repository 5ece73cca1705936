//! Whoever limits how long it waits needs a timer, unless what it waits for has one of its own that ends sooner.
//!
//! A store that is slow only once in a while keeps a timer to look after its requests. The cache over it would set
//! another for each of them, for its own limit: a good part of what a hit costs that takes a few microseconds. So the
//! store says, while it is polled, that it will be polled again [`WITHIN`] a short time, and the cache sets its own timer
//! only when that time has come. Stores without such a timer say nothing.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// How soon what calls [`will_be_polled`] has to be polled again.
pub const WITHIN: Duration = Duration::from_millis(10);

thread_local! {
    static SAID: Cell<bool> = const { Cell::new(false) };
}

/// Says that the running task has a timer which ends [`WITHIN`] this time: for a store that is about to be pending.
pub fn will_be_polled() {
    SAID.set(true);
}

/// Polls `future`, and gives whether it said that it [`will_be_polled`] soon.
pub fn poll<F: Future>(future: Pin<&mut F>, context: &mut Context<'_>) -> (Poll<F::Output>, bool) {
    SAID.set(false);
    let polled = future.poll(context);
    (polled, SAID.get())
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Waker;

    use super::*;

    #[test]
    fn what_is_said_holds_for_the_poll_in_which_it_is_said() {
        let says = Cell::new(true);
        let mut future = pin!(std::future::poll_fn(|_| {
            if says.take() {
                will_be_polled();
            }
            Poll::<()>::Pending
        }));
        let context = &mut Context::from_waker(Waker::noop());
        assert_eq!(poll(future.as_mut(), context), (Poll::Pending, true));
        assert_eq!(poll(future.as_mut(), context), (Poll::Pending, false));
    }
}
