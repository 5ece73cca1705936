//! Invalidations of many entries: they are removed in parts, and others are served in between.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cache_core::{CacheBackend, CacheBackendExt, CacheKey, NewEntry};
use cache_disk::DiskBackend;

use super::support::{config, on_disk, runtime, what};

const MANY: usize = 500;

fn keys(family: &str) -> Vec<CacheKey> {
    (0..MANY).map(|id| CacheKey::builder(family, id).part("metadata").build().unwrap()).collect()
}

async fn stored(cache: &DiskBackend, keys: &[CacheKey]) -> usize {
    let mut count = 0;
    for key in keys {
        count += usize::from(cache.get(key).await.unwrap().is_some());
    }
    count
}

/// Stores `MANY` values of each of three families.
async fn filled(directory: &std::path::Path) -> (DiskBackend, [Vec<CacheKey>; 3]) {
    let cache = DiskBackend::open(config(directory)).await.unwrap();
    let families = ["image", "picture", "user"].map(keys);
    for key in families.iter().flatten() {
        cache.set(key, NewEntry::new(vec![7; 100])).await.unwrap();
    }
    cache.flush().await.unwrap();
    (cache, families)
}

#[test]
fn others_are_invalidated_while_a_family_is_removed_in_parts() {
    let root = on_disk();
    runtime().block_on(async {
        let (cache, [images, pictures, users]) = filled(root.path()).await;
        let is_done = AtomicBool::new(false);
        let family = async {
            let removed =
                cache.invalidate(&[what("pattern image:*"), what("pattern picture:*")]).await.unwrap();
            is_done.store(true, Ordering::SeqCst);
            removed
        };
        let others = async {
            let mut before = 0;
            for user in &users {
                let _ = cache.delete(user).await.unwrap();
                before += usize::from(!is_done.load(Ordering::SeqCst));
            }
            before
        };
        let (removed, before) = tokio::join!(family, others);
        assert_eq!(removed.removed(), 2 * MANY as u64);
        assert!(before > 10, "{before} deletes were done before the families were removed");
        for keys in [&images, &pictures, &users] {
            assert_eq!(stored(&cache, keys).await, 0);
        }
        cache.close().await.unwrap();
        let cache = DiskBackend::open(config(root.path())).await.unwrap();
        assert_eq!(cache.stats().await.unwrap().count, 0);
    });
}

/// A value that is stored while its family is removed may go with it; what the call has answered for stays away.
#[test]
fn an_invalidation_in_parts_is_finished_when_the_cache_is_closed() {
    let root = on_disk();
    runtime().block_on(async {
        let (cache, [images, _, users]) = filled(root.path()).await;
        let all = [what("pattern image:*")];
        let family = cache.invalidate(&all);
        let close = async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            cache.close().await.unwrap();
        };
        let (removed, ()) = tokio::join!(family, close);
        assert_eq!(removed.unwrap().removed(), MANY as u64);
        let cache = DiskBackend::open(config(root.path())).await.unwrap();
        assert_eq!((stored(&cache, &images).await, stored(&cache, &users).await), (0, MANY));
    });
}

/// The count of a clear is its own where deletes share its turn.
#[test]
fn a_clear_beside_deletes_says_how_many_entries_it_removed() {
    let root = on_disk();
    runtime().block_on(async {
        let (cache, [.., users]) = filled(root.path()).await;
        let everything = [what("everything")];
        let (one, other, all) =
            tokio::join!(cache.delete(&users[0]), cache.delete(&users[1]), cache.invalidate(&everything));
        let removed = [one, other, all].map(|done| done.unwrap().removed());
        assert_eq!(removed, [1, 1, 3 * MANY as u64 - 2]);
        cache.close().await.unwrap();
    });
}
