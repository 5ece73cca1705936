//! [`Error`]: one error type for every backend, with a kind, a message and the cause.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

/// A result whose error is the cache's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Arc<dyn std::error::Error + Send + Sync>;

/// The kind of an error. Match on [`Error::kind`], never on the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A key that builders cannot make, or one over 1 KiB.
    InvalidKey,
    /// A pattern that is empty or has characters that no key can have.
    InvalidPattern,
    /// A setting that does not parse, or settings that contradict each other.
    Configuration,
    /// A value over the backend's limit for one entry.
    TooLarge,
    /// A value could not be encoded; nothing was stored.
    Encode,
    /// A stored value could not be decoded into the type that was asked for.
    Decode,
    /// The store cannot be reached or is being reopened; trying again later may succeed.
    Unavailable,
    /// The store did not answer in time; the operation may still be applied.
    Timeout,
    /// The store answers reads but refuses writes: it is full or read-only.
    WritesRefused,
    /// An invalidation is neither durable nor certain to take effect; the caller must treat it as not done.
    NotDurable,
    /// Another process holds the directory.
    Locked,
    /// The operating system refused an operation on a file.
    Io,
    /// The backend does not offer this operation.
    Unsupported,
    /// The cache was closed.
    Closed,
}

/// An error of the cache: kind, message and cause.
///
/// The message names what failed, on what, and what to do. It never holds a secret or a value.
#[derive(Debug, Clone)]
pub struct Error {
    kind: ErrorKind,
    message: Box<str>,
    source: Option<Source>,
}

impl Error {
    /// Makes an error of `kind` with a message for operators.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into().into_boxed_str(), source: None }
    }

    /// Attaches the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(Arc::from(source.into()));
        self
    }

    /// The kind of this error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the same call may succeed later, with nothing changed by the caller or an operator.
    pub fn is_transient(&self) -> bool {
        match self.kind {
            ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::WritesRefused => true,
            ErrorKind::InvalidKey
            | ErrorKind::InvalidPattern
            | ErrorKind::Configuration
            | ErrorKind::TooLarge
            | ErrorKind::Encode
            | ErrorKind::Decode
            | ErrorKind::NotDurable
            | ErrorKind::Locked
            | ErrorKind::Io
            | ErrorKind::Unsupported
            | ErrorKind::Closed => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The cause itself, which can be asked for its type, and not the `Arc`, which is an error too.
        self.source.as_deref().map(|source| source as _)
    }
}

/// Lets a conversion that cannot fail, such as `TryInto` of a pattern, be used where others can.
impl From<Infallible> for Error {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn the_cause_is_kept_in_source_and_not_in_the_message() {
        let error = Error::new(ErrorKind::Io, "cannot open /tmp/x; check its permissions")
            .with_source(std::io::Error::other("disk on fire"));
        assert_eq!(error.to_string(), "cannot open /tmp/x; check its permissions");
        let cause = error.clone();
        let cause = cause.source().and_then(|cause| cause.downcast_ref::<std::io::Error>());
        assert_eq!(cause.map(ToString::to_string).as_deref(), Some("disk on fire"));
    }

    #[test]
    fn only_kinds_that_may_pass_without_a_change_are_transient() {
        assert!(Error::new(ErrorKind::Unavailable, "").is_transient());
        assert!(!Error::new(ErrorKind::NotDurable, "").is_transient());
    }
}
