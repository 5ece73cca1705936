//! The directory is removed, moved, or taken by another process while the cache runs.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use bytes::Bytes;
use cache_core::{CacheBackend, CacheBackendExt, Error, ErrorKind, FillOutcome, HealthStatus, NewEntry};

use crate::support::{config, eventually, key, on_disk, open, runtime, what};
use cache_disk::DiskBackend;

/// Longer than the time to check and recreate the directory on a loaded machine.
const SOON: Duration = Duration::from_secs(20);

fn entry(text: &'static str) -> NewEntry {
    NewEntry::new(Bytes::from_static(text.as_bytes()))
}

async fn has(cache: &DiskBackend, text: &str) -> bool {
    cache.get(&key(text)).await.unwrap().is_some()
}

#[test]
fn after_its_directory_is_gone_a_cache_serves_nothing_after_an_invalidation_and_starts_empty() {
    runtime().block_on(async {
        let root = on_disk();
        let directory = root.path().join("cache");
        let cache = open(&directory).await;
        cache.set(&key("image:1:a"), entry("old")).await.unwrap();
        cache.flush().await.unwrap();
        let token = cache.lookup(&key("image:3:a")).await.unwrap().token;
        fs::remove_dir_all(&directory).unwrap();
        let _ = cache.invalidate(&[what("key image:2:a")]).await.unwrap();
        assert!(!has(&cache, "image:1:a").await, "another process may have changed the value");
        eventually(SOON, "the directory is recreated", async || {
            cache.health().await.status == HealthStatus::Ok
        })
        .await;
        assert!(directory.join("cache.redb").exists());
        let late = cache.fill(&key("image:3:a"), token, entry("old")).await.unwrap();
        assert_eq!(late, FillOutcome::Refused, "it was loaded before");
        cache.set(&key("image:1:a"), entry("new")).await.unwrap();
        cache.flush().await.unwrap();
        assert!(has(&cache, "image:1:a").await);
        cache.close().await.unwrap();
        let again = open(&directory).await;
        eventually(SOON, "values stored since are there", async || has(&again, "image:1:a").await).await;
    });
}

#[test]
fn a_lost_directory_is_detected_without_any_call() {
    runtime().block_on(async {
        let root = on_disk();
        let directory = root.path().join("cache");
        let cache = open(&directory).await;
        cache.set(&key("image:1:a"), entry("old")).await.unwrap();
        fs::rename(&directory, root.path().join("moved")).unwrap();
        eventually(SOON, "nothing is served", async || !has(&cache, "image:1:a").await).await;
    });
}

#[test]
fn a_process_that_lost_its_directory_leaves_the_next_ones_files_alone() {
    runtime().block_on(async {
        let root = on_disk();
        let directory = root.path().join("cache");
        let (first, moved) = (open(&directory).await, root.path().join("moved"));
        fs::rename(&directory, &moved).unwrap();
        let second = open(&directory).await;
        second.set(&key("image:1:a"), entry("second")).await.unwrap();
        second.flush().await.unwrap();
        let before = fs::symlink_metadata(directory.join("cache.redb")).unwrap();
        for _ in 0..3 {
            let _ = first.clear().await.unwrap();
        }
        assert_eq!(fs::symlink_metadata(directory.join("cache.redb")).unwrap().ino(), before.ino());
        let health = first.health().await;
        assert_eq!(health.status, HealthStatus::Degraded);
        assert!(health.cause.unwrap().contains("was replaced while the cache was in use"));
        assert_eq!(
            first.set(&key("image:2:a"), entry("x")).await.unwrap_err().kind(),
            ErrorKind::Unavailable
        );
        second.close().await.unwrap();
        eventually(SOON, "the first has the directory again", async || {
            first.health().await.status == HealthStatus::Ok
        })
        .await;
        assert!(!has(&first, "image:1:a").await, "it starts empty");
    });
}

#[test]
fn a_suspended_cache_stores_nothing_until_it_is_resumed() {
    runtime().block_on(async {
        let root = on_disk();
        let cache = DiskBackend::open(config(root.path()).watched_by_the_caller()).await.unwrap();
        cache.set(&key("image:1:a"), entry("old")).await.unwrap();
        let token = cache.lookup(&key("image:2:a")).await.unwrap().token;
        cache.suspend(&Error::new(ErrorKind::Unavailable, "the directory was moved"));
        assert!(!has(&cache, "image:1:a").await);
        let refused = cache.fill(&key("image:2:a"), token, entry("old")).await.unwrap();
        assert_eq!(refused, FillOutcome::Refused);
        assert_eq!(cache.health().await.cause.as_deref(), Some("the directory was moved"));
        let _ = cache.clear().await.unwrap();
        let open_elsewhere = async || open(root.path()).await;
        drop(open_elsewhere().await);
        let cache = std::sync::Arc::new(cache);
        let resumed = std::sync::Arc::clone(&cache);
        tokio::task::spawn_blocking(move || resumed.resume()).await.unwrap().unwrap();
        assert_eq!(cache.health().await.status, HealthStatus::Ok);
        assert!(!has(&cache, "image:1:a").await);
        let late = cache.fill(&key("image:2:a"), token, entry("old")).await.unwrap();
        assert_eq!(late, FillOutcome::Refused, "it was loaded before");
    });
}
