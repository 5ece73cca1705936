//! Loads that request each other's keys do not wait in a circle, whatever the order of their steps.

use std::sync::Arc;

use cache_facade::{Cache, CacheKey, LoadError};
use futures_util::future::BoxFuture;
use shuttle::future::{spawn, yield_now};

use crate::{Tokenless, explore};

fn place(id: u64) -> CacheKey {
    CacheKey::builder("row", id).build().unwrap()
}

/// Reads `id`, whose load reads the next of three, and so on in a circle.
fn ask(cache: Cache, id: u64) -> BoxFuture<'static, bool> {
    Box::pin(async move {
        let inner = cache.clone();
        let load = async move || {
            yield_now().await;
            if ask(inner, (id + 1) % 3).await { Ok(id) } else { Err("a circle") }
        };
        let answer = cache.get_or_load(&place(id), load).await;
        assert!(!matches!(answer, Err(LoadError::Panicked(_))), "{answer:?}");
        answer.is_ok()
    })
}

/// The scheduler fails a schedule in which every task waits.
async fn all_ask(cache: Cache) {
    let asking = [0, 1, 2].map(|id| spawn(ask(cache.clone(), id)));
    for asked in asking {
        assert!(!asked.await.unwrap(), "what needs itself cannot be loaded");
    }
}

#[test]
fn loads_that_request_each_other_never_wait_in_a_circle() {
    explore(|| all_ask(Cache::memory()));
}

#[test]
fn loads_without_a_token_never_wait_in_a_circle() {
    explore(|| all_ask(Cache::new(Arc::new(Tokenless::default()))));
}
