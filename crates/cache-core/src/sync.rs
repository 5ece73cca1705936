//! Locks and atomics: those of the platform, or shuttle's when the feature `shuttle` explores schedules.

#[cfg(not(feature = "shuttle"))]
pub use parking_lot::{Mutex, MutexGuard};
#[cfg(not(feature = "shuttle"))]
pub use std::sync::atomic;

#[cfg(feature = "shuttle")]
pub use self::explored::{Mutex, MutexGuard};
#[cfg(feature = "shuttle")]
pub use shuttle::sync::atomic;

#[cfg(feature = "shuttle")]
mod explored {
    use std::fmt;

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

    impl<T: fmt::Debug> fmt::Debug for Mutex<T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.fmt(f)
        }
    }
}
