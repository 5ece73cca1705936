//! Many concurrent calls for one missing value while Redis fails.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use testkit::RedisServer;

use crate::support::*;

const CALLERS: usize = 10_000;
/// One load with a token of Redis, one before the fallback store is open, and one with a token of the fallback store.
const MOST_LOADS: u64 = 3;
/// Longer than the calls take to arrive: all that can join a load do.
const LOAD: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_callers_cause_three_loads_at_most_while_redis_dies_halfway() {
    let mut server = RedisServer::start().unwrap();
    let one = Instance::new(server.address()).await;
    let loads = Arc::new(AtomicU64::new(0));
    let mut callers = Vec::new();
    for number in 0..CALLERS {
        if number == CALLERS / 2 {
            // Earlier and later calls are in progress.
            server.kill().unwrap();
        }
        let (cache, loads) = (one.cache.clone(), Arc::clone(&loads));
        callers.push(tokio::spawn(async move {
            let load = async move || {
                loads.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(LOAD).await;
                Ok::<_, Infallible>(7_u64)
            };
            let asked = Instant::now();
            assert_eq!(cache.get_or_load(&key(1), load).await.unwrap(), 7);
            asked.elapsed()
        }));
        // The calls arrive over a while.
        if number.is_multiple_of(100) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let mut longest = Duration::ZERO;
    for caller in callers {
        longest = longest.max(caller.await.unwrap());
    }
    let loads = loads.load(Ordering::SeqCst);
    println!("{CALLERS} callers, {loads} loads; the longest wait {longest:.1?}, of which {LOAD:?} is a load");
    assert!(loads <= MOST_LOADS, "{loads} loads");
}
