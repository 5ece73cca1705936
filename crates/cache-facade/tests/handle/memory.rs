//! Values at hand in memory are served without asking the store.

use std::sync::atomic::Ordering;

use cache_facade::{BackendKind, Cache, LoadOptions, Source};

use crate::support::{Faulty, Nothing, key};

#[tokio::test]
async fn every_read_of_a_value_at_hand_is_answered_without_the_store() {
    let store = Faulty::new();
    let cache = Cache::new(store.clone());
    cache.set(&key(1), &7_u32).await.unwrap();
    store.keep_at_hand(&key(1)).await;
    store.lookups_fail.store(true, Ordering::SeqCst);
    let loaded =
        cache.get_or_load_with(&key(1), LoadOptions::new(), async || Ok::<_, Nothing>(8_u32)).await.unwrap();
    assert_eq!((loaded.value, loaded.source, loaded.backend), (7, Source::Hit, BackendKind::Memory));
    assert_eq!(cache.get::<u32>(&key(1)).await, Some(7));
    assert!(cache.contains(&key(1)).await);
    assert_eq!(cache.get_many::<u32>(&[key(1)]).await, [Some(7)]);
    let items = [(1, key(1))];
    let many =
        cache.get_or_load_many(items, LoadOptions::new(), async |_| Ok::<[(i32, u32); 0], Nothing>([])).await;
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
    let found = cache.get_or_load_many(items, LoadOptions::new(), load).await.unwrap();
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
