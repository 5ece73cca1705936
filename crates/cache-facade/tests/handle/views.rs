//! Views of one cache: scopes, codecs, many keys at once, counters, insight.

use std::sync::Arc;
use std::time::Duration;

use cache_facade::{
    Cache, CacheConfig, CacheKey, ErrorKind, LoadError, ManualClock,
    backend::MemoryBackend,
    stats::{HealthStatus, MissCause},
};

use crate::support::{Nothing, key};

#[tokio::test]
async fn a_scope_is_a_name_space_of_its_own() {
    let cache = Cache::memory();
    let reports = cache.scoped("reports").unwrap();
    cache.set(&key(1), "outside").await.unwrap();
    reports.set(&key(1), "inside").await.unwrap();
    assert_eq!(cache.get::<String>(&key(1)).await.as_deref(), Some("outside"));
    assert_eq!(reports.get::<String>(&key(1)).await.as_deref(), Some("inside"));
    let _ = reports.clear_pattern("image:1").await.unwrap();
    assert!(cache.contains(&key(1)).await && !reports.contains(&key(1)).await);
    reports.set(&key(1), "inside").await.unwrap();
    let _ = cache.invalidate(&key(1).to_group()).await.unwrap();
    assert!(!cache.contains(&key(1)).await && reports.contains(&key(1)).await);
}

#[tokio::test]
async fn clearing_a_scope_stays_inside_and_clearing_the_cache_reaches_every_scope() {
    let cache = Cache::memory();
    let (reports, nested) = (cache.scoped("a").unwrap(), cache.scoped("a").unwrap().scoped("b").unwrap());
    let all = [&cache, &reports, &nested];
    for view in all {
        view.set(&key(1), &1_u32).await.unwrap();
    }
    let _ = reports.clear().await.unwrap();
    assert!(
        cache.contains(&key(1)).await && !reports.contains(&key(1)).await && nested.contains(&key(1)).await
    );
    let _ = cache.clear().await.unwrap();
    assert!(!cache.contains(&key(1)).await && !nested.contains(&key(1)).await);
    for bad in ["", "a b", "a:b", "*"] {
        assert_eq!(cache.scoped(bad).unwrap_err().kind(), ErrorKind::InvalidKey, "{bad:?}");
    }
}

#[tokio::test]
async fn a_key_too_long_for_its_scope_is_loaded_and_never_stored() {
    let part = "x".repeat(200);
    let long = (0..5).fold(CacheKey::builder("a", "b"), |key, _| key.part(&part)).build().unwrap();
    let scoped = Cache::memory().scoped("a-scope-with-a-long-name").unwrap();
    assert_eq!(scoped.get_or_load(&long, async || Ok::<_, Nothing>(1_u32)).await.unwrap(), 1);
    assert_eq!(scoped.get::<u32>(&long).await, None);
    assert_eq!(scoped.set(&long, &1_u32).await.unwrap_err().kind(), ErrorKind::InvalidKey);
    scoped.set(&key(1), &1_u32).await.unwrap();
    let _ = scoped.delete(&long).await.unwrap();
    assert!(!scoped.contains(&key(1)).await, "what cannot be named is covered by the whole scope");
}

#[cfg(feature = "json")]
#[tokio::test]
async fn a_value_of_another_codec_is_a_miss() {
    let cache = Cache::memory();
    let json = cache.with_codec(cache_facade::Codec::Json);
    json.set(&key(1), &vec![1, 2, 3]).await.unwrap();
    assert_eq!(cache.get::<Vec<i32>>(&key(1)).await, None);
    assert_eq!(json.get::<Vec<i32>>(&key(1)).await, Some(vec![1, 2, 3]));
    assert_eq!(json.get::<cache_facade::Bytes>(&key(1)).await, None);
}

#[tokio::test]
async fn many_keys_are_read_in_their_order() {
    let cache = Cache::memory().scoped("many").unwrap();
    cache.set_many([(&key(1), &10_u32), (&key(3), &30)]).await.unwrap();
    assert_eq!(cache.get_many::<u32>(&[key(3), key(2), key(1)]).await, [Some(30), None, Some(10)]);
    assert_eq!(cache.get_many::<String>(&[key(1)]).await, [None]);
    assert_eq!(cache.get_many::<u32>(&[]).await, []);
}

#[tokio::test]
async fn counters_and_claims_are_no_values() {
    let cache = Cache::memory();
    assert_eq!(cache.increment(&key(1), 2).await.unwrap(), 2);
    assert_eq!(cache.increment(&key(1), 3).await.unwrap(), 5);
    assert_eq!(cache.scoped("other").unwrap().increment(&key(1), 1).await.unwrap(), 1);
    assert!(cache.add(&key(2), "me").await.unwrap() && !cache.add(&key(2), "you").await.unwrap());
    assert!(!cache.contains(&key(1)).await);
    let _ = cache.clear_pattern("image").await.unwrap();
    assert_eq!(cache.increment(&key(1), 0).await.unwrap(), 5);
    cache.reset(&key(1)).await.unwrap();
    assert_eq!(cache.increment(&key(1), 1).await.unwrap(), 1);
    let without = Cache::new(Arc::new(MemoryBackend::new()));
    assert_eq!(without.increment(&key(1), 1).await.unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(Cache::disabled().increment(&key(1), 1).await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn values_expire_as_the_caller_or_else_the_configuration_says() {
    let clock = Arc::new(ManualClock::new());
    let config = CacheConfig::builder()
        .clock(clock.clone())
        .default_ttl(Duration::from_secs(60))
        .family_ttl("image", Duration::from_secs(10))
        .build()
        .unwrap();
    let backend = MemoryBackend::new().clock(clock.clone());
    let cache = Cache::builder(Arc::new(backend)).config(config).build();
    let other = CacheKey::builder("report", 1).build().unwrap();
    cache.set(&key(1), &1).await.unwrap();
    cache.set(&key(2), &2).ttl(Duration::from_secs(30)).await.unwrap();
    cache.get_or_load(&other, async || Ok::<_, Nothing>(3)).await.unwrap();
    let present = async || {
        [&key(1), &key(2), &other].map(|key| {
            let (cache, key) = (cache.clone(), key.clone());
            async move { cache.contains(&key).await }
        })
    };
    for (seconds, expected) in
        [(0, [true, true, true]), (10, [false, true, true]), (20, [false, false, true]), (30, [false; 3])]
    {
        clock.advance(Duration::from_secs(seconds));
        let mut found = Vec::new();
        for present in present().await {
            found.push(present.await);
        }
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn an_explanation_tells_the_value_of_a_key_and_why_it_missed() {
    let cache = Cache::memory().scoped("s").unwrap();
    cache.set(&key(1), "text").await.unwrap();
    let found = cache.explain(&key(1)).await.unwrap();
    assert_eq!(
        (found.key.as_str(), found.found, found.codec),
        ("[s]image:1:metadata", true, Some("bincode"))
    );
    assert_eq!(cache.get::<u64>(&key(1)).await, None);
    assert_eq!(cache.explain(&key(1)).await.unwrap().last_miss, Some(MissCause::ShapeChanged));
    let _ = cache.delete(&key(1)).await.unwrap();
    assert_eq!(cache.get::<String>(&key(1)).await, None);
    assert_eq!(cache.explain(&key(1)).await.unwrap().last_miss, Some(MissCause::Invalidated));
}

#[tokio::test]
async fn health_and_stats_tell_a_cache_from_none() {
    let cache = Cache::memory();
    cache.set(&key(1), &1).await.unwrap();
    assert_eq!(cache.stats().await.unwrap().count, 1);
    assert_eq!(cache.health().await.status, HealthStatus::Ok);
    let none = Cache::disabled();
    assert_eq!(none.stats().await.unwrap().count, 0);
    assert_eq!(none.health().await.status, HealthStatus::Off);
}

#[tokio::test]
async fn warming_loads_every_item_and_counts_those_that_fail() {
    let cache = Cache::memory();
    let mut seen = Vec::new();
    let warmed = cache
        .warm(
            0..10,
            3,
            async |cache, id| {
                let load = async move || if id == 7 { Err("broken") } else { Ok(id) };
                cache.get_or_load(&key(id), load).await
            },
            |warmed| seen.push(warmed.done + warmed.failed),
        )
        .await;
    assert_eq!((warmed.done, warmed.failed), (9, 1));
    assert_eq!(seen, (1..=10).collect::<Vec<u64>>());
    let failed: Result<i32, LoadError<&str>> = cache.get_or_load(&key(7), async || Err("still")).await;
    assert!(failed.is_err());
    assert_eq!(cache.get::<i32>(&key(6)).await, Some(6));
}

#[tokio::test]
async fn every_future_can_be_spawned() {
    tokio::spawn(async {
        let directory = tempfile::tempdir().unwrap();
        let config = CacheConfig::builder().directory(directory.path()).size_mb(16).build().unwrap();
        let cache = Cache::connect(config).await.unwrap();
        cache.set(&key(1), &1_u32).await.unwrap();
        cache.set_many([(&key(1), &2_u32)]).await.unwrap();
        cache.get_many::<u32>(&[key(1)]).await;
        cache.get_or_load(&key(2), async || Ok::<_, Nothing>(3_u32)).await.unwrap();
        cache.change(&key(1), async || Ok::<_, Nothing>(())).await.unwrap();
        let _ = cache.clear_pattern("image").await.unwrap();
        let _ = cache.clear().await.unwrap();
        let load = async |cache: &Cache, id: u32| {
            cache.get_or_load(&key(id), async move || Ok::<_, Nothing>(id)).await
        };
        assert_eq!(cache.warm(0..3, 2, load, |_| {}).await.done, 3);
        cache.explain(&key(1)).await.unwrap();
        cache.health().await;
        cache.close().await.unwrap();
    })
    .await
    .unwrap();
}
