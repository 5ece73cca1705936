//! Readers, writers and a server that forgets, all at once: no read is older than what was acknowledged before it began.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cache_core::{CacheBackend, CacheKey, FillOutcome, Invalidation, NewEntry};
use cache_redis::{RedisBackend, RedisConfig};
use testkit::RedisServer;

const ROWS: u64 = 16;
const READERS: usize = 16;
const WRITERS: usize = 3;
const LASTS: Duration = Duration::from_secs(3);

/// A row of the database: its version, and the latest that was invalidated for all to see.
struct Row {
    key: CacheKey,
    version: AtomicU64,
    acknowledged: AtomicU64,
}

#[derive(Default)]
struct Score {
    hits: AtomicU64,
    stale: AtomicU64,
    stored: AtomicU64,
}

struct Race {
    rows: Vec<Row>,
    caches: Vec<RedisBackend>,
    score: Score,
    is_over: AtomicBool,
}

impl Race {
    fn row(&self, number: usize) -> &Row {
        self.rows.get(number % self.rows.len()).expect("the number is below the length")
    }

    fn cache(&self, number: usize) -> &RedisBackend {
        self.caches.get(number % self.caches.len()).expect("the number is below the length")
    }

    async fn read(&self, reader: usize, turn: usize) {
        let row = self.row(reader + turn * 7);
        let cache = self.cache(reader);
        let oldest = row.acknowledged.load(Ordering::SeqCst);
        let Ok(lookup) = cache.lookup(&row.key).await else { return };
        if let Some(entry) = lookup.entry {
            let version =
                u64::from_le_bytes(*entry.payload.first_chunk().expect("it has eight bytes and more"));
            self.score.hits.fetch_add(1, Ordering::Relaxed);
            self.score.stale.fetch_add(u64::from(version < oldest), Ordering::Relaxed);
            return;
        }
        let mut payload = row.version.load(Ordering::SeqCst).to_le_bytes().to_vec();
        // A load takes time; every fourth value is large.
        tokio::time::sleep(Duration::from_micros((turn % 3) as u64 * 700)).await;
        payload.resize(if turn.is_multiple_of(4) { 12_000 } else { 100 }, 0);
        let outcome = cache.fill(&row.key, lookup.token, NewEntry::new(payload)).await;
        if outcome.is_ok_and(|outcome| outcome == FillOutcome::Stored) {
            self.score.stored.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn write(&self, writer: usize, turn: usize) {
        let row = self.row(writer + turn * 5);
        let version = row.version.fetch_add(1, Ordering::SeqCst) + 1;
        let what = if turn.is_multiple_of(2) {
            Invalidation::Key(row.key.clone())
        } else {
            Invalidation::Group(row.key.to_group())
        };
        if self.cache(writer).invalidate(&[what]).await.is_ok() {
            row.acknowledged.fetch_max(version, Ordering::SeqCst);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn run() -> Arc<Race> {
    let server = RedisServer::start().expect("a redis-server can be started");
    let mut caches = Vec::new();
    for _ in 0..2 {
        let config = RedisConfig::new("127.0.0.1").port(server.port()).timeout(Duration::from_secs(5));
        caches.push(RedisBackend::connect(config).await.expect("it answers"));
    }
    let rows = (0..ROWS).map(|n| Row {
        key: CacheKey::builder("image", n / 4).part(n).build().expect("the key is short"),
        version: AtomicU64::new(1),
        acknowledged: AtomicU64::new(0),
    });
    let race = Arc::new(Race {
        rows: rows.collect(),
        caches,
        score: Score::default(),
        is_over: AtomicBool::new(false),
    });
    let mut tasks = Vec::new();
    for number in 0..READERS + WRITERS {
        let race = Arc::clone(&race);
        tasks.push(tokio::spawn(async move {
            for turn in 0.. {
                if race.is_over.load(Ordering::Relaxed) {
                    break;
                }
                if number < READERS { race.read(number, turn).await } else { race.write(number, turn).await }
            }
        }));
    }
    let mut chaos =
        redis::Client::open(server.url()).and_then(|client| client.get_connection()).expect("it answers");
    let ends = tokio::time::Instant::now() + LASTS;
    while tokio::time::Instant::now() < ends {
        tokio::time::sleep(Duration::from_millis(100)).await;
        redis::cmd("FLUSHALL").exec(&mut chaos).expect("it answers");
    }
    race.is_over.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("no task panics");
    }
    race
}

#[tokio::test(flavor = "multi_thread")]
async fn no_read_is_older_than_what_was_acknowledged_before_it_began() {
    let race = run().await;
    let Score { hits, stale, stored } = &race.score;
    let (hits, stale, stored) =
        (hits.load(Ordering::SeqCst), stale.load(Ordering::SeqCst), stored.load(Ordering::SeqCst));
    println!("{hits} hits, {stale} stale, {stored} fills stored");
    assert!(hits > 1000 && stored > 100, "{hits} hits, {stored} fills: too few to prove anything");
    if cfg!(feature = "plant-no-fence") {
        assert!(stale > 0, "without the fence the race must show");
    } else {
        assert_eq!(stale, 0, "of {hits} hits");
    }
}
