//! Reads of many values: one load for those that are missing, each stored by the token of its own lookup.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cache_facade::{Cache, CacheKey, LoadError, LoadOptions};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::support::{Faulty, Nothing, every_store, key, let_others_run};

type Answer = Result<HashMap<u64, String>, LoadError<&'static str>>;

fn items(ids: &[u64]) -> Vec<(u64, CacheKey)> {
    ids.iter().map(|id| (*id, key(id))).collect()
}

/// A database that records its requests, returns rows in reverse order, and has none over 100.
#[derive(Clone, Default)]
struct Rows {
    asked: Arc<Mutex<Vec<Vec<u64>>>>,
    gate: Option<Arc<Semaphore>>,
    version: &'static str,
}

impl Rows {
    fn version(version: &'static str) -> Self {
        Self { version, ..Self::default() }
    }

    fn closed(self) -> (Self, Arc<Semaphore>) {
        let gate = Arc::new(Semaphore::new(0));
        (Self { gate: Some(Arc::clone(&gate)), ..self }, gate)
    }

    async fn load(self, ids: Vec<u64>) -> Result<Vec<(u64, String)>, &'static str> {
        self.asked.lock().unwrap().push(ids.clone());
        if let Some(gate) = &self.gate {
            gate.acquire().await.unwrap().forget();
        }
        let rows = ids.into_iter().rev().filter(|id| *id <= 100);
        Ok(rows.map(|id| (id, format!("{id}{}", self.version))).collect())
    }

    fn asked(&self) -> Vec<Vec<u64>> {
        self.asked.lock().unwrap().clone()
    }
}

async fn ask(cache: &Cache, ids: &[u64], rows: &Rows) -> Answer {
    let rows = rows.clone();
    cache.get_or_load_many(items(ids), async move |ids| rows.load(ids).await).await
}

async fn ask_slowly(cache: &Cache, ids: &'static [u64], rows: &Rows) -> JoinHandle<Answer> {
    let (cache, rows) = (cache.clone(), rows.clone());
    let asking = tokio::spawn(async move { ask(&cache, ids, &rows).await });
    let_others_run().await;
    asking
}

fn expected(ids: &[u64], version: &str) -> HashMap<u64, String> {
    ids.iter().map(|id| (*id, format!("{id}{version}"))).collect()
}

#[tokio::test]
async fn missing_values_are_loaded_in_one_call_and_then_none() {
    for stored in every_store().await {
        let (cache, rows) = (stored.cache.scoped("many").unwrap(), Rows::default());
        assert_eq!(ask(&cache, &[1, 2], &rows).await.unwrap(), expected(&[1, 2], ""));
        assert_eq!(ask(&cache, &[1, 2, 3, 4], &rows).await.unwrap(), expected(&[1, 2, 3, 4], ""));
        assert_eq!(ask(&cache, &[4, 3, 2, 1], &rows).await.unwrap(), expected(&[1, 2, 3, 4], ""));
        assert_eq!(rows.asked(), [vec![1, 2], vec![3, 4]], "{}", stored.name);
        assert_eq!(ask(&cache, &[], &rows).await.unwrap(), HashMap::new());
        assert_eq!(cache.get::<String>(&key(3)).await.as_deref(), Some("3"));
    }
}

#[tokio::test]
async fn an_item_that_the_load_leaves_out_is_left_out_and_requested_again() {
    let (cache, rows) = (Cache::memory(), Rows::default());
    for _ in 0..2 {
        assert_eq!(ask(&cache, &[1, 101], &rows).await.unwrap(), expected(&[1], ""));
    }
    assert_eq!(rows.asked(), [vec![1, 101], vec![101]]);
}

#[tokio::test]
async fn an_item_that_the_load_leaves_out_is_cached_as_none_if_the_options_say_so() {
    for stored in every_store().await {
        let (cache, rows) = (stored.cache.scoped("negative").unwrap(), Rows::default());
        let ask = async |options: LoadOptions<Option<String>>| {
            let rows = rows.clone();
            let load = async move |ids| {
                let found = rows.load(ids).await?;
                Ok::<_, &'static str>(
                    found.into_iter().map(|(id, text)| (id, Some(text))).collect::<Vec<_>>(),
                )
            };
            cache.get_or_load_many(items(&[1, 101]), load).options(options).await.unwrap()
        };
        let negative = || LoadOptions::new().negative(Duration::from_secs(60));
        let expected = HashMap::from([(1, Some("1".to_owned())), (101, None)]);
        for _ in 0..2 {
            assert_eq!(ask(negative()).await, expected, "{}", stored.name);
        }
        assert_eq!(rows.asked(), [vec![1, 101]], "{}", stored.name);
        let _ = cache.invalidate(&key(101)).await.unwrap();
        ask(negative()).await;
        assert_eq!(rows.asked(), [vec![1, 101], vec![101]], "what creates it invalidates it");
    }
    let load = async |_ids: Vec<u64>| Ok::<_, Nothing>([(1, Some(1))]);
    let options = LoadOptions::new().negative(Duration::from_secs(60));
    let values = Cache::disabled().get_or_load_many(items(&[1, 2]), load).options(options).await.unwrap();
    assert_eq!(values, HashMap::from([(1, Some(1)), (2, None)]), "without a cache too");
}

#[tokio::test]
async fn each_item_is_requested_once_and_none_by_no_call_whatever_the_state_of_the_cache() {
    let broken = Faulty::new();
    broken.lookups_fail.store(true, Ordering::SeqCst);
    for cache in [Cache::memory(), Cache::disabled(), Cache::new(broken)] {
        let rows = Rows::default();
        assert_eq!(ask(&cache, &[], &rows).await.unwrap(), HashMap::new());
        assert_eq!(ask(&cache, &[1, 2, 1], &rows).await.unwrap(), expected(&[1, 2], ""));
        assert_eq!(rows.asked(), [[1, 2]], "{cache:?}");
    }
}

#[tokio::test]
async fn a_caller_that_waited_for_an_absent_item_does_not_load_it_again() {
    let cache = Cache::memory();
    let (rows, gate) = Rows::default().closed();
    let first = ask_slowly(&cache, &[1, 101], &rows).await;
    let second = ask_slowly(&cache, &[101], &rows).await;
    gate.add_permits(9);
    assert_eq!(first.await.unwrap().unwrap(), expected(&[1], ""));
    assert_eq!(second.await.unwrap().unwrap(), expected(&[], ""));
    assert_eq!(rows.asked(), [vec![1, 101]]);
}

#[tokio::test]
async fn values_that_were_not_requested_are_ignored() {
    for cache in [Cache::memory(), Cache::disabled()] {
        let load = async |_ids: Vec<u64>| Ok::<_, Nothing>((0..9).map(|id| (id, id)));
        let values = cache.get_or_load_many(items(&[1, 2]), load).await.unwrap();
        assert_eq!(values, HashMap::from([(1, 1), (2, 2)]));
    }
}

#[tokio::test]
async fn a_caller_waits_for_values_in_flight_one_or_many() {
    let cache = Cache::memory();
    let (rows, gate) = Rows::default().closed();
    let first = ask_slowly(&cache, &[1, 2, 3], &rows).await;
    let second = ask_slowly(&cache, &[3, 4, 2], &rows).await;
    let single = tokio::spawn({
        let cache = cache.clone();
        async move {
            let load = async || -> Result<String, &'static str> { panic!("it is being loaded") };
            cache.get_or_load(&key(2), load).await.unwrap()
        }
    });
    let_others_run().await;
    assert_eq!(rows.asked(), [vec![1, 2, 3], vec![4]]);
    gate.add_permits(2);
    assert_eq!(first.await.unwrap().unwrap(), expected(&[1, 2, 3], ""));
    assert_eq!(second.await.unwrap().unwrap(), expected(&[2, 3, 4], ""));
    assert_eq!(single.await.unwrap(), "2");
}

#[tokio::test]
async fn two_callers_with_the_same_items_in_another_order_do_not_deadlock() {
    let cache = Cache::memory();
    let (rows, gate) = Rows::default().closed();
    let (one, two) = (ask_slowly(&cache, &[1, 2], &rows).await, ask_slowly(&cache, &[3, 2, 1], &rows).await);
    gate.add_permits(2);
    assert_eq!(one.await.unwrap().unwrap(), expected(&[1, 2], ""));
    assert_eq!(two.await.unwrap().unwrap(), expected(&[1, 2, 3], ""));
}

#[tokio::test]
async fn an_invalidation_keeps_exactly_its_keys_of_a_batch_from_being_stored() {
    for stored in every_store().await {
        let (old, gate) = Rows::version(" old").closed();
        let asking = ask_slowly(&stored.cache, &[1, 2, 3], &old).await;
        let _ = stored.cache.delete(&key(2)).await.unwrap();
        let new = Rows::version(" new");
        assert_eq!(
            ask(&stored.cache, &[2], &new).await.unwrap(),
            expected(&[2], " new"),
            "a stale load is not joined"
        );
        gate.add_permits(1);
        assert_eq!(asking.await.unwrap().unwrap(), expected(&[1, 2, 3], " old"));
        let_others_run().await;
        let kept = stored.cache.get_many::<String>(&[key(1), key(2), key(3)]).await;
        assert_eq!(kept, ["1 old", "2 new", "3 old"].map(|text| Some(text.to_owned())), "{}", stored.name);
    }
}

#[tokio::test]
async fn an_error_reaches_all_callers_of_any_of_the_items_and_the_next_call_loads_anew() {
    let cache = Cache::memory();
    let gate = Arc::new(Semaphore::new(0));
    let failing = tokio::spawn({
        let (cache, gate) = (cache.clone(), Arc::clone(&gate));
        async move {
            let load = async move |_ids: Vec<u64>| {
                gate.acquire().await.unwrap().forget();
                Err::<Vec<(u64, String)>, _>("no database")
            };
            cache.get_or_load_many(items(&[1, 2]), load).await
        }
    });
    let_others_run().await;
    let waiting = ask_slowly(&cache, &[2, 3], &Rows::default()).await;
    gate.add_permits(1);
    for asked in [failing, waiting] {
        assert!(matches!(asked.await.unwrap(), Err(LoadError::Failed(why)) if *why == "no database"));
    }
    assert_eq!(ask(&cache, &[1, 2, 3], &Rows::default()).await.unwrap(), expected(&[1, 2, 3], ""));
}

#[tokio::test]
async fn a_panic_of_the_load_is_an_error() {
    let load = async |_ids: Vec<u64>| -> Result<Vec<(u64, String)>, Nothing> { panic!("broken") };
    let asked = Cache::memory().get_or_load_many(items(&[1, 2]), load).await;
    assert!(matches!(asked, Err(LoadError::Panicked(why)) if &*why == "broken"));
}

#[tokio::test]
async fn options_apply_to_each_value_of_a_batch() {
    let cache = Cache::memory();
    let options = LoadOptions::new().ttl(Duration::from_secs(3600)).keep(|text: &String| text != "2");
    let rows = Rows::default();
    let load = {
        let rows = rows.clone();
        async move |ids| rows.load(ids).await
    };
    let loaded = cache.get_or_load_many(items(&[1, 2]), load).options(options).await.unwrap();
    assert_eq!(loaded, expected(&[1, 2], ""));
    assert!(cache.explain(&key(1)).await.unwrap().expires_in_ms.is_some());
    assert!(!cache.contains(&key(2)).await);
}

#[tokio::test]
async fn a_load_of_many_that_requests_one_of_its_own_keys_is_recursive() {
    let cache = Cache::memory();
    let inner = cache.clone();
    let load = async move |ids: Vec<u64>| {
        let asked = inner.get_or_load(&key(2), async || Ok::<_, bool>(String::new())).await;
        let _ = ids;
        Err::<Vec<(u64, String)>, _>(matches!(asked, Err(LoadError::Recursive)))
    };
    let asked = cache.get_or_load_many(items(&[1, 2]), load).await;
    assert!(matches!(asked, Err(LoadError::Failed(told)) if *told));
}

#[tokio::test(start_paused = true)]
async fn a_disabled_cache_loads_all_items_in_one_call() {
    let (disabled, rows) = (Cache::disabled(), Rows::default());
    assert_eq!(ask(&disabled, &[1, 2], &rows).await.unwrap(), expected(&[1, 2], ""));
    let store = Faulty::new();
    store.lookups_fail.store(true, Ordering::SeqCst);
    let broken = Cache::new(store.clone());
    assert_eq!(ask(&broken, &[1, 2], &rows).await.unwrap(), expected(&[1, 2], ""));
    store.lookups_hang.store(true, Ordering::SeqCst);
    let asked = tokio::time::Instant::now();
    assert_eq!(ask(&broken, &[1, 2], &rows).await.unwrap(), expected(&[1, 2], ""));
    assert!(asked.elapsed() <= Duration::from_millis(250), "{:?}", asked.elapsed());
    assert_eq!(rows.asked(), [[1, 2]; 3]);
    assert_eq!(store.fills.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_load_of_many_whose_caller_is_cancelled_is_stored() {
    let cache = Cache::memory();
    let (rows, gate) = Rows::default().closed();
    let goes = ask_slowly(&cache, &[1, 2], &rows).await;
    let stays = ask_slowly(&cache, &[2], &rows).await;
    goes.abort();
    assert!(goes.await.unwrap_err().is_cancelled());
    gate.add_permits(1);
    assert_eq!(stays.await.unwrap().unwrap(), expected(&[2], ""));
    let_others_run().await;
    assert_eq!(cache.get_many::<String>(&[key(1), key(2)]).await.iter().flatten().count(), 2);
    assert_eq!(rows.asked(), [[1, 2]]);
}
