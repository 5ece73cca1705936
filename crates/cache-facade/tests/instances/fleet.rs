//! The processes, each with its own way to Redis.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use testkit::TcpProxy;
use testkit::history::Event;
use tokio::time::sleep;

use super::faults::Redis;
use super::instance::{NUMBER, ROOT, end_of, history_of};

pub(crate) struct Fleet {
    root: PathBuf,
    test: &'static str,
    /// The network of each instance; none where they connect directly.
    pub(crate) proxies: Vec<TcpProxy>,
    settings: Vec<(&'static str, String)>,
    /// Whether all but the last instance keep values in memory.
    pub(crate) has_memory: bool,
    instances: Vec<Child>,
}

impl Fleet {
    /// Starts `number` processes of this program, which run the test of this name as instances.
    pub(crate) async fn start_all(
        root: &Path,
        test: &'static str,
        number: usize,
        redis: &Redis,
        has_memory: bool,
    ) -> Self {
        let mut proxies = Vec::new();
        if let Redis::Server(server) = redis {
            for _ in 0..number {
                proxies.push(TcpProxy::start(server.address()).await.unwrap());
            }
        }
        let (settings, instances) = (redis.settings(), Vec::new());
        let mut fleet = Self { root: root.to_owned(), test, proxies, settings, has_memory, instances };
        for number in 0..number {
            let instance = fleet.spawn(number);
            fleet.instances.push(instance);
        }
        fleet
    }

    pub(crate) fn kill(&mut self, number: usize) {
        self.instances[number].kill().unwrap();
        self.instances[number].wait().unwrap();
    }

    /// Has an instance stand still.
    pub(crate) async fn pause(&self, number: usize, a_while: Duration) {
        let process = Pid::from_child(&self.instances[number]);
        kill_process(process, Signal::STOP).unwrap();
        sleep(a_while).await;
        kill_process(process, Signal::CONT).unwrap();
    }

    pub(crate) fn start(&mut self, number: usize) {
        self.instances[number] = self.spawn(number);
    }

    /// Ends all instances, and returns their exit status and log.
    pub(crate) fn end(mut self) -> Vec<(ExitStatus, String)> {
        File::create(end_of(&self.root)).unwrap();
        let ends: Vec<ExitStatus> = self.instances.iter_mut().map(|one| one.wait().unwrap()).collect();
        let said = |number| fs::read_to_string(self.log_of(number)).unwrap();
        ends.into_iter().enumerate().map(|(number, end)| (end, said(number))).collect()
    }

    pub(crate) fn history(root: &Path, number: usize) -> Vec<Event> {
        let text = fs::read_to_string(history_of(root, number)).unwrap();
        // A process that was killed may leave an incomplete line; the next process's lines follow it.
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    fn spawn(&self, number: usize) -> Child {
        let log = File::options().append(true).create(true).open(self.log_of(number)).unwrap();
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", self.test, "--nocapture"])
            .env(ROOT, &self.root)
            .env(NUMBER, number.to_string())
            .env("CACHE_DIR", self.root.join(format!("cache-{number}")))
            .env("CACHE_SIZE_MB", "16")
            .env("CACHE_FALLBACK_MAX_AGE", super::FALLBACK_MAX_AGE.as_secs().to_string())
            .envs((self.has_memory && number < super::INSTANCES - 1).then_some(("CACHE_MEMORY_MB", "16")))
            .env("REDIS_ENABLED", "true")
            .env("REDIS_HOST", "127.0.0.1")
            .envs(self.proxies.get(number).map(|proxy| ("REDIS_PORT", proxy.port().to_string())))
            .envs(self.settings.iter().cloned())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    fn log_of(&self, number: usize) -> PathBuf {
        self.root.join(format!("log-{number}"))
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // Only a failed test has instances left.
        for instance in &mut self.instances {
            let _ = instance.kill();
            let _ = instance.wait();
        }
    }
}
