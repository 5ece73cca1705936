//! [`TimeBudget`]: how long one request waits for the backend, however many calls it makes.

use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use cache_core::{soon, transfer_time};
use futures_util::future;

use crate::rt;

/// Longest time for which a request waits for the backend before it continues without.
pub(crate) const LONGEST: Duration = Duration::from_millis(250);

/// Margin for timers that fire a millisecond or two late.
const LATE: Duration = Duration::from_millis(5);

/// Time that a request may still wait for the backend.
#[derive(Debug)]
pub(crate) struct TimeBudget {
    left: Duration,
}

impl TimeBudget {
    pub(crate) fn new() -> Self {
        Self::to_send(0)
    }

    /// The budget of a request that sends `bytes` to the backend.
    pub(crate) fn to_send(bytes: usize) -> Self {
        Self { left: longest_to_send(bytes).saturating_sub(LATE) }
    }

    /// Starts anew, because the backend has answered.
    pub(crate) fn renew(&mut self) {
        *self = Self::new();
    }

    /// Whether no time is left.
    pub(crate) fn is_spent(&self) -> bool {
        self.left.is_zero()
    }

    /// Waits for `future` while time is left; `None` after that.
    ///
    /// A future that is ready at once costs no timer, nor does one with a timer of its own that ends soon.
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

/// Longest time for which a request that sends `bytes` waits for the backend.
pub(crate) fn longest_to_send(bytes: usize) -> Duration {
    LONGEST + transfer_time(bytes)
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    /// A backend that never answers, and says at first whether it has a timer of its own.
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
    async fn a_budget_ends_in_time_with_either_timer_and_is_spent_then() {
        for says_soon in [false, true] {
            let (asked, mut budget) = (rt::now(), TimeBudget::new());
            assert_eq!(budget.wait(pin!(hangs(says_soon))).await, None);
            let waited = rt::now().duration_since(asked);
            assert!((LONGEST..LONGEST + LATE).contains(&(waited + LATE)), "{waited:?}");
            assert!(budget.is_spent());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_in_time_leaves_the_rest_of_the_budget() {
        let mut budget = TimeBudget::new();
        assert_eq!(budget.wait(pin!(rt::sleep(LONGEST / 2))).await, Some(()));
        assert_eq!(budget.wait(pin!(rt::sleep(LONGEST / 2))).await, None);
        assert!(budget.is_spent());
    }
}
