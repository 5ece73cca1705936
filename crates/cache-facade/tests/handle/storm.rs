//! Readers and writers of two instances on real threads: no read returns a value that was stale when it began.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cache_facade::{Cache, CacheKey, backend::MemoryBackend};

use crate::support::{Nothing, every_store, key};

const ROWS: usize = 4;
const READS: u64 = 3_000;
const WRITES: u64 = 300;

/// A row whose version every write raises.
#[derive(Debug, Default)]
struct Row {
    version: AtomicU64,
    /// The version of the last completed invalidation.
    acknowledged: AtomicU64,
}

#[derive(Debug, Default)]
struct Database([Arc<Row>; ROWS]);

impl Database {
    fn row(&self, number: u64) -> (Arc<Row>, CacheKey) {
        let number = usize::try_from(number).unwrap() % ROWS;
        (self.0.get(number).cloned().unwrap(), key(number))
    }

    async fn read(self: Arc<Self>, cache: Cache, seed: u64) {
        for number in 0..READS {
            let (row, key) = self.row(number * seed);
            let acknowledged = row.acknowledged.load(Ordering::SeqCst);
            let load = async move || {
                let version = row.version.load(Ordering::SeqCst);
                tokio::task::yield_now().await;
                Ok::<_, Nothing>(version)
            };
            let version = cache.get_or_load(&key, load).await.unwrap();
            assert!(version >= acknowledged, "stale: {key} {version} after {acknowledged}");
        }
    }

    async fn write(self: Arc<Self>, cache: Cache, seed: u64) {
        for number in 0..WRITES {
            let (row, key) = self.row(number * seed);
            let commit = {
                let row = Arc::clone(&row);
                async move || Ok::<_, Nothing>(row.version.fetch_add(1, Ordering::SeqCst) + 1)
            };
            let changed = cache.change(&key, commit).await.unwrap();
            row.acknowledged.fetch_max(changed.value, Ordering::SeqCst);
        }
    }
}

async fn storm(here: &Cache, there: &Cache) {
    let database = Arc::new(Database::default());
    let mut tasks = Vec::new();
    for seed in [1, 3, 5, 7] {
        for cache in [here, there] {
            tasks.push(tokio::spawn(Arc::clone(&database).read(cache.clone(), seed)));
        }
    }
    for (seed, cache) in [(1, here), (3, there)] {
        tasks.push(tokio::spawn(Arc::clone(&database).write(cache.clone(), seed)));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_read_returns_a_value_that_was_stale_when_it_began() {
    let store = Arc::new(MemoryBackend::new());
    storm(&Cache::new(store.clone()), &Cache::new(store)).await;
    for stored in every_store().await {
        storm(&stored.cache, &stored.cache.clone()).await;
        assert!(stored.cache.stats().await.unwrap().hits > 0, "{}", stored.name);
    }
}
