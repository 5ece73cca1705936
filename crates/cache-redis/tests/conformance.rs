//! The conformance suite over the Redis backend, against a real server.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use async_trait::async_trait;
use cache_conformance::chaos::Chaotic;
use cache_conformance::model::{self, Steps};
use cache_conformance::{Keeping, Law, Opened, Promises, Subject};
use cache_core::ManualClock;
use cache_redis::{RedisBackend, RedisConfig};
use testkit::RedisServer;
use tokio::runtime::Runtime;

/// One server for all laws that run at the same time; it stops with the last one.
static SERVER: Mutex<Weak<RedisServer>> = Mutex::new(Weak::new());
/// Contains the access list that users are told to allow; the laws run under it.
const REFERENCE: &str = include_str!("../../../docs/reference.md");
/// Numbers the laws, for a namespace each.
static LAWS: AtomicU64 = AtomicU64::new(0);

fn server() -> Arc<RedisServer> {
    let mut shared = SERVER.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let server = Arc::new(RedisServer::start().expect("a redis-server can be started"));
        restrict(&server);
        *shared = Arc::downgrade(&server);
        server
    })
}

fn restrict(server: &RedisServer) {
    let client = redis::Client::open(server.url()).expect("the address is good");
    let mut raw = client.get_connection().expect("the server answers");
    // One command a line, as pasted.
    let lines: Vec<&str> = REFERENCE.lines().filter(|line| line.starts_with("ACL SETUSER ")).collect();
    assert!(!lines.is_empty(), "docs/reference.md holds no access list");
    for line in lines {
        let line = line.replace(">PASSWORD", ">s3cr3t").replace("~app:*", "~law*");
        let (command, arguments) = line.split_once(' ').expect("more than a word");
        let arguments: Vec<_> = arguments.split(' ').collect();
        redis::cmd(command).arg(arguments).exec(&mut raw).expect("the line is understood");
    }
    // Fails on older servers, which do not have the command.
    let _ = redis::cmd("ACL").arg(&["SETUSER", "cache", "+hpexpire"]).exec(&mut raw);
}

#[derive(Debug)]
struct Redis {
    clock: Arc<ManualClock>,
    runtime: Runtime,
    number: u64,
    server: Arc<RedisServer>,
}

impl Redis {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        Self {
            clock: Arc::default(),
            runtime: runtime.expect("a runtime can be started"),
            number: LAWS.fetch_add(1, Ordering::Relaxed),
            server: server(),
        }
    }
}

#[async_trait]
impl Subject for Redis {
    fn promises(&self) -> Promises {
        Promises { keeping: Keeping::WhileOpen, ..Promises::default() }
    }

    fn clock(&self) -> &Arc<ManualClock> {
        &self.clock
    }

    async fn open(&self, place: &str) -> Opened {
        let config = RedisConfig::new("127.0.0.1")
            .port(self.server.port())
            .username("cache")
            .password("s3cr3t")
            .namespace(format!("law{}.{place}", self.number))
            // Long timeouts, for busy machines.
            .timeout(std::time::Duration::from_secs(10))
            .connect_timeout(std::time::Duration::from_secs(10))
            .clock(self.clock.clone());
        Opened::with_atomic(RedisBackend::connect(config).await.expect("the server answers"))
    }

    fn run(&self, law: Law<'_>) {
        self.runtime.block_on(law);
    }
}

mod redis_server {
    use super::*;
    cache_conformance::conformance_tests!(Redis::new());
}

mod redis_server_under_chaos {
    use super::*;
    cache_conformance::forgetful_conformance_tests!(Chaotic::new(Redis::new(), 13));
}

#[test]
fn redis_agrees_with_the_model() {
    let tally = testkit::reliability::Tally::new("model sequences", None);
    let redis = || {
        tally.attempt();
        Redis::new()
    };
    let cases = u32::try_from(testkit::reliability::times(24)).expect("a small count");
    model::check(redis, Steps { cases, ..Steps::default() });
}
