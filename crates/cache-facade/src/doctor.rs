//! [`diagnose`]: checks all that a cache needs to start, for an operator.

mod running;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use cache_core::MEGABYTE;
use rustix::fs::{Access, FlockOperation, access, flock, statvfs};
use serde::Serialize;

use crate::config::CacheConfig;
use crate::durability::directory::LOCK;
use crate::open;

pub use cache_core::Diagnosis;
pub(crate) use running::running;

/// The checks of a [`diagnose`], in the order of a start.
///
/// `Display` prints a line for each, and another one with what to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The checks.
    pub checks: Vec<Check>,
}

/// One check: its name, and what was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Check {
    /// A setting, or a word such as `lock` or `redis login`.
    pub name: String,
    /// What was found, and what to do about it.
    pub diagnosis: Diagnosis,
}

impl Report {
    /// Whether nothing is wrong: the cache would start, and use what is configured. False also where it would start without that,
    /// as on the fallback store while Redis is away.
    ///
    /// It is for operators and deployments, and no readiness probe: an application is ready when
    /// [`Cache::connect`](crate::Cache::connect) has returned, whatever the state of the cache, because every read is answered.
    /// [`Cache::health`](crate::Cache::health) tells which backend answers, without asking the network.
    pub fn is_healthy(&self) -> bool {
        !self.checks.iter().any(|check| matches!(check.diagnosis, Diagnosis::Wrong { .. }))
    }

    /// Adds a check of the application's own.
    pub fn push(&mut self, name: impl Into<String>, diagnosis: Diagnosis) {
        self.checks.push(Check { name: name.into(), diagnosis });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Check { name, diagnosis } in &self.checks {
            let (mark, found, advice) = match diagnosis {
                Diagnosis::Fine(found) => ("ok", found, None),
                Diagnosis::Doubtful { found, advice } => ("warn", found, Some(advice)),
                Diagnosis::Wrong { found, advice } => ("FAIL", found, Some(advice)),
            };
            writeln!(f, "  {mark:4}  {name:17} {found}")?;
            if let Some(advice) = advice {
                writeln!(f, "        {:17} -> {advice}", "")?;
            }
        }
        Ok(())
    }
}

/// Checks all that [`Cache::connect`](crate::Cache::connect) with `config` needs: the directory, its lock, free space, and the way
/// to Redis step by step.
///
/// It creates, clears and keeps locked nothing, so that it may run beside a server; in Redis it tries the cache's commands on a
/// key of its own, which it removes. It reports no secret.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), cache_facade::Error> {
/// # let directory = tempfile::tempdir().unwrap();
/// use cache_facade::{CacheConfig, diagnose};
///
/// let config = CacheConfig::builder().directory(directory.path().join("cache")).build()?; // or CacheConfig::from_env()?
/// let report = diagnose(&config).await;
/// println!("{report}");
/// assert!(report.is_healthy());
/// # Ok(())
/// # }
/// ```
///
/// # Cost
/// A few file operations in the calling task: where the file system may hang, call it on a thread of its own. With Redis a few
/// connections and round trips: each step takes at most [`connect_timeout`](crate::RedisConfig::connect_timeout), the start of an
/// instance as long again.
pub async fn diagnose(config: &CacheConfig) -> Report {
    let mut report = Report::default();
    report.push("settings", settings(config));
    if !config.enabled() {
        let found = "switched off: everything is loaded anew".to_owned();
        report.push("cache", Diagnosis::Doubtful { found, advice: "set CACHE_ENABLED=true".to_owned() });
    }
    // A cache that is switched off still sends invalidations to Redis.
    if config.redis().enabled() {
        for (step, diagnosis) in open::diagnose_redis(config).await {
            report.push(format!("redis {step}"), diagnosis);
        }
    }
    report.push("memory", memory(config));
    let found = match open::check_directory(config) {
        Ok(()) => directory(config.directory(), "CACHE_DIR"),
        Err(error) => Diagnosis::refused(&error.to_string(), "set CACHE_DIR to another directory"),
    };
    report.push("CACHE_DIR", found);
    report.push("lock", lock(&config.directory().join(LOCK), config.redis().enabled()));
    report.push("free space", space(config));
    report
}

/// Checks that files can be created in the directory at `path`, or the directory itself where it does not exist. `setting` names
/// it in the advice.
pub fn directory(path: &Path, setting: &str) -> Diagnosis {
    let path = absolute(path);
    let shown = path.display();
    let wrong = |found| Diagnosis::Wrong {
        found,
        advice: format!("set {setting} to a directory that this user can write to"),
    };
    let may_write = |path: &Path| access(path, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK);
    match std::fs::metadata(&path) {
        Ok(metadata) if !metadata.is_dir() => wrong(format!("{shown} is no directory")),
        Ok(_) => match may_write(&path) {
            Ok(()) => Diagnosis::Fine(format!("{shown} can be written to")),
            Err(error) => wrong(format!("{shown} cannot be written to: {error}")),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let existing = existing(&path);
            match may_write(existing) {
                Ok(()) if existing.is_dir() => Diagnosis::Fine(format!("{shown} will be made")),
                Ok(()) => wrong(format!("{} is no directory", existing.display())),
                Err(error) => wrong(format!("{shown} cannot be made in {}: {error}", existing.display())),
            }
        }
        Err(error) => wrong(format!("{shown} cannot be looked at: {error}")),
    }
}

fn settings(config: &CacheConfig) -> Diagnosis {
    if config.warnings().is_empty() {
        return Diagnosis::Fine("understood".to_owned());
    }
    Diagnosis::Doubtful {
        found: config.warnings().join("; "),
        advice: "correct or remove what is named".to_owned(),
    }
}

fn memory(config: &CacheConfig) -> Diagnosis {
    Diagnosis::Fine(match config.near() {
        Some(_) => format!("up to {} MB of values that were read are kept in memory", config.memory_mb()),
        None => "no values are kept in memory (CACHE_MEMORY_MB)".to_owned(),
    })
}

/// Checks that no other process holds the lock of the directory. Takes the lock for a moment.
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
    if process.trim() == std::process::id().to_string() {
        return Diagnosis::Fine("held by this process".to_owned());
    }
    Diagnosis::Doubtful {
        found: format!("held by process {}, perhaps the server itself", process.trim()),
        advice: "to start another one set CACHE_DIR to a directory of its own".to_owned(),
    }
}

fn space(config: &CacheConfig) -> Diagnosis {
    match statvfs(existing(&absolute(config.directory()))) {
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

/// The nearest directory above `path` that exists, or `path` itself.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"))
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

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
        std::fs::write(&path, std::process::id().to_string()).unwrap();
        assert!(matches!(lock(&path, true), Diagnosis::Fine(_)), "this process holds it");
    }

    #[tokio::test]
    async fn a_report_says_what_is_wrong_and_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "x").unwrap();
        let healthy = CacheConfig::builder().directory(directory.path().join("cache")).size_mb(8).build();
        assert!(diagnose(&healthy.unwrap()).await.is_healthy());
        let broken = CacheConfig::builder().directory(&file).enabled(false).build().unwrap();
        let report = diagnose(&broken).await;
        assert!(!report.is_healthy());
        let text = report.to_string();
        for part in ["warn  cache ", "-> set CACHE_ENABLED=true", "FAIL  CACHE_DIR", "-> set CACHE_DIR to"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(
            serde_json::to_string(&report)
                .unwrap()
                .contains(r#""name":"CACHE_DIR","diagnosis":{"wrong":{"found""#)
        );
    }
}
