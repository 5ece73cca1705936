//! Ten thousand callers of one missing value, with Redis there and with Redis away.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cache_facade::Cache;
use testkit::RedisServer;
use testkit::reliability::{Tally, times};

use crate::support::*;

/// How many loads ten thousand callers of row `id` cause.
async fn stampede(cache: &Cache, id: u64) -> u64 {
    let loads = Arc::new(AtomicU64::new(0));
    let callers: Vec<_> = (0..10_000)
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
async fn ten_thousand_callers_cause_one_load_with_redis_and_without_it() {
    let tally = Tally::new("stampedes of 10,000", None);
    let mut server = RedisServer::start().unwrap();
    let one = Instance::patient(server.address()).await;
    let rounds = times(1) as u64;
    for id in 0..rounds {
        tally.attempt();
        assert_eq!(stampede(&one.cache, id).await, 1, "with Redis");
    }
    server.kill().unwrap();
    is_away(&one.cache).await;
    for id in rounds..2 * rounds {
        tally.attempt();
        assert_eq!(stampede(&one.cache, id).await, 1, "without Redis");
    }
}
