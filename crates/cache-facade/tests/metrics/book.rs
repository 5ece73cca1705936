//! A metrics recorder for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};

/// Records the described names, and every counter by its name and labels; a histogram counts its records.
#[derive(Debug, Default)]
pub(crate) struct Book(Mutex<BTreeMap<String, Arc<Figure>>>, Mutex<BTreeSet<String>>);

#[derive(Debug, Default)]
struct Figure(AtomicU64);

impl CounterFn for Figure {
    fn increment(&self, value: u64) {
        self.0.fetch_add(value, Ordering::SeqCst);
    }

    fn absolute(&self, value: u64) {
        self.0.store(value, Ordering::SeqCst);
    }
}

impl GaugeFn for Figure {
    fn increment(&self, value: f64) {
        self.set(value);
    }

    fn decrement(&self, value: f64) {
        self.set(value);
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "gauges here are small counts"
    )]
    fn set(&self, value: f64) {
        self.0.store(value as u64, Ordering::SeqCst);
    }
}

impl HistogramFn for Figure {
    fn record(&self, _value: f64) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Book {
    /// The names of all metrics that were registered.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        let figures = self.0.lock().unwrap();
        figures.keys().filter_map(|name| name.split_once('{')).map(|(name, _)| name.to_owned()).collect()
    }

    /// The described names.
    pub(crate) fn described(&self) -> BTreeSet<String> {
        self.1.lock().unwrap().clone()
    }

    fn describe(&self, name: &KeyName, what: &str) {
        assert!(what.ends_with('.'), "{what}");
        self.1.lock().unwrap().insert(name.as_str().to_owned());
    }

    fn figure(&self, key: &Key) -> Arc<Figure> {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let name = format!("{}{{{}}}", key.name(), labels.join(","));
        Arc::clone(self.0.lock().unwrap().entry(name).or_default())
    }

    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        let figures = self.0.lock().unwrap();
        let counts = figures.iter().map(|(name, figure)| (name.clone(), figure.0.load(Ordering::SeqCst)));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

impl Recorder for Book {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, what: SharedString) {
        self.describe(&name, &what);
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, what: SharedString) {
        self.describe(&name, &what);
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, what: SharedString) {
        self.describe(&name, &what);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.figure(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.figure(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.figure(key))
    }
}
