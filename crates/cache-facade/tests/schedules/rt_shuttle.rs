//! The runtime of schedule tests, as a module of the library in place of `rt`: tasks that shuttle schedules, and a clock
//! that stands still.

use std::ops::Add;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future;
pub(crate) use shuttle::thread_local;
use tokio::sync::oneshot;

/// An instant of a clock that stands still: no deadline passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(Duration);

impl Instant {
    pub(crate) fn duration_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0 + duration)
    }
}

pub(crate) fn now() -> Instant {
    Instant(Duration::ZERO)
}

pub(crate) async fn detached<T, F>(task: impl FnOnce(oneshot::Sender<T>) -> F) -> Option<T>
where
    F: Future<Output = ()> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    drop(shuttle::future::spawn(task(reply)));
    answer.await.ok()
}

pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    drop(shuttle::future::spawn(task));
}

pub(crate) async fn sleep(_duration: Duration) {
    shuttle::future::yield_now().await;
}

pub(crate) async fn before<F: Future>(_deadline: Instant, future: F) -> Option<F::Output> {
    Some(future.await)
}

pub(crate) type Timer = future::Pending<()>;

pub(crate) fn timer(_end: Instant) -> Option<Timer> {
    None
}

pub(crate) fn poll_timer(timer: Pin<&mut Timer>, context: &mut Context<'_>) -> Poll<()> {
    timer.poll(context)
}

#[cfg(test)]
pub(crate) async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    future::poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context))).await
}
