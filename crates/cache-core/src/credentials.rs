//! [`Credentials`] for a store that authenticates its clients, and [`CredentialsProvider`], which supplies them for each
//! connection.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::panics::{caught, caught_in};

/// A user and a password. `Debug` does not show the password.
///
/// ```
/// # mod cache_facade { pub mod config { pub use cache_core::*; } }
/// use cache_facade::config::Credentials;
///
/// let credentials = Credentials::new("token").with_username("cache");
/// assert!(!format!("{credentials:?}").contains("token"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    username: Option<String>,
    password: String,
}

impl Credentials {
    /// A password without a user.
    pub fn new(password: impl Into<String>) -> Self {
        Self { username: None, password: password.into() }
    }

    /// Sets the user. Default: none.
    #[must_use]
    pub fn with_username(self, username: impl Into<String>) -> Self {
        Self { username: Some(username.into()), ..self }
    }

    /// The user. Default: none.
    pub fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    /// The password, to be sent to the server.
    pub fn expose_password(&self) -> &str {
        &self.password
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).field("password", &"***").finish()
    }
}

type Pending = Pin<Box<dyn Future<Output = Result<Credentials>> + Send>>;

/// Supplies the credentials of each new connection, for tokens that expire.
#[derive(Clone)]
pub struct CredentialsProvider(Arc<dyn Fn() -> Pending + Send + Sync>);

impl CredentialsProvider {
    /// A provider that calls `provide` for each new connection.
    pub fn new<F, Fut, E>(provide: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Credentials, E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        Self(Arc::new(move || {
            let provided = provide();
            Box::pin(async move {
                provided.await.map_err(|cause| {
                    let cause = cause.into();
                    let message = format!("the application's credentials provider failed: {cause}");
                    Error::new(ErrorKind::Unavailable, message).with_source(cause)
                })
            })
        }))
    }

    /// The credentials for one connection.
    ///
    /// # Errors
    /// `Unavailable` with the provider's error as its source, or where the provider panicked.
    pub async fn credentials(&self) -> Result<Credentials> {
        let panicked =
            |_| Error::new(ErrorKind::Unavailable, "the application's credentials provider panicked");
        let provided = caught(|| (self.0)()).map_err(panicked)?;
        caught_in(provided).await.map_err(panicked)?
    }
}

// A provider equals its clones only.
impl PartialEq for CredentialsProvider {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for CredentialsProvider {}

impl fmt::Debug for CredentialsProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialsProvider").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn asked(provider: &CredentialsProvider) -> Result<Credentials> {
        match std::pin::pin!(provider.credentials()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => answer,
            Poll::Pending => Err(Error::new(ErrorKind::Timeout, "pending")),
        }
    }

    #[test]
    fn a_provider_is_called_for_each_connection_and_its_failure_is_an_error() {
        let calls = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let counted = Arc::clone(&calls);
        let provider = CredentialsProvider::new(move || {
            let call = counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            async move { Ok::<_, Infallible>(Credentials::new(format!("token {call}"))) }
        });
        assert_eq!(asked(&provider).unwrap().expose_password(), "token 0");
        assert_eq!(asked(&provider).unwrap().expose_password(), "token 1");
        let fails = CredentialsProvider::new(async || Err::<Credentials, _>("no network"));
        let error = asked(&fails).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("no network"));
        let panics = CredentialsProvider::new(|| -> std::future::Ready<Result<Credentials>> { panic!("no") });
        assert_eq!(asked(&panics).unwrap_err().kind(), ErrorKind::Unavailable);
        let late = CredentialsProvider::new(async || -> Result<Credentials> { panic!("no") });
        assert_eq!(asked(&late).unwrap_err().kind(), ErrorKind::Unavailable);
    }
}
