//! Processes on one Redis: what they say about it, and what becomes of requests while it is killed and comes back.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use testkit::{RedisServer, Restart};

use super::{Process, command, run};

const PATIENCE: Duration = Duration::from_secs(30);
const FALLS_BACK: &str = "Redis cache initialization failed, falling back to disk cache";

fn settings(server: &RedisServer) -> [(&'static str, String); 3] {
    [
        ("REDIS_ENABLED", "true".to_owned()),
        ("REDIS_PORT", server.port().to_string()),
        ("REDIS_PASSWORD", "hunter2".to_owned()),
    ]
}

fn server() -> RedisServer {
    RedisServer::start_with(&["--requirepass", "hunter2"]).unwrap()
}

fn start(directory: &Path, server: &RedisServer) -> Process {
    Process::start_with(directory, &settings(server))
}

impl Process {
    fn eventually(&self, what: &str, is_so: impl Fn() -> bool) {
        let began = Instant::now();
        while !is_so() {
            assert!(began.elapsed() < PATIENCE, "it never came to be that {what}: {:#?}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The value of a gauge.
    fn gauge(&self, name: &str) -> Option<String> {
        let metrics = ureq::get(format!("{}/metrics", self.base)).call().unwrap();
        let text = metrics.into_body().read_to_string().unwrap();
        text.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
    }

    /// Status, active backend, breaker and journal depth; backend of the statistics; gauges.
    fn says(&self) -> (String, u64, String) {
        let (_, health) = self.get("/api/cache/health");
        let (_, stats) = self.get("/api/cache/stats");
        let text = |value: &serde_json::Value| value.as_str().unwrap_or("-").to_owned();
        let words =
            [&health["status"], &health["wanted"], &health["active"], &health["breaker"], &stats["backend"]];
        let words: Vec<_> = words.into_iter().map(text).collect();
        let depth = health["journal_depth"].as_u64().unwrap();
        (words.join(" "), depth, self.gauge("cache_breaker_state").unwrap())
    }
}

#[test]
fn without_a_server_it_warns_word_for_word_serves_from_disk_and_finds_redis_when_it_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = server();
    server.kill().unwrap();
    let process = start(directory.path(), &server);
    let warnings: Vec<_> = process.log().into_iter().filter(|line| line.contains("WARN")).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains(FALLS_BACK) && warnings[0].contains(&server.port().to_string()));
    assert!(!process.log().iter().any(|line| line.contains("Using")), "no other line about the disk");

    let image = process.sample();
    process.eventually("the disk stands in", || process.get(&image).0);
    // Now and then it is half open: then Redis is being asked.
    process.eventually("it says that Redis is away", || {
        let (words, _, breaker) = process.says();
        (words.as_str(), breaker.as_str()) == ("degraded redis fallback open fallback", "2")
    });
    let (_, depth, _) = process.says();
    // The samples were made meanwhile: Redis has to hear of it.
    assert!(depth > 0);
    assert_eq!(process.gauge("cache_journal_depth"), Some(depth.to_string()));
    process.put(&format!("{image}/metadata"), &json!({"version": 1}));
    assert_eq!(process.get(&image).1["metadata"], json!({"version": 1}));

    server.restart(Restart::Empty).unwrap();
    let back = || {
        process.log().iter().any(|line| line.contains("INFO") && line.contains("Redis cache available again"))
    };
    process.eventually("Redis is in use", back);
    process.eventually("it says that Redis is in use", || {
        let depth = process.gauge("cache_journal_depth");
        process.says() == ("ok redis redis closed redis".to_owned(), 0, "0".to_owned())
            && depth.as_deref() == Some("0")
    });
    assert_eq!(process.get(&image).1["metadata"], json!({"version": 1}));
    assert!(!process.log().iter().any(|line| line.contains("hunter2")), "{:#?}", process.log());
}

#[test]
fn two_processes_of_one_directory_live_through_a_kill_of_redis_and_show_nothing_old() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = server();
    // The first makes the samples.
    let one = start(directory.path(), &server);
    let two = start(directory.path(), &server);
    let image = one.sample();
    for process in [&one, &two] {
        let used = process
            .log()
            .iter()
            .any(|line| line.contains("INFO") && line.contains("Using Redis cache backend"));
        assert!(used, "{:#?}", process.log());
    }
    let change = |version: u32| one.put(&format!("{image}/metadata"), &json!({ "version": version }));
    let version = |process: &Process| process.get(&image).1["metadata"]["version"].clone();
    for outage in 0..3 {
        change(outage * 2);
        assert_eq!(version(&two), json!(outage * 2));
        two.eventually("it is cached", || two.get(&image).0);
        server.kill().unwrap();
        change(outage * 2 + 1);
        assert_eq!(version(&one), json!(outage * 2 + 1), "its own change");
        server.restart(Restart::Empty).unwrap();
        for process in [&one, &two] {
            process.eventually("Redis is in use", || process.says().0 == "ok redis redis closed redis");
        }
        for process in [&one, &two] {
            assert_eq!(version(process), json!(outage * 2 + 1));
        }
    }
}

#[test]
fn the_doctor_walks_the_way_to_redis_and_says_where_it_ends() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = server();
    let examined = |more: &[(&str, &str)]| {
        let mut command = command(directory.path());
        command.arg("doctor").envs(settings(&server)).envs(more.iter().copied());
        let (output, text) = run(&mut command);
        assert!(!text.contains("hunter2") && !text.contains("wrong-secret"), "{text}");
        (output.status.success(), text)
    };
    let (healthy, text) = examined(&[]);
    assert!(healthy, "{text}");
    for step in ["name", "connection", "TLS", "login", "server", "clock", "commands", "memory", "persistence"]
    {
        assert!(text.contains(&format!("redis {step} ")), "{step}: {text}");
    }
    let (healthy, text) = examined(&[("REDIS_PASSWORD", "wrong-secret")]);
    assert!(!healthy && text.contains("-> correct REDIS_PASSWORD"), "{text}");
    assert!(text.contains("lock"), "the other checks are made all the same");
    server.kill().unwrap();
    let mut command = command(directory.path());
    let (output, text) = run(command.arg("doctor").envs(settings(&server)));
    assert!(!output.status.success() && text.contains("-> start the server"), "{text}");
}
