//! Interleavings that broke drafts of this backend or other caches.
//!
//! Interleavings within one call are in `tests/schedules`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cache_core::{
    CacheBackend, CacheBackendExt, CacheKey, ErrorKind, FillOutcome, Invalidation, ManualClock, NewEntry,
};
use cache_core::{HealthStatus, MissCause};
use cache_disk::{DiskBackend, DiskConfig, ValuesOperation};

use super::storage::{Faulty, tapped};
use super::support::{
    Dice, SMALL_LIMIT, config, eventually, in_memory, key, open, runtime, until_complete, what,
};
use super::world::{World, fill, found, hits, open_on, value};

const LOADER: &str = "cache-disk-load";
pub(super) const WRITER: &str = "cache-disk";

async fn invalidate(cache: &DiskBackend, text: &str) {
    let _ = cache.invalidate(&[what(text)]).await.unwrap();
}

/// Fills a store with many keys, `image:5:a` among them, so that loading its index takes a while, and closes it.
async fn big(directory: &Path) {
    let cache = open(directory).await;
    for id in 0..3_000 {
        let key = CacheKey::builder("filler", id).part("metadata").build().unwrap();
        fill(&cache, &key, 1, 60).await;
    }
    for text in ["image:5:a", "image:5:b", "image:6:a", "thumbnail:5:a"] {
        fill(&cache, &key(text), 1, 3_000).await;
    }
    cache.close().await.unwrap();
}

/// History 8: `image:5:a` is durable, leaves the index with a lazy commit, is deleted; the process is killed.
async fn stays_away_after(leaves: impl AsyncFn(&DiskBackend, &ManualClock, &Faulty), text: &str) {
    let (root, disk, clock) = (in_memory(), Faulty::sound(), Arc::new(ManualClock::new()));
    let key = key("image:5:a");
    let on = |disk: &Arc<Faulty>| tapped(config(root.path()).clock(clock.clone()), disk);
    let cache = DiskBackend::open(on(&disk)).await.unwrap();
    let token = cache.lookup(&key).await.unwrap().token;
    let old = NewEntry::new(value(&key, 1, 3_000)).expires_in(Duration::from_secs(3600));
    assert_eq!(cache.fill(&key, token, old).await.unwrap(), FillOutcome::Stored);
    cache.flush().await.unwrap();
    leaves(&cache, &clock, &disk).await;
    invalidate(&cache, text).await;
    assert_eq!(found(&cache, &key).await, None);
    disk.die();
    drop(cache);
    let cache = DiskBackend::open(on(&Faulty::sound())).await.unwrap();
    assert_eq!(found(&cache, &key).await, None, "{text}: it came back");
    cache.close().await.unwrap();
}

#[test]
fn a_durable_value_that_was_evicted_lazily_and_then_deleted_stays_away_after_kill_9() {
    runtime().block_on(async {
        for text in ["key image:5:a", "group image:5", "pattern image:5*"] {
            stays_away_after(
                async |cache, _, _| {
                    for id in 0.. {
                        let filler = CacheKey::builder("filler", id).build().unwrap();
                        fill(cache, &filler, 1, 50_000).await;
                        // It is the oldest, and evicted first.
                        if id % 20 == 0 && cache.stats().await.unwrap().evictions > 0 {
                            break;
                        }
                    }
                    assert_eq!(found(cache, &key("image:5:a")).await, None);
                    let why = cache.explain(&key("image:5:a")).await.unwrap().last_miss;
                    // The miss log is short: a key that was looked up since may have replaced it.
                    assert!(matches!(why, Some(MissCause::Evicted | MissCause::Absent)), "{why:?}");
                },
                text,
            )
            .await;
        }
    });
}

#[test]
fn a_durable_value_that_was_overwritten_lazily_and_then_deleted_stays_away_after_kill_9() {
    runtime().block_on(async {
        for text in ["key image:5:a", "group image:5", "pattern *:a"] {
            stays_away_after(async |cache, _, _| fill(cache, &key("image:5:a"), 2, 500).await, text).await;
        }
    });
}

#[test]
fn a_durable_value_that_expired_and_was_then_deleted_stays_away_after_kill_9() {
    runtime().block_on(async {
        for text in ["key image:5:a", "group image:5", "pattern image"] {
            stays_away_after(
                async |cache, clock, _| {
                    clock.advance(Duration::from_secs(3600));
                    assert_eq!(found(cache, &key("image:5:a")).await, None);
                    // The store may have removed it by now.
                    tokio::task::yield_now().await;
                },
                text,
            )
            .await;
        }
    });
}

#[test]
fn a_value_deleted_through_a_poisoned_handle_stays_away_after_kill_9() {
    runtime().block_on(async {
        for text in ["key image:5:a", "group image:5", "everything"] {
            stays_away_after(
                async |cache, _, disk| {
                    fill(cache, &key("image:5:a"), 2, 500).await;
                    disk.fail_next(1);
                },
                text,
            )
            .await;
        }
    });
}

#[test]
fn a_value_deleted_by_two_at_once_stays_away_after_kill_9() {
    runtime().block_on(async {
        for text in ["key image:5:a", "group image:5", "pattern image", "everything"] {
            stays_away_after(
                async |cache, _, _| {
                    let (one, two) = ([what("key image:5:a")], [what(text)]);
                    let (one, two) = tokio::join!(cache.invalidate(&one), cache.invalidate(&two));
                    let _ = (one.unwrap(), two.unwrap());
                },
                text,
            )
            .await;
        }
    });
}

/// The queue is full and the writer stalls: a write is dropped, and the value before it is removed.
#[test]
fn a_dropped_write_removes_the_value_before_it() {
    runtime().block_on(async {
        let (root, disk, key) = (in_memory(), Faulty::sound(), key("image:5:a"));
        let cache = open_on(root.path(), &disk).await;
        fill(&cache, &key, 1, 3_000).await;
        cache.flush().await.unwrap();
        disk.stall(WRITER);
        let full = async {
            for id in 0.. {
                let filler = CacheKey::builder("filler", id).build().unwrap();
                let token = cache.lookup(&filler).await.unwrap().token;
                let entry = NewEntry::new(value(&filler, 1, 500_000));
                if cache.fill(&filler, token, entry).await.unwrap() == FillOutcome::Refused {
                    break;
                }
            }
            let dropped = cache.set(&key, NewEntry::new(value(&key, 2, 900_000))).await.unwrap_err();
            assert_eq!(dropped.kind(), ErrorKind::Unavailable);
        };
        let release = async {
            tokio::time::sleep(Duration::from_millis(800)).await;
            disk.release();
        };
        tokio::join!(full, release);
        assert_eq!(found(&cache, &key).await, None);
        disk.die();
        drop(cache);
        let cache = open(root.path()).await;
        assert_eq!(found(&cache, &key).await, None);
        cache.close().await.unwrap();
    });
}

/// History 9, at start: while the loader stalls, keys are looked up in the database.
#[test]
fn entries_invalidated_while_the_index_is_loaded_stay_away() {
    runtime().block_on(async {
        for text in ["key image:5:a", "group image:5", "pattern image", "pattern *:a", "everything"] {
            let (root, disk) = (in_memory(), Faulty::sound());
            big(root.path()).await;
            disk.stall(LOADER);
            let cache = open_on(root.path(), &disk).await;
            assert_eq!(
                found(&cache, &key("image:5:a")).await,
                Some(1),
                "reads go on while the index is loaded"
            );
            let token = cache.lookup(&key("image:5:a")).await.unwrap().token;
            invalidate(&cache, text).await;
            assert_eq!(found(&cache, &key("image:5:a")).await, None, "{text}");
            let late = NewEntry::new(value(&key("image:5:a"), 1, 10));
            assert_eq!(cache.fill(&key("image:5:a"), token, late).await.unwrap(), FillOutcome::Refused);
            disk.release();
            until_complete(&cache).await;
            assert_eq!(found(&cache, &key("image:5:a")).await, None, "{text}, and the index was loaded");
            let others = cache.stats().await.unwrap().count;
            assert_eq!(others > 2_000, text != "everything", "{text}: {others} entries left");
            disk.die();
            drop(cache);
            let cache = open(root.path()).await;
            assert_eq!(found(&cache, &key("image:5:a")).await, None, "{text}, and killed");
            cache.close().await.unwrap();
        }
    });
}

/// History 9, at start, with a value in blocks, which can be read until they are freed; here they never are.
///
/// 1. The loader takes a snapshot. 2. The value is invalidated. 3. The loader finds its key in the snapshot.
#[test]
fn values_in_blocks_that_are_invalidated_while_the_index_is_loaded_stay_away() {
    runtime().block_on(async {
        for text in ["key image:7:large", "group image:7", "pattern image:7*"] {
            let (root, disk, large) = (in_memory(), Faulty::sound(), key("image:7:large"));
            big(root.path()).await;
            let cache = open(root.path()).await;
            until_complete(&cache).await;
            fill(&cache, &large, 1, 60_000).await;
            cache.close().await.unwrap();
            disk.stall(LOADER);
            let freeing_nothing = config(root.path())
                .page_cache_bytes(0)
                .before_values(|operation| Ok(!matches!(operation, ValuesOperation::Free { .. })));
            let cache = DiskBackend::open(tapped(freeing_nothing, &disk)).await.unwrap();
            assert_eq!(found(&cache, &large).await, Some(1));
            // The loader reads from its snapshot by now, and waits.
            tokio::time::sleep(Duration::from_millis(100)).await;
            invalidate(&cache, text).await;
            disk.release();
            until_complete(&cache).await;
            assert_eq!(found(&cache, &large).await, None, "{text}");
            cache.close().await.unwrap();
        }
    });
}

/// History 9, later: after a fault the file is reopened, and the index loaded again.
#[test]
fn entries_invalidated_while_the_file_is_reopened_stay_away() {
    runtime().block_on(async {
        for text in ["key image:5:a", "group image:5", "pattern image", "everything"] {
            let (root, disk) = (in_memory(), Faulty::sound());
            big(root.path()).await;
            let cache = open_on(root.path(), &disk).await;
            until_complete(&cache).await;
            disk.stall(LOADER);
            disk.fail_next(1);
            let fillers = (0..3_000).map(|id| key(&format!("filler:{id}:metadata")));
            for filler in fillers {
                // Some pages may be in memory.
                if found(&cache, &filler).await.is_none() {
                    break;
                }
            }
            eventually(Duration::from_secs(5), "reopened", async || {
                cache.health().await.status == HealthStatus::Ok
            })
            .await;
            assert_eq!(found(&cache, &key("image:5:a")).await, Some(1), "{text}");
            invalidate(&cache, text).await;
            assert_eq!(found(&cache, &key("image:5:a")).await, None, "{text}");
            disk.release();
            until_complete(&cache).await;
            assert_eq!(found(&cache, &key("image:5:a")).await, None, "{text}, and the index was loaded");
            disk.die();
            drop(cache);
            let cache = open(root.path()).await;
            assert_eq!(found(&cache, &key("image:5:a")).await, None, "{text}, and killed");
            cache.close().await.unwrap();
        }
    });
}

/// Stored entries are found again after an outage, also those that were looked up during it.
#[test]
fn an_outage_loses_nothing_that_is_on_the_disk() {
    runtime().block_on(async {
        let (root, disk) = (in_memory(), Faulty::sound());
        big(root.path()).await;
        let cache = open_on(root.path(), &disk).await;
        until_complete(&cache).await;
        let keys: Vec<CacheKey> = (0..3_000).map(|id| key(&format!("filler:{id}:metadata"))).collect();
        assert_eq!(hits(&cache, &keys).await, keys.len());
        disk.fail_next(usize::MAX);
        let during = hits(&cache, &keys).await;
        assert!(during < keys.len(), "there was no outage");
        disk.mend();
        eventually(Duration::from_secs(5), "reopened", async || cache.flush().await.is_ok()).await;
        assert_eq!(hits(&cache, &keys).await, keys.len(), "{during} were found during the outage");
        cache.close().await.unwrap();
    });
}

/// The database holds an old value, the index a newer one that expires: the old one must not be seen.
#[test]
fn a_value_that_was_replaced_while_the_index_is_loaded_is_not_uncovered() {
    runtime().block_on(async {
        let (root, disk, clock) = (in_memory(), Faulty::sound(), Arc::new(ManualClock::new()));
        big(root.path()).await;
        disk.stall(LOADER);
        let config = config(root.path()).page_cache_bytes(0).clock(clock.clone());
        let cache = DiskBackend::open(tapped(config, &disk)).await.unwrap();
        let key = key("image:5:a");
        let brief = NewEntry::new(value(&key, 2, 100)).expires_in(Duration::from_secs(1));
        cache.set(&key, brief).await.unwrap();
        assert_eq!(found(&cache, &key).await, Some(2));
        clock.advance(Duration::from_secs(1));
        assert_eq!(found(&cache, &key).await, None, "it expired");
        assert_eq!(found(&cache, &key).await, None, "the value before it was uncovered");
        disk.release();
        until_complete(&cache).await;
        assert_eq!(found(&cache, &key).await, None, "the value before it was uncovered by the loader");
        assert_eq!(found(&cache, &super::support::key("image:5:b")).await, Some(1));
        cache.close().await.unwrap();
        let cache = open(root.path()).await;
        assert_eq!(found(&cache, &key).await, None, "the value before it was uncovered by closing");
        cache.close().await.unwrap();
    });
}

/// A clear during the load of the index leaves no entry, and causes no error.
#[test]
fn a_clear_while_the_index_is_loaded_leaves_nothing() {
    runtime().block_on(async {
        let (root, disk) = (in_memory(), Faulty::sound());
        big(root.path()).await;
        disk.stall(LOADER);
        let cache = open_on(root.path(), &disk).await;
        invalidate(&cache, "everything").await;
        fill(&cache, &key("image:7:a"), 1, 100).await;
        disk.release();
        cache.flush().await.unwrap();
        for _ in 0..20 {
            let stats = cache.stats().await.unwrap();
            assert_eq!((stats.count, stats.errors), (1, 0), "{stats:?}");
            assert_eq!(found(&cache, &key("image:7:a")).await, Some(1));
            assert_eq!(cache.health().await.status, HealthStatus::Ok);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        cache.close().await.unwrap();
    });
}

/// A clear replaces the file under readers of the old one, which is no fault.
#[test]
fn clearing_under_readers_is_no_fault_and_serves_nothing_old() {
    runtime().block_on(async {
        let (root, world) = (in_memory(), Arc::new(World::new()));
        let cache = Arc::new(DiskBackend::open(config(root.path()).page_cache_bytes(0)).await.unwrap());
        let readers: Vec<_> = (0..2_u64)
            .map(|seed| {
                let (cache, world, dice) = (Arc::clone(&cache), Arc::clone(&world), Dice::new(seed));
                tokio::spawn(async move {
                    for _ in 0..3_000 {
                        world.read(&*cache, dice.below(world.rows.len()), 30_000).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        while readers.iter().any(|reader| !reader.is_finished()) {
            cache.flush().await.unwrap();
            world.change(&*cache, Invalidation::Everything).await.unwrap();
        }
        for reader in readers {
            reader.await.unwrap();
        }
        assert_eq!(cache.stats().await.unwrap().errors, 0);
        cache.close().await.unwrap();
    });
}

/// Flushed values are on the disk, also if the index was still being loaded.
#[test]
fn a_flush_while_the_index_is_loaded_waits_for_it() {
    runtime().block_on(async {
        let (root, disk) = (in_memory(), Faulty::sound());
        big(root.path()).await;
        disk.stall(LOADER);
        let cache = open_on(root.path(), &disk).await;
        fill(&cache, &key("image:7:a"), 1, 100).await;
        let release = async {
            tokio::task::yield_now().await;
            disk.release();
        };
        let (flushed, ()) = tokio::join!(cache.flush(), release);
        flushed.unwrap();
        disk.die();
        drop(cache);
        let cache = open(root.path()).await;
        assert_eq!(found(&cache, &key("image:7:a")).await, Some(1), "it was not on the disk");
        cache.close().await.unwrap();
    });
}

/// History 10: keys that share one hash. The index holds one of them at a time; none is served for another, and deleted
/// keys stay away.
#[test]
fn keys_with_one_hash_are_never_served_for_each_other_and_a_delete_removes_its_own() {
    runtime().block_on(async {
        for mask in [0, 0b1111] {
            let root = in_memory();
            let colliding = || -> DiskConfig { config(root.path()).hash_mask(mask).limit_bytes(SMALL_LIMIT) };
            let keys: Vec<CacheKey> = (0..40).map(|id| key(&format!("image:{id}:a"))).collect();
            let mut cache = DiskBackend::open(colliding()).await.unwrap();
            for key in &keys {
                fill(&cache, key, 1, 5_000).await;
            }
            cache.flush().await.unwrap();
            for (at, deleted) in keys.iter().enumerate() {
                let before = hits(&cache, &keys).await;
                let _ = cache.delete(deleted).await.unwrap();
                assert_eq!(found(&cache, deleted).await, None);
                let after = hits(&cache, &keys).await;
                assert!(after + 1 >= before, "deleting one of {before} left {after}");
                if at % 10 == 0 {
                    cache.close().await.unwrap();
                    cache = DiskBackend::open(colliding()).await.unwrap();
                    until_complete(&cache).await;
                }
                for gone in &keys[..=at] {
                    assert_eq!(found(&cache, gone).await, None, "{gone} came back");
                }
            }
            cache.close().await.unwrap();
        }
    });
}

/// History 11: a fill after an invalidation never uncovers the value before it, even if the fill is lost.
#[test]
fn after_kill_9_a_lost_fill_does_not_uncover_what_was_invalidated_before_it() {
    runtime().block_on(async {
        for text in ["key image:5:a", "group image:5", "pattern image", "everything"] {
            let (root, disk, key) = (in_memory(), Faulty::sound(), key("image:5:a"));
            let cache = open_on(root.path(), &disk).await;
            fill(&cache, &key, 1, 3_000).await;
            cache.flush().await.unwrap();
            invalidate(&cache, text).await;
            fill(&cache, &key, 2, 3_000).await;
            disk.die();
            drop(cache);
            let cache = open(root.path()).await;
            assert_ne!(found(&cache, &key).await, Some(1), "{text}");
            cache.close().await.unwrap();
        }
    });
}

/// The process goes on, and loses a value that replaced a durable one.
#[test]
fn a_fault_that_loses_a_value_does_not_uncover_the_one_before_it() {
    runtime().block_on(async {
        for first in 0..30 {
            let (root, disk, key) = (in_memory(), Faulty::sound(), key("image:5:a"));
            let cache = open_on(root.path(), &disk).await;
            fill(&cache, &key, 1, 3_000).await;
            cache.flush().await.unwrap();
            cache.set(&key, NewEntry::new(value(&key, 2, 9_000))).await.unwrap();
            // The fault comes while the value is queued, written or synced.
            for _ in 0..first * 10 {
                tokio::task::yield_now().await;
            }
            disk.fail_next(1);
            let _ = cache.flush().await;
            eventually(Duration::from_secs(5), "reopened", async || cache.flush().await.is_ok()).await;
            assert_ne!(found(&cache, &key).await, Some(1));
            cache.close().await.unwrap();
            let cache = open(root.path()).await;
            assert_ne!(found(&cache, &key).await, Some(1));
            cache.close().await.unwrap();
        }
    });
}
