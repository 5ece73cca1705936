//! [`Span`]: a span of `tracing` that contains panics of the subscriber.

use std::future::poll_fn;
use std::sync::Arc;

use cache_core::panics::{PanicSafeDrop, contained};

/// A span; it closes when its last clone is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Span(Arc<PanicSafeDrop<tracing::Span>>);

impl Span {
    /// Creates the span that `make` gives.
    pub(crate) fn new(make: impl FnOnce() -> tracing::Span) -> Self {
        let span = contained(make).unwrap_or_else(tracing::Span::none);
        Self(Arc::new(PanicSafeDrop::new(span)))
    }

    /// The current span.
    pub(crate) fn current() -> Self {
        Self::new(tracing::Span::current)
    }

    /// Records the value of a field that the span was created with.
    pub(crate) fn record(&self, field: &'static str, value: impl tracing::Value) {
        contained(|| {
            self.0.record(field, value);
        });
    }

    /// Runs `future` inside this span.
    pub(crate) fn around<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        // Boxed to keep the future small.
        let mut future = Box::pin(future);
        poll_fn(move |context| {
            let _entered = contained(|| PanicSafeDrop::new(self.0.enter()));
            future.as_mut().poll(context)
        })
    }
}
