//! Loads that request each other's keys: none waits for itself by way of others.

use std::time::Duration;

use cache_facade::{Cache, LoadError};
use futures_util::future::{BoxFuture, join_all};
use tokio::time::Instant;

use crate::support::{Nothing, key, let_others_run};

#[derive(Debug, PartialEq)]
struct AskedItself;

/// Reads `id`, whose load reads the keys that `next` gives, and so on.
fn ask(
    cache: Cache,
    id: u32,
    next: fn(u32) -> &'static [u32],
    as_many: bool,
) -> BoxFuture<'static, Result<u32, AskedItself>> {
    Box::pin(async move {
        let inner = cache.clone();
        let load = async move || {
            // All loads have begun after this.
            let_others_run().await;
            let asked = next(id).iter().map(|next_id| ask(inner.clone(), *next_id, next, as_many));
            for answer in join_all(asked).await {
                answer?;
            }
            Ok(id)
        };
        let answer: Result<u32, LoadError<AskedItself>> = if as_many {
            let load = async move |_ids: Vec<u32>| load().await.map(|value| [(id, value)]);
            cache.get_or_load_many([(id, key(id))], load).await.map(|mut values| values.remove(&id).unwrap())
        } else {
            cache.get_or_load(&key(id), load).await
        };
        match answer {
            Err(LoadError::Failed(_) | LoadError::Recursive) => Err(AskedItself),
            Err(LoadError::Panicked(why)) => unreachable!("{why}"),
            Ok(value) => Ok(value),
        }
    })
}

/// The answers to concurrent reads of `ids`, which take no time.
async fn all_ask(ids: &[u32], next: fn(u32) -> &'static [u32]) -> Vec<Result<u32, AskedItself>> {
    let mut answers = Vec::new();
    for as_many in [false, true] {
        let (cache, asked) = (Cache::memory(), Instant::now());
        let asking = ids.iter().map(|id| tokio::spawn(ask(cache.clone(), *id, next, as_many)));
        answers = join_all(asking).await.into_iter().map(Result::unwrap).collect();
        assert!(asked.elapsed() < Duration::from_secs(1), "they waited for each other");
    }
    answers
}

#[tokio::test(start_paused = true)]
async fn two_loads_that_request_each_other_are_recursive() {
    let answers = all_ask(&[1, 2], |id| if id == 1 { &[2] } else { &[1] }).await;
    assert_eq!(answers, [Err(AskedItself), Err(AskedItself)]);
}

#[tokio::test(start_paused = true)]
async fn loads_that_request_each_other_in_a_longer_circle_are_recursive() {
    let answers = all_ask(&[1, 2, 3], |id| match id {
        1 => &[2],
        2 => &[3],
        _ => &[1],
    })
    .await;
    assert_eq!(answers, [Err(AskedItself), Err(AskedItself), Err(AskedItself)]);
}

#[tokio::test(start_paused = true)]
async fn loads_that_request_the_same_key_are_no_circle() {
    let answers = all_ask(&[1, 2, 4], |id| match id {
        1 | 2 => &[3, 4],
        4 => &[3],
        _ => &[],
    })
    .await;
    assert_eq!(answers, [Ok(1), Ok(2), Ok(4)]);
}

#[tokio::test(start_paused = true)]
async fn a_load_that_would_close_a_circle_loads_by_itself() {
    let (cache, asked) = (Cache::memory(), Instant::now());
    // The load of 2 reads 1, whose load reads 2, with a loader that reads no other key.
    let first = tokio::spawn({
        let cache = cache.clone();
        async move {
            let inner = cache.clone();
            let load = async move || {
                let_others_run().await;
                inner.get_or_load(&key(2), async || Ok::<_, Nothing>(20)).await.map_err(|_| "a circle")
            };
            cache.get_or_load(&key(1), load).await
        }
    });
    let second = tokio::spawn(async move {
        let inner = cache.clone();
        let load = async move || {
            let one = inner.get_or_load(&key(1), async || Err::<i32, _>("being loaded")).await;
            Ok::<_, Nothing>(one.unwrap_or_default() + 1)
        };
        cache.get_or_load(&key(2), load).await
    });
    assert_eq!((first.await.unwrap().unwrap(), second.await.unwrap().unwrap()), (20, 21));
    assert!(asked.elapsed() < Duration::from_secs(1));
}
