//! Laws of many threads: each starts threads of its own.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;

use bytes::Bytes;

use super::probe::{Probe, key, noise, what};
use super::subject::Subject;
use cache_core::{CacheKey, Invalidation};

const READERS: usize = 4;
const WRITERS: usize = 2;
/// Changes and invalidations of each writer, at least.
const CHANGES: usize = 150;
/// Lookups of all readers together, at least.
const LOOKUPS: usize = 30_000;

/// A row of a database: its version, and the latest version whose invalidation was acknowledged.
struct Row {
    key: CacheKey,
    version: AtomicU64,
    acknowledged: AtomicU64,
}

impl Row {
    fn new(key: CacheKey) -> Self {
        Self { key, version: AtomicU64::new(0), acknowledged: AtomicU64::new(0) }
    }

    /// Reads once: a hit must not be older than the version acknowledged before the read; a miss is loaded and filled.
    async fn read(&self, probe: &Probe) {
        let oldest = self.acknowledged.load(Ordering::SeqCst);
        let lookup = probe.lookup(&self.key).await;
        if let Some(entry) = lookup.entry {
            let version = entry.payload.as_ref().try_into().map(u64::from_le_bytes);
            let newest = self.version.load(Ordering::SeqCst);
            assert!(
                version.is_ok_and(|version| (oldest..=newest).contains(&version)),
                "{}: version {version:?} was served; {oldest} was acknowledged before, {newest} is the newest",
                self.key
            );
            return;
        }
        let loaded = self.version.load(Ordering::SeqCst);
        // A load takes time, in which an invalidation may happen.
        thread::yield_now();
        probe.fill(&self.key, lookup.token, Bytes::copy_from_slice(&loaded.to_le_bytes())).await;
    }

    /// Writes once: commits, invalidates, and acknowledges after the invalidation returned.
    async fn change(&self, probe: &Probe, invalidation: &Invalidation) {
        let version = self.version.fetch_add(1, Ordering::SeqCst) + 1;
        probe.invalidate(invalidation).await;
        self.acknowledged.fetch_max(version, Ordering::SeqCst);
        thread::yield_now();
    }
}

/// Runs readers and writers on `rows`. Every writer applies all `invalidations` in turn, each to its row.
fn race(subject: &dyn Subject, rows: &[Row], invalidations: &[(usize, Invalidation)]) {
    let probe = opened(subject);
    let (lookups, busy, failed) = (AtomicUsize::new(0), AtomicUsize::new(WRITERS), AtomicBool::new(false));
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (probe, lookups, busy, failed) = (&probe, &lookups, &busy, &failed);
            scope.spawn(move || {
                let _watch = Watch(failed);
                subject.run(Box::pin(async move {
                    let mut turns = invalidations.iter().cycle().skip(writer);
                    let mut changes = 0;
                    // Until both minima are reached.
                    while (changes < CHANGES || lookups.load(Ordering::SeqCst) < LOOKUPS)
                        && !failed.load(Ordering::SeqCst)
                    {
                        let Some((row, invalidation)) = turns.next() else { break };
                        if let Some(row) = rows.get(*row) {
                            row.change(probe, invalidation).await;
                        }
                        changes += 1;
                    }
                }));
                busy.fetch_sub(1, Ordering::SeqCst);
            });
        }
        for reader in 0..READERS {
            let (probe, lookups, busy, failed) = (&probe, &lookups, &busy, &failed);
            scope.spawn(move || {
                let _watch = Watch(failed);
                subject.run(Box::pin(async move {
                    for row in rows.iter().cycle().skip(reader) {
                        if busy.load(Ordering::SeqCst) == 0 || failed.load(Ordering::SeqCst) {
                            break;
                        }
                        row.read(probe).await;
                        lookups.fetch_add(1, Ordering::SeqCst);
                    }
                }));
            });
        }
    });
}

/// Stops the other threads when this one fails.
struct Watch<'a>(&'a AtomicBool);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::SeqCst);
        }
    }
}

fn opened(subject: &dyn Subject) -> Probe {
    let mut probe = None;
    subject.run(Box::pin(async { probe = Some(Probe::open(subject).await) }));
    probe.expect("the law above completed")
}

/// With one key, no reader gets a version older than one that was acknowledged before its read started.
pub fn readers_of_one_key_never_see_an_old_version(subject: &dyn Subject) {
    let rows = [Row::new(key("image:5:metadata"))];
    race(subject, &rows, &[(0, what("key image:5:metadata")), (0, what("group image:5"))]);
}

/// With several keys and every kind of invalidation, no reader gets an older version.
pub fn readers_of_many_keys_never_see_an_old_version(subject: &dyn Subject) {
    let rows = [
        "image:5:metadata",
        "image:5:tiles:0",
        "image:50:metadata",
        "thumbnail:5:64x64",
        "[r]image:5:metadata",
    ]
    .map(|text| Row::new(key(text)));
    let invalidations = [
        (0, what("key image:5:metadata")),
        (1, what("pattern image:5:tiles")),
        (2, what("pattern image")),
        (3, what("pattern *:64x*")),
        (4, what("group [r]image:5")),
        (0, what("group image:5")),
        (4, what("pattern [r]")),
        (2, what("pattern image:50*")),
        (1, what("everything")),
    ];
    race(subject, &rows, &invalidations);
}

/// A value that is replaced while it is read is read as a whole.
pub fn a_reader_never_sees_half_a_value(subject: &dyn Subject) {
    let probe = opened(subject);
    let key = key("thumbnail:5:640x480");
    // Each takes several rows and pages, and has a length of its own.
    let values = [noise(1, 9_000), noise(2, 14_000), noise(3, 23_000)];
    thread::scope(|scope| {
        for value in &values {
            let (probe, key) = (&probe, &key);
            scope.spawn(move || {
                subject.run(Box::pin(async move {
                    for turn in 0..60 {
                        if turn % 2 == 0 {
                            probe.set(key, value.clone()).await;
                        } else {
                            let token = probe.token(key).await;
                            probe.fill(key, token, value.clone()).await;
                        }
                    }
                }));
            });
        }
        let (probe, key, values) = (&probe, &key, &values);
        scope.spawn(move || {
            subject.run(Box::pin(async move {
                for _ in 0..1_000 {
                    if let Some(entry) = probe.lookup(key).await.entry {
                        assert!(values.contains(&entry.payload), "{} bytes of no value", entry.payload.len());
                    }
                }
            }));
        });
    });
}

/// No increment is lost.
pub fn concurrent_increments_add_up(subject: &dyn Subject) {
    let probe = opened(subject);
    let Some(atomic) = probe.atomic() else { return };
    let key = key("counter:1");
    thread::scope(|scope| {
        for _ in 0..4 {
            let (probe, key) = (&probe, &key);
            scope.spawn(move || {
                subject.run(Box::pin(async move {
                    for _ in 0..100 {
                        probe.accept(atomic.increment(key, 1).await);
                    }
                }));
            });
        }
    });
    subject.run(Box::pin(async {
        assert_eq!(probe.accept(atomic.increment(&key, 0).await), Some(400));
    }));
}

/// Of many simultaneous claims of a key one succeeds.
pub fn one_of_many_claims_wins(subject: &dyn Subject) {
    let probe = opened(subject);
    let Some(atomic) = probe.atomic() else { return };
    for turn in 0..50_u32 {
        let key = CacheKey::builder("lock", turn).build().expect("the key is short");
        let winners = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                let (probe, key, winners) = (&probe, &key, &winners);
                scope.spawn(move || {
                    subject.run(Box::pin(async move {
                        let won = probe.accept(atomic.add(key, Bytes::from_static(b"mine")).await);
                        winners.fetch_add(usize::from(won == Some(true)), Ordering::SeqCst);
                    }));
                });
            }
        });
        assert_eq!(winners.load(Ordering::SeqCst), 1, "claims of {key}");
    }
}
