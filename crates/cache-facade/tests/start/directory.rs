//! Directories that are shared, locked, or cannot be used.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use cache_facade::{
    BackendKind, Cache, ErrorKind, Source,
    stats::{HealthStatus, JournalKind},
};

use super::{config, connect, hits, key, open, read};

async fn refusal(directory: &Path) -> cache_facade::Error {
    Cache::connect(config(directory).build().unwrap()).await.unwrap_err()
}

/// Checks that over an unusable `directory` the cache runs, stores nothing, and reports the cause.
async fn runs_without_a_cache(directory: &Path) {
    let cache = open(directory).await;
    for _ in 0..2 {
        assert_eq!(read(&cache, 1, "value").await.1, Source::Loaded);
    }
    let _ = cache.invalidate(&key(1)).await.unwrap();
    let health = cache.health().await;
    assert_eq!((health.status, health.journal), (HealthStatus::Degraded, JournalKind::Memory));
    assert_eq!((health.wanted, health.active), (BackendKind::Disk, BackendKind::Null));
    assert!(health.cause.unwrap().contains(&directory.display().to_string()));
    cache.close().await.unwrap();
}

#[tokio::test]
async fn everything_in_a_new_directory_is_private() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("a/_cache");
    let cache = open(&directory).await;
    let mut paths = vec![directory];
    while let Some(path) = paths.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let expected = if metadata.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(metadata.permissions().mode() & 0o7777, expected, "{}", path.display());
        if metadata.is_dir() {
            paths.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    cache.close().await.unwrap();
}

#[tokio::test]
async fn caches_of_one_process_over_one_directory_share_its_store() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("x")).unwrap();
    let (one, two) = tokio::join!(open(root.path()), open(root.path()));
    let other_limit = connect(config(&root.path().join("x/..")).size_mb(16)).await;
    assert!(!hits(&one, 1).await && hits(&two, 1).await && hits(&other_limit, 1).await);
    let _ = two.invalidate(&key(1)).await.unwrap();
    assert!(!hits(&one, 1).await);
    assert_eq!(other_limit.stats().await.unwrap().limit_mb, 8, "the limit of the first stays");
}

#[tokio::test]
async fn caches_that_share_a_directory_agree_on_what_they_read_and_write() {
    let root = tempfile::tempdir().unwrap();
    let _open = open(root.path()).await;
    for (other, name) in [
        (config(root.path()).namespace("other"), "CACHE_NAMESPACE"),
        (config(root.path()).enabled(false), "CACHE_ENABLED"),
    ] {
        let error = Cache::connect(other.build().unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[tokio::test]
async fn a_directory_can_be_opened_again_after_it_was_closed_or_dropped() {
    let root = tempfile::tempdir().unwrap();
    let closed = open(root.path()).await;
    closed.close().await.unwrap();
    closed.close().await.unwrap();
    drop(open(root.path()).await);
    let again = open(root.path()).await;
    hits(&again, 1).await;
    assert!(hits(&again, 1).await);
    assert_eq!(read(&closed, 1, "value").await.1, Source::Loaded, "a closed cache stays closed");
}

#[tokio::test]
async fn a_file_or_a_link_in_its_place_is_a_clear_error_and_stays_as_it_is() {
    let root = tempfile::tempdir().unwrap();
    let (file, link) = (root.path().join("file"), root.path().join("link"));
    fs::write(&file, "precious").unwrap();
    symlink(root.path(), &link).unwrap();
    for (path, why) in [(&file, "is a file"), (&link, "is a symbolic link")] {
        let error = refusal(path).await;
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains(why) && error.to_string().contains(&path.display().to_string()));
    }
    assert_eq!(fs::read_to_string(file).unwrap(), "precious");
}

#[tokio::test]
async fn another_users_directory_is_a_clear_error() {
    let root = tempfile::tempdir().unwrap();
    let foreign = if fs::metadata(root.path()).unwrap().uid() == 0 {
        std::os::unix::fs::chown(root.path(), Some(65_534), None).unwrap();
        root.path()
    } else {
        Path::new("/")
    };
    let error = refusal(foreign).await;
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("belongs to another user"), "{error}");
}

#[tokio::test]
async fn an_unusable_directory_without_a_cache_is_a_warning() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), "").unwrap();
    runs_without_a_cache(&root.path().join("file/below")).await;
    // A directory in place of the lock cannot be opened, as on a read-only file system.
    fs::create_dir_all(root.path().join("cache/lock")).unwrap();
    runs_without_a_cache(&root.path().join("cache")).await;
}

#[tokio::test]
async fn an_unusable_directory_with_a_cache_is_an_error() {
    for name in ["state", "cache.redb"] {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("lock")).unwrap();
        fs::write(root.path().join(name), "").unwrap();
        assert_eq!(refusal(root.path()).await.kind(), ErrorKind::Io);
    }
}

#[tokio::test]
async fn a_store_that_cannot_be_opened_is_a_warning_and_is_not_trusted_afterwards() {
    let root = tempfile::tempdir().unwrap();
    let cache = open(root.path()).await;
    hits(&cache, 1).await;
    cache.close().await.unwrap();
    let (database, aside) = (root.path().join("cache.redb"), root.path().join("aside"));
    fs::rename(&database, &aside).unwrap();
    fs::create_dir(&database).unwrap();
    let cache = open(root.path()).await;
    assert_eq!(read(&cache, 1, "newer").await, ("newer".to_owned(), Source::Loaded));
    let health = cache.health().await;
    assert_eq!((health.status, health.active), (HealthStatus::Degraded, BackendKind::Null));
    cache.close().await.unwrap();
    // The store missed the invalidations of the run without it.
    fs::remove_dir(&database).unwrap();
    fs::rename(&aside, &database).unwrap();
    let cache = open(root.path()).await;
    assert_eq!(read(&cache, 1, "newer").await, ("newer".to_owned(), Source::Loaded));
    assert_eq!(cache.health().await.status, HealthStatus::Ok);
}

#[tokio::test]
async fn garbage_in_place_of_the_database_is_set_aside_and_the_cache_runs() {
    let root = tempfile::tempdir().unwrap();
    open(root.path()).await.close().await.unwrap();
    fs::write(root.path().join("cache.redb"), "not a database").unwrap();
    let cache = open(root.path()).await;
    hits(&cache, 1).await;
    assert!(hits(&cache, 1).await);
    assert_eq!(cache.backend_kind(), BackendKind::Disk);
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_another_process_holds_is_an_error_after_45_seconds() {
    for enabled in [true, false] {
        let root = tempfile::tempdir().unwrap();
        let lock = File::create(root.path().join("lock")).unwrap();
        lock.lock().unwrap();
        let before = tokio::time::Instant::now();
        let config = config(root.path()).enabled(enabled).build().unwrap();
        let error = Cache::connect(config).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Locked);
        assert_eq!(before.elapsed(), Duration::from_secs(45));
        assert!(error.to_string().contains(&root.path().display().to_string()));
    }
}

#[tokio::test]
async fn a_directory_that_can_be_used_later_is_locked_from_then_on() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), "").unwrap();
    let directory = root.path().join("file/below");
    let cache = open(&directory).await;
    fs::remove_file(root.path().join("file")).unwrap();
    // From now on another process could start there, and would not see this one's changes.
    cache.change(&key(1), async || Ok::<_, std::convert::Infallible>(())).await.unwrap();
    let lock = File::open(directory.join("lock")).unwrap();
    assert!(lock.try_lock().is_err());
    cache.close().await.unwrap();
    lock.lock().unwrap();
}

#[tokio::test]
async fn disabled_caching_opens_no_store() {
    let root = tempfile::tempdir().unwrap();
    let cache = connect(config(root.path()).enabled(false)).await;
    assert_eq!(cache.backend_kind(), BackendKind::Null);
    assert_eq!(cache.health().await.status, HealthStatus::Off);
    assert!(!root.path().join("cache.redb").exists());
}
