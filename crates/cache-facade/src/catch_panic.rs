//! Panics of a backend: an application's own backend may panic, which counts as a failed operation.

use std::sync::Arc;

use cache_core::panics::{caught, caught_in, count};
use cache_core::{Error, ErrorKind, Result};

/// Waits for a call of the backend; its panic is an error of kind `Unavailable`.
pub(crate) async fn catch_panic<T>(call: impl Future<Output = Result<T>>) -> Result<T> {
    caught_in(call).await.unwrap_or_else(|message| Err(panicked(message)))
}

/// Makes a call of the backend that returns at once; its panic is an error of kind `Unavailable`.
pub(crate) fn catch_panic_in<T>(call: impl FnOnce() -> T) -> Result<T> {
    caught(call).map_err(panicked)
}

#[cold]
fn panicked(message: Arc<str>) -> Error {
    let error = Error::new(ErrorKind::Unavailable, format!("the store panicked: {message}"));
    count(message);
    error
}
