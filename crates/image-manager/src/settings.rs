//! The application's own settings; those of the cache are the cache's.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use cache_facade::Environment;

/// What the environment and the command line decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where to listen. `BIND` or `--bind`. Default: 127.0.0.1:8080.
    pub bind: SocketAddr,
    /// Where the database and the originals are. `DATA_DIR`. Default: `data`.
    pub data_directory: PathBuf,
    /// Largest uploaded file. `MAX_UPLOAD_MB`, in units of 1,048,576 bytes. Default: 32.
    pub max_upload_bytes: u64,
    /// Memory for the pixels of all pictures that are decoded at once. `DECODE_MEMORY_MB`, in the same units. Default: 1024.
    pub decode_memory_bytes: u64,
    /// Who may clear the cache. `ADMIN_USERS`, separated by commas. Default: `demo` on a loopback address, else nobody.
    pub admin_users: Vec<String>,
    /// What a new database begins with. `--seed`. Default: generated pictures.
    pub seed: Seed,
}

/// What a new database begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seed {
    /// Nothing.
    Nothing,
    /// A few generated pictures in a project "Samples".
    Generated,
    /// The pictures of a folder in a project "Samples".
    Folder(PathBuf),
}

/// A setting that cannot be understood. Never holds the value, which may be a secret that was put in the wrong place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError {
    name: &'static str,
    takes: &'static str,
}

impl std::fmt::Display for SettingsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} takes {}", self.name, self.takes)
    }
}

impl std::error::Error for SettingsError {}

/// The user that a request without `X-User` is taken for, while only this machine can ask.
pub(crate) const LOCAL_USER: &str = "demo";

impl Settings {
    /// Reads settings from `variable`, which gives a variable's value by its name.
    ///
    /// # Errors
    /// [`SettingsError`] names the variable and what it takes. An empty value counts as unset.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let get = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let bind = parse_address(get("BIND").as_deref().unwrap_or("127.0.0.1:8080"), "BIND")?;
        let megabytes = |name, default, allowed: RangeInclusive<u64>, takes| match get(name) {
            None => Ok(default),
            Some(text) => {
                let number = text.trim().parse().ok().filter(|number| allowed.contains(number));
                number.ok_or(SettingsError { name, takes })
            }
        };
        let max_upload_mb = megabytes("MAX_UPLOAD_MB", 32, 1..=4096, "a whole number from 1 to 4096")?;
        let decode_memory_mb =
            megabytes("DECODE_MEMORY_MB", 1024, 512..=1_048_576, "a whole number from 512 to 1048576")?;
        let admin_users = match get("ADMIN_USERS") {
            Some(names) => {
                names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
            }
            None if bind.ip().is_loopback() => vec![LOCAL_USER.to_owned()],
            None => Vec::new(),
        };
        Ok(Self {
            bind,
            data_directory: directory(get("DATA_DIR").unwrap_or_else(|| "data".to_owned()), "DATA_DIR")?,
            max_upload_bytes: max_upload_mb * 1024 * 1024,
            decode_memory_bytes: decode_memory_mb * 1024 * 1024,
            admin_users,
            seed: Seed::Generated,
        })
    }

    /// Who asks when no header says so.
    pub(crate) fn default_user(&self) -> Option<&'static str> {
        self.bind.ip().is_loopback().then_some(LOCAL_USER)
    }
}

/// Reads the path of a directory, which no shell has seen: what it would replace would become a part of a name.
fn directory(path: String, name: &'static str) -> Result<PathBuf, SettingsError> {
    let takes = "the path of a directory, written in full: neither ~ nor $NAME nor quotes are replaced in it";
    let is_for_a_shell = path == "~" || path.starts_with("~/") || path.starts_with(['$', '"', '\'']);
    if is_for_a_shell { Err(SettingsError { name, takes }) } else { Ok(path.into()) }
}

/// The settings that [`Settings::read`] and logging ask for.
const NAMES: [&str; 6] = ["BIND", "DATA_DIR", "MAX_UPLOAD_MB", "DECODE_MEMORY_MB", "ADMIN_USERS", "RUST_LOG"];

/// Gives the settings of the application by name, out of where those of the cache come from too.
///
/// # Errors
/// When the value of one is not UTF-8.
pub fn variables(environment: &Environment) -> cache_facade::Result<impl Fn(&str) -> Option<String>> {
    for name in NAMES {
        environment.get(name)?;
    }
    Ok(|name: &str| environment.get(name).ok().flatten().map(str::to_owned))
}

/// Reads an address to listen on; `name` is the variable or option it came from.
///
/// # Errors
/// [`SettingsError`] when it is not of the form `ADDRESS:PORT`.
pub fn parse_address(text: &str, name: &'static str) -> Result<SocketAddr, SettingsError> {
    let text = text.trim();
    // The one host name that means the same everywhere.
    let text =
        text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
    text.parse().map_err(|_| SettingsError {
        name,
        takes: "ADDRESS:PORT, such as 127.0.0.1:8080, 0.0.0.0:8080 or [::1]:8080",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        Settings::read(|name| {
            pairs.iter().find(|(pair, _)| *pair == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn without_any_setting_it_serves_this_machine_only() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.bind.to_string(), "127.0.0.1:8080");
        assert_eq!(settings.data_directory, PathBuf::from("data"));
        assert_eq!(settings.max_upload_bytes, 32 * 1_048_576);
        assert_eq!(settings.decode_memory_bytes, 1024 * 1_048_576);
        assert_eq!(settings.admin_users, ["demo"]);
        assert_eq!(settings.default_user(), Some("demo"));
        assert_eq!(read(&[("BIND", " "), ("DATA_DIR", ""), ("MAX_UPLOAD_MB", "")]), Ok(settings));
    }

    #[test]
    fn in_public_nobody_is_anybody_by_default() {
        let settings = read(&[("BIND", "0.0.0.0:80")]).unwrap();
        assert_eq!(settings.default_user(), None);
        assert!(settings.admin_users.is_empty());
    }

    #[test]
    fn admins_are_separated_by_commas() {
        assert_eq!(read(&[("ADMIN_USERS", " ann, bob ,,")]).unwrap().admin_users, ["ann", "bob"]);
    }

    #[test]
    fn localhost_is_a_loopback_address() {
        assert_eq!(read(&[("BIND", "localhost:9000")]).unwrap().bind.to_string(), "127.0.0.1:9000");
    }

    #[test]
    fn a_wrong_setting_is_named_without_its_value() {
        for (name, value) in [
            ("BIND", "hunter2"),
            ("MAX_UPLOAD_MB", "hunter2"),
            ("MAX_UPLOAD_MB", "0"),
            ("DECODE_MEMORY_MB", "511"),
        ] {
            let error = read(&[(name, value)]).unwrap_err().to_string();
            assert!(error.starts_with(name) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_directory_that_only_a_shell_would_understand_is_refused() {
        for path in ["~", "~/data", "$HOME/data", "\"/srv/data\"", "'/srv/data'"] {
            let error = read(&[("DATA_DIR", path)]).unwrap_err().to_string();
            assert!(error.starts_with("DATA_DIR takes") && error.contains("written in full"), "{error}");
        }
        assert_eq!(read(&[("DATA_DIR", "~old")]).unwrap().data_directory, PathBuf::from("~old"));
    }
}
