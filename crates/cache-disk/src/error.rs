//! [`Fault`]: whatever the store below did wrong, panics included, and how it reads to callers.

use std::any::Any;
use std::fmt::{self, Display};
use std::panic::{self, AssertUnwindSafe};

use cache_core::{Error, ErrorKind};

/// A failed call into redb. After one, the handle must be reopened.
#[derive(Debug)]
pub(crate) enum Fault {
    /// redb said so.
    Redb(redb::Error),
    /// redb panicked, as it does on some damaged files.
    Panicked(String),
    /// A file could not be opened, replaced or removed.
    Refused(Error),
    /// The database is closed until it can be reopened.
    Unavailable,
}

impl Fault {
    /// Whether what is in the file cannot be trusted: reopening it would not help.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Redb(error) => !matches!(
                error,
                redb::Error::Io(_)
                    | redb::Error::PreviousIo
                    | redb::Error::DatabaseClosed
                    | redb::Error::DatabaseAlreadyOpen
                    | redb::Error::LockPoisoned(_)
            ),
            Self::Panicked(_) => true,
            Self::Refused(_) | Self::Unavailable => false,
        }
    }

    /// This fault as callers see it.
    pub(crate) fn into_error(self, what: impl Display) -> Error {
        let kind = match &self {
            Self::Redb(redb::Error::DatabaseAlreadyOpen) => ErrorKind::Locked,
            Self::Redb(redb::Error::Io(_)) => ErrorKind::Io,
            Self::Refused(error) => error.kind(),
            Self::Redb(_) | Self::Panicked(_) | Self::Unavailable => ErrorKind::Unavailable,
        };
        Error::new(kind, format!("{what}: {self}")).with_source(self)
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redb(error) => error.fmt(f),
            Self::Panicked(message) => write!(f, "the database panicked: {message}"),
            Self::Refused(error) => error.fmt(f),
            Self::Unavailable => f.write_str("the database is being reopened"),
        }
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Redb(error) => Some(error),
            Self::Refused(error) => Some(error),
            Self::Panicked(_) | Self::Unavailable => None,
        }
    }
}

/// Calls redb; a panic of its becomes a [`Fault`].
///
/// What a panic leaves behind is never used again: the caller drops the handle and reopens the file.
pub(crate) fn guarded<T>(call: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, Fault> {
    match panic::catch_unwind(AssertUnwindSafe(call)) {
        Ok(done) => done.map_err(Fault::Redb),
        Err(payload) => Err(Fault::Panicked(message(&*payload))),
    }
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}
