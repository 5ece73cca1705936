//! Catches and counts panics: of the application's log subscriber, metrics recorder, clock and closures, and of the cache's
//! own background tasks.
//!
//! A panic of the log subscriber cannot be logged: [`Health`](crate::Health) reports the count and the last message.

use std::any::Any;
use std::future::poll_fn;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use parking_lot::Mutex;

static COUNT: AtomicU64 = AtomicU64::new(0);
static LAST: Mutex<Option<Arc<str>>> = Mutex::new(None);

/// How long a task waits before it restarts after a panic, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Calls `act` and returns the message of its panic, which the caller reports.
#[inline]
pub fn caught<T>(act: impl FnOnce() -> T) -> Result<T, Arc<str>> {
    catch_unwind(AssertUnwindSafe(act)).map_err(|panic| message_of(&*panic))
}

/// Calls `act`; a panic is counted and returns `None`.
#[inline]
pub fn contained<T>(act: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(act)).map_err(|panic| count(message_of(&*panic))).ok()
}

/// Awaits `future` and returns the message of its panic, which the caller reports.
pub async fn caught_in<F: Future>(future: F) -> Result<F::Output, Arc<str>> {
    let mut future = pin!(future);
    poll_fn(|context| match caught(|| future.as_mut().poll(context)) {
        Ok(polled) => polled.map(Ok),
        Err(message) => Poll::Ready(Err(message)),
    })
    .await
}

/// Awaits `future`; a panic is counted and returns `None`.
pub async fn contained_in<F: Future>(future: F) -> Option<F::Output> {
    caught_in(future).await.map_err(count).ok()
}

/// Runs the task that `begin` makes until it returns. After a panic, which is counted, calls `panicked` with its message
/// and begins another task, after 50 ms at first and 2 s at most.
///
/// `sleep` is that of the runtime.
pub async fn supervise<F: Future<Output = ()>, S: Future<Output = ()>>(
    mut begin: impl FnMut() -> F,
    panicked: impl Fn(&str),
    sleep: impl Fn(Duration) -> S,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        let ended = match caught(&mut begin) {
            Ok(task) => caught_in(task).await,
            Err(message) => Err(message),
        };
        let Err(message) = ended else { return };
        count(Arc::clone(&message));
        contained(|| panicked(&message));
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Counts a panic that no caller reports.
#[cold]
pub fn count(message: Arc<str>) {
    COUNT.fetch_add(1, Ordering::Relaxed);
    *LAST.lock() = Some(message);
}

/// Returns how many panics were counted in this process, and the message of the last one.
pub fn counted() -> (u64, Option<Arc<str>>) {
    match COUNT.load(Ordering::Relaxed) {
        0 => (0, None),
        count => (count, LAST.lock().clone()),
    }
}

/// The message of a panic.
pub fn message_of(panic: &(dyn Any + Send)) -> Arc<str> {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").into()
}

/// A value whose drop does not panic: a panic during another one's unwinding would abort the process.
#[derive(Debug)]
pub struct PanicSafeDrop<T>(Option<T>);

const PRESENT: &str = "only drop and into_inner take the value";

impl<T> PanicSafeDrop<T> {
    /// Wraps `value`.
    pub fn new(value: T) -> Self {
        Self(Some(value))
    }

    /// Returns the value itself, whose drop may panic.
    pub fn into_inner(mut self) -> T {
        self.0.take().expect(PRESENT)
    }
}

impl<T> Deref for PanicSafeDrop<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect(PRESENT)
    }
}

impl<T> DerefMut for PanicSafeDrop<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect(PRESENT)
    }
}

impl<T> Drop for PanicSafeDrop<T> {
    fn drop(&mut self) {
        let value = self.0.take();
        contained(|| drop(value));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    struct Mine;

    impl Drop for Mine {
        fn drop(&mut self) {
            panic!("a drop that panics");
        }
    }

    #[test]
    fn a_panic_in_a_drop_is_contained_even_while_another_unwinds() {
        drop(PanicSafeDrop::new(Mine));
        let caught = caught(|| {
            let _one = PanicSafeDrop::new(Mine);
            let _two = PanicSafeDrop::new(Mine);
            panic!("the first");
        });
        assert_eq!(caught.unwrap_err().as_ref(), "the first");
    }

    #[test]
    fn a_contained_panic_is_counted_with_its_message() {
        let (before, _) = counted();
        assert_eq!(contained(|| 7), Some(7));
        assert_eq!(contained(|| -> u8 { panic!("no {}", "pipe") }), None);
        let (after, last) = counted();
        assert!(after > before && last.is_some());
    }

    #[tokio::test]
    async fn a_task_that_panics_restarts_after_longer_and_longer_pauses_until_it_returns() {
        let (begun, told, pauses) = (Cell::new(0), Cell::new(0), Cell::new(Duration::ZERO));
        let task = || {
            begun.set(begun.get() + 1);
            // The first call panics before there is a task.
            assert!(begun.get() != 1, "at once");
            async { assert!(begun.get() == 9, "later") }
        };
        let sleep = |pause| {
            pauses.set(pauses.get().max(pause));
            std::future::ready(())
        };
        supervise(task, |_| told.set(told.get() + 1), sleep).await;
        assert_eq!((begun.get(), told.get(), pauses.get()), (9, 8, LONGEST_PAUSE));
    }
}
