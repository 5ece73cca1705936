//! A store is read only if it saw every invalidation since its last use.

use std::fs;
use std::path::{Path, PathBuf};

use cache_facade::{Changed, Source, images::ImageChange};
use tokio::sync::oneshot;

use super::{config, connect, hits, key, open, read};

/// A directory whose cache holds `key(1)` after a clean end.
async fn filled() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let cache = open(root.path()).await;
    assert!(!hits(&cache, 1).await && hits(&cache, 1).await);
    cache.close().await.unwrap();
    root
}

fn journal(root: &Path, number: u32) -> PathBuf {
    root.join(format!("instance-{number}/journal"))
}

/// Changes image 1 in `cache`, and returns a copy of the journal at the end of the commit.
async fn journal_during_a_change(cache: &cache_facade::Cache, root: &Path) -> Vec<u8> {
    let (begun, begins) = oneshot::channel();
    let (go, going) = oneshot::channel::<()>();
    let change = ImageChange::ImageUpdated { project: 7, image: 1 };
    let change = cache.change(change, async move || {
        begun.send(()).unwrap();
        going.await.unwrap();
        Ok::<_, std::io::Error>(())
    });
    let watch = async {
        begins.await.unwrap();
        let copy = fs::read(journal(root, 0)).unwrap();
        go.send(()).unwrap();
        copy
    };
    let (changed, copy) = tokio::join!(change, watch);
    let Changed { value: (), .. } = changed.unwrap();
    copy
}

#[tokio::test]
async fn a_clean_restart_keeps_the_values() {
    let root = filled().await;
    for _ in 0..2 {
        let cache = open(root.path()).await;
        assert!(hits(&cache, 1).await);
        cache.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_run_with_caching_off_makes_the_next_one_start_empty() {
    let root = filled().await;
    let off = connect(config(root.path()).enabled(false)).await;
    assert_eq!(read(&off, 1, "newer").await, ("newer".to_owned(), Source::Bypassed));
    let changed = off
        .change(ImageChange::ImageUpdated { project: 7, image: 1 }, async || Ok::<_, std::io::Error>(()))
        .await;
    assert!(changed.is_ok());
    off.close().await.unwrap();
    let cache = open(root.path()).await;
    assert_eq!(read(&cache, 1, "newer").await, ("newer".to_owned(), Source::Loaded));
    cache.close().await.unwrap();
    assert!(hits(&open(root.path()).await, 1).await, "the run after that is trusted again");
}

#[tokio::test]
async fn another_namespace_starts_empty_there_and_back() {
    let root = filled().await;
    let other = connect(config(root.path()).namespace("other")).await;
    assert!(!hits(&other, 1).await);
    other.close().await.unwrap();
    assert!(!hits(&open(root.path()).await, 1).await, "its entries missed the invalidations of the other");
}

#[tokio::test]
async fn a_database_with_a_missing_or_unreadable_record_is_not_trusted() {
    for spoil in [
        (|state| fs::remove_file(state).unwrap()) as fn(PathBuf),
        |state| fs::write(state, "cache state 1\nprimary disk\n").unwrap(),
        |state| fs::write(state, "").unwrap(),
        |state| {
            let text = fs::read_to_string(&state).unwrap();
            fs::write(state, text.replace("namespace app", "namespace apq")).unwrap();
        },
    ] {
        let root = filled().await;
        spoil(root.path().join("state"));
        let cache = open(root.path()).await;
        assert!(!hits(&cache, 1).await);
        cache.close().await.unwrap();
        assert!(hits(&open(root.path()).await, 1).await);
    }
}

#[tokio::test]
async fn a_last_run_on_redis_makes_the_disk_start_empty() {
    let root = filled().await;
    let lines = "cache state 1\nprimary redis\nnamespace app\ndb 0\n";
    let checksum = twox_hash::XxHash3_64::oneshot(lines.as_bytes());
    fs::write(root.path().join("state"), format!("{lines}checksum {checksum:016x}\n")).unwrap();
    assert!(!hits(&open(root.path()).await, 1).await);
}

#[tokio::test]
async fn clear_on_start_empties_the_store() {
    let root = filled().await;
    let cleared = connect(config(root.path()).clear_on_start(true)).await;
    assert!(!hits(&cleared, 1).await);
}

#[tokio::test]
async fn interrupted_changes_of_a_dead_process_are_replayed_before_the_first_read() {
    let root = filled().await;
    for number in [0, 5] {
        let cache = open(root.path()).await;
        hits(&cache, 1).await;
        hits(&cache, 2).await;
        let left = journal_during_a_change(&cache, root.path()).await;
        assert!(!hits(&cache, 1).await);
        cache.close().await.unwrap();
        // The database holds a newer value than the cache, as if the process had died there.
        fs::create_dir_all(journal(root.path(), number).parent().unwrap()).unwrap();
        fs::write(journal(root.path(), number), left).unwrap();
        let cache = open(root.path()).await;
        assert_eq!(read(&cache, 1, "newer").await, ("newer".to_owned(), Source::Loaded), "instance {number}");
        assert!(hits(&cache, 2).await, "nothing else was invalidated");
        cache.close().await.unwrap();
        let cache = open(root.path()).await;
        assert!(hits(&cache, 1).await, "it is replayed once");
        let _ = cache.invalidate(&key(1)).await.unwrap();
        cache.close().await.unwrap();
    }
    assert!(!journal(root.path(), 5).exists() && root.path().join("instance-5/lock").exists());
}

#[tokio::test]
async fn a_damaged_journal_empties_the_cache() {
    let root = filled().await;
    let mut bytes = fs::read(journal(root.path(), 0)).unwrap();
    bytes[5000] ^= 1;
    fs::write(journal(root.path(), 0), bytes).unwrap();
    let cache = open(root.path()).await;
    assert!(!hits(&cache, 1).await);
    cache.close().await.unwrap();
    assert!(hits(&open(root.path()).await, 1).await);
}

#[tokio::test]
async fn without_a_journal_the_next_start_is_empty() {
    let root = filled().await;
    fs::remove_file(journal(root.path(), 0)).unwrap();
    fs::create_dir_all(root.path().join("instance-0/journal.new/x")).unwrap();
    let cache = open(root.path()).await;
    let health = cache.health().await;
    assert_eq!(health.journal, cache_facade::stats::JournalKind::Memory);
    assert_eq!(health.status, cache_facade::stats::HealthStatus::Degraded);
    assert!(hits(&cache, 1).await, "this run may read it: no invalidation was missed");
    cache.close().await.unwrap();
    assert!(!hits(&open(root.path()).await, 1).await);
}
