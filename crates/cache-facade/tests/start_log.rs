//! The exact log lines of a start.

#![expect(clippy::unwrap_used, reason = "a panic in a helper fails its test")]

use std::fs;
use std::path::Path;

use cache_facade::{Cache, CacheConfig, config::CacheConfigBuilder};
use testkit::Lines;
use tracing::Level;

fn config(directory: &Path) -> CacheConfigBuilder {
    CacheConfig::builder().directory(directory).size_mb(8)
}

async fn connect(config: CacheConfigBuilder) -> Cache {
    Cache::connect(config.build().unwrap()).await.unwrap()
}

#[tokio::test]
async fn the_backend_in_use_is_one_line_with_its_absolute_directory_and_limit() {
    Lines::capture(Level::INFO);
    let root = tempfile::tempdir().unwrap();
    let cache = connect(config(root.path())).await;
    cache.close().await.unwrap();
    let expected = format!(
        "INFO Using disk cache backend directory={} limit_mb=8 namespace=\"app\"",
        root.path().display()
    );
    assert_eq!(Lines::beginning("INFO Using"), [expected]);
    assert!(Lines::beginning("WARN").is_empty());
}

#[tokio::test]
async fn disabled_caching_is_logged() {
    Lines::capture(Level::INFO);
    let root = tempfile::tempdir().unwrap();
    connect(config(root.path()).enabled(false)).await.close().await.unwrap();
    assert_eq!(Lines::beginning("INFO"), ["INFO cache disabled"]);
}

#[tokio::test]
async fn a_directory_that_cannot_be_used_is_a_warning_with_its_cause() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), "").unwrap();
    Lines::capture(Level::INFO);
    connect(config(&root.path().join("file/below"))).await.close().await.unwrap();
    let warnings =
        Lines::beginning("WARN the cache directory cannot be used; running without a cache error=");
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("file/below"));
}

#[tokio::test]
async fn the_reason_of_an_empty_start_is_logged_unless_the_store_is_new() {
    Lines::capture(Level::INFO);
    let root = tempfile::tempdir().unwrap();
    connect(config(root.path())).await.close().await.unwrap();
    assert!(Lines::beginning("INFO the disk cache starts empty").is_empty());
    connect(config(root.path()).clear_on_start(true)).await.close().await.unwrap();
    let expected = "INFO the disk cache starts empty reason=\"CACHE_CLEAR_ON_START is set\"";
    assert_eq!(Lines::beginning("INFO the disk cache starts empty"), [expected]);
}

#[tokio::test]
async fn suspicious_settings_are_logged_when_connecting() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().to_str().unwrap();
    let pairs = [("CACHE_DIR", directory), ("CACHE_SIZE_MB", "8")];
    let suspicious = [("CACHE_SIZ", "9"), ("REDIS_URL", "redis://h")];
    let config = CacheConfig::from_pairs(pairs.into_iter().chain(suspicious)).unwrap();
    Lines::capture(Level::INFO);
    Cache::connect(config).await.unwrap().close().await.unwrap();
    assert_eq!(
        Lines::beginning("WARN"),
        [
            "WARN CACHE_SIZ is no setting of the cache; did you mean CACHE_SIZE_MB?",
            "WARN REDIS_URL is set, but Redis is not used: set REDIS_ENABLED to true, or to false",
        ]
    );
}
