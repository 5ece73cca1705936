//! [`Fault`]: what a round trip came to, told apart by code and kind, never by text.

use cache_core::{Error, ErrorKind};
use redis::{ErrorKind as RedisKind, RedisError, ServerErrorKind};

/// What an error about the settings ends with that has no better advice.
pub(crate) const CHECK_SETTINGS: &str = "; check the settings REDIS_*";

/// A round trip that failed.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) kind: ErrorKind,
    /// What becomes of the connection.
    pub(crate) fate: Fate,
    pub(crate) cause: RedisError,
}

/// What a fault says about the connection it happened on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It works: the server answered.
    Keep,
    /// Nothing more is sent on it.
    Drop,
    /// Replies answer other requests than theirs: nothing more is sent on it, and no value on its way is taken.
    OutOfStep,
    /// It was over before the request or during it; another one may work.
    Gone,
}

impl Fault {
    /// No answer within the time an operation has.
    pub(crate) fn timeout() -> Self {
        let cause = std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time");
        Self { kind: ErrorKind::Timeout, fate: Fate::Drop, cause: cause.into() }
    }

    /// A reply that is none to the request it was given for.
    pub(crate) fn mismatch() -> Self {
        let cause = (RedisKind::UnexpectedReturnType, "a reply does not belong to its request");
        Self { kind: ErrorKind::Unavailable, fate: Fate::OutOfStep, cause: cause.into() }
    }

    /// Whether the server has something else than a hash under the key.
    pub(crate) fn is_wrong_type(&self) -> bool {
        is_wrong_type(&self.cause)
    }

    /// Whether the server does not know a script by its hash.
    pub(crate) fn is_no_script(&self) -> bool {
        self.cause.kind() == RedisKind::Server(ServerErrorKind::NoScript)
    }

    /// This fault as callers see it, about the server at `address`.
    pub(crate) fn into_error(self, address: &str) -> Error {
        let Self { kind, fate: _, cause } = self;
        let advice = match kind {
            ErrorKind::Configuration => CHECK_SETTINGS,
            ErrorKind::WritesRefused => "; it refuses writes: check its memory, its role and its disk",
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

/// Whether the server has something else than was asked for under a key.
pub(crate) fn is_wrong_type(error: &RedisError) -> bool {
    error.code() == Some("WRONGTYPE")
}

/// Whether one side does not accept the other's certificate.
fn is_distrust(error: &RedisError) -> bool {
    tls_error(error).is_some_and(|cause| {
        matches!(cause, rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_))
    })
}

/// What went wrong with the encryption, if that is what went wrong.
pub(crate) fn tls_error(error: &RedisError) -> Option<&rustls::Error> {
    let cause = std::error::Error::source(error)?.downcast_ref::<Shared>()?;
    cause.downcast_ref::<std::io::Error>()?.get_ref()?.downcast_ref()
}

/// How redis keeps causes.
type Shared = std::sync::Arc<dyn std::error::Error + Send + Sync>;

fn classify(error: &RedisError) -> (ErrorKind, Fate) {
    match error.kind() {
        RedisKind::Io if error.is_timeout() => (ErrorKind::Timeout, Fate::Drop),
        RedisKind::Io if is_distrust(error) => (ErrorKind::Configuration, Fate::Gone),
        RedisKind::Io => (ErrorKind::Unavailable, Fate::Gone),
        RedisKind::AuthenticationFailed | RedisKind::InvalidClientConfig | RedisKind::RESP3NotSupported => {
            (ErrorKind::Configuration, Fate::Drop)
        }
        RedisKind::Server(kind) => by_server_kind(kind),
        RedisKind::Extension => by_code(error.code().unwrap_or_default()),
        // What cannot be parsed, and what is no reply to its request.
        _ => (ErrorKind::Unavailable, Fate::OutOfStep),
    }
}

fn by_server_kind(kind: ServerErrorKind) -> (ErrorKind, Fate) {
    match kind {
        // A master that became a replica: the next connection may reach the new master.
        ServerErrorKind::ReadOnly => (ErrorKind::WritesRefused, Fate::Drop),
        // The transaction was not run: a command in it was refused when it was queued.
        ServerErrorKind::ExecAbort => (ErrorKind::WritesRefused, Fate::Keep),
        // The server is a cluster, which this version does not support; or the user may not do this.
        ServerErrorKind::Moved
        | ServerErrorKind::Ask
        | ServerErrorKind::CrossSlot
        | ServerErrorKind::NoPerm
        | ServerErrorKind::ResponseError => (ErrorKind::Configuration, Fate::Keep),
        _ => (ErrorKind::Unavailable, Fate::Keep),
    }
}

fn by_code(code: &str) -> (ErrorKind, Fate) {
    match code {
        "OOM" | "MISCONF" | "NOREPLICAS" => (ErrorKind::WritesRefused, Fate::Keep),
        "NOAUTH" | "WRONGPASS" => (ErrorKind::Configuration, Fate::Drop),
        _ => (ErrorKind::Unavailable, Fate::Keep),
    }
}

#[cfg(test)]
mod tests {
    use redis::make_extension_error;

    use super::*;

    fn coded(code: &str) -> (ErrorKind, Fate) {
        classify(&make_extension_error(code.to_owned(), None))
    }

    #[test]
    fn every_fault_has_a_kind_by_its_code() {
        assert_eq!(coded("OOM"), (ErrorKind::WritesRefused, Fate::Keep));
        assert_eq!(coded("MISCONF"), (ErrorKind::WritesRefused, Fate::Keep));
        assert_eq!(coded("NOAUTH"), (ErrorKind::Configuration, Fate::Drop));
        assert_eq!(coded("BUSY"), (ErrorKind::Unavailable, Fate::Keep));
        assert_eq!(by_server_kind(ServerErrorKind::ReadOnly), (ErrorKind::WritesRefused, Fate::Drop));
        assert_eq!(by_server_kind(ServerErrorKind::BusyLoading), (ErrorKind::Unavailable, Fate::Keep));
        assert_eq!(by_server_kind(ServerErrorKind::MasterDown), (ErrorKind::Unavailable, Fate::Keep));
        assert_eq!(by_server_kind(ServerErrorKind::Moved), (ErrorKind::Configuration, Fate::Keep));
        assert_eq!(by_server_kind(ServerErrorKind::NoPerm), (ErrorKind::Configuration, Fate::Keep));
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
    fn the_message_names_the_server_and_the_cause_is_kept() {
        let error = Fault::timeout().into_error("db:6379");
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(error.to_string().contains("db:6379"));
        assert!(std::error::Error::source(&error).is_some());
    }
}
