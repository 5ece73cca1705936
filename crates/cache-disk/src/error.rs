//! [`Fault`]: whatever the store below did wrong, panics included, and how it reads to callers.

use std::error::Error as StdError;
use std::fmt::{self, Display};
use std::io;

use cache_core::panics::caught;
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

    /// Why nothing can be written, where the disk is full or may not be written to.
    pub(crate) fn unwritable(&self) -> Option<&'static str> {
        let mut error: Option<&(dyn StdError + 'static)> = Some(self);
        while let Some(this) = error {
            // An error of the system: the limit of the cache itself reads like a full disk, too.
            if let Some(io) = this.downcast_ref::<io::Error>().filter(|io| io.raw_os_error().is_some()) {
                return match io.kind() {
                    io::ErrorKind::StorageFull => Some("the disk is full"),
                    io::ErrorKind::QuotaExceeded => Some("the disk quota is used up"),
                    io::ErrorKind::ReadOnlyFilesystem => Some("the file system is read-only"),
                    _ => None,
                };
            }
            error = this.source();
        }
        None
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

impl StdError for Fault {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
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
    match caught(call) {
        Ok(done) => done.map_err(Fault::Redb),
        Err(message) => Err(Fault::Panicked(message.to_string())),
    }
}
