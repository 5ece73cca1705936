//! The application's own settings; those of the cache are the cache's.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use axum::http::uri::Authority;
use cache_facade::config::Environment;

/// The settings of the environment and the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Address to listen on. `BIND` or `--bind`. Default: 127.0.0.1:8080.
    pub bind: SocketAddr,
    /// Directory of the database and the originals. `DATA_DIR`. Default: `data`.
    pub data_directory: PathBuf,
    /// Largest uploaded file. `MAX_UPLOAD_MB`, in units of 1,048,576 bytes. Default: 32.
    pub max_upload_bytes: u64,
    /// Memory for the pixels of all pictures that are decoded at once. `DECODE_MEMORY_MB`, in the same units. Default:
    /// 1024.
    pub decode_memory_bytes: u64,
    /// Users that may clear the cache and open its console. `ADMIN_USERS`, separated by commas. Default: `demo` on a loopback address, else
    /// none.
    pub admin_users: Vec<String>,
    /// Names, beside those of this machine, that a request's `Host` may have. `ALLOWED_HOSTS`, separated by commas.
    /// Default: none, which on an address other than a loopback one means any.
    pub allowed_hosts: Vec<String>,
    /// Clients that may read `/metrics` and the causes in `health`. `DIAGNOSTICS`. Default: all on a loopback address, else
    /// admins.
    pub diagnostics: Diagnostics,
    /// Whether users in `ADMIN_USERS` may open the console of the cache. `CONSOLE`: `admins` or `off`. Default: admins on a
    /// loopback address, else off.
    pub console: bool,
    /// Connections open at once; fewer where the limit of open files is low. `MAX_CONNECTIONS`. Default: 1000.
    pub max_connections: usize,
    /// Longest time that a client may keep a request waiting. `CLIENT_TIMEOUT_SECONDS`. Default: 20 s.
    pub client_timeout: Duration,
    /// Time between the request to stop and the closing of the listener. `SHUTDOWN_DELAY_SECONDS`. Default: none.
    pub shutdown_delay: Duration,
    /// Longest time that requests may take to finish once the listener is closed. `SHUTDOWN_TIMEOUT_SECONDS`. Default: 20
    /// s.
    pub shutdown_timeout: Duration,
    /// First content of a new database. `--seed`. Default: generated pictures.
    pub seed: Seed,
}

/// The clients that may read `/metrics` and the causes in `health`, which name hosts and paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Diagnostics {
    /// Every client.
    All,
    /// The users in `ADMIN_USERS`.
    Admins,
}

/// The first content of a new database.
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
    pub(crate) name: &'static str,
    pub(crate) takes: &'static str,
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
        let number = |name, default, range: RangeInclusive<u64>, takes| match get(name) {
            None => Ok(default),
            Some(text) => {
                let number = text.trim().parse().ok().filter(|number| range.contains(number));
                number.ok_or(SettingsError { name, takes })
            }
        };
        let max_upload_mb = number("MAX_UPLOAD_MB", 32, 1..=4096, "a whole number from 1 to 4096")?;
        let decode_memory_mb =
            number("DECODE_MEMORY_MB", 1024, 512..=1_048_576, "a whole number from 512 to 1048576")?;
        let max_connections =
            number("MAX_CONNECTIONS", 1000, 1..=100_000, "a whole number from 1 to 100000")?;
        let seconds = |name, default, from| {
            let takes = match from {
                0 => "a whole number of seconds from 0 to 3600",
                _ => "a whole number of seconds from 1 to 3600",
            };
            number(name, default, from..=3600, takes).map(Duration::from_secs)
        };
        let is_local = bind.ip().is_loopback();
        let admin_users = match get("ADMIN_USERS") {
            Some(names) => list(&names),
            None if is_local => vec![LOCAL_USER.to_owned()],
            None => Vec::new(),
        };
        let word = |name| get(name).map(|value| value.trim().to_ascii_lowercase());
        let diagnostics = match word("DIAGNOSTICS").as_deref() {
            Some("all") => Diagnostics::All,
            None if is_local => Diagnostics::All,
            Some("admins") | None => Diagnostics::Admins,
            Some(_) => return Err(SettingsError { name: "DIAGNOSTICS", takes: "all or admins" }),
        };
        let console = match word("CONSOLE").as_deref() {
            Some("admins") => true,
            Some("off") => false,
            None => is_local,
            Some(_) => return Err(SettingsError { name: "CONSOLE", takes: "admins or off" }),
        };
        Ok(Self {
            bind,
            data_directory: directory(get("DATA_DIR").unwrap_or_else(|| "data".to_owned()), "DATA_DIR")?,
            max_upload_bytes: max_upload_mb * 1024 * 1024,
            decode_memory_bytes: decode_memory_mb * 1024 * 1024,
            admin_users,
            allowed_hosts: hosts(&get("ALLOWED_HOSTS").unwrap_or_default(), "ALLOWED_HOSTS")?,
            diagnostics,
            console,
            max_connections: usize::try_from(max_connections).unwrap_or(usize::MAX),
            client_timeout: seconds("CLIENT_TIMEOUT_SECONDS", 20, 1)?,
            shutdown_delay: seconds("SHUTDOWN_DELAY_SECONDS", 0, 0)?,
            shutdown_timeout: seconds("SHUTDOWN_TIMEOUT_SECONDS", 20, 1)?,
            seed: Seed::Generated,
        })
    }

    /// Returns the user of a request without the header `X-User`.
    pub(crate) fn default_user(&self) -> Option<&'static str> {
        self.bind.ip().is_loopback().then_some(LOCAL_USER)
    }
}

/// Reads the path of a directory. Syntax of a shell would become a part of a name, and is refused.
fn directory(path: String, name: &'static str) -> Result<PathBuf, SettingsError> {
    let takes = "the path of a directory, written in full: neither ~ nor $NAME nor quotes are replaced in it";
    let is_for_a_shell = path == "~" || path.starts_with("~/") || path.starts_with(['$', '"', '\'']);
    if is_for_a_shell { Err(SettingsError { name, takes }) } else { Ok(path.into()) }
}

/// Parses host names as the header `Host` gives them, without a port.
fn hosts(text: &str, name: &'static str) -> Result<Vec<String>, SettingsError> {
    let is_host = |host: &String| {
        let authority = Authority::try_from(host.as_str());
        authority.is_ok_and(|authority| authority.host() == host)
            && !host.contains('*')
            && !host.ends_with('.')
    };
    let takes = "host names or addresses, separated by commas, without scheme, port, * or a dot at the end, such as \
                 images.example,[2001:db8::1]";
    let hosts = list(text);
    if hosts.iter().all(is_host) { Ok(hosts) } else { Err(SettingsError { name, takes }) }
}

/// The settings that [`Settings::read`] and logging ask for.
const NAMES: [&str; 14] = [
    "BIND",
    "DATA_DIR",
    "MAX_UPLOAD_MB",
    "DECODE_MEMORY_MB",
    "ADMIN_USERS",
    "ALLOWED_HOSTS",
    "DIAGNOSTICS",
    "CONSOLE",
    "MAX_CONNECTIONS",
    "CLIENT_TIMEOUT_SECONDS",
    "SHUTDOWN_DELAY_SECONDS",
    "SHUTDOWN_TIMEOUT_SECONDS",
    "RUST_LOG",
    "LOG_FORMAT",
];

/// Splits a list at its commas.
fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// Returns names that are set and lack only the end of a setting's name, such as `ALLOWED_HOST`, each with that setting.
pub fn near_misses(environment: &Environment) -> Vec<(&'static str, &'static str)> {
    // Shorter ones may be meant for another program.
    const LENGTH_MIN: usize = 8;
    let beginnings = NAMES.iter().flat_map(|name| {
        (LENGTH_MIN..name.len()).filter_map(move |length| Some((name.get(..length)?, *name)))
    });
    let is_set = |name| !NAMES.contains(&name) && !matches!(environment.get(name), Ok(None));
    beginnings.filter(|(name, _)| is_set(name)).collect()
}

/// Returns the settings of the application by name, from the sources of the cache's settings.
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
        assert!(settings.console);
        assert_eq!(read(&[("BIND", " "), ("DATA_DIR", ""), ("MAX_UPLOAD_MB", "")]), Ok(settings));
    }

    #[test]
    fn on_a_public_address_there_is_no_default_user_and_no_admin() {
        let settings = read(&[("BIND", "0.0.0.0:80")]).unwrap();
        assert_eq!(settings.default_user(), None);
        assert!(settings.admin_users.is_empty());
        assert_eq!(settings.diagnostics, Diagnostics::Admins);
        assert!(!settings.console);
        assert!(read(&[("BIND", "0.0.0.0:80"), ("CONSOLE", "Admins")]).unwrap().console);
        assert!(!read(&[("CONSOLE", "off")]).unwrap().console);
        let open = read(&[("BIND", "0.0.0.0:80"), ("DIAGNOSTICS", "ALL")]).unwrap();
        assert_eq!(open.diagnostics, Diagnostics::All);
    }

    #[test]
    fn admins_and_hosts_are_separated_by_commas() {
        assert_eq!(read(&[("ADMIN_USERS", " ann, bob ,,")]).unwrap().admin_users, ["ann", "bob"]);
        let hosts = read(&[("ALLOWED_HOSTS", "images.example, 10.0.0.7,[2001:db8::1],")]).unwrap();
        assert_eq!(hosts.allowed_hosts, ["images.example", "10.0.0.7", "[2001:db8::1]"]);
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
            ("MAX_CONNECTIONS", "0"),
            ("CLIENT_TIMEOUT_SECONDS", "0"),
            ("SHUTDOWN_DELAY_SECONDS", "hunter2"),
            ("SHUTDOWN_TIMEOUT_SECONDS", "3601"),
            ("DIAGNOSTICS", "hunter2"),
            ("CONSOLE", "hunter2"),
            ("ALLOWED_HOSTS", "hunter2.example:443"),
            ("ALLOWED_HOSTS", "images.example, https://hunter2.example"),
            ("ALLOWED_HOSTS", "*.hunter2.example"),
            ("ALLOWED_HOSTS", "*"),
            ("ALLOWED_HOSTS", "hunter2.example."),
            ("ALLOWED_HOSTS", "2001:db8::1"),
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

    #[test]
    fn the_documentation_and_the_example_have_each_setting() {
        let document = |path: &str| {
            let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
            std::fs::read_to_string(root.join(path)).unwrap()
        };
        let (page, example) = (document("docs/configuration.md"), document(".env.example"));
        for name in NAMES {
            assert!(page.contains(&format!("`{name}`")), "docs/configuration.md lacks {name}");
            assert!(example.contains(&format!("\n#{name}=")), ".env.example lacks {name}");
        }
    }
}
