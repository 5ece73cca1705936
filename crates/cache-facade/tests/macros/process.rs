//! `#[cached]` over the cache of the process.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use cache_facade::cached;

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

fn loads_are(expected: &str, settings: &[(&str, &str)]) {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "process::in_a_process_of_its_own"]).current_dir(directory.path());
    command.env("CACHE_DIR", directory.path().join("cache")).envs(settings.iter().copied());
    let output = command.env("EXPECTED_LOADS", expected).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
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
