//! Many concurrent calls for one missing value, with Redis up and with Redis away.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cache_facade::Cache;
use testkit::RedisServer;
use testkit::reliability::{Tally, times};

use crate::support::*;

/// Concurrent calls while Redis is up: few enough for their lookups to be answered within the 250 ms that a request waits,
/// also on a loaded machine. A call that waits longer goes on without Redis, and loads alone.
const WITH_REDIS: usize = 500;
/// Concurrent calls while Redis is away.
const WITHOUT_REDIS: usize = 10_000;

/// Returns how many loads `callers` concurrent calls of row `id` cause.
async fn stampede(cache: &Cache, callers: usize, id: u64) -> u64 {
    let loads = Arc::new(AtomicU64::new(0));
    let callers: Vec<_> = (0..callers)
        .map(|_| {
            let (cache, loads) = (cache.clone(), Arc::clone(&loads));
            tokio::spawn(async move {
                let load = async move || Ok::<_, Infallible>(loads.fetch_add(1, Ordering::SeqCst));
                cache.get_or_load(&key(id), load).await.unwrap()
            })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), 0, "it is the first load's value");
    }
    loads.load(Ordering::SeqCst)
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_calls_cause_one_load_with_redis_and_without_it() {
    let tally = Tally::new("stampedes", None);
    let mut server = RedisServer::start().unwrap();
    let one = Instance::patient(server.address()).await;
    let rounds = times(1) as u64;
    for id in 0..rounds {
        tally.attempt();
        assert_eq!(stampede(&one.cache, WITH_REDIS, id).await, 1, "with Redis");
    }
    server.kill().unwrap();
    is_away(&one.cache).await;
    for id in rounds..2 * rounds {
        tally.attempt();
        assert_eq!(stampede(&one.cache, WITHOUT_REDIS, id).await, 1, "without Redis");
    }
}
