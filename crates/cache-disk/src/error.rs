//! [`Fault`]: a failure of the database or its files, panics included.

use std::error::Error as StdError;
use std::fmt::{self, Display};
use std::io;

use cache_core::panics::caught;
use cache_core::{Error, ErrorKind};

/// A failed call into redb. After one, the file must be reopened.
#[derive(Debug)]
pub(crate) enum Fault {
    /// An error of redb.
    Redb(redb::Error),
    /// A panic of redb, as on some damaged files.
    Panicked(String),
    /// A file could not be opened, replaced or removed.
    Refused(Error),
    /// The database is closed until it can be reopened.
    Unavailable,
}

impl Fault {
    /// Whether the content of the file cannot be trusted: reopening it would not help.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            // A short or foreign file is reported as invalid data or an early end.
            Self::Redb(redb::Error::Io(error)) => {
                matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
            }
            Self::Redb(
                redb::Error::PreviousIo
                | redb::Error::DatabaseClosed
                | redb::Error::DatabaseAlreadyOpen
                | redb::Error::LockPoisoned(_),
            )
            | Self::Refused(_)
            | Self::Unavailable => false,
            Self::Redb(_) | Self::Panicked(_) => true,
        }
    }

    /// Returns the reason if the disk is full or may not be written to.
    pub(crate) fn unwritable(&self) -> Option<&'static str> {
        let chain = std::iter::successors(Some(self as &(dyn StdError + 'static)), |error| (*error).source());
        // An error of the system only: the limit of the cache itself has the kind of a full disk, too.
        let is_of_system = |io: &&io::Error| io.raw_os_error().is_some();
        match chain.filter_map(|error| error.downcast_ref::<io::Error>()).find(is_of_system)?.kind() {
            io::ErrorKind::StorageFull => Some("the disk is full"),
            io::ErrorKind::QuotaExceeded => Some("the disk quota is used up"),
            io::ErrorKind::ReadOnlyFilesystem => Some("the file system is read-only"),
            _ => None,
        }
    }

    /// Converts the fault to an error for callers: `what` failed.
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

impl StdError for Fault {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Redb(redb::Error::Io(error)) => Some(error),
            Self::Redb(error) => Some(error),
            Self::Refused(error) => Some(error),
            Self::Panicked(_) | Self::Unavailable => None,
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

/// Calls redb; its panic becomes a [`Fault`].
///
/// The state that a panic leaves behind is never used again: the caller drops the handle and reopens the file.
pub(crate) fn catch_panics<T>(call: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, Fault> {
    match caught(call) {
        Ok(done) => done.map_err(Fault::Redb),
        Err(message) => Err(Fault::Panicked(message.to_string())),
    }
}
