//! Prometheus' recorder, and the counts of requests.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::process_metrics;

/// Upper bounds of the latency histograms, in seconds: from a hit in memory to a large picture.
const LATENCIES: [f64; 14] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];
/// How often recorded values are put into the histograms. Until then each of them takes memory, also while the metrics are
/// never read.
const UPKEEP: Duration = Duration::from_secs(5);

/// Returns all metrics of this process, in Prometheus' text format.
pub(crate) fn render() -> String {
    let Some(recorder) = recorder() else { return String::new() };
    process_metrics::update();
    recorder.render()
}

/// Installs Prometheus' recorder for this process. Later calls do nothing.
///
/// Call it before the cache is made, which may keep handles to its metrics.
pub fn install() {
    recorder();
}

/// Counts requests by route and status, and measures them. The route is its pattern, so that ids make no new series;
/// `none` for a path without a route.
pub(crate) async fn measure(path: Option<MatchedPath>, request: Request, next: Next) -> Response {
    let method = method_label(request.method());
    let started = Instant::now();
    let response = next.run(request).await;
    let labels = [
        ("method", method.to_owned()),
        ("route", path.as_ref().map_or("none", MatchedPath::as_str).to_owned()),
        ("status", response.status().as_u16().to_string()),
    ];
    counter!("http_requests_total", &labels).increment(1);
    counter!("http_server_errors_total").increment(u64::from(response.status().is_server_error()));
    histogram!("http_request_duration_seconds", &labels).record(started.elapsed());
    response
}

/// Counts a connection that was refused because too many were open.
pub(crate) fn connection_refused() {
    counter!("http_connections_refused_total").increment(1);
}

/// Returns a method's label: one for all unknown methods, so that clients make no new series.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

fn recorder() -> Option<&'static PrometheusHandle> {
    static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    RECORDER
        .get_or_init(|| install_recorder().inspect_err(|error| tracing::warn!(%error, "no metrics")).ok())
        .as_ref()
}

fn install_recorder() -> Result<PrometheusHandle, metrics_exporter_prometheus::BuildError> {
    let recorder = builder()?.install_recorder()?;
    describe();
    keep_up(recorder.clone(), UPKEEP);
    Ok(recorder)
}

fn builder() -> Result<PrometheusBuilder, metrics_exporter_prometheus::BuildError> {
    PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &LATENCIES)
}

/// Describes the metrics, and sets counters of rare events to zero: one that appears with its first event hides that event
/// from `rate()`.
fn describe() {
    describe_counter!("http_requests_total", "Answered requests.");
    describe_counter!("http_server_errors_total", "Requests answered with a status from 500 up.");
    describe_counter!("http_connections_refused_total", "Connections refused because too many were open.");
    describe_histogram!("http_request_duration_seconds", "Duration of requests, to the head of the answer.");
    describe_gauge!("image_manager_build_info", "The version that runs; always 1.");
    counter!("http_server_errors_total").increment(0);
    counter!("http_connections_refused_total").increment(0);
    gauge!("image_manager_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    process_metrics::describe();
}

/// Runs the recorder's upkeep for ever, in a thread that needs no runtime and that a panic does not end.
fn keep_up(recorder: PrometheusHandle, every: Duration) {
    let upkeep = move || loop {
        std::thread::sleep(every);
        let _ = catch_unwind(AssertUnwindSafe(|| recorder.run_upkeep()));
    };
    if let Err(error) = std::thread::Builder::new().name("metrics-upkeep".to_owned()).spawn(upkeep) {
        tracing::warn!(%error, "no thread for the metrics: their memory grows until they are read");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resident_bytes() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    #[test]
    fn memory_does_not_grow_with_what_is_recorded_while_nothing_reads_the_metrics() {
        const ROUNDS: usize = 6;
        const RECORDS: u32 = 1_000_000;
        let recorder = builder().unwrap().build_recorder();
        keep_up(recorder.handle(), Duration::from_millis(10));
        let mut resident = Vec::new();
        metrics::with_local_recorder(&recorder, || {
            let histogram = histogram!("test_seconds");
            for _ in 0..ROUNDS {
                for value in 0..RECORDS {
                    histogram.record(f64::from(value));
                }
                std::thread::sleep(Duration::from_millis(200));
                resident.push(resident_bytes());
            }
        });
        // The first round fills the allocator. A record that is kept takes 8 bytes and more.
        let grown = resident[ROUNDS - 1].saturating_sub(resident[0]);
        assert!(grown < u64::from(RECORDS) * 8 * (ROUNDS as u64 - 1) / 2, "{grown} bytes more: {resident:?}");
    }
}
