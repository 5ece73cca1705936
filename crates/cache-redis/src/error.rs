//! [`Fault`]: why a round trip failed, classified by code and kind, never by text.

use cache_core::{Error, ErrorKind};
use redis::{ErrorKind as RedisKind, RedisError, ServerErrorKind};

use crate::tls;

/// The end of an error about the settings without better advice.
pub(crate) const CHECK_SETTINGS: &str = "; check the settings REDIS_*";

/// A round trip that failed.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) kind: ErrorKind,
    pub(crate) fate: Fate,
    pub(crate) cause: RedisError,
}

/// What happens to the connection after a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is kept: the server answered.
    Keep,
    /// It is kept: another node of the cluster holds the key (`MOVED`). Nothing was done.
    Moved,
    /// It is kept: the key's slot is being moved to another node, and the key may be there (`ASK`, `TRYAGAIN`). Nothing was
    /// done.
    Moving,
    /// It is dropped: nothing more is sent on it.
    Drop,
    /// It is dropped, and no value on its way is used: replies answer other requests than theirs.
    OutOfStep,
    /// It was closed before or during the request; another one may work.
    Gone,
}

impl Fault {
    /// Makes the fault of an operation whose time is over.
    pub(crate) fn timeout() -> Self {
        let cause = std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time");
        Self { kind: ErrorKind::Timeout, fate: Fate::Drop, cause: cause.into() }
    }

    /// Makes the fault of a reply that does not belong to its request.
    pub(crate) fn mismatch() -> Self {
        let cause = (RedisKind::UnexpectedReturnType, "a reply does not belong to its request");
        Self { kind: ErrorKind::Unavailable, fate: Fate::OutOfStep, cause: cause.into() }
    }

    /// Makes the fault of an operation that needed another one, which failed with `error`.
    pub(crate) fn after(error: &Error) -> Self {
        let cause = std::io::Error::other(error.to_string());
        Self { kind: error.kind(), fate: Fate::Keep, cause: cause.into() }
    }

    /// Whether the key does not hold a hash.
    pub(crate) fn is_wrong_type(&self) -> bool {
        self.cause.code() == Some("WRONGTYPE")
    }

    /// Whether the server does not know a script by its hash.
    pub(crate) fn is_no_script(&self) -> bool {
        self.cause.kind() == RedisKind::Server(ServerErrorKind::NoScript)
    }

    /// Converts the fault to an error about the server at `address`.
    pub(crate) fn into_error(self, address: &str) -> Error {
        let Self { kind, fate: _, cause } = self;
        let advice = match kind {
            ErrorKind::Configuration => CHECK_SETTINGS,
            ErrorKind::WritesRefused => {
                "; the server refuses writes: check its memory, its role and its disk"
            }
            _ => "",
        };
        Error::new(kind, format!("Redis at {address}: {cause}{advice}")).with_source(cause)
    }
}

impl From<RedisError> for Fault {
    fn from(cause: RedisError) -> Self {
        let (kind, fate) = classify(&cause);
        Self { kind, fate, cause }
    }
}

fn classify(error: &RedisError) -> (ErrorKind, Fate) {
    match error.kind() {
        RedisKind::Io if error.is_timeout() => (ErrorKind::Timeout, Fate::Drop),
        RedisKind::Io if tls::is_distrust(error) => (ErrorKind::Configuration, Fate::Gone),
        RedisKind::Io => (ErrorKind::Unavailable, Fate::Gone),
        RedisKind::AuthenticationFailed | RedisKind::InvalidClientConfig | RedisKind::RESP3NotSupported => {
            (ErrorKind::Configuration, Fate::Drop)
        }
        RedisKind::Server(kind) => match kind {
            // A master that became a replica: the next connection may reach the new master.
            ServerErrorKind::ReadOnly => (ErrorKind::WritesRefused, Fate::Drop),
            // The transaction was not executed: a command in it was refused when it was queued.
            ServerErrorKind::ExecAbort => (ErrorKind::WritesRefused, Fate::Keep),
            ServerErrorKind::Moved => (ErrorKind::Unavailable, Fate::Moved),
            ServerErrorKind::Ask | ServerErrorKind::TryAgain => (ErrorKind::Unavailable, Fate::Moving),
            // This user is not allowed to run the command.
            ServerErrorKind::CrossSlot | ServerErrorKind::NoPerm | ServerErrorKind::ResponseError => {
                (ErrorKind::Configuration, Fate::Keep)
            }
            _ => (ErrorKind::Unavailable, Fate::Keep),
        },
        RedisKind::Extension => match error.code() {
            Some("OOM" | "MISCONF" | "NOREPLICAS") => (ErrorKind::WritesRefused, Fate::Keep),
            Some("NOAUTH" | "WRONGPASS") => (ErrorKind::Configuration, Fate::Drop),
            _ => (ErrorKind::Unavailable, Fate::Keep),
        },
        // A reply that cannot be parsed, or does not belong to its request.
        _ => (ErrorKind::Unavailable, Fate::OutOfStep),
    }
}

#[cfg(test)]
mod tests {
    use redis::make_extension_error;

    use super::*;

    fn coded(code: &str) -> (ErrorKind, Fate) {
        classify(&make_extension_error(code.to_owned(), None))
    }

    fn server(kind: ServerErrorKind) -> (ErrorKind, Fate) {
        classify(&(RedisKind::Server(kind), "an error").into())
    }

    #[test]
    fn the_code_of_a_fault_decides_its_kind() {
        assert_eq!(coded("OOM"), (ErrorKind::WritesRefused, Fate::Keep));
        assert_eq!(coded("MISCONF"), (ErrorKind::WritesRefused, Fate::Keep));
        assert_eq!(coded("NOAUTH"), (ErrorKind::Configuration, Fate::Drop));
        assert_eq!(coded("BUSY"), (ErrorKind::Unavailable, Fate::Keep));
        assert_eq!(server(ServerErrorKind::ReadOnly), (ErrorKind::WritesRefused, Fate::Drop));
        assert_eq!(server(ServerErrorKind::BusyLoading), (ErrorKind::Unavailable, Fate::Keep));
        assert_eq!(server(ServerErrorKind::MasterDown), (ErrorKind::Unavailable, Fate::Keep));
        assert_eq!(server(ServerErrorKind::Moved), (ErrorKind::Unavailable, Fate::Moved));
        assert_eq!(server(ServerErrorKind::Ask), (ErrorKind::Unavailable, Fate::Moving));
        assert_eq!(server(ServerErrorKind::TryAgain), (ErrorKind::Unavailable, Fate::Moving));
        assert_eq!(server(ServerErrorKind::ClusterDown), (ErrorKind::Unavailable, Fate::Keep));
        assert_eq!(server(ServerErrorKind::NoPerm), (ErrorKind::Configuration, Fate::Keep));
    }

    #[test]
    fn a_connection_that_may_be_out_of_step_is_dropped() {
        let io = |kind: std::io::ErrorKind| classify(&std::io::Error::from(kind).into());
        assert_eq!(io(std::io::ErrorKind::TimedOut), (ErrorKind::Timeout, Fate::Drop));
        assert_eq!(io(std::io::ErrorKind::BrokenPipe), (ErrorKind::Unavailable, Fate::Gone));
        assert_eq!(io(std::io::ErrorKind::ConnectionRefused), (ErrorKind::Unavailable, Fate::Gone));
        assert_eq!(Fault::timeout().fate, Fate::Drop);
        assert_eq!(Fault::mismatch().fate, Fate::OutOfStep);
    }

    #[test]
    fn an_error_names_the_server_and_keeps_the_cause() {
        let error = Fault::timeout().into_error("db:6379");
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(error.to_string().contains("db:6379"));
        assert!(std::error::Error::source(&error).is_some());
    }
}
