//! The process as its operator meets it: signals, logs, metrics, and few open files.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Process, command};

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn every_signal_that_asks_a_process_to_end_ends_it_cleanly() {
    let directory = tempfile::tempdir().unwrap();
    for signal in [Signal::TERM, Signal::INT, Signal::QUIT, Signal::HUP] {
        // A run under nohup ignores hangups, and its children would, too.
        let mut process =
            Process::start_as(directory.path(), "exec /usr/bin/env --default-signal=HUP \"$0\"", &[]);
        process.signal(signal);
        let status = process.child.wait().unwrap();
        assert!(status.success(), "{signal:?}: {status}");
        let log = process.log_to_the_end();
        assert!(log.iter().any(|line| line.ends_with("stopped")), "{signal:?}: {log:?}");
    }
}

#[test]
fn a_hangup_that_was_ignored_at_the_start_stays_ignored() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::start_as(directory.path(), "trap '' HUP; exec \"$0\"", &[]);
    process.signal(Signal::HUP);
    std::thread::sleep(Duration::from_millis(300));
    process.get("/healthz");
}

#[test]
fn a_start_that_waits_for_the_cache_directory_can_be_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let _holder = Process::start(directory.path());
    let mut command = command(directory.path());
    let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let id = rustix::process::Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(id, Signal::TERM).unwrap();
    let told = Instant::now();
    assert!(child.wait().unwrap().success());
    assert!(told.elapsed() < Duration::from_secs(5), "{:?}", told.elapsed());
}

#[test]
fn logs_are_json_where_they_are_asked_to_be() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::start_with(directory.path(), &[("LOG_FORMAT", "json".to_owned())]);
    for line in process.log() {
        let line: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line["message"].is_string() && line["level"] == "INFO", "{line}");
    }
}

#[test]
fn an_answer_500_is_one_line_of_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::start(directory.path());
    let (_, projects) = process.get("/api/projects");
    let incoming = directory.path().join("data/incoming");
    std::fs::remove_dir_all(&incoming).unwrap();
    std::fs::write(&incoming, "in the way").unwrap();
    let before = process.log().len();
    let body = "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nx\r\n--x--\r\n";
    let path = format!("/api/projects/{}/images", projects["items"][0]["id"].as_str().unwrap());
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    let answer = agent
        .post(format!("{}{path}", process.base))
        .header("content-type", "multipart/form-data; boundary=x")
        .send(body)
        .unwrap();
    assert_eq!(answer.status(), 500);
    std::thread::sleep(Duration::from_millis(300));
    let log = process.log();
    assert_eq!(log[before..].len(), 1, "{:#?}", &log[before..]);
    assert!(log[before].contains("ERROR") && log[before].contains("failed"));
}

#[test]
fn files_below_the_data_directory_are_closed_to_other_users() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let _process = Process::start(directory.path());
    let mut paths = vec![directory.path().join("data")];
    while let Some(path) = paths.pop() {
        let metadata = std::fs::metadata(&path).unwrap();
        let mode = metadata.permissions().mode() & 0o777;
        assert_eq!(mode, if metadata.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
        if metadata.is_dir() {
            paths.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
}

#[test]
fn metrics_explain_themselves_and_begin_at_zero() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::start(directory.path());
    let text = ureq::get(format!("{}/metrics", process.base)).call().unwrap();
    let text = text.into_body().read_to_string().unwrap();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = line.split(' ').next().unwrap();
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no HELP line");
    }
    for zero in [
        "http_server_errors_total 0",
        "http_connections_refused_total 0",
        "cache_errors_total{operation=\"lookup\",backend=\"disk\"} 0",
        "cache_corrupt_total{backend=\"disk\"} 0",
    ] {
        assert!(text.lines().any(|line| line == zero), "{zero}: {text}");
    }
    for name in ["process_resident_memory_bytes", "process_open_fds", "process_cpu_seconds_total"] {
        assert!(text.contains(&format!("\n{name} ")), "{name}");
    }
    assert!(text.contains("image_manager_build_info{version=\""), "{text}");
}

#[test]
fn every_answer_counts_in_the_metrics() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::start(directory.path());
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    for (path, host) in [("/nothing", "localhost"), ("/api/projects", "evil.example")] {
        agent.get(format!("{}{path}", process.base)).header("host", host).call().unwrap();
    }
    let text = ureq::get(format!("{}/metrics", process.base)).call().unwrap();
    let text = text.into_body().read_to_string().unwrap();
    for labels in [r#"route="none",status="404""#, r#"route="/api/projects",status="421""#] {
        let line = format!("http_requests_total{{method=\"GET\",{labels}}} 1");
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
}

#[test]
fn with_64_open_files_silent_clients_stop_nothing_for_long() {
    let directory = tempfile::tempdir().unwrap();
    let timeout = ("CLIENT_TIMEOUT_SECONDS", "2".to_owned());
    let process = Process::start_as(directory.path(), "ulimit -n 64; exec \"$0\"", &[timeout]);
    let image = process.sample();
    let address = process.base.trim_start_matches("http://").to_owned();
    let ask = |path: &str| {
        let mut answer = Vec::new();
        let mut socket = TcpStream::connect(&address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        write!(socket, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        socket.read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer);
        Ok::<_, std::io::Error>(answer.split(' ').nth(1).unwrap_or_default().to_owned())
    };
    for _ in 0..2 {
        let _silent: Vec<_> = (0..100).map(|_| TcpStream::connect(&address).unwrap()).collect();
        let began = Instant::now();
        while !matches!(ask(&image).as_deref(), Ok("200")) {
            assert!(began.elapsed() < PATIENCE, "{:#?}", process.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    // Many at once: those that are served have the files that they need.
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let status = ask(&format!("{image}/content"));
                    assert!(
                        status.as_deref().map_or(true, |status| status == "200" || status == "503"),
                        "{status:?}"
                    );
                }
            });
        }
    });
    process.put(&format!("{image}/metadata"), &json!({"still": "here"}));
    let log = process.log();
    assert!(!log.iter().any(|line| line.contains("ERROR") || line.contains("os error 24")), "{log:#?}");
}

impl Process {
    /// Starts a server through the shell, whose `script` is to execute `$0`.
    fn start_as(directory: &std::path::Path, script: &str, settings: &[(&str, String)]) -> Self {
        let server = command(directory);
        let mut shell = Command::new("/bin/sh");
        shell.env_clear().current_dir(directory).arg("-c").arg(script).arg(server.get_program());
        shell.envs(server.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Self::spawn(shell.envs(settings.iter().map(|(name, value)| (name, value))))
    }

    /// What an ended process has logged.
    fn log_to_the_end(&self) -> Vec<String> {
        let began = Instant::now();
        while !self.log().last().is_some_and(|line| line.ends_with("stopped")) && began.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.log()
    }
}
