//! A dry run counts what a clear then removes, in each store, and removes nothing itself.

use cache_core::plants::Plant;
use cache_facade::{Cache, CacheConfig, CacheKey};
use serde_json::json;

use crate::support::{Site, finds};

async fn fill(cache: &Cache) {
    for name in ["image:1:a", "image:1:b", "image:10:a", "image:2:a", "imagery:1:a", "[r]image:1:a"] {
        cache.set(&CacheKey::parse(name).unwrap(), &name.to_owned()).await.unwrap();
    }
}

async fn counts_are_removals(site: &Site) {
    for what in [
        json!({ "key": "image:1:a" }),
        json!({ "key": "image:9:a" }),
        json!({ "group": "image:1" }),
        json!({ "pattern": "image" }),
        json!({ "pattern": "image:1" }),
        json!({ "pattern": "image:*:a" }),
        json!({ "pattern": "*:a" }),
        json!({ "pattern": "imag*" }),
        json!({ "pattern": "[r]" }),
    ] {
        fill(&site.cache).await;
        let before = site.cache.stats().await.unwrap().count;
        let counted = site.post("/api/v1/clear/dry-run", &what.to_string()).await.json();
        assert_eq!(site.cache.stats().await.unwrap().count, before, "the dry run removed {what}");
        let removed = site.post("/api/v1/clear", &what.to_string()).await.json();
        assert_eq!(counted["entries"], removed["removed"], "{what}");
        assert_eq!(counted["what"], removed["what"], "{what}");
        let left = site.post("/api/v1/clear/dry-run", &what.to_string()).await.json();
        assert_eq!(left["entries"], 0, "{what}");
    }
}

#[tokio::test]
async fn in_memory() {
    finds(Plant::DryRunClears, "the dry run removed", counts_are_removals(&Site::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let config = CacheConfig::builder().directory(directory.path()).size_mb(16).build().unwrap();
    let site = Site::of(Cache::connect(config).await.unwrap());
    counts_are_removals(&site).await;
    let report = site.get("/api/v1/doctor").await.json();
    let lock =
        report["checks"].as_array().unwrap().iter().find(|check| check["name"] == "lock").unwrap().clone();
    assert_eq!(
        (&lock["result"], &lock["found"]),
        (&"fine".into(), &"held by this process".into()),
        "{report}"
    );
    site.cache.close().await.unwrap();
}
