//! [`TimeBudget`]: how long one request waits for the backend, however many calls it makes.

use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use cache_core::{CacheBackend, transfer_time};
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

    /// Waits for `call`, a call of `backend`, while time is left; `None` after that.
    ///
    /// A call that is ready at once costs no timer. One that is [polled again](CacheBackend::polled_within) in time costs one
    /// only if it is still pending then.
    pub(crate) async fn wait<F>(&mut self, backend: &dyn CacheBackend, mut call: F) -> Option<F::Output>
    where
        F: Future + Unpin,
    {
        let mut asked = None;
        let mut timer = pin!(None);
        let answer = future::poll_fn(|context| {
            if let Poll::Ready(output) = Pin::new(&mut call).poll(context) {
                return Poll::Ready(Some(output));
            }
            let is_first = asked.is_none();
            let until = *asked.get_or_insert_with(rt::now) + self.left;
            let is_in_time = |within| within < self.left;
            if timer.is_none() && !(is_first && backend.polled_within().is_some_and(is_in_time)) {
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

#[cfg(test)]
#[cfg(not(feature = "shuttle"))]
mod tests {
    use async_trait::async_trait;
    use cache_core::{
        BackendKind, CacheKey, FillOutcome, FillToken, Invalidated, Invalidation, Lookup, NewEntry,
        NullBackend, Result,
    };

    use super::*;

    const WITHIN: Duration = Duration::from_millis(10);

    /// A backend that never answers, and may promise to poll its calls again.
    #[derive(Debug)]
    struct Hanging {
        promises: bool,
    }

    #[async_trait]
    impl CacheBackend for Hanging {
        fn kind(&self) -> BackendKind {
            BackendKind::Null
        }

        fn polled_within(&self) -> Option<Duration> {
            self.promises.then_some(WITHIN)
        }

        async fn lookup(&self, _: &CacheKey) -> Result<Lookup> {
            rt::sleep(WITHIN).await;
            std::future::pending().await
        }

        async fn fill(&self, _: &CacheKey, _: FillToken, _: NewEntry) -> Result<FillOutcome> {
            Ok(FillOutcome::Refused)
        }

        async fn set(&self, _: &CacheKey, _: NewEntry) -> Result<()> {
            Ok(())
        }

        async fn invalidate(&self, _: &[Invalidation]) -> Result<Invalidated> {
            Ok(Invalidated::Applied { removed: 0 })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_budget_ends_in_time_with_either_timer_and_is_spent_then() {
        let key = CacheKey::parse("user:5").unwrap();
        for promises in [false, true] {
            let (asked, mut budget, backend) = (rt::now(), TimeBudget::new(), Hanging { promises });
            assert!(budget.wait(&backend, backend.lookup(&key)).await.is_none());
            let waited = rt::now().duration_since(asked);
            assert!((LONGEST..LONGEST + LATE).contains(&(waited + LATE)), "{waited:?}");
            assert!(budget.is_spent());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_in_time_leaves_the_rest_of_the_budget() {
        let (mut budget, backend) = (TimeBudget::new(), NullBackend::new());
        assert_eq!(budget.wait(&backend, pin!(rt::sleep(LONGEST / 2))).await, Some(()));
        assert_eq!(budget.wait(&backend, pin!(rt::sleep(LONGEST / 2))).await, None);
        assert!(budget.is_spent());
    }
}
