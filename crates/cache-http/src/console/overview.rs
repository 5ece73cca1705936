//! The routes `overview`, `families` and `timeline`: figures at one moment, and their history.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use cache_facade::stats::{CacheStats, Health, NearStats};
use serde::Serialize;

use super::ConsoleState;
use super::access::check_read;
use super::answer::{Refusal, json};
use super::history::{History, Point, Spark, Window};
use super::reading::{Reading, Saved, millis};

/// Bytes in a megabyte, as in all settings and figures.
const MEGABYTE: u64 = 1_048_576;

/// The state and the figures of the cache.
#[derive(Debug, Serialize)]
pub(super) struct Overview {
    at_ms: u64,
    health: Health,
    /// `None` where the backend has none.
    figures: Option<Figures>,
    windows: Vec<Window>,
    watchers: usize,
}

/// Figures since the start of the process.
#[derive(Debug, Serialize)]
struct Figures {
    entries: u64,
    size_bytes: u64,
    limit_bytes: u64,
    usage_percent: f64,
    disk_bytes: u64,
    /// Whether entries and size are estimates.
    approximate: bool,
    hits: u64,
    misses: u64,
    hit_ratio: f64,
    fills: u64,
    fills_refused: u64,
    evictions: u64,
    expirations: u64,
    invalidations: u64,
    invalidated_entries: u64,
    clears: u64,
    corrupt: u64,
    errors: u64,
    near: Option<NearStats>,
    loads: u64,
    loads_failed: u64,
    mean_load_ms: Option<f64>,
    saved_ms: f64,
    hits_unmeasured: u64,
}

/// The figures of a key family.
#[derive(Debug, Serialize)]
pub(super) struct Family {
    name: String,
    entries: u64,
    bytes: u64,
    hits: u64,
    misses: u64,
    hit_ratio: Option<f64>,
    loads: u64,
    loads_failed: u64,
    mean_load_ms: Option<f64>,
    fills_refused: u64,
    /// `None` where the time of loads is not known.
    saved_ms: Option<f64>,
}

impl Overview {
    pub(super) fn new(reading: &Reading, history: &History, watchers: usize) -> Self {
        Self {
            at_ms: reading.at_ms,
            health: reading.health.clone(),
            figures: reading.stats.as_ref().map(|stats| Figures::new(stats, reading)),
            windows: history.windows(reading.at),
            watchers,
        }
    }
}

impl Figures {
    fn new(stats: &CacheStats, reading: &Reading) -> Self {
        let (loads, loads_failed, time) = reading.all_loads();
        let saved: Saved = reading.families().map(|(name, family)| reading.saved(name, family.hits)).sum();
        Self {
            entries: stats.count,
            size_bytes: stats.size_bytes,
            limit_bytes: stats.limit_mb.saturating_mul(MEGABYTE),
            usage_percent: stats.usage_percent,
            disk_bytes: stats.disk_bytes,
            approximate: stats.approximate,
            hits: stats.hits,
            misses: stats.misses,
            hit_ratio: stats.hit_ratio,
            fills: stats.fills,
            fills_refused: stats.fills_refused,
            evictions: stats.evictions,
            expirations: stats.expirations,
            invalidations: stats.invalidations,
            invalidated_entries: stats.invalidated_entries,
            clears: stats.clears,
            corrupt: stats.corrupt,
            errors: stats.errors,
            near: stats.near.clone(),
            loads,
            loads_failed,
            mean_load_ms: (loads > 0).then(|| millis(time) / loads as f64),
            saved_ms: millis(saved.time),
            hits_unmeasured: saved.hits_unmeasured,
        }
    }
}

impl Family {
    /// The figures of all families by name, also of those that were loaded and never stored.
    pub(super) fn all(reading: &Reading) -> Vec<Self> {
        let mut names: Vec<&String> =
            reading.families().map(|(name, _)| name).chain(reading.loads.keys()).collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().map(|name| Self::new(name, reading)).collect()
    }

    fn new(name: &str, reading: &Reading) -> Self {
        let stats =
            reading.stats.as_ref().and_then(|stats| stats.families.get(name)).copied().unwrap_or_default();
        let loads = reading.loads.get(name).copied().unwrap_or_default();
        let lookups = stats.hits + stats.misses;
        let saved = reading.saved(name, stats.hits);
        Self {
            name: name.to_owned(),
            entries: stats.count,
            bytes: stats.bytes,
            hits: stats.hits,
            misses: stats.misses,
            hit_ratio: (lookups > 0).then(|| stats.hits as f64 / lookups as f64),
            loads: loads.loads,
            loads_failed: loads.failed,
            mean_load_ms: loads.mean_time().map(millis),
            fills_refused: loads.fills_refused,
            saved_ms: (saved.hits_unmeasured == 0).then(|| millis(saved.time)),
        }
    }
}

/// Answers with the state and the figures, and whether the viewer may clear entries.
pub(super) async fn overview(
    State(state): State<ConsoleState>,
    request: Request,
) -> Result<Response, Refusal> {
    #[derive(Serialize)]
    struct Answer {
        may_change: bool,
        #[serde(flatten)]
        overview: Overview,
    }
    let (parts, _) = request.into_parts();
    check_read(&parts)?;
    let reading = Reading::take(&state.cache).await;
    let overview = Overview::new(&reading, &state.sampler.history(), state.sampler.watchers());
    Ok(json(StatusCode::OK, &Answer { may_change: state.may_change(&parts), overview }))
}

/// Answers with the figures by family, and their hits and misses in the last minute that was watched.
pub(super) async fn families(
    State(state): State<ConsoleState>,
    request: Request,
) -> Result<Response, Refusal> {
    #[derive(Serialize)]
    struct WithSpark {
        #[serde(flatten)]
        family: Family,
        recent: Spark,
    }
    #[derive(Serialize)]
    struct Answer {
        at_ms: u64,
        families: Vec<WithSpark>,
    }
    check_read(&request.into_parts().0)?;
    let reading = Reading::take(&state.cache).await;
    let history = state.sampler.history();
    let with_spark = |family: Family| WithSpark { recent: history.spark(&family.name), family };
    let families = Family::all(&reading).into_iter().map(with_spark).collect();
    Ok(json(StatusCode::OK, &Answer { at_ms: reading.at_ms, families }))
}

/// Answers with what happened in each second that was watched.
pub(super) async fn timeline(
    State(state): State<ConsoleState>,
    request: Request,
) -> Result<Response, Refusal> {
    #[derive(Serialize)]
    struct Answer<'a> {
        points: Vec<&'a Point>,
    }
    check_read(&request.into_parts().0)?;
    let history = state.sampler.history();
    Ok(json(StatusCode::OK, &Answer { points: history.points().collect() }))
}
