//! Stale values: refreshed by one load for all, by token, and never served after an invalidation.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cache_facade::{Cache, CacheConfig, LoadOptions, ManualClock, Source, backend::MemoryBackend};
use futures_util::future::join_all;
use shuttle::future::{spawn, yield_now};

use crate::{Database, explore, explore_freshness, key};

const MINUTE: Duration = Duration::from_secs(60);

/// Two instances over one backend that holds a stale value.
async fn with_an_old_value(options: fn() -> LoadOptions<u64>) -> (Cache, Cache, Arc<Database>) {
    let (clock, database) = (Arc::new(ManualClock::new()), Arc::new(Database::default()));
    let store = Arc::new(MemoryBackend::new().clock(clock.clone()));
    let instance = || {
        let config = CacheConfig::builder().clock(clock.clone()).build().unwrap();
        Cache::builder(store.clone()).config(config).build()
    };
    let (here, there) = (instance(), instance());
    let load = {
        let database = Arc::clone(&database);
        move || database.load()
    };
    here.get_or_load(&key(), load).options(options()).details().await.unwrap();
    clock.advance(MINUTE);
    (here, there, database)
}

fn revalidated() -> LoadOptions<u64> {
    LoadOptions::new().ttl(MINUTE).stale_while_revalidate(MINUTE)
}

fn tolerant() -> LoadOptions<u64> {
    LoadOptions::new().ttl(MINUTE).stale_if_error(MINUTE)
}

/// Reads twice, and checks that the value was not stale when the read began; a load may fail.
async fn read(database: Arc<Database>, cache: Cache, options: fn() -> LoadOptions<u64>, fails: bool) {
    for _ in 0..2 {
        let acknowledged = database.acknowledged.load(Ordering::SeqCst);
        let load = {
            let database = Arc::clone(&database);
            async move || {
                let version = database.load().await.map_err(|_| "unreachable")?;
                if fails { Err("the database is away") } else { Ok(version) }
            }
        };
        if let Ok(loaded) = cache.get_or_load(&key(), load).options(options()).details().await {
            let version = loaded.value;
            assert!(
                version >= acknowledged,
                "stale: version {version} after {acknowledged} was acknowledged"
            );
        }
    }
}

#[test]
fn no_read_returns_a_stale_value_that_was_invalidated() {
    explore_freshness(|| async {
        let (here, there, database) = with_an_old_value(revalidated).await;
        let mut tasks = vec![spawn(Arc::clone(&database).write(there.clone()))];
        tasks.extend(
            [&here, &here, &there]
                .map(|cache| spawn(read(Arc::clone(&database), cache.clone(), revalidated, false))),
        );
        for task in tasks {
            task.await.unwrap();
        }
        // Background loads that still run must not bring it back either.
        for _ in 0..8 {
            yield_now().await;
        }
        read(database, here, revalidated, false).await;
    });
}

#[test]
fn no_failed_load_returns_a_stale_value_that_was_invalidated() {
    explore_freshness(|| async {
        let (here, there, database) = with_an_old_value(tolerant).await;
        let mut tasks = vec![spawn(Arc::clone(&database).write(there.clone()))];
        tasks.extend(
            [(&here, true), (&here, false), (&there, true)]
                .map(|(cache, fails)| spawn(read(Arc::clone(&database), cache.clone(), tolerant, fails))),
        );
        for task in tasks {
            task.await.unwrap();
        }
        read(database, here, tolerant, true).await;
    });
}

#[test]
fn a_stale_value_is_refreshed_by_one_load_for_all() {
    explore(|| async {
        let (cache, _, database) = with_an_old_value(revalidated).await;
        let ask = |cache: Cache| {
            let database = Arc::clone(&database);
            spawn(async move {
                let load = move || database.load();
                cache.get_or_load(&key(), load).options(revalidated()).details().await.unwrap().source
            })
        };
        for source in join_all((0..4).map(|_| ask(cache.clone()))).await {
            assert!(matches!(source.unwrap(), Source::Stale | Source::Hit));
        }
        let loads = database.loads.load(Ordering::SeqCst);
        assert!(loads <= 2, "the first value and one more, not {loads}");
    });
}
