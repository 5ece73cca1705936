//! The conformance suite over the Redis backend, against a real server and a real cluster.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use async_trait::async_trait;
use cache_conformance::chaos::Chaotic;
use cache_conformance::model::{self, Steps};
use cache_conformance::{AtHandFirst, Keeping, Law, Opened, Promises, Subject};
use cache_core::{CacheBackend, ManualClock, NearConfig};
use cache_redis::{RedisBackend, RedisConfig};
use testkit::{RedisCluster, RedisServer};
use tokio::runtime::Runtime;

/// Contains the access list that users are told to allow; the laws run under it.
const REFERENCE: &str = include_str!("../../../docs/reference.md");
/// Numbers the laws, for a namespace each.
static LAWS: AtomicU64 = AtomicU64::new(0);

/// The servers of all laws that run at the same time; they stop with the last one.
#[derive(Debug)]
enum Site {
    Server(RedisServer),
    Cluster(RedisCluster),
}

impl Site {
    fn server() -> Arc<Self> {
        static SERVER: Mutex<Weak<Site>> = Mutex::new(Weak::new());
        Self::shared(&SERVER, || Self::Server(RedisServer::start().expect("a redis-server can be started")))
    }

    fn cluster() -> Arc<Self> {
        static CLUSTER: Mutex<Weak<Site>> = Mutex::new(Weak::new());
        let start = || RedisCluster::start_with(3, 0, &[]).expect("a cluster can be started");
        Self::shared(&CLUSTER, || Self::Cluster(start()))
    }

    fn shared(slot: &Mutex<Weak<Self>>, start: impl FnOnce() -> Self) -> Arc<Self> {
        let mut shared = slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let site = Arc::new(start());
            site.nodes().for_each(|node| restrict(node, matches!(site.as_ref(), Self::Cluster(_))));
            *shared = Arc::downgrade(&site);
            site
        })
    }

    fn nodes(&self) -> impl Iterator<Item = &RedisServer> {
        let nodes: Vec<&RedisServer> = match self {
            Self::Server(server) => vec![server],
            Self::Cluster(cluster) => (0..3).map(|node| cluster.node(node)).collect(),
        };
        nodes.into_iter()
    }
}

fn restrict(server: &RedisServer, is_in_cluster: bool) {
    let client = redis::Client::open(server.url()).expect("the address is good");
    let mut raw = client.get_connection().expect("the server answers");
    // One command a line, as pasted.
    let lines: Vec<&str> = REFERENCE.lines().filter(|line| line.starts_with("ACL SETUSER ")).collect();
    assert!(!lines.is_empty(), "docs/reference.md holds no access list");
    let in_cluster = REFERENCE.lines().find_map(|line| line.strip_prefix("| a cluster, on each node | `"));
    let in_cluster =
        in_cluster.expect("docs/reference.md says what a cluster needs").replace(['`', '\\'], "");
    let in_cluster = Some(in_cluster.trim_end_matches([' ', '|'])).filter(|_| is_in_cluster);
    for line in lines.into_iter().chain(in_cluster) {
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
    site: Arc<Site>,
    memory: Memory,
}

/// Where values are kept in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Memory {
    Nowhere,
    /// In the instance that makes all calls.
    Here,
    /// In an instance that reads and fills, while another one sets and invalidates.
    Beside,
}

impl Redis {
    fn on(site: Arc<Site>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        Self {
            clock: Arc::default(),
            runtime: runtime.expect("a runtime can be started"),
            number: LAWS.fetch_add(1, Ordering::Relaxed),
            site,
            memory: Memory::Nowhere,
        }
    }

    fn with(memory: Memory, site: Arc<Site>) -> Self {
        Self { memory, ..Self::on(site) }
    }

    async fn connect(&self, place: &str, has_memory: bool) -> RedisBackend {
        let config = RedisConfig::new("127.0.0.1")
            .port(self.site.nodes().next().expect("there is a node").port())
            .username("cache")
            .password("s3cr3t")
            .namespace(format!("law{}.{place}", self.number))
            // Long timeouts, for busy machines.
            .timeout(std::time::Duration::from_secs(10))
            .connect_timeout(std::time::Duration::from_secs(10))
            .clock(self.clock.clone());
        let config = if has_memory { config.near(NearConfig::new(4 << 20)) } else { config };
        RedisBackend::connect(config).await.expect("the server answers")
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
        let backend = Arc::new(self.connect(place, self.memory != Memory::Nowhere).await);
        let opened = Opened { cache: Arc::clone(&backend) as _, atomic: Some(backend) };
        match self.memory {
            Memory::Nowhere => opened,
            Memory::Here => AtHandFirst::wrap(opened),
            Memory::Beside => {
                let writer: Arc<dyn CacheBackend> = Arc::new(self.connect(place, false).await);
                AtHandFirst::wrap(opened).written_by(writer)
            }
        }
    }

    fn run(&self, law: Law<'_>) {
        self.runtime.block_on(law);
    }
}

mod redis_server {
    use super::*;
    cache_conformance::conformance_tests!(Redis::on(Site::server()));
}

mod redis_cluster {
    use super::*;
    cache_conformance::conformance_tests!(Redis::on(Site::cluster()));
}

mod redis_behind_memory {
    use super::*;
    cache_conformance::conformance_tests!(Redis::with(Memory::Here, Site::server()));
}

mod redis_changed_beside_memory {
    use super::*;
    // Why a lookup missed is known to the instance that invalidated.
    cache_conformance::forgetful_conformance_tests!(Redis::with(Memory::Beside, Site::server()));
}

mod redis_cluster_changed_beside_memory {
    use super::*;
    cache_conformance::forgetful_conformance_tests!(Redis::with(Memory::Beside, Site::cluster()));
}

mod redis_server_under_chaos {
    use super::*;
    cache_conformance::forgetful_conformance_tests!(Chaotic::new(Redis::on(Site::server()), 13));
}

#[test]
fn redis_agrees_with_the_model() {
    let tally = testkit::reliability::Tally::new("model sequences", None);
    let redis = || {
        tally.attempt();
        Redis::on(Site::server())
    };
    let cases = u32::try_from(testkit::reliability::times(24)).expect("a small count");
    model::check(redis, Steps { cases, ..Steps::default() });
}
