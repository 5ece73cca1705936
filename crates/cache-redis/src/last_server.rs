//! [`LastServerRecord`]: remembers across restarts of the process which server was used last.

use std::fmt::Debug;

use cache_core::{Result, Timestamp};

/// The last use of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastUse {
    /// Identifies the server and its current run.
    pub incarnation: u64,
    /// An upper bound of the time of the use.
    pub at: Timestamp,
}

/// Stores the [`LastUse`] of this process for the next one.
///
/// # Contract
/// [`last`](Self::last) is never earlier than any acknowledgement of an invalidation. The implementation writes ahead, and
/// durably, before anything is acknowledged beyond the recorded time.
pub trait LastServerRecord: Debug + Send + Sync + 'static {
    /// Returns the last use of earlier processes; `None` if there was none.
    fn last(&self) -> Option<LastUse>;

    /// Records a change of servers. Called before anything is read from or acknowledged by the new one.
    ///
    /// # Errors
    /// Any error while writing; the server is not used then.
    fn entered(&self, incarnation: u64) -> Result<()>;
}
