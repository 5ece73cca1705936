//! Two instances, one Redis, faults in random order: each read is checked against the completed invalidations.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cache_facade::{Cache, Invalidated, stats::BreakerState};
use parking_lot::Mutex;
use testkit::{Mode, RedisServer, Restart, TcpProxy};

use crate::support::*;

const ROWS: usize = 8;
const LASTS: Duration = Duration::from_secs(8);

/// Pseudo-random numbers, equal in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }
}

/// The lowest version of each row that may still be read.
#[derive(Debug)]
struct Known([AtomicU64; ROWS]);

impl Known {
    fn new() -> Self {
        Self([const { AtomicU64::new(0) }; ROWS])
    }

    fn of(&self, row: u64) -> u64 {
        self.0[usize::try_from(row).unwrap()].load(Ordering::SeqCst)
    }

    fn raise(&self, row: u64, version: u64) {
        self.0[usize::try_from(row).unwrap()].fetch_max(version, Ordering::SeqCst);
    }
}

/// An instance, and the lowest versions that it may read.
struct Instance {
    cache: Cache,
    /// By its own invalidations, applied or journaled.
    own: Known,
    /// Invalidations that Redis has not received.
    owed: Mutex<Vec<(u64, u64)>>,
}

struct Run {
    database: Arc<Database>,
    instances: Vec<Instance>,
    /// By invalidations that have reached Redis: for every instance that reads Redis.
    common: Known,
    reads: AtomicU64,
    on_redis: AtomicU64,
    journaled: AtomicU64,
    is_over: AtomicBool,
}

/// Since when this instance has used Redis; `None` when it does not, or has pending invalidations.
async fn on_redis(cache: &Cache) -> Option<cache_facade::backend::Timestamp> {
    let health = cache.health().await;
    (health.breaker == Some(BreakerState::Closed) && health.journal_depth == 0).then_some(health.since)
}

impl Run {
    async fn read(&self, number: usize, row: u64) {
        let instance = &self.instances[number];
        let since = on_redis(&instance.cache).await;
        let (own, common) = (instance.own.of(row), self.common.of(row));
        let read = self.database.read(&instance.cache, row).await.0;
        self.reads.fetch_add(1, Ordering::Relaxed);
        assert!(read >= own, "stale: instance {number} read {read} of row {row} after its own {own}");
        // An instance on its fallback store misses the other's changes; one on Redis sees them.
        if since.is_some() && on_redis(&instance.cache).await == since {
            self.on_redis.fetch_add(1, Ordering::Relaxed);
            assert!(
                read >= common,
                "stale: instance {number} read {read} of row {row} from Redis after {common}"
            );
        }
    }

    async fn write(&self, number: usize, row: u64) {
        let instance = &self.instances[number];
        let invalidated = self.database.write(&instance.cache, row).await;
        // Each row has one writer: the database holds its last version.
        let version = self.database.version(row);
        match invalidated {
            Invalidated::Applied { .. } => self.common.raise(row, version),
            Invalidated::Journaled { .. } => {
                self.journaled.fetch_add(1, Ordering::Relaxed);
                instance.owed.lock().push((row, version));
            }
        }
        instance.own.raise(row, version);
    }

    /// The pending invalidations have reached Redis when the instance uses it again.
    async fn promote(&self, number: usize) {
        let instance = &self.instances[number];
        let owed = std::mem::take(&mut *instance.owed.lock());
        if on_redis(&instance.cache).await.is_some() {
            for (row, version) in owed {
                self.common.raise(row, version);
            }
        } else {
            instance.owed.lock().extend(owed);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_read_is_stale_through_faults_in_random_order() {
    let mut server = RedisServer::start().unwrap();
    let mut proxies = Vec::new();
    let mut instances = Vec::new();
    let mut directories = Vec::new();
    for _ in 0..2 {
        let proxy = TcpProxy::start(server.address()).await.unwrap();
        let crate::support::Instance { cache, directory } =
            crate::support::Instance::new(proxy.address()).await;
        proxies.push(proxy);
        directories.push(directory);
        instances.push(Instance { cache, own: Known::new(), owed: Mutex::default() });
    }
    let run = Arc::new(Run {
        database: Database::new(),
        instances,
        common: Known::new(),
        reads: AtomicU64::new(0),
        on_redis: AtomicU64::new(0),
        journaled: AtomicU64::new(0),
        is_over: AtomicBool::new(false),
    });
    let mut tasks = Vec::new();
    for task in 0..10_u64 {
        let run = Arc::clone(&run);
        tasks.push(tokio::spawn(async move {
            let mut dice = Dice(0x9e37_79b9 + task * 0x1234_5678_9abc);
            let number = usize::try_from(task % 2).unwrap();
            while !run.is_over.load(Ordering::SeqCst) {
                let row = dice.below(ROWS as u64);
                if task < 6 {
                    run.read(number, row).await;
                    tokio::task::yield_now().await;
                } else if task < 8 {
                    let own = row / 2 * 2 + task % 2;
                    run.write(number, own).await;
                    tokio::time::sleep(Duration::from_millis(dice.below(5))).await;
                } else {
                    run.promote(number).await;
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
        }));
    }

    let mut dice = Dice(0x00c0_ffee);
    let began = Instant::now();
    let mut faults = 0;
    while began.elapsed() < LASTS {
        faults += 1;
        let which = usize::try_from(dice.below(2)).unwrap();
        let lasting = Duration::from_millis(20 + dice.below(400));
        let mode = match dice.below(9) {
            0 => Some(Mode::Refuse),
            1 => Some(Mode::Reset),
            2 => Some(Mode::BlackHole),
            3 => Some(Mode::SwallowReplies),
            4 => Some(Mode::Delay(Duration::from_millis(100))),
            5 => Some(Mode::CutAfter(100)),
            6 => {
                raw(&server, &["FLUSHALL"]);
                None
            }
            7 => {
                raw(&server, &["CLIENT", "KILL", "TYPE", "normal"]);
                None
            }
            _ => {
                server.restart(Restart::Empty).unwrap();
                None
            }
        };
        if let Some(mode) = mode {
            proxies[which].set(mode).await;
            tokio::time::sleep(lasting).await;
            proxies[which].set(Mode::Pass).await;
        }
        tokio::time::sleep(Duration::from_millis(dice.below(300))).await;
    }
    for instance in &run.instances {
        is_back(&instance.cache).await;
    }
    run.is_over.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
    for number in 0..2 {
        run.promote(number).await;
        for row in 0..ROWS as u64 {
            run.read(number, row).await;
        }
    }
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (reads, on_redis, journaled) = (count(&run.reads), count(&run.on_redis), count(&run.journaled));
    println!("{reads} reads, {on_redis} of them on Redis; {journaled} changes journaled; {faults} faults");
    assert!(on_redis > 1000 && journaled > 10, "{on_redis} reads on Redis, {journaled} journaled");
}
