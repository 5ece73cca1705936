//! The route `key`: the state of one key, as figures and as a story.

use axum::extract::{Query, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use cache_facade::{
    CacheKey,
    backend::{Clock, SystemClock},
    stats::Explanation,
};
use serde::{Deserialize, Serialize};

use super::ConsoleState;
use super::access::check_read;
use super::answer::{Refusal, json};
use super::live::Invalidation;
use super::story::story;

#[derive(Deserialize)]
struct Asked {
    key: String,
}

#[derive(Serialize)]
struct Answer {
    explanation: Explanation,
    /// Sentences for people.
    story: Vec<String>,
    /// The latest invalidation of the key that this process asked for and remembers.
    last_invalidation: Option<Invalidation>,
}

/// Reads a key from outside.
pub(super) fn parse(text: &str) -> Result<CacheKey, Refusal> {
    CacheKey::parse(text.trim()).map_err(|error| {
        let advice = "write it as family:id:part, with characters such as `:` inside a part as %3A; the live list shows keys \
                      in this form";
        Refusal::bad("invalid_key", error.to_string(), advice)
    })
}

/// Answers with the state of the key in the query.
pub(super) async fn explain(
    State(state): State<ConsoleState>,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, _) = request.into_parts();
    check_read(&parts)?;
    let Query(Asked { key }) = Query::try_from_uri(&parts.uri).map_err(|error| {
        Refusal::bad("no_key", error.body_text(), "name one key in the query, as in key?key=user:7")
    })?;
    let key = parse(&key)?;
    let explained = state.cache.explain(&key).await;
    let explanation = explained.map_err(|error| Refusal::failed(&error))?;
    let event = state.cache.last_invalidation(&key).map_err(|error| Refusal::failed(&error))?;
    let story = story(&explanation, event.as_deref(), SystemClock.now());
    let last_invalidation = event.as_deref().map(Invalidation::of);
    Ok(json(StatusCode::OK, &Answer { explanation, story, last_invalidation }))
}
