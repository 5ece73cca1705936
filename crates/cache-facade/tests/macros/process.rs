//! `#[cached]` over the cache of the process.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use cache_facade::{cached, get_cache};

static LOADS: AtomicU32 = AtomicU32::new(0);

#[cached(family = "greeting", key = "{name}")]
async fn greeting(name: &str) -> String {
    format!("hello {name}, load {}", LOADS.fetch_add(1, Ordering::SeqCst) + 1)
}

/// Only in the processes below: the environment decides about the cache.
#[tokio::test]
async fn in_a_process_of_its_own() {
    let Ok(expected) = std::env::var("EXPECTED_LOADS") else { return };
    greeting("ada").await;
    assert_eq!(greeting("ada").await, format!("hello ada, load {expected}"));
}

/// Runs the test of this name in a process of its own, with a directory of its own.
fn run(test: &str, variable: (&str, &str), prepare: impl FnOnce(&mut Command, &Path)) {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test]).current_dir(directory.path());
    command.env("CACHE_DIR", directory.path().join("cache")).env(variable.0, variable.1);
    prepare(&mut command, directory.path());
    let output = command.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
}

fn loads_are(expected: &str, settings: &[(&str, &str)]) {
    run("process::in_a_process_of_its_own", ("EXPECTED_LOADS", expected), |command, _| {
        command.envs(settings.iter().copied());
    });
}

#[test]
fn a_function_without_a_cache_argument_uses_the_cache_of_the_process() {
    let kept = if cfg!(feature = "disk") { "1" } else { "2" };
    loads_are(kept, &[]);
    loads_are("2", &[("CACHE_ENABLED", "false")]);
}

#[test]
fn a_cache_that_cannot_be_opened_does_not_keep_the_function_from_running() {
    loads_are("2", &[("CACHE_SIZE_MB", "many")]);
}

/// Only in the process below.
#[tokio::test]
async fn with_wrong_settings_that_are_corrected() {
    if std::env::var_os("SETTINGS_ARE_WRONG").is_none() {
        return;
    }
    greeting("ada").await;
    std::fs::remove_file(".env").unwrap();
    greeting("ada").await;
    assert_eq!(greeting("ada").await, "hello ada, load 3", "not tried again");
    get_cache().await.unwrap();
    greeting("ada").await;
    let expected = if cfg!(feature = "disk") { 4 } else { 5 };
    assert_eq!(greeting("ada").await, format!("hello ada, load {expected}"));
}

#[test]
fn functions_try_to_open_the_cache_once_and_use_it_when_the_application_has_opened_it() {
    let test = "process::with_wrong_settings_that_are_corrected";
    run(test, ("SETTINGS_ARE_WRONG", "1"), |command, directory| {
        std::fs::write(directory.join(".env"), "CACHE_SIZE_MB=many\n").unwrap();
        command.env_remove("CACHE_SIZE_MB");
    });
}
