//! [`Login`]: the user and password of a new connection, read again for each.

use std::path::{Path, PathBuf};

use cache_core::{Credentials, CredentialsProvider, Error, ErrorKind, Result};

/// The source of the user and the password.
#[derive(Debug, Clone, Default)]
pub(crate) struct Login {
    pub(crate) username: Option<String>,
    pub(crate) username_file: Option<PathBuf>,
    pub(crate) password: Option<Password>,
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
    pub(crate) async fn credentials(&self) -> Result<(Option<String>, Option<String>)> {
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
    let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(owned)).await;
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

    #[tokio::test]
    async fn files_are_read_again_each_time_without_their_final_line_break() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        let login = Login {
            username: Some("cache".to_owned()),
            password: Some(Password::File(path.clone())),
            ..Login::default()
        };
        let error = login.credentials().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains("REDIS_PASSWORD_FILE"), "{error}");
        for (text, password) in [("one", "one"), ("two\n", "two"), ("thr ee\r\n", "thr ee"), ("a\n\n", "a\n")]
        {
            std::fs::write(&path, text).unwrap();
            let expected = (Some("cache".to_owned()), Some(password.to_owned()));
            assert_eq!(login.credentials().await.unwrap(), expected);
        }
        std::fs::write(&path, "\n").unwrap();
        assert!(login.credentials().await.unwrap_err().to_string().contains("is empty"));
    }
}
