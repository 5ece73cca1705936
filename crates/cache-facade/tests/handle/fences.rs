//! Fill tokens: the interleavings by which other caches serve stale values, over one handle and over two.

use std::sync::Arc;

use cache_facade::{Cache, CacheKey, Invalidated, Source, backend::MemoryBackend};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::support::{Nothing, Stored, every_store, key, let_others_run};

/// A load that has read `value`, and returns it when `finish` is called.
struct SlowLoad {
    gate: Arc<Semaphore>,
    reader: JoinHandle<(String, Source)>,
}

impl SlowLoad {
    async fn begin(cache: &Cache, key: &CacheKey, value: &'static str) -> Self {
        let gate = Arc::new(Semaphore::new(0));
        let reader = tokio::spawn({
            let (cache, key, gate) = (cache.clone(), key.clone(), Arc::clone(&gate));
            async move {
                let load = async move || {
                    gate.acquire().await.unwrap().forget();
                    Ok::<_, Nothing>(value.to_owned())
                };
                let loaded = cache.get_or_load(&key, load).details().await.unwrap();
                (loaded.value, loaded.source)
            }
        });
        let_others_run().await;
        Self { gate, reader }
    }

    async fn finish(self) -> (String, Source) {
        self.gate.add_permits(1);
        self.reader.await.unwrap()
    }
}

async fn ask(cache: &Cache, key: &CacheKey, value: &'static str) -> (String, Source) {
    let load = async move || Ok::<_, Nothing>(value.to_owned());
    let loaded = cache.get_or_load(key, load).details().await.unwrap();
    (loaded.value, loaded.source)
}

async fn invalidate(cache: &Cache, how: &str) {
    let invalidated = match how {
        "key" => cache.delete(&key(5)).await,
        "group" => cache.invalidate(&key(5).to_group()).await,
        "prefix" => cache.clear_pattern("image").await,
        "glob" => cache.clear_pattern("*:metadata").await,
        "clear" => cache.clear().await,
        other => unreachable!("{other}"),
    };
    assert!(matches!(invalidated.unwrap(), Invalidated::Applied { .. }));
}

const WAYS: [&str; 5] = ["key", "group", "prefix", "glob", "clear"];

#[tokio::test]
async fn a_value_loaded_before_an_invalidation_is_not_stored_after_it() {
    for how in WAYS {
        for Stored { name, cache, .. } in every_store().await {
            let old = SlowLoad::begin(&cache, &key(5), "old").await;
            invalidate(&cache, how).await;
            assert_eq!(old.finish().await, ("old".into(), Source::Loaded), "{name} {how}");
            assert_eq!(cache.get::<String>(&key(5)).await, None, "{name} {how}");
            assert_eq!(cache.stats().await.unwrap().fills_refused, 1, "{name} {how}");
        }
    }
}

#[tokio::test]
async fn a_read_after_an_invalidation_does_not_join_a_load_from_before_it() {
    for how in WAYS {
        for Stored { name, cache, .. } in every_store().await {
            let old = SlowLoad::begin(&cache, &key(5), "old").await;
            invalidate(&cache, how).await;
            assert_eq!(ask(&cache, &key(5), "new").await, ("new".into(), Source::Loaded), "{name} {how}");
            old.finish().await;
            assert_eq!(ask(&cache, &key(5), "unused").await, ("new".into(), Source::Hit), "{name} {how}");
        }
    }
}

#[tokio::test]
async fn of_two_fills_around_an_invalidation_the_newer_is_stored() {
    let cache = Cache::memory();
    let old = SlowLoad::begin(&cache, &key(5), "old").await;
    invalidate(&cache, "key").await;
    let new = SlowLoad::begin(&cache, &key(5), "new").await;
    assert_eq!(new.finish().await.0, "new");
    assert_eq!(old.finish().await.0, "old");
    assert_eq!(cache.get::<String>(&key(5)).await.as_deref(), Some("new"));
}

#[tokio::test]
async fn callers_that_wait_for_a_load_before_an_invalidation_are_not_mixed_with_those_after_it() {
    let cache = Cache::memory();
    let old = SlowLoad::begin(&cache, &key(5), "old").await;
    let waits_for_old = SlowLoad::begin(&cache, &key(5), "unused").await;
    invalidate(&cache, "group").await;
    let new = SlowLoad::begin(&cache, &key(5), "new").await;
    let waits_for_new = SlowLoad::begin(&cache, &key(5), "unused").await;
    assert_eq!(new.finish().await, ("new".into(), Source::Loaded));
    assert_eq!(waits_for_new.finish().await, ("new".into(), Source::Waited));
    assert_eq!(old.finish().await, ("old".into(), Source::Loaded));
    assert_eq!(waits_for_old.finish().await, ("old".into(), Source::Waited));
}

#[tokio::test]
async fn an_invalidation_of_another_instance_separates_the_loads_of_this_one() {
    let store = Arc::new(MemoryBackend::new());
    let (here, there) = (Cache::new(store.clone()), Cache::new(store));
    let old = SlowLoad::begin(&here, &key(5), "old").await;
    invalidate(&there, "key").await;
    assert_eq!(ask(&here, &key(5), "new").await, ("new".into(), Source::Loaded));
    old.finish().await;
    assert_eq!(ask(&here, &key(5), "unused").await, ("new".into(), Source::Hit));
    assert_eq!(ask(&there, &key(5), "unused").await, ("new".into(), Source::Hit));
}

#[tokio::test]
async fn a_set_wins_over_a_load_that_began_before_it() {
    let cache = Cache::memory();
    let old = SlowLoad::begin(&cache, &key(5), "old").await;
    cache.set(&key(5), "set").await.unwrap();
    old.finish().await;
    assert_eq!(cache.get::<String>(&key(5)).await.as_deref(), Some("set"));
}

#[tokio::test]
async fn an_invalidation_of_another_group_lets_a_load_be_stored() {
    let cache = Cache::memory();
    let load = SlowLoad::begin(&cache, &key(5), "value").await;
    let _ = cache.invalidate(&key(6)).await.unwrap();
    load.finish().await;
    assert_eq!(cache.get::<String>(&key(5)).await.as_deref(), Some("value"));
}
