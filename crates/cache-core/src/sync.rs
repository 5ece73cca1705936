//! Locks, conditions, threads and atomics: those of the platform, or shuttle's when the feature `shuttle` explores schedules.

use std::io;
#[cfg(feature = "shuttle")]
use std::sync::PoisonError;
use std::time::Duration;

#[cfg(not(feature = "shuttle"))]
pub use parking_lot::{Mutex, MutexGuard};
#[cfg(not(feature = "shuttle"))]
pub use std::sync::atomic;
#[cfg(not(feature = "shuttle"))]
use std::thread::{Builder, JoinHandle};

#[cfg(feature = "shuttle")]
pub use shuttle::sync::{MutexGuard, atomic};
#[cfg(feature = "shuttle")]
use shuttle::thread::{Builder, JoinHandle};

/// Starts a named thread.
pub fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name.to_owned()).spawn(work)
}

/// A condition to wait for; waiting takes the guard and gives it back.
#[derive(Debug, Default)]
pub struct Condvar(
    #[cfg(not(feature = "shuttle"))] parking_lot::Condvar,
    #[cfg(feature = "shuttle")] shuttle::sync::Condvar,
);

impl Condvar {
    /// Waits until notified, or for `timeout` at most; may wake early.
    #[cfg(not(feature = "shuttle"))]
    pub fn wait_for<'a, T>(&self, mut guard: MutexGuard<'a, T>, timeout: Duration) -> MutexGuard<'a, T> {
        let _ = self.0.wait_for(&mut guard, timeout);
        guard
    }

    /// Waits until notified. Time stands still in a schedule: the timeout never ends.
    #[cfg(feature = "shuttle")]
    pub fn wait_for<'a, T>(&self, guard: MutexGuard<'a, T>, _timeout: Duration) -> MutexGuard<'a, T> {
        self.0.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes all threads that wait.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// A mutex of shuttle with the interface of `parking_lot`'s: locking does not fail.
#[cfg(feature = "shuttle")]
#[derive(Debug, Default)]
pub struct Mutex<T>(shuttle::sync::Mutex<T>);

#[cfg(feature = "shuttle")]
impl<T> Mutex<T> {
    /// Makes a mutex around `value`.
    pub fn new(value: T) -> Self {
        Self(shuttle::sync::Mutex::new(value))
    }

    /// Waits for the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        // Like parking_lot's: a destructor that locks while a schedule ends by a panic must not abort the process.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
