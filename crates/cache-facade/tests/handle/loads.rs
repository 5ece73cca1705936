//! Reads through the cache: hits, misses, single flight, errors, panics, options.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use cache_facade::{BackendKind, Cache, LoadError, LoadOptions, Loaded, Source};
use testkit::reliability::{Tally, times};
use tokio::sync::{Notify, Semaphore};

use crate::support::{Faulty, Nothing, every_store, key, let_others_run};

#[tokio::test]
async fn a_second_read_is_a_hit_and_does_not_load() {
    let cache = Cache::memory();
    let first = cache.get_or_load(&key(1), async || Ok::<_, Nothing>(7_u32)).details().await.unwrap();
    assert_eq!((first.value, first.source), (7, Source::Loaded));
    let second: Loaded<u32> = cache
        .get_or_load(&key(1), async || -> Result<u32, Nothing> { panic!("a hit loads nothing") })
        .details()
        .await
        .unwrap();
    assert_eq!((*second, second.source), (7, Source::Hit));
    assert_eq!(cache.get::<u32>(&key(1)).await, Some(7));
}

#[tokio::test]
async fn a_value_names_the_backend_that_answered_its_lookup() {
    // As after a change of backends during the read: `kind` differs from the backend of the lookup.
    let cache = Cache::new(Faulty::new());
    for source in [Source::Loaded, Source::Hit] {
        let load = async || Ok::<_, Nothing>(7_u32);
        let loaded = cache.get_or_load(&key(1), load).details().await.unwrap();
        assert_eq!((loaded.source, loaded.backend), (source, BackendKind::Memory));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_callers_cause_one_load() {
    let tally = Tally::new("stampedes", None);
    for stored in every_store().await {
        for number in 0..times(1) {
            tally.attempt();
            assert_eq!(stampede(&stored.cache, number).await, 1, "{}", stored.name);
        }
    }
}

/// Counts the loads of ten thousand callers of one missing value.
async fn stampede(cache: &Cache, number: usize) -> u64 {
    let loads = Arc::new(AtomicU64::new(0));
    let calls: Vec<_> = (0..10_000)
        .map(|_| {
            let (cache, loads) = (cache.clone(), Arc::clone(&loads));
            tokio::spawn(async move {
                let load = async move || {
                    loads.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    Ok::<_, Nothing>("value".to_owned())
                };
                cache.get_or_load(&key(number), load).await.unwrap()
            })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), "value");
    }
    loads.load(Ordering::SeqCst)
}

#[tokio::test]
async fn an_error_reaches_exactly_the_callers_that_waited() {
    let cache = Cache::memory();
    let gate = Arc::new(Semaphore::new(0));
    let callers: Vec<_> = (0..3)
        .map(|_| {
            let (cache, gate) = (cache.clone(), Arc::clone(&gate));
            tokio::spawn(async move {
                let load = async move || {
                    gate.acquire().await.unwrap().forget();
                    Err::<u32, _>("no such row")
                };
                cache.get_or_load(&key(1), load).await
            })
        })
        .collect();
    let_others_run().await;
    gate.add_permits(1);
    for caller in callers {
        assert!(matches!(caller.await.unwrap(), Err(LoadError::Failed(error)) if *error == "no such row"));
    }
    assert_eq!(cache.get_or_load(&key(1), async || Ok::<_, &str>(5_u32)).await.unwrap(), 5);
}

#[tokio::test]
async fn an_error_with_one_holder_can_be_taken_by_value() {
    let cache = Cache::memory();
    let failed = cache.get_or_load(&key(1), async || Err::<u32, _>(std::io::Error::other("away"))).await;
    assert_eq!(failed.unwrap_err().into_inner().unwrap().to_string(), "away");
}

#[tokio::test]
async fn a_panic_reaches_exactly_the_callers_that_waited() {
    let cache = Cache::memory();
    let gate = Arc::new(Semaphore::new(0));
    let callers: Vec<_> = (0..3)
        .map(|_| {
            let (cache, gate) = (cache.clone(), Arc::clone(&gate));
            tokio::spawn(async move {
                let load = async move || -> Result<u32, Nothing> {
                    gate.acquire().await.unwrap().forget();
                    panic!("row {} is broken", 7)
                };
                cache.get_or_load(&key(1), load).await
            })
        })
        .collect();
    let_others_run().await;
    gate.add_permits(1);
    for caller in callers {
        assert!(matches!(caller.await.unwrap(), Err(LoadError::Panicked(why)) if &*why == "row 7 is broken"));
    }
    assert_eq!(cache.get_or_load(&key(1), async || Ok::<_, Nothing>(5_u32)).await.unwrap(), 5);
}

#[tokio::test]
async fn a_cancelled_leader_neither_stops_nor_stalls_the_load() {
    let cache = Cache::memory();
    let gate = Arc::new(Notify::new());
    let load = |value: u32| {
        let gate = Arc::clone(&gate);
        async move || {
            gate.notified().await;
            Ok::<_, Nothing>(value)
        }
    };
    let leader = tokio::spawn({
        let (cache, load) = (cache.clone(), load(1));
        async move { cache.get_or_load(&key(1), load).await }
    });
    let_others_run().await;
    let waiter = tokio::spawn({
        let (cache, load) = (cache.clone(), load(2));
        async move { cache.get_or_load(&key(1), load).details().await }
    });
    let_others_run().await;
    leader.abort();
    assert!(leader.await.unwrap_err().is_cancelled());
    gate.notify_waiters();
    let loaded = waiter.await.unwrap().unwrap();
    assert_eq!((loaded.value, loaded.source), (1, Source::Waited));
    assert_eq!(cache.get::<u32>(&key(1)).await, Some(1));
}

#[tokio::test(start_paused = true)]
async fn after_the_load_timeout_one_waiter_loads_and_the_leader_goes_on() {
    let cache = Cache::memory();
    let release = Arc::new(Notify::new());
    let slow = tokio::spawn({
        let (cache, release) = (cache.clone(), Arc::clone(&release));
        async move {
            let load = async move || {
                release.notified().await;
                Ok::<_, Nothing>("slow".to_owned())
            };
            cache.get_or_load(&key(1), load).details().await.unwrap()
        }
    });
    let_others_run().await;
    let loads = Arc::new(AtomicU64::new(0));
    let others: Vec<_> = (0..20)
        .map(|_| {
            let (cache, loads) = (cache.clone(), Arc::clone(&loads));
            tokio::spawn(async move {
                let load = async move || {
                    loads.fetch_add(1, Ordering::SeqCst);
                    Ok::<_, Nothing>("quick".to_owned())
                };
                cache.get_or_load(&key(1), load).await.unwrap()
            })
        })
        .collect();
    let_others_run().await;
    assert_eq!(loads.load(Ordering::SeqCst), 0, "they wait for the first load");
    tokio::time::advance(Duration::from_secs(30)).await;
    for other in others {
        assert_eq!(other.await.unwrap(), "quick");
    }
    assert_eq!(loads.load(Ordering::SeqCst), 1);
    release.notify_one();
    let slow = slow.await.unwrap();
    assert_eq!((slow.value.as_str(), slow.source), ("slow", Source::Loaded));
}

#[tokio::test]
async fn a_load_that_requests_its_own_key_is_recursive_also_through_another() {
    #[derive(Debug, PartialEq)]
    struct AskedItself;

    fn ask(
        cache: Cache,
        id: u32,
        then: &'static [u32],
    ) -> futures_util::future::BoxFuture<'static, Result<u32, AskedItself>> {
        Box::pin(async move {
            let inner = cache.clone();
            let load = async move || match then {
                [] => Ok(id),
                [next, rest @ ..] => ask(inner, *next, rest).await,
            };
            match cache.get_or_load(&key(id), load).await {
                Err(LoadError::Recursive) => Err(AskedItself),
                Err(failed) => Err(failed.into_inner().unwrap()),
                Ok(value) => Ok(value),
            }
        })
    }

    assert_eq!(ask(Cache::memory(), 1, &[1]).await, Err(AskedItself));
    assert_eq!(ask(Cache::memory(), 1, &[2, 1]).await, Err(AskedItself));
    assert_eq!(ask(Cache::memory(), 1, &[2, 3]).await, Ok(3));
}

#[tokio::test]
async fn two_types_on_one_key_never_mix() {
    let cache = Cache::memory();
    let gate = Arc::new(Semaphore::new(0));
    let number = tokio::spawn({
        let (cache, gate) = (cache.clone(), Arc::clone(&gate));
        async move {
            let load = async move || {
                gate.acquire().await.unwrap().forget();
                Ok::<_, Nothing>(7_u64)
            };
            cache.get_or_load(&key(1), load).await.unwrap()
        }
    });
    let_others_run().await;
    let text = cache.get_or_load(&key(1), async || Ok::<_, Nothing>("seven".to_owned())).await.unwrap();
    assert_eq!(text, "seven");
    gate.add_permits(1);
    assert_eq!(number.await.unwrap(), 7);
}

#[tokio::test]
async fn a_value_of_another_type_is_a_miss_and_is_replaced() {
    let cache = Cache::memory();
    cache.set(&key(1), "text").await.unwrap();
    assert_eq!(cache.get::<u64>(&key(1)).await, None);
    assert_eq!(cache.get_or_load(&key(1), async || Ok::<_, Nothing>(7_u64)).await.unwrap(), 7);
    assert_eq!(cache.get::<u64>(&key(1)).await, Some(7));
}

#[tokio::test]
async fn only_values_that_the_options_keep_are_stored() {
    let cache = Cache::memory();
    let load = |value: u32| {
        let cache = cache.clone();
        async move {
            let options = LoadOptions::new().keep(|value: &u32| *value > 10);
            cache
                .get_or_load(&key(1), async move || Ok::<_, Nothing>(value))
                .options(options)
                .details()
                .await
                .unwrap()
                .value
        }
    };
    assert_eq!(load(5).await, 5);
    assert_eq!(load(50).await, 50);
    assert_eq!(load(500).await, 50);
}

#[tokio::test]
async fn bytes_are_stored_unchanged() {
    let cache = Cache::memory();
    let picture = Bytes::from_static(b"\x89PNG");
    let load = async || Ok::<_, Nothing>(Bytes::from_static(b"\x89PNG"));
    assert_eq!(cache.get_or_load(&key(1), load).details().await.unwrap().value, picture);
    assert_eq!(cache.get::<Bytes>(&key(1)).await, Some(picture));
}

#[tokio::test]
async fn a_disabled_cache_loads_every_time() {
    let cache = Cache::disabled();
    for _ in 0..2 {
        let loaded = cache.get_or_load(&key(1), async || Ok::<_, Nothing>(1_u32)).details().await.unwrap();
        assert_eq!(loaded.source, Source::Bypassed);
    }
    cache.set(&key(1), &1_u32).await.unwrap();
    assert_eq!(cache.get::<u32>(&key(1)).await, None);
    assert_eq!(cache.stats().await.unwrap().backend.as_str(), "none");
}

#[test]
fn outside_a_runtime_the_caller_runs_the_load_itself() {
    let (cache, key) = (Cache::memory(), key(1));
    let load = async || Ok::<_, Nothing>(7_u32);
    let mut asking = pin!(cache.get_or_load(&key, load).into_future());
    let answer = loop {
        if let Poll::Ready(answer) = asking.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            break answer;
        }
    };
    assert_eq!(answer.unwrap(), 7);
}
