//! The runtime. Schedule tests replace this module by one over shuttle.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use cache_core::panics::contained_in;
use futures_util::future::{self, Either};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::coop::unconstrained;
pub(crate) use tokio::time::Instant;

pub(crate) use std::thread_local;

/// Returns the current time for deadlines.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Runs the task that `task` makes detached, and waits for its reply; `None` if the task ended without one, which happens
/// when the runtime shuts down.
///
/// Outside a runtime the caller runs the task itself.
///
/// # Cancellation
/// The task goes on.
pub(crate) async fn detached<T, F>(task: impl FnOnce(oneshot::Sender<T>) -> F) -> Option<T>
where
    F: Future<Output = ()> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    let task = task(reply);
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(task);
        return answer.await.ok();
    }
    match future::select(answer, pin!(task)).await {
        Either::Left((answer, _)) => answer.ok(),
        Either::Right(((), answer)) => answer.await.ok(),
    }
}

/// Spawns `task` in the background; outside a runtime it is dropped.
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(contained_in(task));
    }
}

/// Waits for `duration`.
pub(crate) async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Waits for `future` until `deadline`; `None` after it.
pub(crate) async fn before<F: Future>(deadline: Instant, future: F) -> Option<F::Output> {
    if Handle::try_current().is_err() {
        return Some(future.await);
    }
    tokio::time::timeout_at(deadline, future).await.ok()
}

/// A timer.
pub(crate) type Timer = tokio::time::Sleep;

/// A timer that ends at `end`; `None` outside a runtime.
pub(crate) fn timer(end: Instant) -> Option<Timer> {
    Handle::try_current().is_ok().then(|| tokio::time::sleep_until(end))
}

/// Polls `timer`, also in a task that has used up its budget of the runtime: a busy task must not wait for ever.
pub(crate) fn poll_timer(timer: Pin<&mut Timer>, context: &mut Context<'_>) -> Poll<()> {
    Pin::new(&mut unconstrained(timer)).poll(context)
}

/// Polls `future` once.
#[cfg(test)]
pub(crate) async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    future::poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context))).await
}
