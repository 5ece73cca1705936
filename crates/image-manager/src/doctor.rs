//! `image-manager doctor`: prints the settings in force, and checks all that a start needs.
//!
//! It creates, clears and keeps locked nothing, so that it may run beside a server. In Redis it tries the cache's commands
//! on a key of its own, which it removes.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use cache_facade::{
    CacheConfig, Diagnosis, Environment, Fallback, RedisConfig, RedisMode, diagnose_directory, diagnose_redis,
};
use rustix::fs::{Access, FlockOperation, access, flock, statvfs};

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
    writeln!(out, "Checks")?;
    let mut healthy = true;
    for (name, finding) in findings(settings, config).await {
        let (mark, found, advice) = match finding {
            Diagnosis::Fine(found) => ("ok", found, None),
            Diagnosis::Doubtful { found, advice } => ("warn", found, Some(advice)),
            Diagnosis::Wrong { found, advice } => {
                healthy = false;
                ("FAIL", found, Some(advice))
            }
        };
        writeln!(out, "  {mark:4}  {name:17} {found}")?;
        if let Some(advice) = advice {
            writeln!(out, "        {:17} -> {advice}", "")?;
        }
    }
    Ok(healthy)
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
        max_connections,
        client_timeout,
        shutdown_delay,
        shutdown_timeout,
        seed: _,
    } = settings;
    let mut described = vec![
        ("BIND", bind.to_string()),
        ("DATA_DIR", absolute(data_directory).display().to_string()),
        ("MAX_UPLOAD_MB", (max_upload_bytes / MEGABYTE).to_string()),
        ("DECODE_MEMORY_MB", (decode_memory_bytes / MEGABYTE).to_string()),
        ("ADMIN_USERS", admin_users.join(",")),
        ("ALLOWED_HOSTS", allowed_hosts.join(",")),
        ("DIAGNOSTICS", if *diagnostics == Diagnostics::All { "all" } else { "admins" }.to_owned()),
        ("MAX_CONNECTIONS", max_connections.to_string()),
        ("CLIENT_TIMEOUT_SECONDS", client_timeout.as_secs().to_string()),
        ("SHUTDOWN_DELAY_SECONDS", shutdown_delay.as_secs().to_string()),
        ("SHUTDOWN_TIMEOUT_SECONDS", shutdown_timeout.as_secs().to_string()),
        ("CACHE_ENABLED", config.enabled().to_string()),
        ("CACHE_DIR", absolute(config.directory()).display().to_string()),
        ("CACHE_SIZE_MB", config.size_mb().to_string()),
        ("CACHE_NAMESPACE", config.namespace().to_owned()),
        ("CACHE_FALLBACK_MAX_AGE", config.fallback_max_age().as_secs().to_string()),
        ("CACHE_CLEAR_ON_START", config.clear_on_start().to_string()),
        ("CACHE_CLEAR_WITHOUT_RECORD", config.clear_without_record().to_string()),
        ("CACHE_VERIFY", config.verify().to_string()),
        ("CACHE_PAGE_CACHE_MB", config.page_cache_mb().to_string()),
        ("CACHE_MEMORY_MB", config.memory_mb().to_string()),
        ("CACHE_MEMORY_MAX_KB", config.memory_max_kb().map_or("-".to_owned(), |kb| kb.to_string())),
        ("CACHE_MEMORY_EXCEPT", config.memory_except().join(",")),
        ("CACHE_LOAD_TIMEOUT_MS", config.load_timeout().as_millis().to_string()),
        ("REDIS_ENABLED", config.redis().enabled().to_string()),
    ];
    if config.redis().enabled() {
        let redis = config.redis();
        described.extend([
            ("REDIS_HOST", redis.host().to_owned()),
            ("REDIS_PORT", redis.port().to_string()),
            ("REDIS_MODE", mode(redis.mode()).to_owned()),
            ("REDIS_NODES", addresses(redis.nodes())),
            ("REDIS_NODE_MAP", node_map(redis)),
            ("REDIS_SENTINELS", addresses(redis.sentinels())),
            ("REDIS_SENTINEL_MASTER", redis.sentinel_master().unwrap_or("-").to_owned()),
            ("REDIS_DB", redis.db().to_string()),
            ("REDIS_USERNAME", redis.username().unwrap_or("-").to_owned()),
            ("REDIS_PASSWORD", if redis.password().is_some() { "***" } else { "-" }.to_owned()),
            ("REDIS_USERNAME_FILE", shown(redis.username_file())),
            ("REDIS_PASSWORD_FILE", shown(redis.password_file())),
            ("REDIS_TLS", redis.encrypted().to_string()),
            ("REDIS_TLS_NAME", redis.tls_name().unwrap_or("-").to_owned()),
            ("REDIS_POOL_SIZE", redis.pool_size().to_string()),
            ("REDIS_TIMEOUT_MS", redis.timeout().as_millis().to_string()),
            ("REDIS_CONNECT_TIMEOUT_MS", redis.connect_timeout().as_millis().to_string()),
            ("REDIS_CA_FILE", shown(redis.ca_file())),
            ("REDIS_CLIENT_CERT", shown(redis.client_certificate().map(|(certificate, _)| certificate))),
            ("REDIS_CLIENT_KEY", shown(redis.client_certificate().map(|(_, key)| key))),
            ("REDIS_TRUST_RESTART", redis.trust_restart().to_string()),
            ("CACHE_FALLBACK", fallback(config.fallback()).to_owned()),
        ]);
    }
    let lifetimes = config.lifetime_settings().into_iter();
    let lifetimes = lifetimes.map(|(name, value)| (name, value.unwrap_or_else(|| "-".to_owned())));
    described.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(lifetimes).collect()
}

/// Runs the checks, in the order of a start.
async fn findings(settings: &Settings, config: &CacheConfig) -> Vec<(String, Diagnosis)> {
    let mut findings = vec![
        ("settings".to_owned(), settings_finding(config)),
        ("BIND".to_owned(), address(settings)),
        ("open files".to_owned(), open_files(settings)),
        ("DATA_DIR".to_owned(), data_directory(&settings.data_directory)),
        ("database".to_owned(), database(&settings.data_directory.join(DATABASE_FILE))),
    ];
    if !config.enabled() {
        let found = "switched off: everything is loaded anew".to_owned();
        let advice = "set CACHE_ENABLED=true".to_owned();
        findings.push(("cache".to_owned(), Diagnosis::Doubtful { found, advice }));
    }
    if config.redis().enabled() {
        // A cache that is switched off still sends invalidations to Redis.
        let steps = diagnose_redis(config).await;
        findings.extend(steps.into_iter().map(|(step, finding)| (format!("redis {step}"), finding)));
    }
    findings.push(("memory".to_owned(), memory(config)));
    findings.push(("CACHE_DIR".to_owned(), cache_directory(settings, config)));
    findings.push(("lock".to_owned(), lock(&config.directory().join("lock"), config.redis().enabled())));
    findings.push(("free space".to_owned(), space(config)));
    findings
}

fn settings_finding(config: &CacheConfig) -> Diagnosis {
    if config.warnings().is_empty() {
        return Diagnosis::Fine("understood".to_owned());
    }
    Diagnosis::Doubtful {
        found: config.warnings().join("; "),
        advice: "correct or remove what is named".to_owned(),
    }
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
        Err(error) => wrong(&error.to_string(), "raise it (ulimit -n)"),
    }
}

/// Checks the data directory and those that a start makes in it, and returns the first finding that is wrong.
fn data_directory(path: &Path) -> Diagnosis {
    let found = directory(path, "DATA_DIR");
    let below = originals::DIRECTORIES.map(|name| directory(&path.join(name), "DATA_DIR"));
    let is_wrong = |finding: &Diagnosis| matches!(finding, Diagnosis::Wrong { .. });
    if is_wrong(&found) { found } else { below.into_iter().find(is_wrong).unwrap_or(found) }
}

/// Returns the finding that a start would end with `error`; its text after a semicolon is the advice.
fn wrong(error: &str, advice: &str) -> Diagnosis {
    let (found, advice) = error.split_once("; ").unwrap_or((error, advice));
    Diagnosis::Wrong { found: found.to_owned(), advice: advice.to_owned() }
}

/// Checks that files can be created in a directory, or the directory where it does not exist.
fn directory(path: &Path, variable: &str) -> Diagnosis {
    let path = absolute(path);
    let shown = path.display();
    let wrong = |found| Diagnosis::Wrong {
        found,
        advice: format!("set {variable} to a directory that this user can write to"),
    };
    let may_write = |path: &Path| access(path, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK);
    match std::fs::metadata(&path) {
        Ok(metadata) if !metadata.is_dir() => wrong(format!("{shown} is no directory")),
        Ok(_) => match may_write(&path) {
            Ok(()) => Diagnosis::Fine(format!("{shown} can be written to")),
            Err(error) => wrong(format!("{shown} cannot be written to: {error}")),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let existing = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
            match may_write(existing) {
                Ok(()) if existing.is_dir() => Diagnosis::Fine(format!("{shown} will be made")),
                Ok(()) => wrong(format!("{} is no directory", existing.display())),
                Err(error) => wrong(format!("{shown} cannot be made in {}: {error}", existing.display())),
            }
        }
        Err(error) => wrong(format!("{shown} cannot be looked at: {error}")),
    }
}

/// Checks the cache's directory as a start does.
fn cache_directory(settings: &Settings, config: &CacheConfig) -> Diagnosis {
    let refused = check_directories(settings, config).map_err(|error| error.clone());
    match refused.and_then(|()| diagnose_directory(config).map_err(|error| error.to_string())) {
        Ok(()) => directory(config.directory(), "CACHE_DIR"),
        Err(error) => wrong(&error, "set CACHE_DIR to another directory"),
    }
}

fn database(path: &Path) -> Diagnosis {
    if !path.exists() {
        return Diagnosis::Fine("will be made".to_owned());
    }
    match database::examine(path) {
        Ok(images) => Diagnosis::Fine(format!("opens, {images} images")),
        Err(error) => wrong(&error.to_string(), "restore it from a backup, or set DATA_DIR"),
    }
}

/// Checks that no other process holds the lock of the cache's directory. Takes the lock for a moment.
///
/// Processes on Redis share a directory; a process on disk needs it alone.
fn lock(path: &Path, is_shared: bool) -> Diagnosis {
    let Ok(mut file) = File::open(path) else {
        return Diagnosis::Fine("free".to_owned());
    };
    let (operation, free) = if is_shared {
        (FlockOperation::NonBlockingLockShared, "free for processes on Redis")
    } else {
        (FlockOperation::NonBlockingLockExclusive, "free")
    };
    if flock(&file, operation).is_ok() {
        return Diagnosis::Fine(free.to_owned());
    }
    let mut process = String::new();
    // The finding is complete without the id.
    let _ = file.read_to_string(&mut process);
    Diagnosis::Doubtful {
        found: format!("held by process {}, perhaps the server itself", process.trim()),
        advice: "to start another one set CACHE_DIR to a directory of its own".to_owned(),
    }
}

fn memory(config: &CacheConfig) -> Diagnosis {
    Diagnosis::Fine(match config.near() {
        Some(_) => format!("up to {} MB of values that were read are kept in memory", config.memory_mb()),
        None => "no values are kept in memory (CACHE_MEMORY_MB)".to_owned(),
    })
}

fn space(config: &CacheConfig) -> Diagnosis {
    let path = absolute(config.directory());
    let existing = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
    match statvfs(existing) {
        Ok(system) => {
            let free_mb = system.f_bavail.saturating_mul(system.f_frsize) / MEGABYTE;
            let found = format!("{free_mb} MB free for a cache of up to {} MB", config.size_mb());
            if free_mb >= config.size_mb() {
                return Diagnosis::Fine(found);
            }
            let advice = "the cache works with less; make room, or lower CACHE_SIZE_MB".to_owned();
            Diagnosis::Doubtful { found, advice }
        }
        Err(error) => Diagnosis::Doubtful {
            found: format!("unknown: {error}"),
            advice: "see that CACHE_DIR is on a local file system".to_owned(),
        },
    }
}

fn fallback(fallback: Fallback) -> &'static str {
    match fallback {
        Fallback::Disk => "disk",
        Fallback::None => "none",
    }
}

fn mode(mode: RedisMode) -> &'static str {
    match mode {
        RedisMode::Single => "single",
        RedisMode::Sentinel => "sentinel",
        RedisMode::Cluster => "cluster",
        _ => "auto",
    }
}

fn addresses(addresses: &[(String, u16)]) -> String {
    let addresses: Vec<String> = addresses.iter().map(|(host, port)| format!("{host}:{port}")).collect();
    if addresses.is_empty() { "-".to_owned() } else { addresses.join(",") }
}

fn node_map(redis: &RedisConfig) -> String {
    let pairs = redis.node_map().iter().map(|(from, to)| format!("{}:{}={}:{}", from.0, from.1, to.0, to.1));
    let pairs: Vec<String> = pairs.collect();
    if pairs.is_empty() { "-".to_owned() } else { pairs.join(",") }
}

fn shown(path: Option<&Path>) -> String {
    path.map_or_else(|| "-".to_owned(), |path| path.display().to_string())
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

    #[test]
    fn the_holder_of_the_lock_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        std::fs::write(&path, "4711").unwrap();
        for is_shared in [false, true] {
            assert!(matches!(lock(&path, is_shared), Diagnosis::Fine(_)));
        }
        let holder = File::open(&path).unwrap();
        flock(&holder, FlockOperation::NonBlockingLockShared).unwrap();
        assert!(matches!(lock(&path, true), Diagnosis::Fine(_)), "processes on Redis share it");
        assert!(matches!(lock(&path, false), Diagnosis::Doubtful { .. }), "one on disk has to wait");
        flock(&holder, FlockOperation::NonBlockingLockExclusive).unwrap();
        let Diagnosis::Doubtful { found, .. } = lock(&path, true) else { panic!("the lock is held") };
        assert!(found.contains("4711"));
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
