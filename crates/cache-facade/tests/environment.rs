//! The layers of the configuration in a real process: file, `.env`, environment, the later wins.

#![expect(clippy::unwrap_used, reason = "what goes wrong in a helper fails its test")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use cache_facade::CacheConfig;

/// Variable that makes a process of this test read its environment.
const READER: &str = "ENVIRONMENT_READER";
const NAME: &str = "the_environment_wins_over_the_env_file_and_that_over_the_config_file";

/// Runs a process in `directory` with `variables` in its environment, and returns the settings that it reads.
fn reader(directory: &Path, variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", NAME, "--nocapture"]).current_dir(directory).env_clear().env(READER, "1");
    let Output { stdout, stderr, .. } = command.envs(variables.iter().copied()).output().unwrap();
    assert!(stderr.is_empty() || !String::from_utf8_lossy(&stderr).contains("panicked"));
    String::from_utf8(stdout).unwrap()
}

fn be_the_reader() {
    match CacheConfig::from_env() {
        Ok(config) => println!(
            "\n{} {} {} {} {:?}",
            config.size_mb(),
            config.namespace(),
            config.directory().display(),
            config.redis().port(),
            config.warnings()
        ),
        Err(error) => println!("\n{error}"),
    }
}

#[test]
fn the_environment_wins_over_the_env_file_and_that_over_the_config_file() {
    if std::env::var_os(READER).is_some() {
        return be_the_reader();
    }
    let root = tempfile::tempdir().unwrap();
    let reads = |variables: &[(&str, &str)], expected: &str| {
        let said = reader(root.path(), variables);
        assert!(said.lines().any(|line| line == expected), "{said:?} has no line {expected:?}");
    };
    reads(&[], "1000 app _cache 6379 []");
    fs::write(root.path().join("x.toml"), "[cache]\nsize_mb = 11\nnamespace = \"file\"\n[redis]\nport = 1\n")
        .unwrap();
    reads(&[("CACHE_CONFIG_FILE", "x.toml")], "11 file _cache 1 []");
    fs::write(root.path().join(".env"), "CACHE_CONFIG_FILE=x.toml\nCACHE_SIZE_MB=22\nREDIS_PORT=2\n")
        .unwrap();
    reads(&[], "22 file _cache 2 []");
    reads(&[("CACHE_SIZE_MB", "33")], "33 file _cache 2 []");
    // An empty variable means unset, and hides the value of weaker layers.
    reads(&[("CACHE_SIZE_MB", ""), ("CACHE_CONFIG_FILE", "")], "1000 app _cache 2 []");
    reads(&[("CACHE_SIZE_MB", "33"), ("CACHE_DIR", "elsewhere")], "33 file elsewhere 2 []");
    fs::write(root.path().join(".env"), "\nCACHE_SIZE_MB=lots\n").unwrap();
    reads(&[], "CACHE_SIZE_MB (in .env, line 2) takes a whole number of megabytes, at least 8");
    fs::write(root.path().join(".env"), "REDIS_PASSWORD='hunter2\n").unwrap();
    reads(&[], ".env, line 1: not of the form NAME=value");
}

#[cfg(target_os = "linux")]
#[test]
fn a_variable_that_is_not_text_is_named() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let root = tempfile::tempdir().unwrap();
    for name in ["CACHE_DIR", "CACHE_DEFAULT_JITTER", "CACHE_TTL_THUMBNAIL"] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", NAME, "--nocapture"]).current_dir(root.path()).env_clear().env(READER, "1");
        let output = command.env(name, OsStr::from_bytes(b"\xff")).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.lines().any(|line| line == format!("{name} takes text in UTF-8")), "{said}");
    }
}
