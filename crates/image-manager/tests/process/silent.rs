//! A log that cannot be written: on a full disk, and on a pipe whose reader is gone.

use std::fs::File;
use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::*;

/// Returns streams that refuse every line.
fn unwritable() -> Vec<Stdio> {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let full = File::options().write(true).open("/dev/full").unwrap();
    vec![full.into(), writer.into()]
}

/// Starts a server whose log goes to `log`, and waits until it answers.
fn start(directory: &Path, log: Stdio) -> Process {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = command(directory);
    command.env("BIND", free.to_string()).env("RUST_LOG", "debug").stderr(log);
    let mut process =
        Process { child: command.spawn().unwrap(), base: format!("http://{free}"), log: Arc::default() };
    let until = Instant::now() + Duration::from_secs(20);
    while ureq::get(format!("{}/healthz", process.base)).call().is_err() {
        let ended = process.child.try_wait().unwrap();
        assert!(ended.is_none() && Instant::now() < until, "it does not serve: {ended:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    process
}

#[test]
fn a_log_that_cannot_be_written_stops_nothing() {
    for log in unwritable() {
        let directory = tempfile::tempdir().unwrap();
        let mut process = start(directory.path(), log);
        let image = process.sample();
        for version in 0..3 {
            process.put(&format!("{image}/metadata"), &json!({ "version": version }));
            process.get(&image);
            let (source, found) = process.get(&image);
            assert_eq!((source, &found["metadata"]), (true, &json!({ "version": version })));
        }
        let (_, health) = process.get("/api/cache/health");
        assert_eq!((&health["status"], &health["panics"]), (&json!("ok"), &json!(0)), "{health}");
        process.signal(Signal::TERM);
        let ended = process.child.wait().unwrap();
        assert!(ended.success(), "{ended}");
    }
}

#[test]
fn a_start_that_fails_says_so_by_its_exit_code_where_nothing_else_can() {
    let directory = tempfile::tempdir().unwrap();
    for log in unwritable() {
        let status = command(directory.path()).env("CACHE_SIZE_MB", "much").stderr(log).status().unwrap();
        assert_eq!(status.code(), Some(1));
    }
    for log in unwritable() {
        assert_eq!(command(directory.path()).arg("--bnid").stderr(log).status().unwrap().code(), Some(2));
    }
    for log in unwritable() {
        assert_eq!(command(directory.path()).arg("--help").stdout(log).status().unwrap().code(), Some(1));
    }
}
