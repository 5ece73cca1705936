//! The documentation and the dashboard name exactly the metrics of the code.

use std::collections::BTreeSet;
use std::path::Path;

use cache_facade::Cache;
use serde_json::Value;

use crate::book::Book;
use crate::{ask, key};

/// Every metric that a cache registers; those of Redis, and of memory in front of a store, have tests of their own.
fn real() -> BTreeSet<String> {
    let book = Book::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&book, || {
        runtime.block_on(async {
            let cache = Cache::memory();
            ask(&cache, &key("image")).await;
            let _ = cache.invalidate(&key("image")).await.unwrap();
            cache.show_stats().await;
            cache.close().await.unwrap();
            ask(&cache, &key("image")).await;
        });
    });
    let elsewhere = [
        "cache_breaker_state",
        "cache_redis_node_up",
        "cache_journal_depth",
        "cache_near_bytes",
        "cache_near_sessions",
    ];
    book.names().into_iter().chain(elsewhere.map(str::to_owned)).collect()
}

fn document(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)).unwrap()
}

/// The names of metrics in `text`, without the suffixes that Prometheus appends to those of histograms.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let base = |word: &str| {
        let histogram = ["_bucket", "_count", "_sum"].iter().find_map(|end| word.strip_suffix(end));
        histogram.filter(|base| base.ends_with("_seconds")).unwrap_or(word).to_owned()
    };
    words.filter(|word| word.starts_with("cache_")).map(base).collect()
}

/// The queries of a dashboard.
fn queries(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if name == "expr" => found.push(text.clone()),
                    _ => queries(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| queries(value, found)),
        _ => {}
    }
}

#[test]
fn every_metric_is_described_and_rare_events_are_counted_from_zero() {
    let book = Book::default();
    metrics::with_local_recorder(&book, Cache::memory);
    assert_eq!(book.described(), real());
    for name in
        ["cache_errors_total", "cache_invalidations_total", "cache_evictions_total", "cache_corrupt_total"]
    {
        assert!(book.names().contains(name), "{name}");
    }
}

#[test]
fn the_dashboard_shows_every_metric_and_no_other() {
    let dashboard: Value = serde_json::from_str(&document("grafana-dashboard.json")).unwrap();
    let mut found = Vec::new();
    queries(&dashboard, &mut found);
    assert_eq!(names(&found.join("\n")), real());
}

#[test]
fn the_table_of_metrics_names_every_metric_and_no_other() {
    let text = document("reference.md");
    let (_, table) = text.split_once("## Metrics").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let rows: Vec<_> = table.lines().filter(|line| line.starts_with("| `")).collect();
    let columns = rows.iter().filter_map(|row| row.split('|').nth(1)).collect::<Vec<_>>().join("\n");
    assert_eq!(names(&columns), real());
}
