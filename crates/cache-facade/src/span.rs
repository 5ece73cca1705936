//! [`Span`]: a span of `tracing`, whose subscriber may panic without cutting off what runs inside.

use std::future::poll_fn;
use std::sync::Arc;

use cache_core::panics::{Contained, contained};

/// A span; clones are the same one, which closes with the last of them.
#[derive(Debug, Clone)]
pub(crate) struct Span(Arc<Contained<tracing::Span>>);

impl Span {
    /// The span that `make` makes.
    pub(crate) fn new(make: impl FnOnce() -> tracing::Span) -> Self {
        let span = contained(make).unwrap_or_else(tracing::Span::none);
        Self(Arc::new(Contained::new(span)))
    }

    /// The span that the caller runs in.
    pub(crate) fn current() -> Self {
        Self::new(tracing::Span::current)
    }

    /// Notes the value of a field that the span was made with.
    pub(crate) fn record(&self, field: &'static str, value: impl tracing::Value) {
        contained(|| {
            self.0.record(field, value);
        });
    }

    /// Runs `future` inside this span.
    pub(crate) fn around<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        // On the heap: whoever carries it about would carry it twice.
        let mut future = Box::pin(future);
        poll_fn(move |context| {
            let _entered = contained(|| Contained::new(self.0.enter()));
            future.as_mut().poll(context)
        })
    }
}
