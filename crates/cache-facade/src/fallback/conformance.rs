//! The conformance suite over the fallback: with a Redis that is up, with none, and with a shared store that fails one
//! call in four, so that the breaker keeps opening and closing; and with a shared store on several servers that are up, one of
//! which is away, or fails one call in four.

use std::collections::HashMap;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use cache_conformance::{AtHandFirst, Keeping, Law, Opened, Promises, Subject};
use cache_core::ManualClock;
use cache_redis::{RedisBackend, RedisConfig};
use parking_lot::Mutex;
use tempfile::TempDir;
use testkit::RedisServer;
use tokio::runtime::Runtime;

use super::testing::{Behaviour, Closing, InMemory, SharedStore, TestConnector};
use super::*;
use crate::durability::directory::HeldDirectory;
use crate::durability::instance;
use crate::durability::journal::format::Target;
use crate::durability::journal::orphan_journal::OrphanJournal;
use crate::durability::lock::{Sharing, retry};

/// Each law has a name space of its own.
static LAWS: AtomicU64 = AtomicU64::new(0);

/// Creates connectors to a primary, one for each place.
trait Network: Debug + Send + Sync {
    fn connector(&self, place: &str, clock: &Arc<ManualClock>) -> Arc<dyn Connector>;
}

#[derive(Debug)]
struct Chain<T> {
    network: T,
    keeping: Keeping,
    clock: Arc<ManualClock>,
    root: TempDir,
    runtime: Runtime,
}

impl<T: Network> Chain<T> {
    fn new(network: T, keeping: Keeping) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let root = tempfile::tempdir().unwrap();
        Self { network, keeping, clock: Arc::default(), root, runtime: runtime.unwrap() }
    }
}

#[async_trait]
impl<T: Network> Subject for Chain<T> {
    fn promises(&self) -> Promises {
        Promises { keeping: self.keeping, ..Promises::default() }
    }

    fn clock(&self) -> &Arc<ManualClock> {
        &self.clock
    }

    async fn open(&self, place: &str) -> Opened {
        let directory = self.root.path().join(place);
        let journal = Arc::new(journal(&directory).await);
        let parts = Parts {
            connector: self.network.connector(place, &self.clock),
            fallback: Arc::new(InMemory(self.clock.clone())),
            journal: Arc::clone(&journal),
            clock: self.clock.clone(),
            max_age: Duration::MAX,
            on_recovery: Box::new(|| {}),
        };
        let opened = Opened::with_atomic(Closing { inner: FallbackBackend::start(parts).await, journal });
        AtHandFirst::wrap(opened)
    }

    fn run(&self, law: Law<'_>) {
        self.runtime.block_on(law);
    }
}

/// The journal of a process that starts in `directory` after the one before has ended or died.
async fn journal(directory: &Path) -> Journal {
    std::fs::create_dir_all(directory).unwrap();
    let is_free = || std::future::ready(Ok((!instance::is_held_here(directory)).then_some(())));
    retry(is_free).await.unwrap();
    let target = Target::Redis { db: 0, namespace: "app".to_owned() };
    let held = HeldDirectory::take(directory, Sharing::Shared).await.unwrap();
    Journal::open(OrphanJournal::read(instance::claim(directory, Some).unwrap()), &target, &held).unwrap()
}

/// A real server, or an address without one.
#[derive(Debug)]
struct RealNetwork {
    number: u64,
    port: u16,
    _server: Option<Arc<RedisServer>>,
}

impl RealNetwork {
    fn up() -> Self {
        let server = Arc::new(RedisServer::start().unwrap());
        Self { number: LAWS.fetch_add(1, Ordering::Relaxed), port: server.port(), _server: Some(server) }
    }

    fn down() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { number: 0, port, _server: None }
    }
}

#[derive(Debug)]
struct Dial(RedisConfig);

#[async_trait]
impl Connector for Dial {
    async fn connect(&self) -> Result<Arc<dyn Primary>> {
        Ok(Arc::new(RedisBackend::connect(self.0.clone()).await?))
    }
}

impl Network for RealNetwork {
    fn connector(&self, place: &str, clock: &Arc<ManualClock>) -> Arc<dyn Connector> {
        let config = RedisConfig::new("127.0.0.1")
            .port(self.port)
            .namespace(format!("law{}.{place}", self.number))
            // The laws run on crowded machines and ask for answers, not for speed.
            .timeout(Duration::from_secs(10))
            .connect_timeout(Duration::from_secs(10))
            .clock(clock.clone());
        Arc::new(Dial(config))
    }
}

/// A shared store in memory for each place, on one server or more, one of which fails in its way.
#[derive(Debug)]
struct FaultyNetwork {
    servers: u8,
    fault: Behaviour,
    stores: Mutex<HashMap<PathBuf, Arc<SharedStore>>>,
}

impl FaultyNetwork {
    fn new(servers: u8, fault: Behaviour) -> Self {
        Self { servers, fault, stores: Mutex::default() }
    }
}

impl Network for FaultyNetwork {
    fn connector(&self, place: &str, clock: &Arc<ManualClock>) -> Arc<dyn Connector> {
        let mut stores = self.stores.lock();
        let shared = stores.entry(place.into()).or_insert_with(|| match self.servers {
            1 => SharedStore::new(clock),
            servers => SharedStore::sharded(servers, true, clock),
        });
        shared.set_shard(0, self.fault);
        Arc::new(TestConnector(Arc::clone(shared)))
    }
}

mod with_redis {
    use super::*;
    cache_conformance::conformance_tests!(Chain::new(RealNetwork::up(), Keeping::WhileOpen));
}

mod without_redis {
    use super::*;
    cache_conformance::forgetful_conformance_tests!(Chain::new(RealNetwork::down(), Keeping::AtWill));
}

mod through_outages {
    use super::*;
    cache_conformance::forgetful_conformance_tests!(Chain::new(
        FaultyNetwork::new(1, Behaviour::Flaky),
        Keeping::AtWill
    ));
}

mod with_shards {
    use super::*;
    cache_conformance::conformance_tests!(Chain::new(
        FaultyNetwork::new(3, Behaviour::Up),
        Keeping::WhileOpen
    ));
}

mod without_a_shard {
    use super::*;
    cache_conformance::forgetful_conformance_tests!(Chain::new(
        FaultyNetwork::new(2, Behaviour::Refuses),
        Keeping::AtWill
    ));
}

mod through_outages_of_a_shard {
    use super::*;
    cache_conformance::forgetful_conformance_tests!(Chain::new(
        FaultyNetwork::new(2, Behaviour::Flaky),
        Keeping::AtWill
    ));
}
