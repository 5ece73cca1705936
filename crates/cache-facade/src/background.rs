//! What a cache does behind its callers' backs, and how much of it at once.

use std::sync::Arc;

use cache_core::sync::atomic::{AtomicUsize, Ordering};

/// Places for tasks that nobody waits for.
#[derive(Debug)]
pub(crate) struct Background {
    most: usize,
    running: AtomicUsize,
}

/// A place that is taken, until it is dropped.
#[derive(Debug)]
pub(crate) struct Slot(Arc<Background>);

impl Background {
    /// Room for `most` tasks at a time.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, running: AtomicUsize::new(0) })
    }

    /// A place, if one is free.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Slot> {
        // Taken back by the drop where it was one too many.
        let before = self.running.fetch_add(1, Ordering::AcqRel);
        let slot = Slot(Arc::clone(self));
        (before < self.most).then_some(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_there_is_room_for_and_room_again_after_a_drop() {
        let background = Background::new(2);
        let (one, two) = (background.take(), background.take());
        assert!(one.is_some() && two.is_some() && background.take().is_none());
        drop(one);
        assert!(background.take().is_some());
        drop(two);
        assert_eq!(background.running.load(Ordering::Acquire), 0);
    }
}
