//! The conformance suite over the fallback: with a Redis that is up, with none, and with a shared store that fails one
//! call in four, so that the breaker opens and closes all the time.

use std::collections::HashMap;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use cache_conformance::{Keeping, Law, Opened, Promises, Subject};
use cache_core::{ManualClock, MemoryBackend};
use cache_redis::{RedisBackend, RedisConfig};
use parking_lot::Mutex;
use tempfile::TempDir;
use testkit::RedisServer;
use tokio::runtime::Runtime;

use super::testing::{InMemory, Mood, Shop, Way, Whole};
use super::*;
use crate::outage::hold::Hold;
use crate::outage::instance::{self, Instance};
use crate::outage::leftover::Leftover;
use crate::outage::lock::{Sharing, patiently};
use crate::outage::slots::Owner;

/// Each law has a name space of its own.
static LAWS: AtomicU64 = AtomicU64::new(0);

/// A way to a primary, made anew for each place.
trait Town: Debug + Send + Sync {
    fn connector(&self, place: &str, clock: &Arc<ManualClock>) -> Arc<dyn Connector>;
}

#[derive(Debug)]
struct Chain<T> {
    town: T,
    keeping: Keeping,
    clock: Arc<ManualClock>,
    root: TempDir,
    runtime: Runtime,
}

impl<T: Town> Chain<T> {
    fn new(town: T, keeping: Keeping) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let root = tempfile::tempdir().unwrap();
        Self { town, keeping, clock: Arc::default(), root, runtime: runtime.unwrap() }
    }
}

#[async_trait]
impl<T: Town> Subject for Chain<T> {
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
            connector: self.town.connector(place, &self.clock),
            standin: Arc::new(InMemory(self.clock.clone())),
            journal: Arc::clone(&journal),
            clock: self.clock.clone(),
            max_age: Duration::MAX,
            first_return: FirstReturn::new(|| {}),
        };
        Opened::with_atomic(Whole { backend: FallbackBackend::start(parts).await, journal })
    }

    fn run(&self, law: Law<'_>) {
        self.runtime.block_on(law);
    }
}

/// The journal of a process that starts in `directory` after the one before has ended or died.
async fn journal(directory: &Path) -> Journal {
    std::fs::create_dir_all(directory).unwrap();
    let is_free = || std::future::ready(Ok((!instance::is_held_here(directory)).then_some(())));
    patiently(is_free).await.unwrap();
    let owner = Owner::Redis { db: 0, namespace: "app".to_owned() };
    let hold = Hold::take(directory, Sharing::Shared).await.unwrap();
    Journal::open(Leftover::read(Instance::claim(directory).unwrap()), &owner, &hold).unwrap()
}

/// A real server, or an address where nobody listens.
#[derive(Debug)]
struct RealTown {
    number: u64,
    port: u16,
    _server: Option<Arc<RedisServer>>,
}

impl RealTown {
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

    fn ended(&self) {}
}

impl Town for RealTown {
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

/// A shared store in memory for each place, which fails one call in four.
#[derive(Debug, Default)]
struct MoodyTown {
    shops: Mutex<HashMap<PathBuf, Arc<Shop>>>,
}

impl Town for MoodyTown {
    fn connector(&self, place: &str, clock: &Arc<ManualClock>) -> Arc<dyn Connector> {
        let mut shops = self.shops.lock();
        let shop = shops
            .entry(place.into())
            .or_insert_with(|| Shop::new(MemoryBackend::with_limit(16 << 20).with_clock(clock.clone())));
        shop.set(Mood::Moody);
        Arc::new(Way(Arc::clone(shop)))
    }
}

mod with_redis {
    use super::*;
    cache_conformance::conformance_tests!(Chain::new(RealTown::up(), Keeping::WhileOpen));
}

mod without_redis {
    use super::*;
    cache_conformance::forgetful_conformance_tests!(Chain::new(RealTown::down(), Keeping::AtWill));
}

mod through_outages {
    use super::*;
    cache_conformance::forgetful_conformance_tests!(Chain::new(MoodyTown::default(), Keeping::AtWill));
}
