//! Readers and writers in three instances while nodes fail and slots move: no read is older than an invalidation that was
//! acknowledged before it, outside of the time in which a deposed master may be read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cache_core::{CacheBackend, CacheKey, Fill, Invalidation, NearConfig, NewEntry};
use cache_redis::RedisBackend;
use parking_lot::Mutex;
use testkit::reliability::Tally;
use testkit::{FailOver, RedisCluster, RedisServer, Restart};
use tokio::task::block_in_place;

use crate::support::{BEAT, PATIENCE, config, key};

const ROWS: usize = 240;
const READERS: usize = 24;
const WRITERS: usize = 6;

struct Row {
    key: CacheKey,
    version: AtomicU64,
    /// The latest acknowledged version, and when it was acknowledged.
    acknowledged: Mutex<(u64, Instant)>,
}

#[derive(Default)]
struct Score {
    hits: AtomicU64,
    /// Reads of values that were invalidated just before, and long before.
    late: AtomicU64,
    stale: AtomicU64,
    failed: AtomicU64,
    removed: AtomicU64,
    /// Hits from memory.
    at_hand: AtomicU64,
    slowest: AtomicU64,
    last_error: Mutex<String>,
}

struct Race {
    rows: Vec<Row>,
    caches: Vec<RedisBackend>,
    score: Score,
    is_over: AtomicBool,
}

impl Race {
    fn row(&self, number: usize) -> &Row {
        self.rows.get(number % ROWS).unwrap()
    }

    fn cache(&self, number: usize) -> &RedisBackend {
        self.caches.get(number % self.caches.len()).unwrap()
    }

    async fn read(&self, reader: usize, turn: usize) {
        let row = self.row(reader * 11 + turn * 7);
        let cache = self.cache(reader);
        let (oldest, at) = *row.acknowledged.lock();
        let asked = Instant::now();
        let at_hand = cache.at_hand(&row.key);
        self.score.at_hand.fetch_add(u64::from(at_hand.is_some()), Ordering::Relaxed);
        let found = match at_hand {
            Some(found) => {
                // The other tasks get their turn, too.
                tokio::task::yield_now().await;
                Ok(found)
            }
            None => cache.lookup(&row.key).await,
        };
        self.score.slowest.fetch_max(asked.elapsed().as_millis().try_into().unwrap(), Ordering::Relaxed);
        let lookup = match found {
            Ok(lookup) => lookup,
            Err(error) => {
                self.score.failed.fetch_add(1, Ordering::Relaxed);
                *self.score.last_error.lock() = error.to_string();
                tokio::time::sleep(Duration::from_millis(1)).await;
                return;
            }
        };
        if let Some(entry) = &lookup.entry {
            let version = u64::from_le_bytes(*entry.payload.first_chunk().unwrap());
            self.score.hits.fetch_add(1, Ordering::Relaxed);
            if version < oldest {
                let counter = if asked.saturating_duration_since(at) < 5 * BEAT {
                    &self.score.late
                } else {
                    &self.score.stale
                };
                counter.fetch_add(1, Ordering::Relaxed);
            }
            return;
        }
        let mut payload = row.version.load(Ordering::SeqCst).to_le_bytes().to_vec();
        payload.resize(if turn.is_multiple_of(4) { 12_000 } else { 100 }, 0);
        tokio::time::sleep(Duration::from_micros((turn % 3) as u64 * 700)).await;
        let fill =
            Fill { key: row.key.clone(), token: lookup.token, entry: NewEntry::new(Bytes::from(payload)) };
        let _ = cache.fill_many(vec![fill]).await;
    }

    async fn write(&self, writer: usize, turn: usize) {
        let row = self.row(writer * 13 + turn * 5);
        let version = row.version.fetch_add(1, Ordering::SeqCst) + 1;
        let cache = self.cache(writer);
        let what = if turn.is_multiple_of(2) {
            Invalidation::Key(row.key.clone())
        } else {
            Invalidation::Group(row.key.to_group())
        };
        if cache.invalidate(&[what]).await.is_ok() {
            let mut acknowledged = row.acknowledged.lock();
            if acknowledged.0 < version {
                *acknowledged = (version, Instant::now());
            }
            self.score.removed.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
}

/// Node timeouts in milliseconds: of a cluster that notices a lost master, and of one that does not take a busy machine for a
/// failure.
const NOTICES: &str = "1000";
const PATIENT: &str = "5000";

/// A race: its name, the node timeout, whether reads may be late because a master is deposed while it answers, and whether two
/// of the three instances keep values in memory.
#[derive(Debug, Clone, Copy)]
struct Course {
    name: &'static str,
    node_timeout: &'static str,
    may_be_late: bool,
    has_memory: bool,
}

impl Course {
    fn new(name: &'static str, node_timeout: &'static str, may_be_late: bool) -> Self {
        Self { name, node_timeout, may_be_late, has_memory: false }
    }

    fn with_memory(self) -> Self {
        Self { has_memory: true, ..self }
    }
}

/// Runs a race while `disturb` acts on the cluster, and judges it.
async fn run(course: Course, disturb: impl FnOnce(&mut RedisCluster)) {
    let Course { name, node_timeout, may_be_late, has_memory } = course;
    let tally = Tally::new("cluster faults", None);
    tally.attempt();
    let mut cluster = RedisCluster::start_with(3, 1, &["--cluster-node-timeout", node_timeout]).unwrap();
    let mut caches = Vec::new();
    for (beats, keeps) in [(1, true), (1, false), (4, true)] {
        let config = config(&cluster).heartbeat(beats * BEAT);
        let config = if has_memory && keeps { config.near(NearConfig::new(8 << 20)) } else { config };
        caches.push(RedisBackend::connect(config).await.unwrap());
    }
    let row =
        |n| Row { key: key(n), version: AtomicU64::new(1), acknowledged: Mutex::new((0, Instant::now())) };
    let race = Arc::new(Race {
        rows: (0..ROWS).map(row).collect(),
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
    tokio::time::sleep(Duration::from_millis(500)).await;
    block_in_place(|| disturb(&mut cluster));
    // All is well again: everything can be read and removed.
    let began = Instant::now();
    let mut failed_after = u64::MAX;
    while failed_after > 0 && began.elapsed() < PATIENCE {
        let before = race.score.failed.load(Ordering::Relaxed);
        tokio::time::sleep(4 * BEAT).await;
        failed_after = race.score.failed.load(Ordering::Relaxed) - before;
    }
    let healed = began.elapsed().saturating_sub(4 * BEAT);
    race.is_over.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    let Score { hits, late, stale, failed, removed, at_hand, slowest, last_error } = &race.score;
    let [hits, late, stale, failed, removed, at_hand, slowest] =
        [hits, late, stale, failed, removed, at_hand, slowest].map(|count| count.load(Ordering::Relaxed));
    println!(
        "{name}: {hits} hits, {at_hand} from memory, {removed} removals, {late} late, {stale} stale, {failed} failed, slowest {slowest} ms, healed \
         within {healed:?}"
    );
    tally.delayed(Duration::from_millis(slowest));
    tally.healed(healed);
    // With memory, changes wait while a node hangs.
    let least = if has_memory { 30 } else { 200 };
    assert!(hits > 2000 && removed > least, "too few to prove anything: {removed} removals");
    assert!(!has_memory || at_hand > hits / 20, "{at_hand} of {hits} from memory: too few to prove anything");
    assert_eq!(stale, 0, "of {hits} hits");
    assert!(late == 0 || may_be_late, "{late} of {hits} hits");
    assert_eq!(failed_after, 0, "it does not heal: {}", last_error.lock());
}

fn kill(cluster: &mut RedisCluster) {
    let replica = cluster.replica_of(0).unwrap().unwrap();
    cluster.nodes().first_mut().unwrap().kill().unwrap();
    cluster.wait_for_master(replica).unwrap();
    cluster.settle().unwrap();
    cluster.nodes().first_mut().unwrap().restart(Restart::WithData).unwrap();
    cluster.settle().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_is_killed_and_comes_back() {
    run(Course::new("kill", NOTICES, false), kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_is_killed_and_comes_back_before_memory() {
    run(Course::new("kill", NOTICES, false).with_memory(), kill).await;
}

fn hang(cluster: &mut RedisCluster) {
    let replica = cluster.replica_of(1).unwrap().unwrap();
    cluster.node(1).pause().unwrap();
    cluster.wait_for_master(replica).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    cluster.node(1).resume().unwrap();
    cluster.settle().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_hangs_until_it_is_replaced_and_wakes() {
    run(Course::new("hang", NOTICES, true), hang).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_hangs_until_it_is_replaced_and_wakes_before_memory() {
    run(Course::new("hang", NOTICES, true).with_memory(), hang).await;
}

fn replace_as_planned(cluster: &mut RedisCluster) {
    for master in [0, 1] {
        let replica = cluster.replica_of(master).unwrap().unwrap();
        cluster.fail_over(replica, FailOver::Planned).unwrap();
        cluster.wait_for_master(replica).unwrap();
        cluster.settle().unwrap();
        cluster.fail_over(master, FailOver::Planned).unwrap();
        cluster.wait_for_master(master).unwrap();
        cluster.settle().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn masters_are_replaced_as_planned_there_and_back() {
    run(Course::new("planned", PATIENT, false), replace_as_planned).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn masters_are_replaced_as_planned_there_and_back_before_memory() {
    run(Course::new("planned", PATIENT, false).with_memory(), replace_as_planned).await;
}

fn replace_by_force(cluster: &mut RedisCluster) {
    for how in [FailOver::TakeOver, FailOver::Force] {
        let master = *cluster.masters().unwrap().first().unwrap();
        let replica = cluster.replica_of(master).unwrap().unwrap();
        cluster.fail_over(replica, how).unwrap();
        cluster.wait_for_master(replica).unwrap();
        cluster.settle().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_is_replaced_by_force_while_it_answers() {
    run(Course::new("takeover", PATIENT, true), replace_by_force).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_is_replaced_by_force_while_it_answers_before_memory() {
    run(Course::new("takeover", PATIENT, true).with_memory(), replace_by_force).await;
}

/// The names of keys at a node.
fn names(node: &RedisServer, pattern: &str) -> Vec<String> {
    let client = redis::Client::open(node.url()).unwrap();
    redis::cmd("KEYS").arg(pattern).query(&mut client.get_connection().unwrap()).unwrap()
}

fn move_slots(cluster: &mut RedisCluster) {
    let of_rows = (0..ROWS).map(|number| crate::support::name(&key(number)));
    // Where instances keep values in memory, their registries go, too.
    let of_registries =
        cluster.masters().unwrap().into_iter().flat_map(|node| names(cluster.node(node), "app:#near:*"));
    let slots = of_rows.chain(of_registries).map(|name| cluster.slot_of(&name).unwrap());
    let slots: std::collections::BTreeSet<u16> = slots.collect();
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        for &slot in &slots {
            if cluster.master_of_slot(slot).unwrap() == from {
                cluster.move_slot(slot, from, to).unwrap();
            }
        }
        cluster.settle().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_with_their_keys_go_from_one_master_to_another() {
    run(Course::new("reshard", PATIENT, false), move_slots).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_with_their_keys_go_from_one_master_to_another_before_memory() {
    run(Course::new("reshard", PATIENT, false).with_memory(), move_slots).await;
}
