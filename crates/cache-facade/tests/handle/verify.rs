//! `CACHE_VERIFY`: finds changes that do not invalidate, and reports nothing else.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cache_facade::{
    Cache, CacheConfig, CacheKey, Invalidates, Invalidation, LoadOptions,
    backend::MemoryBackend,
    images::{self, ImageChange},
};

use crate::support::{Nothing, key, let_others_run};
use crate::voice::Voice;

const FOUND: &str = "cached value differs from the loaded one";

fn verifying(share: f64) -> Cache {
    let config = CacheConfig::builder().verify(share).build().unwrap();
    Cache::builder(Arc::new(MemoryBackend::new())).config(config).build()
}

/// Lets verifications complete: the runtime's clock is paused, and advances while all tasks wait.
async fn let_it_end() {
    tokio::time::sleep(Duration::from_secs(5)).await;
    let_others_run().await;
}

/// The invalidations of the application without one of them: the listing of an image's project.
struct Renamed {
    image: u32,
}

impl Invalidates for Renamed {
    fn invalidations(&self) -> Vec<Invalidation> {
        vec![images::image_metadata(self.image).into()]
    }
}

async fn read(cache: &Cache, key: &CacheKey, row: &Arc<AtomicU64>) -> u64 {
    let row = Arc::clone(row);
    cache.get_or_load(key, async move || Ok::<_, Nothing>(row.load(Ordering::SeqCst))).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_change_that_does_not_invalidate_is_found_and_named_by_family() {
    let (voice, _listening, _alone) = Voice::listen().await;
    let (cache, row) = (verifying(1.0), Arc::new(AtomicU64::new(1)));
    let listing = images::project_images(7).build().unwrap();
    let image = images::image_metadata(42);
    for key in [&listing, &image] {
        assert_eq!(read(&cache, key, &row).await, 1);
    }
    let commit = {
        let row = Arc::clone(&row);
        async move || {
            row.store(2, Ordering::SeqCst);
            Ok::<_, Nothing>(())
        }
    };
    cache.change(Renamed { image: 42 }, commit).await.unwrap();
    assert_eq!(read(&cache, &image, &row).await, 2);
    assert_eq!(read(&cache, &listing, &row).await, 1, "this is what the rule should have removed");
    let_it_end().await;
    let lines = voice.lines(FOUND);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains(r#"family="project_images""#), "{lines:?}");

    // The complete invalidations include it.
    cache
        .change(ImageChange::ImageUpdated { project: 7, image: 42 }, async || Ok::<_, Nothing>(()))
        .await
        .unwrap();
    for _ in 0..2 {
        assert_eq!(read(&cache, &listing, &row).await, 2);
    }
    let_it_end().await;
    assert_eq!(voice.lines(FOUND).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_change_in_progress_is_no_mismatch() {
    let (voice, _listening, _alone) = Voice::listen().await;
    let (cache, row) = (verifying(1.0), Arc::new(AtomicU64::new(1)));
    assert_eq!(read(&cache, &key(1), &row).await, 1);
    // The row is written; the invalidation follows.
    row.store(2, Ordering::SeqCst);
    assert_eq!(read(&cache, &key(1), &row).await, 1);
    let_others_run().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let _ = cache.delete(&key(1)).await.unwrap();
    assert_eq!(read(&cache, &key(1), &row).await, 2);
    let_it_end().await;
    assert!(voice.lines(FOUND).is_empty());
}

#[tokio::test(start_paused = true)]
async fn values_with_several_encodings_are_no_mismatch() {
    let (voice, _listening, _alone) = Voice::listen().await;
    let cache = verifying(1.0);
    for _ in 0..20 {
        let load = async || Ok::<HashMap<u32, u32>, Nothing>((0..20).map(|n| (n, n)).collect());
        cache.get_or_load(&key(1), load).await.unwrap();
        let_it_end().await;
    }
    assert!(voice.lines(FOUND).is_empty());
}

#[tokio::test(start_paused = true)]
async fn values_that_expire_by_their_options_are_not_verified() {
    let (voice, _listening, _alone) = Voice::listen().await;
    let (cache, loads) = (verifying(1.0), Arc::new(AtomicU64::new(0)));
    for _ in 0..10 {
        let loads = Arc::clone(&loads);
        let load = async move || Ok::<_, Nothing>(loads.fetch_add(1, Ordering::SeqCst));
        let options = LoadOptions::new().ttl(Duration::from_secs(60));
        cache.get_or_load(&key(1), load).options(options).details().await.unwrap();
        let_it_end().await;
    }
    assert_eq!(loads.load(Ordering::SeqCst), 1);
    assert!(voice.lines(FOUND).is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_share_of_hits_that_are_loaded_again_is_the_one_that_was_set() {
    for (share, expected) in [(0.0, 0..=0), (0.1, 60..=140), (1.0, 1000..=1000)] {
        let (cache, loads) = (verifying(share), Arc::new(AtomicU64::new(0)));
        for _ in 0..1001 {
            let loads = Arc::clone(&loads);
            let load = async move || {
                loads.fetch_add(1, Ordering::SeqCst);
                Ok::<_, Nothing>(1_u32)
            };
            cache.get_or_load(&key(1), load).await.unwrap();
            tokio::task::yield_now().await;
        }
        let_it_end().await;
        let again = loads.load(Ordering::SeqCst) - 1;
        assert!(expected.contains(&again), "{share}: {again}");
    }
}

#[tokio::test(start_paused = true)]
async fn loads_that_hang_do_not_end_verification() {
    let (voice, _listening, _alone) = Voice::listen().await;
    let (cache, row) = (verifying(1.0), Arc::new(AtomicU64::new(1)));
    assert_eq!(read(&cache, &key(1), &row).await, 1);
    for _ in 0..20 {
        let hangs = async || std::future::pending::<Result<u64, Nothing>>().await;
        assert_eq!(cache.get_or_load(&key(1), hangs).await.unwrap(), 1);
    }
    tokio::time::sleep(Duration::from_secs(31)).await;
    row.store(2, Ordering::SeqCst);
    assert_eq!(read(&cache, &key(1), &row).await, 1);
    let_it_end().await;
    assert_eq!(voice.lines(FOUND).len(), 1);
}
