//! Each fault under load: every request is answered in time with the value of the database, and Redis is in use soon after.

use std::fmt::{self, Display, Formatter};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cache_facade::{BackendKind, Cache, stats::BreakerState};
use testkit::reliability::{Tally, times};
use testkit::{Mode, RedisServer, Restart, TcpProxy};
use tokio::task::JoinHandle;

use crate::support::*;

/// The 250 ms by which a request may be delayed, and what a loaded machine adds.
const LONGEST_DELAY: Duration = Duration::from_secs(2);
/// The 5 s in which Redis is in use again, and what a crowded machine adds.
const BACK_WITHIN: Duration = Duration::from_secs(10);

const ROWS: u64 = 16;
const READERS: u64 = 16;

/// Readers and a writer over one instance. A reader checks that its value is no older than the last invalidation before its call.
struct Load {
    tasks: Vec<JoinHandle<()>>,
    is_over: Arc<AtomicBool>,
    reads: Arc<AtomicU64>,
    waited: Arc<Mutex<Vec<Duration>>>,
}

impl Load {
    fn start(database: &Arc<Database>, cache: &Cache) -> Self {
        let mut load = Self {
            tasks: Vec::new(),
            is_over: Arc::default(),
            reads: Arc::default(),
            waited: Arc::default(),
        };
        let acknowledged: Arc<Vec<AtomicU64>> = Arc::new((0..ROWS).map(|_| AtomicU64::new(0)).collect());
        for reader in 0..READERS {
            let (database, cache, acknowledged) = (database.clone(), cache.clone(), acknowledged.clone());
            let (is_over, reads, waited) = (load.is_over.clone(), load.reads.clone(), load.waited.clone());
            load.tasks.push(tokio::spawn(async move {
                let mut id = reader;
                while !is_over.load(Ordering::SeqCst) {
                    id = (id + 7) % ROWS;
                    let known = acknowledged[usize::try_from(id).unwrap()].load(Ordering::SeqCst);
                    let asked = Instant::now();
                    let read = database.read(&cache, id).await.0;
                    waited.lock().unwrap().push(asked.elapsed());
                    assert!(read >= known, "stale: row {id} was {read} after {known}");
                    reads.fetch_add(1, Ordering::SeqCst);
                    // A pause, so that the load does not saturate the machine.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }));
        }
        let (database, cache, is_over) = (database.clone(), cache.clone(), load.is_over.clone());
        load.tasks.push(tokio::spawn(async move {
            let mut id = 0;
            while !is_over.load(Ordering::SeqCst) {
                id = (id + 5) % ROWS;
                let _ = database.write(&cache, id).await;
                acknowledged[usize::try_from(id).unwrap()].store(database.version(id), Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }));
        load
    }

    /// Returns how long readers have waited since the last call of this.
    fn waited(&self) -> Waited {
        let mut waited = std::mem::take(&mut *self.waited.lock().unwrap());
        waited.sort_unstable();
        let at = |share: usize| waited.get((waited.len() * share / 100).min(waited.len().saturating_sub(1)));
        let [median, slow, longest] = [50, 99, 100].map(|share| at(share).copied().unwrap_or_default());
        Waited { median, slow, longest }
    }

    async fn end(self) -> u64 {
        self.is_over.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.unwrap();
        }
        self.reads.load(Ordering::SeqCst)
    }
}

/// The median, the 99th percentile and the longest of the waits.
struct Waited {
    median: Duration,
    slow: Duration,
    longest: Duration,
}

impl Display for Waited {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { median, slow, longest } = self;
        write!(f, "{median:.1?} / {slow:.1?} / {longest:.1?}")
    }
}

struct Site {
    server: RedisServer,
    proxy: TcpProxy,
    one: Instance,
    two: Instance,
}

/// Whether a fault makes Redis unusable, or only slow.
#[derive(PartialEq)]
enum Falls {
    Back,
    Not,
}

/// Injects a fault under load, waits, and ends it. Every request must be answered in time with a fresh value.
async fn survive(
    name: &str,
    arguments: &[&str],
    falls: Falls,
    harm: impl AsyncFn(&mut Site),
    mend: impl AsyncFn(&mut Site),
) {
    let tally = Tally::new("Redis faults", None);
    for _ in 0..times(1) {
        tally.attempt();
        survive_once(&tally, name, arguments, &falls, &harm, &mend).await;
    }
}

async fn survive_once(
    tally: &Tally,
    name: &str,
    arguments: &[&str],
    falls: &Falls,
    harm: &impl AsyncFn(&mut Site),
    mend: &impl AsyncFn(&mut Site),
) {
    let server = RedisServer::start_with(arguments).unwrap();
    let proxy = TcpProxy::start(server.address()).await.unwrap();
    let secret = "hunter2-secret";
    let with = |address: std::net::SocketAddr| {
        let redis = redis_at(address);
        let redis = if arguments.contains(&secret) { redis.password(secret) } else { redis };
        Instance::with(address, move |config| config.redis(redis))
    };
    let (one, two) = (with(proxy.address()).await, with(server.address()).await);
    let mut site = Site { server, proxy, one, two };
    let database = Database::new();
    let load = Load::start(&database, &site.one.cache);
    tokio::time::sleep(Duration::from_millis(200)).await;
    load.waited();

    harm(&mut site).await;
    if *falls == Falls::Back {
        is_away(&site.one.cache).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let at_first = load.waited();
    tokio::time::sleep(Duration::from_millis(700)).await;
    let once_open = load.waited();

    mend(&mut site).await;
    let mended = Instant::now();
    is_back(&site.one.cache).await;
    let back = mended.elapsed();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let at_return = load.waited();
    let reads = load.end().await;
    println!(
        "{name}: {reads} reads; p50 / p99 / longest at first {at_first}, then {once_open}, at the return \
         {at_return}; back after {back:.1?}"
    );
    tally.healed(back);
    for waited in [at_first, once_open, at_return] {
        tally.delayed(waited.longest);
        assert!(waited.longest < LONGEST_DELAY, "{name}: {waited}");
    }
    assert!(back < BACK_WITHIN, "{name}: back only after {back:?}");
    eventually("nothing is owed", async || {
        let health = site.one.cache.health().await;
        health.breaker == Some(BreakerState::Closed) && health.journal_depth == 0
    })
    .await;
    is_back(&site.two.cache).await;
    for id in 0..ROWS {
        let (here, there) =
            (database.read(&site.one.cache, id).await.0, database.read(&site.two.cache, id).await.0);
        assert_eq!((here, there), (database.version(id), database.version(id)), "{name}: row {id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_and_comes_back_empty() {
    let mend = async |site: &mut Site| site.server.restart(Restart::Empty).unwrap();
    survive("kill -9", &[], Falls::Back, async |site| site.server.kill().unwrap(), mend).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_and_comes_back_with_an_old_snapshot() {
    let harm = async |site: &mut Site| {
        raw(&site.server, &["SAVE"]);
        tokio::time::sleep(Duration::from_millis(100)).await;
        site.server.kill().unwrap();
    };
    let mend = async |site: &mut Site| site.server.restart(Restart::WithData).unwrap();
    survive("old snapshot", &[], Falls::Back, harm, mend).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_stopped_in_mid_step() {
    let mend = async |site: &mut Site| site.server.resume().unwrap();
    survive("SIGSTOP", &[], Falls::Back, async |site| site.server.pause().unwrap(), mend).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_changed_at_the_server() {
    let secret = "hunter2-secret";
    let harm = async |site: &mut Site| {
        raw_as(&site.server, Some(secret), &["CONFIG", "SET", "requirepass", "another"]);
        raw_as(&site.server, Some("another"), &["CLIENT", "KILL", "TYPE", "normal"]);
    };
    let mend = async |site: &mut Site| {
        raw_as(&site.server, Some("another"), &["CONFIG", "SET", "requirepass", secret]);
    };
    survive("wrong password", &["--requirepass", secret], Falls::Back, harm, mend).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_full() {
    let set = |bytes: &'static str| {
        async move |site: &mut Site| {
            raw(&site.server, &["CONFIG", "SET", "maxmemory", bytes]);
        }
    };
    survive("full", &[], Falls::Not, set("1"), set("0")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_becomes_a_replica_and_a_master_again() {
    let harm = async |site: &mut Site| {
        raw(&site.server, &["REPLICAOF", "127.0.0.1", "1"]);
    };
    let mend = async |site: &mut Site| {
        raw(&site.server, &["REPLICAOF", "NO", "ONE"]);
    };
    survive("read-only replica", &[], Falls::Back, harm, mend).await;
}

async fn survive_network(name: &str, mode: Mode) {
    let harm = async move |site: &mut Site| site.proxy.set(mode.clone()).await;
    let mend = async |site: &mut Site| site.proxy.set(Mode::Pass).await;
    survive(name, &[], Falls::Back, harm, mend).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_swallows_everything() {
    survive_network("black hole", Mode::BlackHole).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_swallows_replies() {
    survive_network("swallowed replies", Mode::SwallowReplies).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_answers_garbage() {
    survive_network("garbage", Mode::Garbage("$-7\r\n\0\u{1}*9\r\nHTTP/1.1 400".into())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_resets_connections() {
    survive_network("reset", Mode::Reset).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_is_too_slow() {
    survive_network("slow", Mode::Delay(Duration::from_millis(700))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_killed_and_stores_that_are_emptied_repeatedly() {
    for (name, command) in [
        ("CLIENT KILL", &["CLIENT", "KILL", "TYPE", "normal"][..]),
        ("FLUSHALL", &["FLUSHALL"]),
        ("SCRIPT FLUSH", &["SCRIPT", "FLUSH"]),
    ] {
        let harm = async |site: &mut Site| {
            for _ in 0..50 {
                raw(&site.server, command);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        survive(name, &[], Falls::Not, harm, async |_| {}).await;
    }
}

/// History 30.
#[tokio::test(flavor = "multi_thread")]
async fn a_hang_without_traffic_is_found_by_the_heartbeat() {
    let server = RedisServer::start().unwrap();
    let one = Instance::new(server.address()).await;
    server.pause().unwrap();
    let paused = Instant::now();
    eventually("the hang is found", async || one.cache.backend_kind() != BackendKind::Redis).await;
    println!("found after {:?}", paused.elapsed());
    let database = Database::new();
    let asked = Instant::now();
    database.read(&one.cache, 1).await;
    assert!(asked.elapsed() < LONGEST_DELAY);
    server.resume().unwrap();
    is_back(&one.cache).await;
}
