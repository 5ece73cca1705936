//! [`Filling`]: which filling of the index is the current one, and whether it is done.

use std::time::Duration;

use cache_core::sync::Mutex;
use cache_core::sync::atomic::{AtomicU64, Ordering};

use crate::gate::Gate;

/// See the module's documentation; at first nothing is being filled, and the index counts as incomplete.
#[derive(Debug, Default)]
pub(crate) struct Filling {
    generation: AtomicU64,
    done: Gate,
    /// One filling that ends must not pass for the end of the next, which begins at that moment.
    turn: Mutex<()>,
}

impl Filling {
    /// Begins a filling, of which this gives the number: the one before inserts nothing any more, and the index is
    /// incomplete. `prepare` runs while none of them can end.
    pub(crate) fn begin(&self, prepare: impl FnOnce()) -> u64 {
        let _turn = self.turn.lock();
        let generation = self.generation.fetch_add(1, Ordering::SeqCst) + 1;
        self.done.shut();
        prepare();
        generation
    }

    /// Whether nobody has begun another since. Asked under a shard's lock: whoever begins one passes those locks after it.
    pub(crate) fn is_current(&self, generation: u64) -> bool {
        self.generation.load(Ordering::SeqCst) == generation
    }

    /// Ends this filling, unless another has begun: the index is complete, and then `after` runs, before another begins.
    pub(crate) fn end(&self, generation: u64, after: impl FnOnce()) {
        let _turn = self.turn.lock();
        if self.is_current(generation) {
            self.done.open();
            after();
        }
    }

    /// Whether the index knows every entry of the database.
    pub(crate) fn is_done(&self) -> bool {
        self.done.is_open()
    }

    /// Blocks the thread until it does, or for `timeout`.
    pub(crate) fn wait(&self, timeout: Duration) {
        self.done.wait(timeout);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filling_that_ends_late_does_not_end_the_next() {
        let filling = Filling::default();
        let first = filling.begin(|| {});
        let second = filling.begin(|| {});
        filling.end(first, || unreachable!("another has begun"));
        assert!(!filling.is_done() && !filling.is_current(first));
        filling.end(second, || {});
        assert!(filling.is_done());
    }
}
