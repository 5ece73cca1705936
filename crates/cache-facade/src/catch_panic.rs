//! Panics of a backend: an application's own backend may panic, which counts as a failed operation.

use cache_core::panics::{caught_in, count};
use cache_core::{Error, ErrorKind, Result};

/// Waits for a call of the backend; its panic is an error of kind `Unavailable`.
pub(crate) async fn catch_panic<T>(call: impl Future<Output = Result<T>>) -> Result<T> {
    caught_in(call).await.unwrap_or_else(|message| {
        let error = Error::new(ErrorKind::Unavailable, format!("the store panicked: {message}"));
        count(message);
        Err(error)
    })
}
