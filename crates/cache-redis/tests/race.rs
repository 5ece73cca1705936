//! Readers, writers and a server that loses data, at once: no value is older than the invalidations acknowledged before the
//! read began.
//!
//! `RACE_HITS=300000 cargo test --release -p cache-redis --test race` runs each race until it has that many hits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cache_core::plants::{Plant, is_planted};
use cache_core::{CacheBackend, CacheKey, Entry, Fill, FillOutcome, Invalidation, NearConfig, NewEntry};
use cache_redis::{RedisBackend, RedisConfig};
use testkit::RedisServer;

const ROWS: usize = 64;
/// Rows of a group.
const GROUP: usize = 4;
const READERS: usize = 32;
const WRITERS: usize = 3;
/// How long a race lasts: the least, and the most while it has too few hits.
const LASTS: Duration = Duration::from_secs(3);
const LASTS_AT_MOST: Duration = Duration::from_secs(20 * 60);
/// Fewer hits prove nothing.
const FEWEST_HITS: u64 = 2000;
/// Of these, from memory, where there is some.
const FEWEST_AT_HAND: u64 = 500;

/// A row of the database: its version, and the latest version whose invalidation was acknowledged.
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
    refused: AtomicU64,
    /// Hits that came from memory.
    at_hand: AtomicU64,
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
        let at_hand = cache.at_hand(&row.key);
        self.score.at_hand.fetch_add(u64::from(at_hand.is_some()), Ordering::Relaxed);
        let lookup = match at_hand {
            Some(found) => found,
            None => match cache.lookup(&row.key).await {
                Ok(found) => found,
                Err(_) => return,
            },
        };
        if let Some(entry) = lookup.entry {
            self.judge(&entry, oldest);
            if !turn.is_multiple_of(50) {
                return;
            }
            // Every fiftieth hit refreshes the value by its token.
        }
        let mut payload = row.version.load(Ordering::SeqCst).to_le_bytes().to_vec();
        // A load takes time; every fourth value is large.
        tokio::time::sleep(Duration::from_micros((turn % 3) as u64 * 700)).await;
        payload.resize(if turn.is_multiple_of(4) { 12_000 } else { 100 }, 0);
        let mut entry = NewEntry::new(payload);
        if turn.is_multiple_of(5) {
            entry = entry.expires_in(Duration::from_millis(100));
        }
        if let Ok(outcome) = cache.fill(&row.key, lookup.token, entry).await {
            self.count(outcome);
        }
    }

    /// Reads and fills two groups, whose values are stored together.
    async fn read_groups(&self, reader: usize, turn: usize) {
        let first = (reader + turn * 7) / GROUP * GROUP;
        let rows: Vec<&Row> = (first..first + 2 * GROUP).map(|number| self.row(number)).collect();
        let keys: Vec<CacheKey> = rows.iter().map(|row| row.key.clone()).collect();
        let oldest: Vec<u64> = rows.iter().map(|row| row.acknowledged.load(Ordering::SeqCst)).collect();
        let cache = self.cache(reader);
        let Ok(lookups) = cache.lookup_many(&keys).await else { return };
        let mut fills = Vec::new();
        for ((row, lookup), oldest) in rows.iter().zip(lookups).zip(oldest) {
            if let Some(entry) = lookup.entry {
                self.judge(&entry, oldest);
            }
            let payload = Bytes::copy_from_slice(&row.version.load(Ordering::SeqCst).to_le_bytes());
            fills.push(Fill { key: row.key.clone(), token: lookup.token, entry: NewEntry::new(payload) });
        }
        tokio::time::sleep(Duration::from_micros((turn % 3) as u64 * 700)).await;
        for outcome in cache.fill_many(fills).await.unwrap_or_default() {
            self.count(outcome);
        }
    }

    fn judge(&self, entry: &Entry, oldest: u64) {
        let version = u64::from_le_bytes(*entry.payload.first_chunk().expect("it has eight bytes and more"));
        self.score.hits.fetch_add(1, Ordering::Relaxed);
        self.score.stale.fetch_add(u64::from(version < oldest), Ordering::Relaxed);
    }

    fn count(&self, outcome: FillOutcome) {
        let is_stored = outcome == FillOutcome::Stored;
        let counter = if is_stored { &self.score.stored } else { &self.score.refused };
        counter.fetch_add(1, Ordering::Relaxed);
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

/// Keys of other clients, for which the server evicts values of the cache.
const FILLER: &str =
    "for i = 1, 40 do redis.call('SET', 'filler' .. math.random(10000), string.rep('x', 4000)) end";

/// Commands that disturb the server, one after each pause.
type Disturbance = (Duration, &'static [&'static [&'static str]]);

/// A server with these arguments, two instances with or without memory, and what disturbs them.
async fn run(arguments: &[&str], (pause, commands): Disturbance, near: Option<NearConfig>) -> Arc<Race> {
    let server = RedisServer::start_with(arguments).expect("a redis-server can be started");
    let mut caches = Vec::new();
    for _ in 0..2 {
        let config = RedisConfig::new("127.0.0.1").port(server.port()).timeout(Duration::from_secs(5));
        let config = near.iter().cloned().fold(config, RedisConfig::near);
        caches.push(RedisBackend::connect(config).await.expect("it answers"));
    }
    let rows = (0..ROWS).map(|n| Row {
        key: CacheKey::builder("image", n / GROUP).part(n).build().expect("the key is short"),
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
                if number >= READERS {
                    race.write(number, turn).await;
                } else if turn % 5 == 1 {
                    race.read_groups(number, turn).await;
                } else {
                    race.read(number, turn).await;
                }
            }
        }));
    }
    let mut disturber =
        redis::Client::open(server.url()).and_then(|client| client.get_connection()).expect("it answers");
    let wanted = std::env::var("RACE_HITS").ok().and_then(|hits| hits.parse().ok()).unwrap_or(FEWEST_HITS);
    let started = Instant::now();
    for command in commands.iter().cycle() {
        // A race with a planted bug lasts until the bug shows.
        let is_shown = !is_broken(near.is_some()) || race.score.stale.load(Ordering::Relaxed) > 0;
        let has_enough = race.score.hits.load(Ordering::Relaxed) >= wanted
            && race.score.at_hand.load(Ordering::Relaxed) >= if near.is_some() { FEWEST_AT_HAND } else { 0 }
            && is_shown;
        if started.elapsed() > LASTS && has_enough || started.elapsed() > LASTS_AT_MOST {
            break;
        }
        tokio::time::sleep(pause).await;
        if let [name, arguments @ ..] = command {
            redis::cmd(name).arg(arguments).exec(&mut disturber).expect("it answers");
        }
    }
    race.is_over.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("no task panics");
    }
    let staged = redis::cmd("KEYS").arg("app:stage:*").query::<Vec<String>>(&mut disturber);
    assert_eq!(staged.expect("it answers"), Vec::<String>::new(), "no staging keys are left");
    let text: String = redis::cmd("INFO").arg("stats").query(&mut disturber).expect("it answers");
    let evicted = text.lines().find(|line| line.starts_with("evicted_keys:")).unwrap_or_default();
    let Score { hits, stale, stored, refused, at_hand } = &race.score;
    println!(
        "{hits:?} hits, {at_hand:?} from memory, {stale:?} stale, {stored:?} fills stored, {refused:?} refused, {evicted}"
    );
    race
}

/// Whether stale reads must occur, because of a planted bug.
fn is_broken(has_memory: bool) -> bool {
    let of_memory = [Plant::NearNoWait, Plant::NearAckFirst, Plant::NearTokenLate];
    is_planted(Plant::NoRedisFence) || has_memory && of_memory.into_iter().any(is_planted)
}

fn judge(race: &Race, has_memory: bool) {
    let Score { hits, stale, stored, refused: _, at_hand } = &race.score;
    let [hits, stale, stored, at_hand] =
        [hits, stale, stored, at_hand].map(|counter| counter.load(Ordering::SeqCst));
    assert!(hits >= FEWEST_HITS && stored > 100, "{hits} hits, {stored} fills: too few to prove anything");
    if has_memory {
        assert!(at_hand >= FEWEST_AT_HAND, "{at_hand} hits came from memory: too few to prove anything");
    }
    if is_broken(has_memory) {
        assert!(stale > 0, "with the planted bug stale reads must occur");
    } else {
        assert_eq!(stale, 0, "of {hits} hits");
    }
}

fn memory() -> NearConfig {
    NearConfig::new(4 << 20)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_read_is_older_than_an_invalidation_acknowledged_before_it() {
    let often: Disturbance = (Duration::from_millis(100), &[&["FLUSHALL"]]);
    judge(&*run(&[], often, None).await, false);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_read_is_older_while_the_server_forgets_scripts_and_closes_connections() {
    let all: Disturbance = (
        Duration::from_millis(5),
        &[
            &["SCRIPT", "FLUSH"],
            &["PING"],
            &["CLIENT", "KILL", "TYPE", "normal"],
            &["PING"],
            &["SCRIPT", "FLUSH"],
            &["FLUSHALL"],
            &["PING"],
            &["PING"],
        ],
    );
    judge(&*run(&[], all, None).await, false);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_read_is_older_while_the_server_evicts() {
    let fill: Disturbance = (Duration::from_millis(5), &[&["EVAL", FILLER, "0"]]);
    judge(&*run(&["--maxmemory", "8mb", "--maxmemory-policy", "allkeys-lru"], fill, None).await, false);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_hit_from_memory_is_older_while_the_registry_and_the_log_are_lost() {
    let registry = "for _, key in ipairs(redis.call('KEYS', 'app:#near:*')) do redis.call('UNLINK', key) end";
    let log = "for _, key in ipairs(redis.call('KEYS', 'app:#near:*:log')) do redis.call('UNLINK', key) end";
    let registry: &[&str] = Box::leak(Box::new(["EVAL", registry, "0"]));
    let log: &[&str] = Box::leak(Box::new(["EVAL", log, "0"]));
    let all: &[&[&str]] = Box::leak(Box::new([
        registry,
        &["PING"],
        log,
        &["CLIENT", "PAUSE", "30"],
        &["FLUSHALL"],
        &["PING"],
        &["CLIENT", "KILL", "TYPE", "normal"],
        &["SCRIPT", "FLUSH"],
    ]));
    judge(&*run(&[], (Duration::from_millis(150), all), Some(memory())).await, true);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_hit_from_memory_is_older_on_a_quiet_server() {
    judge(&*run(&[], (Duration::from_millis(100), &[&["PING"]]), Some(memory())).await, true);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_hit_from_memory_is_older_while_the_server_evicts() {
    let fill: Disturbance = (Duration::from_millis(5), &[&["EVAL", FILLER, "0"]]);
    let arguments = ["--maxmemory", "8mb", "--maxmemory-policy", "allkeys-lru"];
    judge(&*run(&arguments, fill, Some(memory())).await, true);
}
