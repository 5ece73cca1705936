//! Loads that wait for a load of another instance.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cache_facade::{Cache, LoadOptions, Loaded, Source};
use testkit::RedisServer;
use tokio::task::JoinHandle;

use crate::support::*;

const WAIT: Duration = Duration::from_secs(2);

/// Callers of each instance, and how many of them begin at once.
const CALLERS: usize = 1_000;
const AT_ONCE: usize = 50;

/// Loads row `id` through `cache`, which takes `time`, and gives the number of the load.
fn call(
    cache: &Cache,
    id: u64,
    wait: Duration,
    loads: &Arc<AtomicU64>,
    time: Duration,
) -> JoinHandle<Loaded<u64>> {
    let (cache, loads) = (cache.clone(), Arc::clone(loads));
    let load = async move || {
        let number = loads.fetch_add(1, Ordering::SeqCst) + 1;
        tokio::time::sleep(time).await;
        Ok::<_, Infallible>(number)
    };
    let options = LoadOptions::new().wait_for_others(wait);
    tokio::spawn(async move { cache.get_or_load(&key(id), load).options(options).details().await.unwrap() })
}

async fn begun(loads: &AtomicU64) {
    eventually("the load begins", async || loads.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_of_four_instances_cause_one_load() {
    let server = RedisServer::start().unwrap();
    let mut instances = Vec::new();
    for _ in 0..4 {
        instances.push(Instance::patient(server.address()).await);
    }
    for (id, wait, most) in [(1, Duration::from_secs(20), 1), (2, Duration::ZERO, 4)] {
        let loads = Arc::new(AtomicU64::new(0));
        let mut callers = Vec::new();
        for _ in 0..CALLERS / AT_ONCE {
            for one in instances.iter().cycle().take(instances.len() * AT_ONCE) {
                callers.push(call(&one.cache, id, wait, &loads, Duration::from_millis(600)));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for caller in callers {
            caller.await.unwrap();
        }
        let loads = loads.load(Ordering::SeqCst);
        println!("{loads} loads for {} callers, wait {wait:?}", 4 * CALLERS);
        assert!((1..=most).contains(&loads), "{loads} loads, wait {wait:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_hangs_costs_other_instances_the_wait_at_most() {
    let server = RedisServer::start().unwrap();
    let (one, other) = (Instance::patient(server.address()).await, Instance::patient(server.address()).await);
    let loads = Arc::new(AtomicU64::new(0));
    call(&one.cache, 1, WAIT, &loads, Duration::from_secs(3600));
    begun(&loads).await;
    let asked = Instant::now();
    let wait = Duration::from_millis(300);
    let loaded = call(&other.cache, 1, wait, &loads, Duration::ZERO).await.unwrap();
    assert_eq!((loaded.value, loaded.source), (2, Source::Loaded));
    assert!(asked.elapsed() >= wait);
    let again = call(&other.cache, 1, wait, &loads, Duration::ZERO).await.unwrap();
    assert_eq!((again.value, again.source), (2, Source::Hit));
}

/// Returns how many reads and scripts the server has executed.
fn commands(server: &RedisServer) -> [u64; 2] {
    let stats = raw(server, &["INFO", "commandstats"]);
    ["hget", "evalsha"].map(|command| {
        let calls = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        calls.map_or(0, |calls| calls.split(',').next().unwrap().parse().unwrap())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_does_not_wait_sends_no_more_commands() {
    let server = RedisServer::start().unwrap();
    let (one, other) = (Instance::patient(server.address()).await, Instance::patient(server.address()).await);
    let loads = Arc::new(AtomicU64::new(0));
    let cost = async |id, wait| {
        let before = commands(&server);
        let loaded = call(&other.cache, id, wait, &loads, Duration::ZERO).await.unwrap();
        assert_eq!(loaded.source, Source::Loaded);
        let more = || [0, 1].map(|command| commands(&server)[command] - before[command]);
        eventually("it is stored", async || more()[1] > 1).await;
        more()
    };
    // The server knows the scripts afterwards.
    cost(1, Duration::ZERO).await;
    let hangs = Arc::new(AtomicU64::new(0));
    call(&one.cache, 2, WAIT, &hangs, Duration::from_secs(3600));
    begun(&hangs).await;
    // One read, and one in each of the scripts: for the lease, and for the fill.
    let usual = [3, 2];
    assert_eq!(cost(2, Duration::ZERO).await, usual, "the lease of another instance, and no wait");
    assert_eq!(cost(3, Duration::ZERO).await, usual, "no lease, and no wait");
    assert_eq!(cost(4, WAIT).await, usual, "a lease of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalidation_during_the_wait_is_seen() {
    let server = RedisServer::start().unwrap();
    let (one, other) = (Instance::patient(server.address()).await, Instance::patient(server.address()).await);
    let loads = Arc::new(AtomicU64::new(0));
    let old = call(&one.cache, 1, WAIT, &loads, Duration::from_secs(1));
    begun(&loads).await;
    let waits = call(&other.cache, 1, Duration::from_secs(60), &loads, Duration::ZERO);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!waits.is_finished() && loads.load(Ordering::SeqCst) == 1);
    let _ = one.cache.invalidate(&key(1)).await.unwrap();
    let loaded = waits.await.unwrap();
    assert_eq!((loaded.value, loaded.source), (2, Source::Loaded), "loaded after the invalidation");
    assert_eq!(old.await.unwrap().value, 1);
    assert_eq!(other.cache.get::<u64>(&key(1)).await, Some(2), "the old value is not stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_waits_while_redis_is_away() {
    let mut server = RedisServer::start().unwrap();
    let (one, other) = (Instance::new(server.address()).await, Instance::new(server.address()).await);
    let loads = Arc::new(AtomicU64::new(0));
    call(&one.cache, 1, WAIT, &loads, Duration::from_secs(3600));
    begun(&loads).await;
    let long = Duration::from_secs(60);
    let waits = call(&other.cache, 1, long, &loads, Duration::ZERO);
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.kill().unwrap();
    assert_eq!(waits.await.unwrap().source, Source::Loaded);
    is_away(&other.cache).await;
    assert_eq!(call(&other.cache, 2, long, &loads, Duration::ZERO).await.unwrap().source, Source::Loaded);
}
