//! A log subscriber and a metrics recorder that always panic.

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};

#[derive(Debug)]
struct Broken;

/// Makes every log line, span and metric of this process panic.
pub(crate) fn install() {
    // The panics themselves are not printed: there are thousands.
    std::panic::set_hook(Box::new(|panic| {
        if panic.payload().downcast_ref::<&str>().is_none_or(|text| *text != WORDS) {
            eprintln!("{panic}");
        }
    }));
    tracing::subscriber::set_global_default(Broken).unwrap();
    metrics::set_global_recorder(Broken).unwrap();
}

const WORDS: &str = "failed printing to stderr";

#[expect(clippy::panic, reason = "the test needs a subscriber and a recorder that panic")]
fn fail() -> ! {
    std::panic::panic_any(WORDS)
}

impl Subscriber for Broken {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        // Some spans are created, so that entering and leaving them can panic.
        if cache_core::random_nonzero().get().is_multiple_of(2) { Id::from_u64(1) } else { fail() }
    }

    fn record(&self, _: &Id, _: &Record<'_>) {
        fail()
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {
        fail()
    }

    fn event(&self, _: &Event<'_>) {
        fail()
    }

    fn enter(&self, _: &Id) {
        fail()
    }

    fn exit(&self, _: &Id) {
        fail()
    }

    fn try_close(&self, _: Id) -> bool {
        fail()
    }
}

impl Recorder for Broken {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        fail()
    }

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        fail()
    }

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        fail()
    }

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        fail()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        fail()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        fail()
    }
}
