//! The command itself, as a process: started, told to stop, killed, and given wrong settings.
#![cfg(test)]

mod directory;
mod instances;
mod memory;
mod pictures;
mod redis;
mod server;
mod silent;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::fs::{FileType, Mode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// A server process; killed when dropped.
struct Process {
    child: Child,
    base: String,
    log: Arc<Mutex<Vec<String>>>,
}

/// The command with nothing of this process' environment that could be a setting.
fn command(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_image-manager"));
    command.env_clear().current_dir(directory).env("BIND", "127.0.0.1:0").env("CACHE_SIZE_MB", "16");
    command
}

impl Process {
    /// Starts a server in `directory`, and waits until it serves.
    fn start(directory: &Path) -> Self {
        Self::start_with(directory, &[])
    }

    /// Starts a server with more settings.
    fn start_with(directory: &Path, settings: &[(&str, String)]) -> Self {
        let mut command = command(directory);
        Self::spawn(command.envs(settings.iter().map(|(name, value)| (name, value))))
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let mut log = Vec::new();
        let serving = loop {
            log.push(lines.next().unwrap_or_else(|| panic!("it does not serve: {log:#?}")));
            if let Some(line) = log.last().filter(|line| line.contains("serving http://")) {
                break line.clone();
            }
        };
        let log = Arc::new(Mutex::new(log));
        let written = Arc::clone(&log);
        // Without a reader the process would wait once the pipe is full.
        std::thread::spawn(move || lines.for_each(|line| written.lock().unwrap().push(line)));
        let base = serving.split_whitespace().last().unwrap().to_owned();
        Self { child, base, log }
    }

    /// What it has logged so far.
    fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(id, signal).unwrap();
    }

    /// Whether the answer came from the cache, and the answer.
    fn get(&self, path: &str) -> (bool, Value) {
        let mut response = ureq::get(format!("{}{path}", self.base)).call().unwrap();
        let status = response.headers().get("cache-status").map_or("", |status| status.to_str().unwrap());
        let is_hit = status.starts_with("cache-http; hit");
        (is_hit, serde_json::from_str(&response.body_mut().read_to_string().unwrap()).unwrap())
    }

    fn put(&self, path: &str, body: &Value) {
        let request = ureq::put(format!("{}{path}", self.base)).header("content-type", "application/json");
        request.send(body.to_string()).unwrap();
    }

    /// The path of the first sample.
    fn sample(&self) -> String {
        let (_, projects) = self.get("/api/projects");
        let project = projects["items"][0]["id"].as_str().unwrap().to_owned();
        let (_, page) = self.get(&format!("/api/projects/{project}/images"));
        format!("/api/images/{}", page["items"][0]["id"].as_str().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(command: &mut Command) -> (Output, String) {
    let output = command.output().unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output, text)
}

#[test]
fn a_kill_right_after_a_change_brings_nothing_old_back() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = Process::start(directory.path());
    let image = process.sample();
    for version in 0..5 {
        process.get(&image);
        assert!(process.get(&image).0);
        process.put(&format!("{image}/metadata"), &json!({ "version": version }));
        process.signal(Signal::KILL);
        drop(process);
        process = Process::start(directory.path());
        assert_eq!(process.get(&image).1["metadata"], json!({ "version": version }));
    }
}

#[test]
fn a_process_that_is_told_to_stop_ends_well_and_stays_warm() {
    let directory = tempfile::tempdir().unwrap();
    for signal in [Signal::TERM, Signal::INT] {
        let mut process = Process::start(directory.path());
        let image = process.sample();
        let (_, before) = process.get(&image);
        process.signal(signal);
        assert!(process.child.wait().unwrap().success());
        let process = Process::start(directory.path());
        assert_eq!(process.get(&image), (true, before));
    }
}

#[test]
fn wrong_settings_are_named_and_nothing_is_started() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let file = file.to_str().unwrap();
    for (name, value) in [
        ("BIND", "hunter2"),
        ("MAX_UPLOAD_MB", "hunter2"),
        ("CACHE_SIZE_MB", "hunter2"),
        ("CACHE_ENABLED", "hunter2"),
        ("RUST_LOG", "hunter2=="),
        ("LOG_FORMAT", "hunter2"),
        ("DATA_DIR", file),
        ("CACHE_DIR", file),
    ] {
        let (output, text) = run(command(directory.path()).env(name, value));
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(name) && !text.contains("hunter2"), "{name}: {text}");
        assert!(!text.contains("panicked"), "{text}");
    }
    let (output, text) = run(command(directory.path()).arg("--seed"));
    assert_eq!(output.status.code(), Some(2));
    assert!(text.contains("--seed needs a value") && text.contains("Usage"));
}

#[test]
fn settings_may_stand_in_a_file() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(".env"), "DATA_DIR=elsewhere\nCACHE_DIR=warm\nMAX_UPLOAD_MB=7\n")
        .unwrap();
    let (output, text) = run(command(directory.path()).arg("doctor"));
    assert!(output.status.success(), "{text}");
    let shown = |name: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
        line.split_whitespace().last().unwrap().to_owned()
    };
    assert!(shown("DATA_DIR").ends_with("/elsewhere") && shown("CACHE_DIR").ends_with("/warm"));
    assert_eq!(shown("MAX_UPLOAD_MB"), "7");
}

/// Runs the command until it ends by itself; one that hangs is ended, and fails the test.
fn run_to_its_end(command: &mut Command) -> (Option<i32>, String) {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let id = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    let (ended, has_ended) = std::sync::mpsc::channel();
    let waiting = std::thread::spawn(move || {
        let output = child.wait_with_output().unwrap();
        let _ = ended.send(());
        output
    });
    if has_ended.recv_timeout(Duration::from_secs(20)).is_err() {
        kill_process(id, Signal::KILL).unwrap();
    }
    let Output { status, stdout, stderr } = waiting.join().unwrap();
    (status.code(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
}

#[test]
fn an_env_file_that_cannot_be_read_ends_the_start_and_the_doctor_with_what_to_do() {
    type Make = fn(&Path);
    let make: [(&str, Make); 5] = [
        ("mount a file", |path| std::fs::create_dir(path).unwrap()),
        ("it is a pipe", |path| {
            rustix::fs::mknodat(rustix::fs::CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap();
        }),
        ("larger than a megabyte", |path| std::os::unix::fs::symlink("/dev/zero", path).unwrap()),
        ("UTF-8", |path| std::fs::write(path, b"\xff\xfeB\0").unwrap()),
        ("No such file", |path| std::os::unix::fs::symlink("nowhere", path).unwrap()),
    ];
    for (says, make) in make {
        let directory = tempfile::tempdir().unwrap();
        make(&directory.path().join(".env"));
        for argument in [None, Some("doctor")] {
            let (code, text) = run_to_its_end(command(directory.path()).args(argument));
            assert_eq!(code, Some(1), "{says}: {text}");
            assert!(text.contains("cannot read .env: ") && text.contains(says), "{says}: {text}");
        }
    }
}

#[test]
fn a_byte_order_mark_hides_no_setting_of_either_half() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(".env");
    for (text, name) in [("MAX_UPLOAD_MB=7\nX=1", "MAX_UPLOAD_MB"), ("CACHE_SIZE_MB=7", "CACHE_SIZE_MB")] {
        std::fs::write(&path, format!("\u{feff}{text}\n")).unwrap();
        let mut command = command(directory.path());
        let (_, text) = run(command.env_remove("CACHE_SIZE_MB").arg("doctor"));
        let found = text.lines().any(|line| line.contains(name) && line.contains('7'));
        assert!(found || text.contains("CACHE_SIZE_MB (in .env, line 1)"), "{text}");
    }
}

#[test]
fn a_setting_of_the_application_that_is_not_text_is_named() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let directory = tempfile::tempdir().unwrap();
    for name in ["BIND", "DATA_DIR", "ADMIN_USERS", "RUST_LOG"] {
        let (code, text) = run_to_its_end(command(directory.path()).env(name, OsStr::from_bytes(b"\xff")));
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains(&format!("{name} takes text in UTF-8")), "{text}");
    }
}

#[test]
fn the_doctor_names_what_is_wrong_in_both_halves_of_the_settings_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let (_, text) = run(command(directory.path()).env("BIND", "x").env("CACHE_VERIFY", "x").arg("doctor"));
    assert!(text.contains("BIND takes") && text.contains("CACHE_VERIFY takes"), "{text}");
}

#[test]
fn the_doctor_finds_a_server_that_runs() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::start(directory.path());
    let (output, text) = run(command(directory.path()).arg("doctor"));
    assert!(output.status.success(), "{text}");
    assert!(text.contains(&format!("held by process {}", process.child.id())), "{text}");
    assert!(text.contains("4 images"), "{text}");
    process.get("/healthz");
}
