//! Values in memory in front of the disk.
#![expect(clippy::unwrap_used, reason = "a helper that fails ends the test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use cache_core::{BackendKind, CacheBackend, CacheKey, Invalidation, NearConfig, NewEntry};
use cache_disk::{DiskBackend, DiskConfig};

const MEGABYTE: usize = 1 << 20;

async fn open(root: &std::path::Path) -> DiskBackend {
    let config = DiskConfig::new(root).limit_bytes(64 << 20).near(NearConfig::new(MEGABYTE as u64));
    DiskBackend::open(config).await.unwrap()
}

fn key(number: usize) -> CacheKey {
    CacheKey::builder("image", number).part("thumbnail").build().unwrap()
}

/// Memory that counts when it is freed.
struct Owned(Vec<u8>, Arc<AtomicUsize>);

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.1.fetch_sub(self.0.len(), Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_part_of_a_larger_buffer_does_not_keep_the_buffer() {
    let root = tempfile::tempdir().unwrap();
    let disk = open(root.path()).await;
    let kept = Arc::new(AtomicUsize::new(0));
    for number in 0..100 {
        kept.fetch_add(MEGABYTE, Ordering::SeqCst);
        let body = Bytes::from_owner(Owned(vec![7; MEGABYTE], Arc::clone(&kept)));
        disk.set(&key(number), NewEntry::new(body.slice(..100))).await.unwrap();
        drop(body);
        let _ = disk.lookup(&key(number)).await.unwrap();
    }
    disk.flush().await.unwrap();
    for _ in 0..100 {
        if kept.load(Ordering::SeqCst) == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(kept.load(Ordering::SeqCst), 0);
    assert_eq!(disk.stats().await.unwrap().near.unwrap().entries, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hit_in_memory_says_so_and_ends_with_an_invalidation_a_set_and_a_refresh() {
    let root = tempfile::tempdir().unwrap();
    let disk = open(root.path()).await;
    let key = key(5);
    let read = async || {
        let _ = disk.lookup(&key).await.unwrap();
        disk.at_hand(&key).and_then(|found| found.entry).map(|entry| entry.payload)
    };
    disk.set(&key, NewEntry::new("first")).await.unwrap();
    assert_eq!(read().await.as_deref(), Some(&b"first"[..]));
    let found = disk.at_hand(&key).unwrap();
    assert_eq!(found.backend, BackendKind::Memory);
    let _ = disk.fill(&key, found.token, NewEntry::new("refreshed")).await.unwrap();
    assert!(disk.at_hand(&key).is_none());
    assert_eq!(read().await.as_deref(), Some(&b"refreshed"[..]));
    disk.set(&key, NewEntry::new("second")).await.unwrap();
    assert!(disk.at_hand(&key).is_none());
    assert_eq!(read().await.as_deref(), Some(&b"second"[..]));
    for what in
        [Invalidation::Key(key.clone()), Invalidation::Group(key.to_group()), Invalidation::Everything]
    {
        let _ = disk.invalidate(&[what]).await.unwrap();
        assert!(disk.at_hand(&key).is_none() && read().await.is_none());
        disk.set(&key, NewEntry::new("again")).await.unwrap();
        assert!(read().await.is_some());
    }
    disk.close().await.unwrap();
    assert!(disk.at_hand(&key).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn values_in_memory_do_not_fall_out_of_use_on_disk() {
    let root = tempfile::tempdir().unwrap();
    let config = DiskConfig::new(root.path()).limit_bytes(8 << 20).near(NearConfig::new(4 << 20));
    let disk = DiskBackend::open(config).await.unwrap();
    disk.set(&key(0), NewEntry::new("hot")).await.unwrap();
    let _ = disk.lookup(&key(0)).await.unwrap();
    // More than the disk cache holds, in between hits of the one value in memory.
    for number in 1..400 {
        disk.set(&key(number), NewEntry::new(vec![7; 60_000])).await.unwrap();
        for _ in 0..20 {
            assert!(disk.at_hand(&key(0)).is_some());
        }
    }
    assert!(disk.stats().await.unwrap().evictions > 0);
    assert!(
        disk.lookup(&key(0)).await.unwrap().entry.is_some(),
        "it was evicted, although it was used all the time"
    );
}
