//! The routes `clear` and `clear/dry-run`: remove a key, a group or the keys of a pattern; count them before.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use cache_core::plants::{Plant, is_planted};
use cache_facade::{CacheGroup, CachePattern, Invalidated, Invalidates, Invalidation};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::ConsoleState;
use super::answer::{Refusal, json};
use super::key;

/// The longest body: a pattern of 1 KiB with each character escaped, and its frame.
const MOST_BYTES: usize = 8 * 1024;

/// The longest time for a count.
const COUNT_WITHIN: Duration = Duration::from_secs(10);

/// Exactly one of these.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    key: Option<String>,
    group: Option<String>,
    pattern: Option<String>,
}

/// A change whose type tells in events that the console made it.
pub(super) struct ConsoleClear(Invalidation);

impl Invalidates for ConsoleClear {
    fn invalidations(&self) -> Vec<Invalidation> {
        vec![self.0.clone()]
    }
}

/// Removes what the body names.
pub(super) async fn clear(State(state): State<ConsoleState>, request: Request) -> Result<Response, Refusal> {
    #[derive(Serialize)]
    struct Answer {
        what: String,
        removed: u64,
        /// `applied`, or `journaled` where the shared store gets it later.
        reach: &'static str,
    }
    let what = read(&state, request).await?;
    let cleared = state.cache.invalidate(&ConsoleClear(what.clone())).await;
    let cleared = cleared.map_err(|error| Refusal::failed(&error))?;
    let reach = match cleared {
        Invalidated::Applied { .. } => "applied",
        Invalidated::Journaled { .. } => "journaled",
    };
    cache_facade::log::info!(%what, removed = cleared.removed(), "cache entries cleared in the console");
    Ok(json(StatusCode::OK, &Answer { what: what.to_string(), removed: cleared.removed(), reach }))
}

/// Counts what a clear of the body would remove, and removes nothing.
pub(super) async fn dry_run(
    State(state): State<ConsoleState>,
    request: Request,
) -> Result<Response, Refusal> {
    #[derive(Serialize)]
    struct Answer {
        what: String,
        /// `None` where the backend cannot tell.
        entries: Option<u64>,
        /// Whether the number is an estimate, because several instances share the store.
        approximate: bool,
    }
    if is_planted(Plant::DryRunClears) {
        return clear(State(state), request).await;
    }
    let what = read(&state, request).await?;
    let count = async {
        let _one = state.one_at_a_time.lock().await;
        state.cache.count_matches(&what).await
    };
    let counted = timeout(COUNT_WITHIN, count).await.map_err(|_| {
        let message = format!("counting takes longer than {} seconds", COUNT_WITHIN.as_secs());
        let advice = "name less: a group, or a pattern that begins with a family";
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "count_too_slow", message, advice)
    })?;
    let entries = counted.map_err(|error| Refusal::failed(&error))?;
    let approximate = state.cache.stats().await.is_ok_and(|stats| stats.approximate);
    Ok(json(StatusCode::OK, &Answer { what: what.to_string(), entries, approximate }))
}

/// Reads what a request that is allowed names.
async fn read(state: &ConsoleState, request: Request) -> Result<Invalidation, Refusal> {
    let (parts, body) = request.into_parts();
    state.check_change(&parts)?;
    parse(body).await
}

async fn parse(body: Body) -> Result<Invalidation, Refusal> {
    let body = to_bytes(body, MOST_BYTES).await.map_err(|_| {
        let message = format!("the body is cut off, or longer than {MOST_BYTES} bytes");
        let advice = "send one key, group or pattern of at most 1 KiB";
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message, advice)
    })?;
    let advice = "send one of {\"key\": ..}, {\"group\": ..} and {\"pattern\": ..}, with a text";
    let asked: Asked = serde_json::from_slice(&body)
        .map_err(|error| Refusal::bad("invalid_body", error.to_string(), advice))?;
    match asked {
        Asked { key: Some(text), group: None, pattern: None } => key::parse(&text).map(Invalidation::Key),
        Asked { key: None, group: Some(text), pattern: None } => group(&text),
        Asked { key: None, group: None, pattern: Some(text) } => pattern(&text),
        _ => Err(Refusal::bad(
            "invalid_body",
            "the body names none or several of key, group and pattern",
            advice,
        )),
    }
}

fn group(text: &str) -> Result<Invalidation, Refusal> {
    CacheGroup::parse(text.trim()).map(Invalidation::Group).map_err(|error| {
        let advice = "write the first two segments of its keys, as in user:7";
        Refusal::bad("invalid_group", error.to_string(), advice)
    })
}

fn pattern(text: &str) -> Result<Invalidation, Refusal> {
    let advice = "name a family (user), a group (user:7), or some text beside the wildcards (user:*:photo)";
    let pattern = CachePattern::parse(text.trim())
        .map_err(|error| Refusal::bad("invalid_pattern", error.to_string(), advice))?;
    if matches_all(&pattern) {
        let message = format!("the pattern {:?} names nothing: it would clear all keys", pattern.as_str());
        return Err(Refusal::bad("pattern_matches_all", message, advice));
    }
    Ok(Invalidation::Pattern(pattern))
}

/// Whether the pattern consists of wildcards and separators alone, behind its scope.
fn matches_all(pattern: &CachePattern) -> bool {
    let text = pattern.as_str();
    let path = if text.starts_with('[') { text.split_once(']').map_or("", |(_, path)| path) } else { text };
    pattern.is_glob() && path.chars().all(|character| matches!(character, '*' | '?' | ':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_without_a_name_is_refused() {
        for all in ["*", "**", "?*", "*:*", "*:?*:*", " * ", "[reports]*", "[reports]*:*"] {
            let refusal = pattern(all).unwrap_err();
            assert!(format!("{refusal:?}").contains("pattern_matches_all"), "{all}");
        }
        for named in ["user", "user:*", "*:photo", "[reports]", "[reports]user:*", "u*", "user:7"] {
            assert!(pattern(named).is_ok(), "{named}");
        }
        for invalid in ["", " ", "user:", "a b", "[", "user:*\u{0}"] {
            let refusal = pattern(invalid).unwrap_err();
            assert!(format!("{refusal:?}").contains("invalid_pattern"), "{invalid:?}");
        }
    }
}
