//! [`Login`]: the user and password of a new connection, read again for each.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cache_core::{Credentials, CredentialsProvider, Error, ErrorKind, Result, text_file};
use parking_lot::Mutex;
use tokio::time::timeout;

/// The source of the user and the password.
#[derive(Debug, Clone, Default)]
pub(crate) struct Login {
    pub(crate) username: Option<String>,
    pub(crate) username_file: Option<PathBuf>,
    pub(crate) password: Option<Password>,
}

/// The user and the password of a connection.
pub(crate) type UserAndPassword = (Option<String>, Option<String>);

/// The last user and password that the server has accepted.
#[derive(Default)]
pub(crate) struct LastLogin(Mutex<Option<UserAndPassword>>);

impl std::fmt::Debug for LastLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl LastLogin {
    /// Returns the credentials that `login` gives within `limit`. Where it gives none, returns the last ones, which the server
    /// may still accept: a provider that fails once does not take the server away.
    ///
    /// # Errors
    /// `Configuration` for a file that cannot be read or is empty, `Timeout` where nothing is given in time, and the errors of
    /// a provider, before the first success.
    pub(crate) async fn or_new(
        &self,
        login: &Login,
        limit: Duration,
        address: &str,
    ) -> Result<UserAndPassword> {
        let late = |_| {
            let message = format!("Redis at {address}: no credentials within {} ms", limit.as_millis());
            Err(Error::new(ErrorKind::Timeout, message))
        };
        let error = match timeout(limit, login.credentials()).await.unwrap_or_else(late) {
            Ok(given) => return Ok(given),
            Err(error) => error,
        };
        let Some(last) = self.0.lock().clone() else { return Err(error) };
        cache_core::log::warn!(
            limit: address, server = address, %error, "Redis credentials cannot be read; the last ones are used"
        );
        Ok(last)
    }

    /// Keeps credentials that the server has accepted.
    pub(crate) fn accepted(&self, credentials: UserAndPassword) {
        *self.0.lock() = Some(credentials);
    }
}

/// The source of a password.
#[derive(Clone)]
pub(crate) enum Password {
    Fixed(String),
    /// A file, read again for each connection.
    File(PathBuf),
    /// The application, which may name a user too.
    Provider(CredentialsProvider),
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fixed(_) => f.write_str("***"),
            Self::File(path) => path.fmt(f),
            Self::Provider(provider) => provider.fmt(f),
        }
    }
}

impl Login {
    /// Returns the user and the password for a new connection.
    ///
    /// # Errors
    /// `Configuration` for a file that cannot be read or is empty, and the errors of a provider.
    pub(crate) async fn credentials(&self) -> Result<UserAndPassword> {
        let username = match &self.username_file {
            Some(path) => Some(read(path, "REDIS_USERNAME_FILE").await?),
            None => self.username.clone(),
        };
        Ok(match &self.password {
            None => (username, None),
            Some(Password::Fixed(password)) => (username, Some(password.clone())),
            Some(Password::File(path)) => (username, Some(read(path, "REDIS_PASSWORD_FILE").await?)),
            Some(Password::Provider(provider)) => {
                let given: Credentials = provider.credentials().await?;
                let named = given.username().map(str::to_owned);
                (named.or(username), Some(given.expose_password().to_owned()))
            }
        })
    }

    /// Describes the login for messages, without secrets.
    pub(crate) fn description(&self) -> String {
        let user = match (&self.username, &self.username_file) {
            (_, Some(path)) => format!("as the user in {}", path.display()),
            (Some(username), None) => format!("as {username:?}"),
            (None, None) => String::new(),
        };
        let password = match &self.password {
            None => "without a password".to_owned(),
            Some(Password::Fixed(_)) => "by password".to_owned(),
            Some(Password::File(path)) => format!("by the password in {}", path.display()),
            Some(Password::Provider(_)) => "by the credentials that the application provides".to_owned(),
        };
        if user.is_empty() { password } else { format!("{user}, {password}") }
    }
}

/// Reads a file without its final line break, on a blocking thread.
async fn read(path: &Path, setting: &'static str) -> Result<String> {
    let owned = path.to_owned();
    let read = tokio::task::spawn_blocking(move || text_file::read(&owned)).await;
    let read = read.unwrap_or_else(|cause| Err(std::io::Error::other(cause)));
    let shown = path.display();
    let text = read.map_err(|cause| {
        let message = format!("Redis: cannot read {shown}, which {setting} names: {cause}");
        Error::new(ErrorKind::Configuration, message).with_source(cause)
    })?;
    let text = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if text.is_empty() {
        let message = format!("Redis: {shown}, which {setting} names, is empty; write the text into it");
        return Err(Error::new(ErrorKind::Configuration, message));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(path: &Path) -> Login {
        let password = Some(Password::File(path.to_owned()));
        Login { username: Some("cache".to_owned()), password, ..Login::default() }
    }

    #[tokio::test]
    async fn files_are_read_again_each_time_without_their_final_line_break() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        let login = login(&path);
        for (text, password) in [("one", "one"), ("two\n", "two"), ("thr ee\r\n", "thr ee"), ("a\n\n", "a\n")]
        {
            std::fs::write(&path, text).unwrap();
            let expected = (Some("cache".to_owned()), Some(password.to_owned()));
            assert_eq!(login.credentials().await.unwrap(), expected);
        }
    }

    #[tokio::test]
    async fn without_credentials_the_last_accepted_ones_are_used() {
        const LIMIT: Duration = Duration::from_millis(50);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        let (login, last) = (login(&path), LastLogin::default());
        let error = last.or_new(&login, LIMIT, "h:1").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains("REDIS_PASSWORD_FILE"), "{error}");
        std::fs::write(&path, "\n").unwrap();
        assert!(last.or_new(&login, LIMIT, "h:1").await.unwrap_err().to_string().contains("is empty"));
        std::fs::write(&path, "secret").unwrap();
        let read = last.or_new(&login, LIMIT, "h:1").await.unwrap();
        last.accepted(read.clone());
        std::fs::write(&path, "").unwrap();
        assert_eq!(last.or_new(&login, LIMIT, "h:1").await.unwrap(), read);
        let hanging = CredentialsProvider::new(std::future::pending::<Result<Credentials>>);
        let hanging = Login { password: Some(Password::Provider(hanging)), ..Login::default() };
        assert_eq!(last.or_new(&hanging, LIMIT, "h:1").await.unwrap(), read);
        let late = LastLogin::default().or_new(&hanging, LIMIT, "h:1").await.unwrap_err();
        assert_eq!(late.kind(), ErrorKind::Timeout);
        assert!(!format!("{last:?}").contains("secret"));
    }

    #[tokio::test]
    async fn a_pipe_and_a_file_without_end_are_refused_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert!(login(&pipe).credentials().await.unwrap_err().to_string().contains("is a pipe"));
        let error = login(Path::new("/dev/zero")).credentials().await.unwrap_err();
        assert!(error.to_string().contains("larger than a megabyte"), "{error}");
    }
}
