//! Concurrent loads of many values, and a writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cache_facade::{Cache, CacheKey};
use shuttle::future::{spawn, yield_now};

use crate::{Database, Nothing, explore, explore_freshness, key};

fn place(id: u64) -> CacheKey {
    CacheKey::builder("row", id).build().unwrap()
}

#[test]
fn callers_with_overlapping_items_load_each_once_and_never_deadlock() {
    explore(|| async {
        let (cache, loads) = (Cache::memory(), Arc::new(AtomicU64::new(0)));
        let orders: [&[u64]; 3] = [&[1, 2, 3], &[3, 2], &[2, 1]];
        let tasks = orders.map(|ids| {
            let (cache, loads) = (cache.clone(), Arc::clone(&loads));
            spawn(async move {
                let load = async move |ids: Vec<u64>| {
                    loads.fetch_add(ids.len() as u64, Ordering::SeqCst);
                    yield_now().await;
                    Ok::<_, Nothing>(ids.into_iter().map(|id| (id, id)).collect::<Vec<_>>())
                };
                let items = ids.iter().map(|id| (*id, place(*id)));
                let values = cache.get_or_load_many(items, load).await.unwrap();
                assert!(values.len() == ids.len() && values.iter().all(|(item, value)| item == value));
            })
        });
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(loads.load(Ordering::SeqCst), 3);
    });
}

#[test]
fn no_read_of_many_returns_a_value_loaded_before_a_completed_invalidation() {
    explore_freshness(|| async {
        let (cache, database) = (Cache::memory(), Arc::new(Database::default()));
        let mut tasks = vec![spawn(Arc::clone(&database).write(cache.clone()))];
        tasks.push(spawn(Arc::clone(&database).read_twice(cache.clone())));
        tasks.extend((0..2).map(|_| {
            let (cache, database) = (cache.clone(), Arc::clone(&database));
            spawn(async move {
                for _ in 0..2 {
                    let acknowledged = database.acknowledged.load(Ordering::SeqCst);
                    let load = {
                        let database = Arc::clone(&database);
                        async move |ids: Vec<u64>| {
                            let version = database.load().await?;
                            Ok::<_, Nothing>(ids.into_iter().map(|id| (id, version)).collect::<Vec<_>>())
                        }
                    };
                    let items = [(0, key()), (1, place(1))];
                    let values = cache.get_or_load_many(items, load).await.unwrap();
                    let version = values[&0];
                    assert!(
                        version >= acknowledged,
                        "stale: version {version} after {acknowledged} was acknowledged"
                    );
                }
            })
        }));
        for task in tasks {
            task.await.unwrap();
        }
    });
}
