//! Keys at their limits, clocks that jump, a disk that fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_core::plants::{Plant, is_planted};
use cache_core::{
    CacheBackend, CacheKey, Clock, ErrorKind, HealthStatus, Invalidated, Invalidation, ManualClock,
    MissCause, NewEntry,
};
use cache_disk::DiskBackend;
use testkit::fails_only_if;

use super::histories::WRITER;
use super::storage::{Faulty, tapped};
use super::support::{config, eventually, in_memory, key, open, runtime};
use super::world::{World, fill, found, hits, open_on, value};

/// How long a write waits for a permit while the disk works.
const WAITS_FOR_ROOM: Duration = Duration::from_millis(250);

/// History 12: keys of every allowed length, with every separator in their parts, and their invalidations.
#[test]
fn keys_and_patterns_at_their_limits_are_stored_found_again_and_removed() {
    let separators =
        [":", "%", "*", "?", "[", "]", "{", "}", "\\", " ", "\t", "\u{7f}", "é", "\u{202e}", "%~"];
    let mut keys: Vec<CacheKey> = separators
        .iter()
        .map(|part| CacheKey::builder("image", part).part(part).part(part.repeat(60)).build().unwrap())
        .collect();
    for length in [1, 198, 199, 200, 201, 5_000] {
        keys.push(CacheKey::builder("image", "x".repeat(length)).part("y".repeat(length)).build().unwrap());
    }
    let parts = |count: usize| {
        (0..count).fold(CacheKey::builder("image", "long"), |key, _| key.part("z".repeat(199)))
    };
    keys.push(parts(5).build().unwrap());
    assert_eq!(parts(6).build().unwrap_err().kind(), ErrorKind::InvalidKey);
    runtime().block_on(async {
        for removal in 0..3 {
            let root = in_memory();
            let mut cache = open(root.path()).await;
            for key in &keys {
                fill(&cache, key, 1, 5_000).await;
            }
            cache.close().await.unwrap();
            cache = open(root.path()).await;
            for (at, key) in keys.iter().enumerate() {
                assert_eq!(found(&cache, key).await, Some(1), "{key}");
                let what = match removal {
                    0 => Invalidation::Key(key.clone()),
                    1 => Invalidation::Group(key.to_group()),
                    _ => Invalidation::Pattern((&key.to_group()).into()),
                };
                let _ = cache.invalidate(&[what]).await.unwrap();
                assert_eq!(found(&cache, key).await, None, "{key}");
                let left = hits(&cache, &keys).await;
                assert_eq!(left, keys.len() - at - 1, "removing {key} removed others");
            }
            cache.close().await.unwrap();
        }
    });
}

/// History 13: the wall clock jumps by ten years, also between two processes.
#[test]
fn a_clock_that_jumps_ten_years_lets_no_entry_outlive_its_ttl_and_loses_none_without() {
    const TEN_YEARS: i64 = 10 * 365 * 86_400_000;
    let lives = |days: u64| Duration::from_secs(3600 * 24 * days);
    runtime().block_on(async {
        for jump in [TEN_YEARS, -TEN_YEARS] {
            let (root, clock) = (in_memory(), Arc::new(ManualClock::new()));
            let config = || config(root.path()).clock(clock.clone());
            let (brief, lasting) = (key("image:1:brief"), key("image:1:lasting"));
            let mut cache = DiskBackend::open(config()).await.unwrap();
            let entry = |key: &CacheKey| NewEntry::new(value(key, 1, 6_000));
            cache.set(&brief, entry(&brief).expires_in(lives(1))).await.unwrap();
            cache.set(&lasting, entry(&lasting)).await.unwrap();
            let stored = clock.now();
            clock.jump_wall(jump);
            // A clock that is set back does not affect the time to live; one that is set forward ends it.
            assert_eq!(found(&cache, &brief).await.is_some(), jump < 0);
            clock.advance(lives(1));
            assert_eq!(found(&cache, &brief).await, None);
            assert_eq!(found(&cache, &lasting).await, Some(1));
            cache.set(&brief, entry(&brief).expires_in(lives(1))).await.unwrap();
            cache.close().await.unwrap();
            // A new process knows the wall clock only.
            clock.restart();
            cache = DiskBackend::open(config()).await.unwrap();
            assert_eq!(found(&cache, &lasting).await, Some(1));
            let is_from_the_future = clock.now() < stored;
            assert_eq!(found(&cache, &brief).await.is_some(), !is_from_the_future);
            // With the clock corrected, the entry is found: it was a miss, not gone.
            clock.jump_wall(-jump);
            if is_from_the_future {
                assert_eq!(found(&cache, &brief).await, Some(1), "an entry from the future was deleted");
            }
            clock.advance(lives(1));
            assert_eq!(found(&cache, &brief).await, None);
            cache.close().await.unwrap();
        }
    });
}

/// No caller waits for a failed disk.
#[test]
fn while_the_database_is_away_reads_miss_and_fills_are_refused_at_once() {
    runtime().block_on(async {
        let (root, disk) = (in_memory(), Faulty::sound());
        let cache = open_on(root.path(), &disk).await;
        fill(&cache, &key("image:5:a"), 1, 3_000).await;
        cache.flush().await.unwrap();
        disk.fail_next(usize::MAX);
        let (mut slowest, world) = (Duration::ZERO, World::new());
        for turn in 0..600 {
            let start = Instant::now();
            // More than the queue holds.
            world.read(&cache, turn % world.rows.len(), 400_000).await.unwrap();
            slowest = slowest.max(start.elapsed());
            let _ = cache.get(&key("image:5:a")).await.unwrap();
        }
        assert!(slowest < WAITS_FOR_ROOM, "a caller waited {slowest:?} for a failed disk");
        assert_eq!(cache.health().await.status, HealthStatus::Degraded);
        assert_eq!(cache.get(&key("image:5:a")).await.unwrap(), None);
        let why = cache.explain(&key("image:5:a")).await.unwrap().last_miss;
        assert_eq!(why, Some(MissCause::Unavailable));
        disk.mend();
        eventually(Duration::from_secs(5), "the disk is used again", async || cache.flush().await.is_ok())
            .await;
        cache.close().await.unwrap();
    });
}

/// The value in between expired before it was written, so it is not among the values that the fault lost.
#[test]
fn a_fault_does_not_uncover_the_value_before_one_that_expired_in_the_queue() {
    runtime().block_on(async {
        let (root, disk, clock) = (in_memory(), Faulty::sound(), Arc::new(ManualClock::new()));
        let cache = DiskBackend::open(tapped(config(root.path()).clock(clock.clone()), &disk)).await.unwrap();
        let key = key("image:5:a");
        fill(&cache, &key, 1, 300).await;
        cache.flush().await.unwrap();
        disk.stall(WRITER);
        cache.set(&key, NewEntry::new(value(&key, 2, 300)).expires_in(Duration::from_secs(1))).await.unwrap();
        clock.advance(Duration::from_secs(5));
        assert_eq!(found(&cache, &key).await, None, "it expired");
        disk.fail_next(1);
        disk.release();
        eventually(Duration::from_secs(5), "a flush behind the fault", async || cache.flush().await.is_ok())
            .await;
        assert_eq!(found(&cache, &key).await, None, "the value before it came back");
        cache.close().await.unwrap();
    });
}

/// The disk failed, and works again when the store is closed before the next attempt to reopen the file.
#[test]
fn a_value_replaced_while_the_disk_failed_is_not_there_after_closing() {
    runtime().block_on(async {
        let (root, disk, key) = (in_memory(), Faulty::sound(), key("image:5:a"));
        let cache = open_on(root.path(), &disk).await;
        fill(&cache, &key, 1, 300).await;
        cache.flush().await.unwrap();
        disk.fail_next(usize::MAX);
        cache.set(&key, NewEntry::new(value(&key, 2, 300))).await.unwrap();
        eventually(Duration::from_secs(5), "the fault is known", async || {
            cache.health().await.status == HealthStatus::Degraded
        })
        .await;
        // Until the next attempt is some time away.
        let operations = disk.operations();
        eventually(Duration::from_secs(5), "it tried again", async || disk.operations() > operations + 3)
            .await;
        disk.mend();
        cache.close().await.unwrap();
        let cache = open_on(root.path(), &disk).await;
        assert_ne!(found(&cache, &key).await, Some(1), "the replaced value is there again");
        cache.close().await.unwrap();
    });
}

/// 1. A count looks at what the database holds. 2. The writer stores an entry. 3. The count looks at what waits for the writer.
#[test]
fn an_entry_is_counted_once_while_the_writer_stores_it() {
    fails_only_if(is_planted(Plant::UnwrittenUncounted), "the count in round", || {
        runtime().block_on(async {
            let root = in_memory();
            let cache = open(root.path()).await;
            let everything = [Invalidation::Everything];
            for round in 0..200 {
                // More than are looked at in one snapshot.
                for id in 0..40_u64 {
                    let key = key(&format!("image:{id}"));
                    cache.set(&key, NewEntry::new(value(&key, round, 100))).await.unwrap();
                    if id % 8 == 0 {
                        let count = cache.count_matches(&everything[0]).await.unwrap();
                        assert_eq!(count, Some(id + 1), "the count in round {round}");
                    }
                }
                assert_eq!(
                    cache.invalidate(&everything).await.unwrap(),
                    Invalidated::Applied { removed: 40 }
                );
            }
            cache.close().await.unwrap();
        });
    });
}
