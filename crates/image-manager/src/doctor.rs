//! `image-manager doctor`: prints the settings in force, and checks all that a start needs.
//!
//! It creates, clears and keeps locked nothing, so that it may run beside a server. In Redis it tries the cache's commands
//! on a key of its own, which it removes.

use std::io::{self, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use cache_facade::doctor::{Diagnosis, Report, directory};
use cache_facade::{CacheConfig, config::Environment, diagnose};

use crate::app::DATABASE_FILE;
use crate::connections::connection_limit;
use crate::database;
use crate::directories::check_directories;
use crate::logging::LogSettings;
use crate::originals;
use crate::settings::{Diagnostics, Settings, near_misses, variables};

const MEGABYTE: u64 = 1024 * 1024;

/// Prints the settings and the findings to `out`; `true` if nothing is wrong.
///
/// # Errors
/// When `out` cannot be written to.
pub async fn examine(out: &mut impl Write) -> io::Result<bool> {
    let environment = match Environment::read() {
        Ok(environment) => environment,
        Err(error) => return refuse(out, [error.to_string()]),
    };
    let settings = variables(&environment).map_err(|error| error.to_string()).and_then(|variable| {
        let settings = LogSettings::read(&variable).and_then(|_| Settings::read(&variable));
        settings.map_err(|error| error.to_string())
    });
    for (name, meant) in near_misses(&environment) {
        writeln!(out, "warn  settings: {name} is no setting of the application; {meant} is")?;
    }
    let config = CacheConfig::from_environment(&environment).map_err(|error| error.to_string());
    match (settings, config) {
        (Ok(settings), Ok(config)) => report(out, &settings, &config).await,
        (settings, config) => refuse(out, settings.err().into_iter().chain(config.err())),
    }
}

fn refuse(out: &mut impl Write, errors: impl IntoIterator<Item = String>) -> io::Result<bool> {
    for error in errors {
        writeln!(out, "FAIL  settings: {error}")?;
    }
    Ok(false)
}

async fn report(out: &mut impl Write, settings: &Settings, config: &CacheConfig) -> io::Result<bool> {
    writeln!(out, "Settings")?;
    for (name, value) in described(settings, config) {
        writeln!(out, "  {name:36} {value}")?;
    }
    let report = checked(settings, config).await;
    write!(out, "Checks\n{report}")?;
    Ok(report.is_healthy())
}

/// Returns every setting with its value, secrets as stars.
fn described(settings: &Settings, config: &CacheConfig) -> Vec<(String, String)> {
    let Settings {
        bind,
        data_directory,
        max_upload_bytes,
        decode_memory_bytes,
        admin_users,
        allowed_hosts,
        diagnostics,
        console,
        max_connections,
        client_timeout,
        shutdown_delay,
        shutdown_timeout,
        seed: _,
    } = settings;
    let described = vec![
        ("BIND", bind.to_string()),
        ("DATA_DIR", absolute(data_directory).display().to_string()),
        ("MAX_UPLOAD_MB", (max_upload_bytes / MEGABYTE).to_string()),
        ("DECODE_MEMORY_MB", (decode_memory_bytes / MEGABYTE).to_string()),
        ("ADMIN_USERS", admin_users.join(",")),
        ("ALLOWED_HOSTS", allowed_hosts.join(",")),
        ("DIAGNOSTICS", if *diagnostics == Diagnostics::All { "all" } else { "admins" }.to_owned()),
        ("CONSOLE", if *console { "admins" } else { "off" }.to_owned()),
        ("MAX_CONNECTIONS", max_connections.to_string()),
        ("CLIENT_TIMEOUT_SECONDS", client_timeout.as_secs().to_string()),
        ("SHUTDOWN_DELAY_SECONDS", shutdown_delay.as_secs().to_string()),
        ("SHUTDOWN_TIMEOUT_SECONDS", shutdown_timeout.as_secs().to_string()),
    ];
    described.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(config.described()).collect()
}

/// Runs the checks of the application, and then those of the cache.
async fn checked(settings: &Settings, config: &CacheConfig) -> Report {
    let mut report = Report::default();
    report.push("BIND", address(settings));
    report.push("open files", open_files(settings));
    report.push("DATA_DIR", data_directory(&settings.data_directory));
    report.push("database", database(&settings.data_directory.join(DATABASE_FILE)));
    if let Err(error) = check_directories(settings, config) {
        report.push("CACHE_DIR", Diagnosis::refused(&error, "set CACHE_DIR to another directory"));
    }
    report.checks.extend(diagnose(config).await.checks);
    report
}

fn address(settings: &Settings) -> Diagnosis {
    match TcpListener::bind(settings.bind) {
        Ok(_) => Diagnosis::Fine(format!("{} is free", settings.bind)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Diagnosis::Doubtful {
            found: format!("{} is in use, perhaps by the server itself", settings.bind),
            advice: "to start another one set BIND".to_owned(),
        },
        Err(error) => Diagnosis::Wrong {
            found: format!("{} cannot be listened on: {error}", settings.bind),
            advice: "set BIND to an address of this machine and a port from 1024 up".to_owned(),
        },
    }
}

fn open_files(settings: &Settings) -> Diagnosis {
    match connection_limit(settings) {
        Ok(connections) => Diagnosis::Fine(format!("enough for {connections} connections")),
        Err(error) => Diagnosis::refused(&error.to_string(), "raise it (ulimit -n)"),
    }
}

/// Checks the data directory and those that a start makes in it, and returns the first finding that is wrong.
fn data_directory(path: &Path) -> Diagnosis {
    let found = directory(path, "DATA_DIR");
    let below = originals::DIRECTORIES.map(|name| directory(&path.join(name), "DATA_DIR"));
    let is_wrong = |finding: &Diagnosis| matches!(finding, Diagnosis::Wrong { .. });
    if is_wrong(&found) { found } else { below.into_iter().find(is_wrong).unwrap_or(found) }
}

fn database(path: &Path) -> Diagnosis {
    if !path.exists() {
        return Diagnosis::Fine("will be made".to_owned());
    }
    match database::examine(path) {
        Ok(images) => Diagnosis::Fine(format!("opens, {images} images")),
        Err(error) => Diagnosis::refused(&error.to_string(), "restore it from a backup, or set DATA_DIR"),
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(directory: &Path) -> Settings {
        let mut settings = Settings::read(|_| None).unwrap();
        settings.bind = "127.0.0.1:0".parse().unwrap();
        settings.data_directory = directory.join("data");
        settings
    }

    async fn examined(settings: &Settings, config: &CacheConfig) -> (bool, String) {
        let mut out = Vec::new();
        let healthy = report(&mut out, settings, config).await.unwrap();
        (healthy, String::from_utf8(out).unwrap())
    }

    #[tokio::test]
    async fn a_fresh_machine_is_healthy_and_stays_untouched() {
        let directory = tempfile::tempdir().unwrap();
        let config =
            CacheConfig::builder().directory(directory.path().join("cache")).size_mb(8).build().unwrap();
        let (healthy, text) = examined(&settings(directory.path()), &config).await;
        assert!(healthy, "{text}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn what_is_wrong_says_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let (file, cache) = (directory.path().join("file"), directory.path().join("cache"));
        std::fs::write(&file, "x").unwrap();
        std::fs::write(&cache, "x").unwrap();
        let config = CacheConfig::builder().directory(&cache).build().unwrap();
        let (healthy, text) = examined(&settings(&file), &config).await;
        assert!(!healthy);
        assert!(
            text.contains("is a file, not a directory")
                && text.contains("set CACHE_DIR")
                && text.contains("set DATA_DIR")
        );
    }

    #[tokio::test]
    async fn a_cache_directory_that_a_start_would_refuse_is_wrong() {
        let directory = tempfile::tempdir().unwrap();
        let cache = directory.path().join("cache");
        std::fs::create_dir(&cache).unwrap();
        let config = |path: &Path| CacheConfig::builder().directory(path).size_mb(8).build().unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&cache, &link).unwrap();
        let linked = directory.path().join("linked");
        std::fs::create_dir(&linked).unwrap();
        std::os::unix::fs::symlink(&cache, linked.join("lock")).unwrap();
        let mut refused = vec![link, linked, directory.path().to_owned()];
        let others = directory.path().join("others");
        std::fs::create_dir(&others).unwrap();
        if std::os::unix::fs::chown(&others, Some(65_534), None).is_ok() {
            refused.push(others);
        }
        for path in refused {
            let (healthy, text) = examined(&settings(directory.path()), &config(&path)).await;
            assert!(!healthy && text.contains("FAIL  CACHE_DIR"), "{}: {text}", path.display());
        }
        let (healthy, text) = examined(&settings(directory.path()), &config(&cache)).await;
        assert!(healthy, "{text}");
    }

    #[test]
    fn a_database_of_garbage_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sqlite3");
        std::fs::write(&path, "garbage ".repeat(1000)).unwrap();
        assert!(matches!(database(&path), Diagnosis::Wrong { .. }));
    }

    #[tokio::test]
    async fn how_long_values_live_is_printed_for_all_families_and_for_each() {
        let directory = tempfile::tempdir().unwrap();
        let pairs =
            [("CACHE_DEFAULT_TTL", "3600"), ("CACHE_TTL_THUMBNAIL", "60"), ("CACHE_JITTER_IMAGE", "0.5")];
        let config = CacheConfig::from_pairs(pairs).unwrap();
        let (_, text) = examined(&settings(directory.path()), &config).await;
        let printed: Vec<_> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
        for (name, value) in pairs.into_iter().chain([("CACHE_DEFAULT_STALE_IF_ERROR", "-")]) {
            assert!(printed.contains(&vec![name, value]), "{name}: {text}");
        }
    }

    #[tokio::test]
    async fn no_secret_is_printed() {
        let directory = tempfile::tempdir().unwrap();
        let pairs = [("REDIS_ENABLED", "true"), ("REDIS_PASSWORD", "hunter2"), ("REDIS_PORT", "1")];
        let config = CacheConfig::from_pairs(pairs).unwrap();
        let (_, text) = examined(&settings(directory.path()), &config).await;
        assert!(text.contains("***") && !text.contains("hunter2"), "{text}");
    }
}
