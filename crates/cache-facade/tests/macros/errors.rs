//! `#[cached]`: errors, panics and calls of itself.

use std::sync::Arc;

use cache_facade::{Cache, LoadError, cached};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::cached::Db;

/// An error that is no `Clone`, as most are.
#[derive(Debug)]
enum AppError {
    Database(std::io::Error),
    Shared(Arc<AppError>),
}

impl From<LoadError<Self>> for AppError {
    fn from(error: LoadError<Self>) -> Self {
        match error {
            LoadError::Failed(error) => Self::Shared(error),
            other => Self::Database(std::io::Error::other(format!("{other:?}"))),
        }
    }
}

type AppResult<T> = Result<T, AppError>;

#[cached(family = "order", key = "{id}", cache = "cache")]
async fn order(cache: &Cache, db: &Db, id: u64) -> AppResult<String> {
    tokio::task::yield_now().await;
    let load = db.count();
    Err(AppError::Database(std::io::Error::other(format!("order {id} failed in load {load}"))))
}

#[cached(family = "clone", key = "{id}", cache = "cache")]
async fn cloned<E>(cache: &Cache, id: u64, error: E) -> Result<u64, E>
where
    E: Clone + Send + Sync + 'static,
{
    if id == 0 { Err(error) } else { Ok(id) }
}

#[tokio::test]
async fn callers_of_one_load_get_its_error_each_and_it_is_not_kept() {
    let (cache, db) = (Cache::memory(), Db::default());
    let message = |outcome: AppResult<String>| match outcome.unwrap_err() {
        AppError::Shared(error) => match &*error {
            AppError::Database(error) => error.to_string(),
            AppError::Shared(_) => "shared twice".to_owned(),
        },
        AppError::Database(error) => format!("not shared: {error}"),
    };
    let (first, second) = tokio::join!(order(&cache, &db, 7), order(&cache, &db, 7));
    assert_eq!(message(first), "order 7 failed in load 1");
    assert_eq!(message(second), "order 7 failed in load 1");
    assert_eq!(message(order(&cache, &db, 7).await), "order 7 failed in load 2");
    assert_eq!(cloned(&cache, 0, "gone").await, Err("gone"));
    assert_eq!(cloned(&cache, 1, "gone").await, Ok(1));
}

#[cached(family = "panic", key = "{id}", cache = "cache")]
async fn panics(cache: &Cache, id: u64) -> u64 {
    assert!(id != 3, "three is not allowed");
    id
}

#[cached(family = "circle", key = "{id}", cache = "cache")]
async fn circle(cache: &Cache, id: u64) -> u64 {
    around(cache, id).await
}

/// An async function that calls itself needs a type for its future, with or without a cache.
fn around(cache: &Cache, id: u64) -> BoxFuture<'_, u64> {
    Box::pin(circle(cache, id))
}

#[tokio::test]
async fn a_panic_of_the_body_is_one_of_the_call() {
    let cache = Cache::memory();
    let message = |panic: Box<dyn std::any::Any + Send>| panic.downcast_ref::<String>().cloned().unwrap();
    let panicked = std::panic::AssertUnwindSafe(panics(&cache, 3)).catch_unwind().await;
    assert_eq!(message(panicked.unwrap_err()), "three is not allowed");
    assert_eq!(panics(&cache, 4).await, 4);
    let panicked = std::panic::AssertUnwindSafe(circle(&cache, 3)).catch_unwind().await;
    let expected =
        "the cached function of the key circle:3 calls itself with the arguments that it was called with";
    assert_eq!(message(panicked.unwrap_err()), expected);
}
