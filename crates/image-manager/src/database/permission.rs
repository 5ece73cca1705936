//! [`Guarded`]: a row that only members of its project may see.

use super::projects::not_a_member;
use crate::error::ApiError;

/// A row, and whether the user that it was read for is a member of its project.
#[derive(Debug)]
pub(crate) struct Guarded<T> {
    row: T,
    is_member: bool,
}

impl<T> Guarded<T> {
    /// Guards `row` by the membership that was read with it.
    pub(super) fn new(row: T, is_member: bool) -> Self {
        Self { row, is_member }
    }

    /// Replaces the row by what `with` makes of it, for the same user.
    pub(super) fn map<U>(self, with: impl FnOnce(T) -> U) -> Guarded<U> {
        Guarded { row: with(self.row), is_member: self.is_member }
    }
}

/// Returns the row for a member; `what` names it in the error.
///
/// # Errors
/// Not found, or forbidden to the user.
pub(crate) fn permitted<T>(found: Option<Guarded<T>>, what: &'static str) -> Result<T, ApiError> {
    let Guarded { row, is_member } = found.ok_or_else(|| ApiError::not_found(what))?;
    if is_member { Ok(row) } else { Err(not_a_member()) }
}
