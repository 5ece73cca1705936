//! Three processes on one Redis that keep values in memory, while they are killed or stand still and Redis loses what it holds:
//! none shows an older value than an acknowledged change.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use testkit::RedisServer;
use ureq::Agent;

use super::Process;

const LASTS: Duration = Duration::from_secs(12);
const READERS: usize = 4;

struct Site {
    directory: tempfile::TempDir,
    server: RedisServer,
    processes: [RwLock<Process>; 3],
    images: Vec<Image>,
    agent: Agent,
    is_over: AtomicBool,
    from_memory: AtomicU64,
    hits: AtomicU64,
    stale: Mutex<Vec<String>>,
}

struct Image {
    path: String,
    /// The latest version whose change has reached Redis.
    acknowledged: AtomicU64,
}

fn start(directory: &tempfile::TempDir, server: &RedisServer) -> Process {
    let settings = [
        ("REDIS_ENABLED", "true".to_owned()),
        ("REDIS_PORT", server.port().to_string()),
        ("CACHE_MEMORY_MB", "64".to_owned()),
    ];
    Process::start_with(directory.path(), &settings)
}

impl Site {
    fn start() -> Self {
        let (directory, server) = (tempfile::tempdir().unwrap(), RedisServer::start().unwrap());
        let processes = [(); 3].map(|()| RwLock::new(start(&directory, &server)));
        let agent: Agent =
            Agent::config_builder().timeout_global(Some(Duration::from_secs(4))).build().into();
        let first = processes[0].read().unwrap();
        let (_, projects) = first.get("/api/projects");
        let project = projects["items"][0]["id"].as_str().unwrap();
        let (_, page) = first.get(&format!("/api/projects/{project}/images"));
        let images = page["items"].as_array().unwrap().iter().take(6).map(|image| Image {
            path: format!("/api/images/{}", image["id"].as_str().unwrap()),
            acknowledged: AtomicU64::new(0),
        });
        let images = images.collect();
        drop(first);
        Self {
            directory,
            server,
            processes,
            images,
            agent,
            is_over: AtomicBool::new(false),
            from_memory: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            stale: Mutex::default(),
        }
    }

    fn base(&self, number: usize) -> String {
        self.processes[number % 3].read().unwrap().base.clone()
    }

    /// Where an answer came from, and the version in it; nothing where the process does not answer.
    fn read(&self, number: usize, image: &Image) -> Option<(String, u64)> {
        let mut response = self.agent.get(format!("{}{}", self.base(number), image.path)).call().ok()?;
        let header = |name: &str| response.headers().get(name)?.to_str().ok();
        let is_hit = header("cache-status").is_some_and(|status| status.starts_with("cache-http; hit"));
        let backend = header("server-timing").and_then(|timing| timing.split('"').nth(1)).map(str::to_owned);
        let source = backend.filter(|_| is_hit);
        let body: Value = serde_json::from_str(&response.body_mut().read_to_string().ok()?).ok()?;
        Some((source.unwrap_or_default(), body["metadata"]["version"].as_u64().unwrap_or(0)))
    }

    fn read_on(&self, reader: usize) {
        for turn in 0.. {
            if self.is_over.load(Ordering::SeqCst) {
                return;
            }
            let image = &self.images[(reader + turn / 20) % self.images.len()];
            let promised = image.acknowledged.load(Ordering::SeqCst);
            let number = reader + turn;
            let Some((source, version)) = self.read(number, image) else { continue };
            // Without Redis, a process may serve what others have changed there.
            if source == "fallback" {
                continue;
            }
            self.hits.fetch_add(u64::from(!source.is_empty()), Ordering::Relaxed);
            self.from_memory.fetch_add(u64::from(source == "memory"), Ordering::Relaxed);
            if version < promised {
                let text = format!("{version} of {promised} from {source:?} of process {}", number % 3);
                self.stale.lock().unwrap().push(text);
            }
        }
    }

    fn write_on(&self) {
        for turn in 1.. {
            if self.is_over.load(Ordering::SeqCst) {
                return;
            }
            let (image, base) = (&self.images[turn % self.images.len()], self.base(turn / 7));
            let request = self.agent.put(format!("{base}{}/metadata", image.path));
            let body = json!({ "version": turn }).to_string();
            let is_done = request.header("content-type", "application/json").send(body).is_ok();
            // Whether Redis has everything, and is in use.
            let health = self.agent.get(format!("{base}/api/cache/health")).call();
            let health = health.ok().and_then(|health| health.into_body().read_to_string().ok());
            let health: Value = serde_json::from_str(&health.unwrap_or_default()).unwrap_or_default();
            if is_done && health["journal_depth"] == 0 && health["active"] == "redis" {
                image.acknowledged.fetch_max(turn as u64, Ordering::SeqCst);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn disturb(&self, turn: usize) {
        std::thread::sleep(Duration::from_millis(150));
        let victim = &self.processes[turn / 6 % 3];
        match turn % 6 {
            0 => {
                let mut victim = victim.write().unwrap();
                victim.signal(Signal::KILL);
                *victim = start(&self.directory, &self.server);
            }
            1 | 4 => {
                let victim = victim.read().unwrap();
                victim.signal(Signal::STOP);
                std::thread::sleep(Duration::from_millis(700));
                victim.signal(Signal::CONT);
            }
            2 => drop(self.server.command("FLUSHALL").unwrap()),
            3 => drop(self.server.command("CLIENT KILL TYPE normal").unwrap()),
            _ => {
                for key in self.server.ask(&["KEYS", "*:#near:*"]).and_then(testkit::Reply::texts).unwrap() {
                    self.server.ask(&["UNLINK", key.as_str()]).unwrap();
                }
            }
        }
    }
}

#[test]
fn three_processes_with_values_in_memory_show_no_older_value_than_an_acknowledged_change() {
    let site = Site::start();
    std::thread::scope(|scope| {
        for reader in 0..READERS {
            let site = &site;
            scope.spawn(move || site.read_on(reader));
        }
        scope.spawn(|| site.write_on());
        let began = Instant::now();
        let mut turn = 0;
        while began.elapsed() < LASTS {
            site.disturb(turn);
            turn += 1;
        }
        site.is_over.store(true, Ordering::SeqCst);
    });
    let (hits, from_memory) = (site.hits.into_inner(), site.from_memory.into_inner());
    let acknowledged = site.images.iter().map(|image| image.acknowledged.load(Ordering::SeqCst)).max();
    println!("{hits} hits, {from_memory} from memory, the last acknowledged change is {acknowledged:?}");
    assert_eq!(*site.stale.lock().unwrap(), Vec::<String>::new());
    assert!(from_memory > 200 && acknowledged.is_some_and(|last| last > 50), "{from_memory} from memory");
}
