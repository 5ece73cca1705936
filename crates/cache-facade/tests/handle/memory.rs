//! Values at hand in memory are served without asking the store.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use cache_facade::{BackendKind, Cache, CacheConfig, Codec, LoadError, Source};
use tokio::sync::Semaphore;

use crate::support::{Faulty, Nothing, key, let_others_run};

#[tokio::test]
async fn every_read_of_a_value_at_hand_is_answered_without_the_store() {
    let store = Faulty::new();
    let cache = Cache::new(store.clone());
    cache.set(&key(1), &7_u32).await.unwrap();
    store.keep_at_hand(&key(1)).await;
    store.lookups_fail.store(true, Ordering::SeqCst);
    let loaded = cache.get_or_load(&key(1), async || Ok::<_, Nothing>(8_u32)).details().await.unwrap();
    assert_eq!((loaded.value, loaded.source, loaded.backend), (7, Source::Hit, BackendKind::Memory));
    assert_eq!(cache.get::<u32>(&key(1)).await, Some(7));
    assert!(cache.contains(&key(1)).await);
    assert_eq!(cache.get_many::<u32>(&[key(1)]).await, [Some(7)]);
    let items = [(1, key(1))];
    let many = cache.get_or_load_many(items, async |_| Ok::<[(i32, u32); 0], Nothing>([])).await;
    assert_eq!(many.unwrap().get(&1), Some(&7));
    assert_eq!(store.lookups.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn of_a_batch_the_store_is_asked_for_the_keys_that_are_not_at_hand() {
    let store = Faulty::new();
    let cache = Cache::new(store.clone());
    let keys: Vec<_> = (0..6).map(key).collect();
    for (at, key) in keys.iter().enumerate() {
        cache.set(key, &at).await.unwrap();
        if at % 2 == 0 {
            store.keep_at_hand(key).await;
        }
    }
    let found = cache.get_many::<usize>(&keys).await;
    assert_eq!(found, (0..6).map(Some).collect::<Vec<_>>());
    assert_eq!(store.lookups.swap(0, Ordering::SeqCst), 3);
    let items = keys.iter().cloned().enumerate();
    let load = async |_| Ok::<[(usize, usize); 0], Nothing>([]);
    let found = cache.get_or_load_many(items, load).await.unwrap();
    assert!((0..6).all(|at| found.get(&at) == Some(&at)), "{found:?}");
    assert_eq!(store.lookups.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_value_at_hand_of_another_type_is_loaded_again() {
    let store = Faulty::new();
    let cache = Cache::new(store.clone());
    cache.set(&key(1), &"seven").await.unwrap();
    store.keep_at_hand(&key(1)).await;
    assert_eq!(cache.get_or_load(&key(1), async || Ok::<_, Nothing>(7_u32)).await.unwrap(), 7);
}

/// A cache that keeps decoded values.
fn sharing(store: &Arc<Faulty>) -> Cache {
    let config = CacheConfig::builder().memory_mb(8).build().unwrap();
    Cache::builder(store.clone()).config(config).build()
}

async fn shared(cache: &Cache, value: u32) -> Arc<u32> {
    cache.get_or_load_shared(&key(1), async move || Ok::<_, Nothing>(value)).await.unwrap()
}

#[tokio::test]
async fn callers_share_one_decoded_value_until_it_is_invalidated() {
    let cache = sharing(&Faulty::new());
    assert_eq!(*shared(&cache, 7).await, 7);
    let first = shared(&cache, 8).await;
    let (second, third) = (shared(&cache, 8).await, cache.get_shared::<u32>(&key(1)).await.unwrap());
    assert!(*first == 7 && Arc::ptr_eq(&first, &second) && Arc::ptr_eq(&first, &third));
    assert_eq!(cache.get::<u32>(&key(1)).await, Some(7), "stored as the value itself");

    let changed = cache.change(&key(1), async || Ok::<_, Nothing>(())).await;
    assert!(changed.is_ok());
    assert_eq!(cache.get_shared::<u32>(&key(1)).await, None);
    assert_eq!((*shared(&cache, 9).await, *shared(&cache, 10).await), (9, 9));
    cache.set(&key(1), &11_u32).await.unwrap();
    assert_eq!(*shared(&cache, 12).await, 11);
}

#[tokio::test]
async fn without_memory_every_call_decodes() {
    let cache = Cache::memory();
    cache.set(&key(1), &7_u32).await.unwrap();
    assert!(!Arc::ptr_eq(&shared(&cache, 8).await, &shared(&cache, 8).await));
}

#[tokio::test]
async fn each_view_and_each_type_has_its_own_decoded_value() {
    let cache = sharing(&Faulty::new());
    let (scoped, json) = (cache.scoped("reports").unwrap(), cache.with_codec(Codec::Json));
    assert_eq!((*shared(&cache, 1).await, *shared(&scoped, 2).await), (1, 2));
    for _ in 0..2 {
        assert_eq!((*shared(&cache, 0).await, *shared(&scoped, 0).await), (1, 2));
    }
    assert_eq!(cache.get_shared::<String>(&key(1)).await, None, "another type");
    assert_eq!(json.get_shared::<u32>(&key(1)).await, None, "another codec");
    assert_eq!(*shared(&cache, 0).await, 1);
}

#[tokio::test]
async fn shared_and_owned_values_come_from_one_load() {
    let cache = sharing(&Faulty::new());
    let gate = Arc::new(Semaphore::new(0));
    let (loading, opened) = (cache.clone(), Arc::clone(&gate));
    let owned = tokio::spawn(async move {
        let load = async move || {
            let _ = opened.acquire().await;
            Ok::<u32, Nothing>(7)
        };
        loading.get_or_load(&key(1), load).await.unwrap()
    });
    let_others_run().await;
    let waiting = cache.clone();
    let joined = tokio::spawn(async move { shared(&waiting, 8).await });
    let_others_run().await;
    gate.add_permits(1);
    assert_eq!((owned.await.unwrap(), *joined.await.unwrap()), (7, 7));
}

#[tokio::test]
async fn a_failed_load_of_a_shared_value_fails_its_caller() {
    let cache = sharing(&Faulty::new());
    let failed = cache.get_or_load_shared(&key(1), async || Err::<u32, _>("broken")).await;
    assert!(matches!(failed, Err(LoadError::Failed(error)) if *error == "broken"));
}
