//! How long one request may be kept waiting for the store, however often it asks.

use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use cache_core::{soon, transfer_time};
use futures_util::future;

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
        Self::to_send(0)
    }

    /// The patience of a request that sends `bytes` to the store.
    pub(crate) fn to_send(bytes: usize) -> Self {
        Self { left: longest_to_send(bytes).saturating_sub(LATE) }
    }

    /// The store has answered: what comes next is waited for as long again.
    pub(crate) fn renew(&mut self) {
        *self = Self::new();
    }

    /// Whether the store has had all the time it gets.
    pub(crate) fn is_spent(&self) -> bool {
        self.left.is_zero()
    }

    /// What `future` gives while patience lasts; `None` after that.
    ///
    /// What is ready at once costs no timer, nor does what has one of its own that ends soon.
    pub(crate) async fn wait<F: Future + Unpin>(&mut self, mut future: F) -> Option<F::Output> {
        let mut asked = None;
        let mut timer = pin!(None);
        let answer = future::poll_fn(|context| {
            let (polled, is_polled_soon) = soon::poll(Pin::new(&mut future), context);
            if let Poll::Ready(output) = polled {
                return Poll::Ready(Some(output));
            }
            let until = *asked.get_or_insert_with(rt::now) + self.left;
            if timer.is_none() && !is_polled_soon {
                timer.set(rt::timer(until));
            }
            let timer = timer.as_mut().as_pin_mut();
            timer.map_or(Poll::Pending, |timer| rt::poll_timer(timer, context)).map(|()| None)
        })
        .await;
        if let Some(asked) = asked {
            self.left = self.left.saturating_sub(rt::now().duration_since(asked));
        }
        answer
    }
}

/// The longest a request waits for the store that sends `bytes` to it.
pub(crate) fn longest_to_send(bytes: usize) -> Duration {
    LONGEST + transfer_time(bytes)
}

/// What `future` gives within the patience of a request that asks the store once.
pub(crate) async fn wait<F: Future + Unpin>(future: F) -> Option<F::Output> {
    Patience::new().wait(future).await
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    /// A store that never answers, and says at first whether it is polled again soon, as it is.
    async fn hangs(says_soon: bool) {
        let mut wake = pin!(rt::sleep(soon::WITHIN));
        let mut is_first = true;
        future::poll_fn(|context| -> Poll<()> {
            if std::mem::take(&mut is_first) && wake.as_mut().poll(context).is_pending() && says_soon {
                soon::will_be_polled();
            }
            Poll::Pending
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends_in_time_whoever_keeps_the_timer_and_is_spent_then() {
        for says_soon in [false, true] {
            let (asked, mut patience) = (rt::now(), Patience::new());
            assert_eq!(patience.wait(pin!(hangs(says_soon))).await, None);
            let waited = rt::now().duration_since(asked);
            assert!((LONGEST..LONGEST + LATE).contains(&(waited + LATE)), "{waited:?}");
            assert!(patience.is_spent());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_answers_in_time_leaves_the_rest_of_the_patience() {
        let mut patience = Patience::new();
        assert_eq!(patience.wait(pin!(rt::sleep(LONGEST / 2))).await, Some(()));
        assert_eq!(patience.wait(pin!(rt::sleep(LONGEST / 2))).await, None);
        assert!(patience.is_spent());
    }
}
