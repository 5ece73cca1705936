//! Errors of the backend, and values that cannot be stored, never reach the caller.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cache_facade::{Cache, ChangeError, Source};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::support::{Faulty, Nothing, key, let_others_run};

async fn ask(cache: &Cache, value: u32) -> (u32, Source) {
    let load = async move || Ok::<_, Nothing>(value);
    let loaded = cache.get_or_load(&key(1), load).details().await.unwrap();
    (loaded.value, loaded.source)
}

#[tokio::test]
async fn a_failed_lookup_is_a_miss_and_is_not_filled() {
    let store = Faulty::new();
    store.lookups_fail.store(true, Ordering::SeqCst);
    let cache = Cache::new(store.clone());
    assert_eq!(ask(&cache, 1).await, (1, Source::Loaded));
    assert_eq!(cache.get::<u32>(&key(1)).await, None);
    assert!(!cache.contains(&key(1)).await);
    assert_eq!(cache.get_many::<u32>(&[key(1), key(2)]).await, [None, None]);
    assert_eq!(store.fills.load(Ordering::SeqCst), 0);
    assert_eq!(cache.stats().await.unwrap().errors, 4);
}

#[tokio::test]
async fn a_backend_that_panics_is_a_miss_to_reads_and_an_error_to_writes() {
    let store = Faulty::new();
    let cache = Cache::new(store.clone());
    assert_eq!(ask(&cache, 1).await, (1, Source::Loaded));
    let before = cache.health().await.panics;
    store.panics.store(true, Ordering::SeqCst);
    assert_eq!(ask(&cache, 2).await, (2, Source::Loaded));
    assert_eq!(cache.get::<u32>(&key(1)).await, None);
    assert_eq!(cache.get_many::<u32>(&[key(1), key(2)]).await, [None, None]);
    assert!(cache.set(&key(1), &3_u32).await.is_err() && cache.stats().await.is_err());
    let error = cache.invalidate(&key(1)).await.unwrap_err();
    assert!(error.to_string().contains("a bug in the store"), "{error}");
    let changed = cache.change(&key(1), async || Ok::<_, Nothing>(7)).await;
    assert!(matches!(changed, Err(ChangeError::NotInvalidated(_))), "{changed:?}");
    let health = cache.health().await;
    assert!(health.panics >= before + 7 + 4, "also in memory, of each key: {health:?}");
    assert_eq!(health.last_panic.as_deref(), Some("a bug in the store"));
    store.panics.store(false, Ordering::SeqCst);
    assert_eq!(ask(&cache, 4).await, (1, Source::Hit));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_costs_a_request_at_most_250_milliseconds() {
    let store = Faulty::new();
    store.lookups_hang.store(true, Ordering::SeqCst);
    let cache = Cache::new(store.clone());
    let asked = Instant::now();
    assert_eq!(ask(&cache, 1).await, (1, Source::Loaded));
    assert_eq!(asked.elapsed().as_millis() / 10, 24, "with what a timer is late, no more than 250");
    store.lookups_hang.store(false, Ordering::SeqCst);
    assert_eq!(ask(&cache, 2).await, (2, Source::Loaded));
    assert_eq!(ask(&cache, 3).await, (2, Source::Hit));
}

#[tokio::test(start_paused = true)]
async fn no_caller_waits_for_a_fill_that_hangs() {
    let store = Faulty::new();
    store.fills_hang.store(true, Ordering::SeqCst);
    let cache = Cache::new(store.clone());
    let asked = Instant::now();
    assert_eq!(ask(&cache, 1).await, (1, Source::Loaded));
    assert_eq!(ask(&cache, 2).await, (1, Source::Waited), "the flight lasts as long as its fill");
    assert!(asked.elapsed() < Duration::from_millis(1));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(ask(&cache, 3).await, (3, Source::Loaded));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_waits_for_its_turn_goes_on_when_the_backend_gives_a_token() {
    let store = Faulty::new();
    store.lookups_fail.store(true, Ordering::SeqCst);
    let cache = Cache::new(store.clone());
    let load = |number: u32| {
        let cache = cache.clone();
        let load = async move || {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok::<_, Nothing>(number)
        };
        tokio::spawn(async move { cache.get_or_load(&key(1), load).await.unwrap() })
    };
    let first = load(1);
    let_others_run().await;
    let asked = Instant::now();
    let second = load(2);
    let_others_run().await;
    store.lookups_fail.store(false, Ordering::SeqCst);
    assert_eq!(second.await.unwrap(), 2);
    assert!(asked.elapsed() < Duration::from_millis(1_200), "one load, not two: {:?}", asked.elapsed());
    assert_eq!(first.await.unwrap(), 1);
}

#[tokio::test]
async fn callers_without_a_token_share_a_load_that_has_not_begun_and_no_other() {
    let store = Faulty::new();
    store.lookups_fail.store(true, Ordering::SeqCst);
    let cache = Cache::new(store);
    let gate = Arc::new(Semaphore::new(0));
    let loads = Arc::new(AtomicU64::new(0));
    let ask = || {
        let (cache, gate, loads) = (cache.clone(), Arc::clone(&gate), Arc::clone(&loads));
        tokio::spawn(async move {
            let load = async move || {
                let number = loads.fetch_add(1, Ordering::SeqCst) + 1;
                gate.acquire().await.unwrap().forget();
                Ok::<_, Nothing>(number)
            };
            cache.get_or_load(&key(1), load).await.unwrap()
        })
    };
    let first = ask();
    let_others_run().await;
    let later: Vec<_> = (0..50).map(|_| ask()).collect();
    let_others_run().await;
    assert_eq!(loads.load(Ordering::SeqCst), 1, "one load runs, the others gather behind the next");
    gate.add_permits(1);
    assert_eq!(first.await.unwrap(), 1);
    let_others_run().await;
    let last = ask();
    let_others_run().await;
    assert_eq!(loads.load(Ordering::SeqCst), 2);
    gate.add_permits(1);
    for later in later {
        assert_eq!(later.await.unwrap(), 2);
    }
    gate.add_permits(1);
    assert_eq!(last.await.unwrap(), 3);
}

/// Its encoding fails.
#[derive(Debug, PartialEq, Deserialize)]
struct Unwritable(u32);

impl Serialize for Unwritable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("not today"))
    }
}

/// Its encoding panics.
#[derive(Debug, PartialEq, Deserialize)]
struct Explosive(u32);

impl Serialize for Explosive {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        unreachable!("boom")
    }
}

/// Its encoding is one that bincode cannot decode.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u32),
    Text(String),
}

#[tokio::test]
async fn a_value_that_cannot_be_stored_reaches_its_caller() {
    let cache = Cache::memory();
    for number in 0..3 {
        let value = cache.get_or_load(&key(1), async move || Ok::<_, Nothing>(Unwritable(number))).await;
        assert_eq!(value.unwrap(), Unwritable(number));
        let value = cache.get_or_load(&key(2), async move || Ok::<_, Nothing>(Explosive(number))).await;
        assert_eq!(value.unwrap(), Explosive(number));
        let value =
            cache.get_or_load(&key(3), async move || Ok::<_, Nothing>(Untagged::Number(number))).await;
        assert_eq!(value.unwrap(), Untagged::Number(number));
    }
    let stats = cache.stats().await.unwrap();
    assert_eq!((stats.count, stats.fills), (0, 0));
    assert_eq!(stats.errors, 3, "each type is reported once");
}

#[tokio::test]
async fn a_caller_that_waited_for_a_value_that_cannot_be_encoded_loads_it_itself() {
    let cache = Cache::memory();
    let gate = Arc::new(Semaphore::new(0));
    let callers: Vec<_> = (0..3)
        .map(|number| {
            let (cache, gate) = (cache.clone(), Arc::clone(&gate));
            tokio::spawn(async move {
                let load = async move || {
                    gate.acquire().await.unwrap().forget();
                    Ok::<_, Nothing>(Unwritable(number))
                };
                cache.get_or_load(&key(1), load).details().await.unwrap()
            })
        })
        .collect();
    let_others_run().await;
    gate.add_permits(3);
    for (number, caller) in (0..3).zip(callers) {
        let loaded = caller.await.unwrap();
        assert_eq!((loaded.value, loaded.source), (Unwritable(number), Source::Loaded));
    }
}

#[tokio::test]
async fn a_value_over_the_backends_limit_reaches_its_caller_and_is_not_stored() {
    let cache = Cache::memory();
    let load = async || Ok::<_, Nothing>("x".repeat(9 * 1_048_576));
    assert_eq!(cache.get_or_load(&key(1), load).await.unwrap().len(), 9 * 1_048_576);
    assert!(!cache.contains(&key(1)).await);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_does_not_delay_a_load_whose_turn_has_come() {
    let store = Faulty::new();
    store.lookups_hang.store(true, Ordering::SeqCst);
    let cache = Cache::new(store.clone());
    let load = |number: u32| {
        let cache = cache.clone();
        let load = async move || {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok::<_, Nothing>(number)
        };
        tokio::spawn(async move { cache.get_or_load(&key(1), load).await.unwrap() })
    };
    let first = load(1);
    tokio::time::sleep(Duration::from_millis(10)).await;
    let second = load(2);
    first.await.unwrap();
    let turn = Instant::now();
    second.await.unwrap();
    assert!(turn.elapsed() < Duration::from_millis(120), "{:?}", turn.elapsed());
}
