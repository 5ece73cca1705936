//! The rows of the disk backend beside raw redb.

pub mod capacity;
pub mod million;
pub mod reads;
pub mod removals;
pub mod sets;
pub mod sustained;

use crate::Outcome;
use crate::session::Session;

/// Bytes of a small value.
pub const SMALL: usize = 1024;
/// Bytes of a large value.
pub const LARGE: usize = 50 * 1024;

/// Measures every row.
pub fn run(session: &mut Session) -> Outcome<()> {
    reads::run(session)?;
    sets::run(session)?;
    sustained::run(session)?;
    capacity::run(session)?;
    removals::run(session)?;
    million::run(session)
}
