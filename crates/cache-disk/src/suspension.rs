//! Suspending the engine: from one moment on nothing is served and nothing is taken in, until an empty database is there.

use cache_core::sync::atomic::Ordering;
use cache_core::{EpochScope, Error, ErrorKind};

use crate::engine::{Condition, Engine};

impl Engine {
    /// Serves nothing and takes nothing in from here on.
    ///
    /// 1. The flag and the missing snapshot are one step against the writer's next commit, which would bring one back.
    /// 2. Then every shard's lock is passed: a fill that did not see the flag has inserted by then, and is removed.
    pub(crate) fn suspend(&self, cause: &str) {
        {
            let mut condition = self.condition.lock();
            self.set_suspended(true);
            self.snapshot.store(None);
            *condition = Condition { since: self.now(), cause: Some(cause.to_owned()), is_logged: true };
        }
        for mut shard in self.index.shards() {
            shard.remove_pending(|_| true, |key| self.index.hash(key));
            shard.remove_stored(|_| true);
        }
    }

    /// Takes values in again. What was loaded before may be out of date: its tokens do not stand any more.
    pub(crate) fn end_suspension(&self) {
        self.epochs.bump(EpochScope::All);
        self.set_suspended(false);
    }

    /// The error of what cannot be done while the cache is suspended.
    pub(crate) fn suspended(&self) -> Error {
        let cause = self.condition.lock().cause.clone().unwrap_or_default();
        Error::new(ErrorKind::Unavailable, cause)
    }

    pub(crate) fn is_suspended(&self) -> bool {
        self.is_suspended.load(Ordering::SeqCst)
    }

    fn set_suspended(&self, is_suspended: bool) {
        self.is_suspended.store(is_suspended, Ordering::SeqCst);
    }
}
