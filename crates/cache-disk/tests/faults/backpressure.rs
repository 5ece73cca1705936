//! Callers wait neither for a long queue nor for one that never becomes empty.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cache_core::{CacheBackend, FillOutcome, ManualClock, NewEntry};
use cache_disk::DiskBackend;
use tokio::task::JoinSet;

use super::histories::WRITER;
use super::storage::{ENOSPC, Faulty, Operation, Tap, Verdict, tapped};
use super::support::{config, eventually, in_memory, key, on_disk, runtime, what};

const SOON: Duration = Duration::from_secs(10);

/// A caller does not wait for the fill of its loaded value, so without a limit the number of waiting fills would grow.
#[test]
fn while_the_disk_stalls_a_bounded_number_of_fills_waits() {
    runtime().block_on(async {
        let (root, disk) = (in_memory(), Faulty::sound());
        let cache = Arc::new(DiskBackend::open(tapped(config(root.path()), &disk)).await.unwrap());
        disk.stall(WRITER);
        let (begun, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let fills: JoinSet<FillOutcome> = (0..2_000)
            .map(|number| {
                let (cache, begun, ended) = (Arc::clone(&cache), Arc::clone(&begun), Arc::clone(&ended));
                async move {
                    begun.fetch_add(1, Ordering::SeqCst);
                    let key = key(&format!("image:{number}:metadata"));
                    let token = cache.lookup(&key).await.unwrap().token;
                    let outcome = cache.fill(&key, token, NewEntry::new(vec![7; 100_000])).await.unwrap();
                    ended.fetch_add(1, Ordering::SeqCst);
                    outcome
                }
            })
            .collect();
        eventually(SOON, "all have begun", async || begun.load(Ordering::SeqCst) == 2_000).await;
        // Before the waiting fills give up.
        eventually(Duration::from_millis(150), "only so many wait", async || {
            2_000 - ended.load(Ordering::SeqCst) <= (4 << 20) / 100_000
        })
        .await;
        let outcomes = fills.join_all().await;
        let stored = outcomes.iter().filter(|outcome| **outcome == FillOutcome::Stored).count();
        assert!((60..=120).contains(&stored), "the queue takes 8 MB: {stored} of 100 KB were stored");
        disk.release();
        cache.close().await.unwrap();
    });
}

#[test]
fn a_flush_ends_while_values_keep_coming_and_delays_no_invalidation() {
    runtime().block_on(async {
        let root = on_disk();
        let cache = Arc::new(DiskBackend::open(config(root.path()).limit_bytes(64 << 20)).await.unwrap());
        let (is_done, stored) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let pouring: JoinSet<()> = (0..4)
            .map(|task| {
                let (cache, is_done, stored) =
                    (Arc::clone(&cache), Arc::clone(&is_done), Arc::clone(&stored));
                async move {
                    for number in 0.. {
                        if is_done.load(Ordering::SeqCst) {
                            return;
                        }
                        let key = key(&format!("image:{task}:{number}"));
                        let is_stored = cache.set(&key, NewEntry::new(vec![7; 20_000])).await.is_ok();
                        stored.fetch_add(usize::from(is_stored), Ordering::SeqCst);
                    }
                }
            })
            .collect();
        eventually(SOON, "the queue is full", async || stored.load(Ordering::SeqCst) >= 1_000).await;
        for _ in 0..20 {
            let invalidated = async {
                let _ = cache.invalidate(&[what("key thumbnail:1:a")]).await.unwrap();
            };
            let both = async { tokio::join!(cache.flush(), invalidated).0 };
            tokio::time::timeout(SOON, both).await.expect("both end while values keep coming").unwrap();
        }
        is_done.store(true, Ordering::SeqCst);
        pouring.join_all().await;
        cache.close().await.unwrap();
    });
}

#[test]
fn values_are_written_while_entries_that_expired_at_once_are_removed() {
    runtime().block_on(async {
        let (root, clock) = (on_disk(), Arc::new(ManualClock::new()));
        let configured = config(root.path()).limit_bytes(128 << 20).clock(clock.clone());
        let cache = DiskBackend::open(configured).await.unwrap();
        for number in 0..60_000 {
            let brief = NewEntry::new(vec![7; 200]).expires_in(Duration::from_secs(60));
            while cache.set(&key(&format!("image:{number}:metadata")), brief.clone()).await.is_err() {}
        }
        cache.flush().await.unwrap();
        clock.advance(Duration::from_secs(60));
        let stats = cache.stats().await.unwrap();
        assert_eq!((stats.count, stats.expirations), (0, 60_000));
        let (began, mut failed) = (Instant::now(), 0);
        // More than the queue holds.
        for number in 0..3_000 {
            let one = key(&format!("thumbnail:{number}:a"));
            failed += usize::from(cache.set(&one, NewEntry::new(vec![7; 20_000])).await.is_err());
        }
        println!("3000 values in {:?}, {failed} failed", began.elapsed());
        // A machine that stalls may cause one or two.
        assert!(failed <= 2, "{failed} of 3000 sets were dropped");
        cache.close().await.unwrap();
    });
}

/// The first write after `is_armed` was set finds no space.
#[derive(Debug, Default)]
struct Full {
    is_armed: AtomicBool,
}

impl Tap for Full {
    fn before(&self, _: usize, operation: Operation<'_>) -> Verdict {
        if matches!(operation, Operation::Write { .. }) && self.is_armed.swap(false, Ordering::SeqCst) {
            return Verdict::Fail(std::io::Error::from_raw_os_error(ENOSPC));
        }
        Verdict::Pass
    }
}

#[test]
fn an_invalidation_does_not_wait_until_a_full_disk_has_space_again() {
    runtime().block_on(async {
        let (root, disk) = (on_disk(), Arc::new(Full::default()));
        let cache =
            DiskBackend::open(tapped(config(root.path()).limit_bytes(32 << 20), &disk)).await.unwrap();
        for number in 0..70_000 {
            let key = key(&format!("image:{number}:metadata"));
            while cache.set(&key, NewEntry::new(vec![7; 200])).await.is_err() {}
        }
        cache.flush().await.unwrap();
        let before = cache.stats().await.unwrap().count;
        // Some still wait in the queue when the disk is full.
        for number in 0..4_000 {
            cache.set(&key(&format!("thumbnail:{number}:a")), NewEntry::new(vec![7; 200])).await.unwrap();
        }
        disk.is_armed.store(true, Ordering::SeqCst);
        eventually(SOON, "the disk is full", async || !disk.is_armed.load(Ordering::SeqCst)).await;
        let (began, mut worst) = (Instant::now(), Duration::ZERO);
        while began.elapsed() < Duration::from_secs(3) {
            let one = Instant::now();
            let _ = cache.invalidate(&[what("key thumbnail:1:b")]).await.unwrap();
            worst = worst.max(one.elapsed());
        }
        let after = cache.stats().await.unwrap().count;
        println!("{before} entries before, {after} after; an invalidation took {worst:?}");
        assert!(after > 0 && after < before, "{before} entries before, {after} after");
        assert!(worst < Duration::from_secs(1), "an invalidation waited {worst:?}");
        cache.close().await.unwrap();
    });
}
