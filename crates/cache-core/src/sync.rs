//! Locks, conditions, threads and atomics: those of the platform, or shuttle's when the feature `shuttle` explores schedules.

#[cfg(not(feature = "shuttle"))]
pub use self::platform::{Condvar, spawn};
#[cfg(not(feature = "shuttle"))]
pub use parking_lot::{Mutex, MutexGuard};
#[cfg(not(feature = "shuttle"))]
pub use std::sync::atomic;

#[cfg(feature = "shuttle")]
pub use self::explored::{Condvar, Mutex, MutexGuard, spawn};
#[cfg(feature = "shuttle")]
pub use shuttle::sync::atomic;

#[cfg(not(feature = "shuttle"))]
mod platform {
    use std::io;
    use std::thread::{Builder, JoinHandle};
    use std::time::Duration;

    use parking_lot::MutexGuard;

    /// A condition to wait for; waiting takes the guard and gives it back.
    #[derive(Debug, Default)]
    pub struct Condvar(parking_lot::Condvar);

    impl Condvar {
        /// Waits until notified, or for `timeout` at most; may wake early.
        pub fn wait_for<'a, T>(&self, mut guard: MutexGuard<'a, T>, timeout: Duration) -> MutexGuard<'a, T> {
            let _ = self.0.wait_for(&mut guard, timeout);
            guard
        }

        /// Wakes all who wait.
        pub fn notify_all(&self) {
            self.0.notify_all();
        }
    }

    /// Starts a named thread.
    pub fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
        Builder::new().name(name.to_owned()).spawn(work)
    }
}

#[cfg(feature = "shuttle")]
mod explored {
    use std::time::Duration;
    use std::{fmt, io};

    use shuttle::thread::{Builder, JoinHandle};

    pub use shuttle::sync::MutexGuard;

    /// shuttle's mutex behind the interface of `parking_lot`'s: locking does not fail.
    #[derive(Default)]
    pub struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        /// A mutex around `value`.
        pub fn new(value: T) -> Self {
            Self(shuttle::sync::Mutex::new(value))
        }

        /// Waits for the lock.
        pub fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("a panic under the lock ends the schedule")
        }
    }

    /// shuttle's condition behind the interface of the platform's: time stands still, so only a notification wakes.
    #[derive(Debug, Default)]
    pub struct Condvar(shuttle::sync::Condvar);

    impl Condvar {
        /// Waits until notified.
        pub fn wait_for<'a, T>(&self, guard: MutexGuard<'a, T>, _timeout: Duration) -> MutexGuard<'a, T> {
            self.0.wait(guard).expect("a panic under the lock ends the schedule")
        }

        /// Wakes all who wait.
        pub fn notify_all(&self) {
            self.0.notify_all();
        }
    }

    /// Starts a named thread.
    pub fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
        Builder::new().name(name.to_owned()).spawn(work)
    }

    impl<T: fmt::Debug> fmt::Debug for Mutex<T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.fmt(f)
        }
    }
}
