//! Repeats work when an image was replaced between two reads of one request.

use std::future::Future;

use cache_facade::log::limited;
use uuid::Uuid;

use crate::error::ApiError;

/// A replacement takes the time of an upload, so that meeting several in one request is next to impossible.
const ATTEMPTS: usize = 5;

/// Repeats `work` while it ends with [`ApiError::changed_meanwhile`] or [`ApiError::original_missing`], a few times at
/// most; `id` names the image or analysis in the log.
///
/// # Errors
/// The last error of `work`.
pub(crate) async fn retried<T, Fut>(id: Uuid, mut work: impl FnMut() -> Fut) -> Result<T, ApiError>
where
    Fut: Future<Output = Result<T, ApiError>>,
{
    let mut result = work().await;
    for _ in 1..ATTEMPTS {
        match result {
            Err(error) if error.is_changed_meanwhile() || error.is_original_missing() => {
                result = work().await;
            }
            other => return other,
        }
    }
    match &result {
        Err(error) if error.is_original_missing() => limited((), |suppressed| {
            tracing::error!(%id, suppressed, "an original is missing from the data directory");
        }),
        Err(error) if error.is_changed_meanwhile() => limited((), |suppressed| {
            tracing::warn!(%id, suppressed, "an image changed at every attempt to read it");
        }),
        _ => false,
    };
    result
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn work_that_met_a_replacement_starts_over() {
        let calls = Cell::new(0);
        let result = retried(Uuid::nil(), async || {
            calls.set(calls.get() + 1);
            if calls.get() < 3 { Err(ApiError::changed_meanwhile()) } else { Ok(calls.get()) }
        });
        assert_eq!(result.await, Ok(3));
    }

    #[tokio::test]
    async fn work_that_never_succeeds_ends() {
        let calls = Cell::new(0);
        let result: Result<(), _> = retried(Uuid::nil(), async || {
            calls.set(calls.get() + 1);
            Err(ApiError::changed_meanwhile())
        })
        .await;
        assert!(result.unwrap_err().is_changed_meanwhile());
        assert_eq!(calls.get(), ATTEMPTS);
    }

    #[tokio::test]
    async fn any_other_error_is_returned_at_once() {
        let calls = Cell::new(0);
        let result: Result<(), _> = retried(Uuid::nil(), async || {
            calls.set(calls.get() + 1);
            Err(ApiError::not_found("image"))
        })
        .await;
        assert_eq!(result, Err(ApiError::not_found("image")));
        assert_eq!(calls.get(), 1);
    }
}
