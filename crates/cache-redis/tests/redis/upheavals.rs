//! Servers that are emptied, reloaded and cut off under load: nothing stale is served, and no resources leak.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cache_core::{CacheBackend, CacheBackendExt, FillOutcome, Invalidation};
use cache_redis::RedisBackend;
use testkit::{Mode, RedisServer};
use tokio::runtime::Handle;

use crate::support::*;

const ROWS: usize = 8;
const UPHEAVALS: usize = 30;

/// The database: a version for each row, which a writer increments before it invalidates.
#[derive(Default)]
struct Database {
    versions: [AtomicU64; ROWS],
    acknowledged: [AtomicU64; ROWS],
    hits: AtomicU64,
    is_over: AtomicBool,
}

#[expect(clippy::indexing_slicing, reason = "rows are taken modulo their number")]
impl Database {
    /// Reads through the cache, and checks that no value is older than the invalidations acknowledged before.
    async fn read(self: Arc<Self>, cache: Arc<RedisBackend>, from: usize) {
        let mut row = from;
        while !self.is_over.load(Ordering::SeqCst) {
            row = (row + 3) % ROWS;
            let key = key(&format!("image:{row}:metadata"));
            let known = self.acknowledged[row].load(Ordering::SeqCst);
            let Ok(lookup) = cache.lookup(&key).await else { continue };
            if let Some(entry) = lookup.entry {
                let found: u64 = std::str::from_utf8(&entry.payload).unwrap().trim().parse().unwrap();
                assert!(found >= known, "row {row}: {found} after {known}");
                self.hits.fetch_add(1, Ordering::SeqCst);
                continue;
            }
            let version = self.versions[row].load(Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(1)).await;
            // Small values pass through a script, large ones are staged.
            let text = if row.is_multiple_of(2) { version.to_string() } else { format!("{version:>20000}") };
            let _: Result<FillOutcome, _> = cache.fill(&key, lookup.token, small(&text)).await;
        }
    }

    async fn write(self: Arc<Self>, cache: Arc<RedisBackend>) {
        let mut row = 0;
        while !self.is_over.load(Ordering::SeqCst) {
            row = (row + 5) % ROWS;
            let version = self.versions[row].fetch_add(1, Ordering::SeqCst) + 1;
            let group = key(&format!("image:{row}:metadata")).to_group();
            if cache.invalidate(&[Invalidation::Group(group)]).await.is_ok() {
                self.acknowledged[row].store(version, Ordering::SeqCst);
            }
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d14_a_server_that_is_emptied_or_reloaded_during_fills_serves_nothing_stale() {
    // Versions before 7 allow DEBUG and do not know the setting.
    let debugging = &["--enable-debug-command", "yes"];
    let server = RedisServer::start_with(debugging).or_else(|_| RedisServer::start()).unwrap();
    let mut caches = Vec::new();
    for _ in 0..2 {
        caches.push(Arc::new(RedisBackend::connect(config(server.address())).await.unwrap()));
    }
    let database = Arc::new(Database::default());
    let mut tasks = tokio::task::JoinSet::new();
    for cache in &caches {
        for from in 0..4 {
            tasks.spawn(Arc::clone(&database).read(Arc::clone(cache), from));
        }
        tasks.spawn(Arc::clone(&database).write(Arc::clone(cache)));
    }
    for turn in 0..UPHEAVALS {
        raw::<()>(&server, if turn.is_multiple_of(2) { &["DEBUG", "RELOAD"] } else { &["FLUSHALL"] });
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    database.is_over.store(true, Ordering::SeqCst);
    tasks.join_all().await;
    let hits = database.hits.load(Ordering::SeqCst);
    println!("{hits} hits through {UPHEAVALS} upheavals");
    assert!(hits > 200, "{hits} hits");
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_leak_neither_connections_nor_tasks() {
    let mut site = Site::new(Duration::from_millis(100)).await;
    let key = key("image:5:metadata");
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let clients = |site: &Site| site.raw::<String>(&["CLIENT", "LIST"]).lines().count();
    let mut counted = Vec::new();
    for turn in 0..12 {
        let faults = [Mode::Reset, Mode::Refuse, Mode::SwallowReplies, Mode::CutAfter(3)];
        for mode in faults {
            site.proxy.set(mode).await;
            let calls = (0..20).map(|_| site.through.lookup(&key));
            for call in futures_util::future::join_all(calls).await {
                assert!(call.is_err() || call.is_ok_and(|found| found.entry.is_none()), "turn {turn}");
            }
            site.proxy.set(Mode::Pass).await;
            eventually("the cache recovers", async || site.through.delete(&key).await.is_ok()).await;
        }
        counted.push((tasks(), clients(&site)));
    }
    println!("tasks and connections, fault after fault: {counted:?}");
    // Tasks and connections of a fault may end a moment later.
    let (first_tasks, first_clients) = counted[2];
    eventually("tasks and connections are as many as at first", async || {
        tasks() <= first_tasks + 8 && clients(&site) <= first_clients + 4
    })
    .await;
}
