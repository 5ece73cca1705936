//! [`Contained`]: what redb hands out, when dropping it may panic.
//!
//! A damaged page makes redb panic, perhaps under a lock; whatever of the same transaction is dropped from then on panics
//! at that lock. Outside of a destructor that is caught; in one, while the first panic unwinds, it would end the process.

use std::ops::{Deref, DerefMut};
use std::panic::{self, AssertUnwindSafe};

/// A value whose drop does not panic.
#[derive(Debug)]
pub(crate) struct Contained<T>(Option<T>);

const PRESENT: &str = "only the drop and the taking of the whole empty it";

impl<T> Contained<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Some(value))
    }

    /// The value itself, whose drop may panic.
    pub(crate) fn into_inner(mut self) -> T {
        self.0.take().expect(PRESENT)
    }
}

impl<T> Deref for Contained<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect(PRESENT)
    }
}

impl<T> DerefMut for Contained<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect(PRESENT)
    }
}

impl<T> Drop for Contained<T> {
    fn drop(&mut self) {
        let value = self.0.take();
        // The panic before this one said what was wrong.
        let _ = panic::catch_unwind(AssertUnwindSafe(|| drop(value)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Mine;

    impl Drop for Mine {
        fn drop(&mut self) {
            panic!("a drop that panics");
        }
    }

    #[test]
    fn a_panic_in_a_drop_goes_no_further_also_while_another_unwinds() {
        drop(Contained::new(Mine));
        let caught = panic::catch_unwind(|| {
            let _one = Contained::new(Mine);
            let _two = Contained::new(Mine);
            panic!("the first");
        });
        assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"the first"));
    }
}
