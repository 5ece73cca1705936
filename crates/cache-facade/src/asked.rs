//! Asking the store: a backend of the application's own may panic, which is an error of the store like any other.

use std::pin::Pin;
use std::task::{Context, Poll};

use cache_core::panics::{caught, count};
use cache_core::{Error, ErrorKind, Result};

/// A call to the store, as it was made.
#[derive(Debug)]
pub(crate) struct Asked<F>(F);

/// Makes a panic of `call` an error.
pub(crate) fn asked<F>(call: F) -> Asked<F> {
    Asked(call)
}

impl<T, F: Future<Output = Result<T>> + Unpin> Future for Asked<F> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        caught(|| Pin::new(&mut self.0).poll(context)).unwrap_or_else(|message| {
            let error = Error::new(ErrorKind::Unavailable, format!("the store panicked: {message}"));
            count(message);
            Poll::Ready(Err(error))
        })
    }
}
