//! The one module that names the runtime, so that the schedule tests can put shuttle in its place.

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

/// The present, as deadlines of waiters measure it.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Starts `task` as a task of its own and waits for what it sends through `answer`; `None` if it was cut off before
/// it sent anything, which happens when the runtime shuts down.
///
/// Dropping the returned future does not stop the task. Outside a runtime the caller runs the task itself.
pub(crate) async fn answer_of<T>(
    task: impl Future<Output = ()> + Send + 'static,
    answer: oneshot::Receiver<T>,
) -> Option<T> {
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(task);
        return answer.await.ok();
    }
    match future::select(answer, pin!(task)).await {
        Either::Left((answer, _)) => answer.ok(),
        Either::Right(((), answer)) => answer.await.ok(),
    }
}

/// Starts `task` as a task of its own that nobody waits for; outside a runtime it is dropped.
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(contained_in(task));
    }
}

/// Waits for `duration`.
pub(crate) async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// What `future` gives before `deadline`; `None` after it.
pub(crate) async fn before<F: Future>(deadline: Instant, future: F) -> Option<F::Output> {
    if Handle::try_current().is_err() {
        return Some(future.await);
    }
    tokio::time::timeout_at(deadline, future).await.ok()
}

/// A time that comes.
pub(crate) type Timer = tokio::time::Sleep;

/// The time until `end`; `None` outside a runtime, where none comes.
pub(crate) fn timer(end: Instant) -> Option<Timer> {
    Handle::try_current().is_ok().then(|| tokio::time::sleep_until(end))
}

/// Whether the time has come, also for a task that has used up its turn: what keeps it busy must not keep it for ever.
pub(crate) fn poll_timer(timer: Pin<&mut Timer>, context: &mut Context<'_>) -> Poll<()> {
    Pin::new(&mut unconstrained(timer)).poll(context)
}

/// Polls `future` once.
pub(crate) async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    future::poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context))).await
}
