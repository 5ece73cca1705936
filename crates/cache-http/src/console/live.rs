//! The route `live`: figures each second, and events as they happen, as Server-Sent Events ([HTML, 9.2]).
//!
//! [HTML, 9.2]: https://html.spec.whatwg.org/multipage/server-sent-events.html

use std::any::type_name;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, HeaderName};
use axum::http::{HeaderValue, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use cache_core::plants::{Plant, is_planted};
use cache_facade::Invalidated;
use cache_facade::stats::{CacheEvent, CacheEvents, InvalidationEvent};
use futures_util::future::{BoxFuture, Shared};
use futures_util::stream;
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::ConsoleState;
use super::access::check_read;
use super::answer::Refusal;
use super::clear::ConsoleClear;
use super::sampler::Watcher;

/// Events that one page gets in a second at most; a person cannot read more.
const MOST_PER_SECOND: u32 = 50;

/// Keys, groups and patterns of one invalidation that are named.
const MOST_NAMED: usize = 8;

/// Recent invalidations that a page begins with.
const MOST_RECENT: usize = 50;

/// How often a connection without an event is written to, so that one that is gone is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How long an event may wait for the connection, whose buffers are full then. A client that reads nothing for so long counts as
/// gone.
const WRITE_WITHIN: Duration = Duration::from_secs(30);

/// An invalidation, for a page.
#[derive(Debug, Serialize)]
pub(super) struct Invalidation {
    at_ms: u64,
    /// The first few.
    what: Vec<String>,
    count: usize,
    call: &'static str,
    change: String,
    /// Both for people.
    origin: String,
    /// `None` where it failed.
    removed: Option<u64>,
    /// `applied`, `journaled` or `failed`.
    reach: &'static str,
    error: Option<String>,
}

impl Invalidation {
    pub(super) fn of(event: &InvalidationEvent) -> Self {
        let (removed, reach, error) = match &event.outcome {
            Ok(Invalidated::Applied { removed }) => (Some(*removed), "applied", None),
            Ok(Invalidated::Journaled { removed }) => (Some(*removed), "journaled", None),
            Err(error) => (None, "failed", Some(error.clone())),
        };
        Self {
            at_ms: event.at.as_millis(),
            what: event.what.iter().take(MOST_NAMED).map(ToString::to_string).collect(),
            count: event.count,
            call: event.call,
            change: short_name(event.change),
            origin: origin(event),
            removed,
            reach,
            error,
        }
    }
}

/// Names the origin of an invalidation: a call of the application, or the console.
pub(super) fn origin(event: &InvalidationEvent) -> String {
    if event.change == type_name::<ConsoleClear>() {
        "in a console".to_owned()
    } else {
        format!("by {} with {}", event.call, short_name(event.change))
    }
}

/// The name of a type without the paths in it: `Vec<Price>` for `alloc::vec::Vec<shop::Price>`.
fn short_name(name: &str) -> String {
    let mut short = String::new();
    for part in name.split_inclusive(|c: char| !c.is_alphanumeric() && c != '_' && c != ':') {
        short.push_str(part.rsplit("::").next().unwrap_or(part));
    }
    short
}

/// The stream of one open page.
struct Live {
    watcher: Watcher,
    events: CacheEvents,
    shutdown: Shared<BoxFuture<'static, ()>>,
    /// The first event.
    hello: Option<Event>,
    is_closing: bool,
    /// Events that this page did not get since the last sample.
    missed: u64,
    second: Instant,
    left: u32,
}

impl Live {
    /// Gives the events to the connection, until it is closed or does not take them any more.
    async fn feed(mut self, connection: mpsc::Sender<Event>) {
        loop {
            let event = tokio::select! {
                biased;
                () = connection.closed() => return,
                event = self.next() => event,
            };
            let Some(event) = event else { return };
            if connection.send_timeout(event, WRITE_WITHIN).await.is_err() {
                return;
            }
        }
    }

    async fn next(&mut self) -> Option<Event> {
        if let Some(hello) = self.hello.take() {
            return Some(hello);
        }
        if self.is_closing {
            return None;
        }
        loop {
            tokio::select! {
                biased;
                () = self.shutdown.clone() => {
                    self.is_closing = true;
                    return Some(named("closing", &serde_json::json!({})));
                }
                () = tokio::time::sleep_until(self.second + SECOND), if self.missed > 0 => {
                    (self.second, self.left) = (Instant::now(), MOST_PER_SECOND);
                    let missed = std::mem::take(&mut self.missed);
                    return Some(named("missed", &serde_json::json!({ "events": missed })));
                }
                sample = self.watcher.samples.recv() => match sample {
                    Ok(sample) => return Some(Event::default().event("sample").data(sample)),
                    // The latest are enough.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                },
                event = self.events.next() => {
                    if let Some(event) = self.admit(event?) {
                        return Some(event);
                    }
                }
            }
        }
    }

    /// Converts an event, unless this second has had enough.
    fn admit(&mut self, event: CacheEvent) -> Option<Event> {
        let now = Instant::now();
        if now.saturating_duration_since(self.second) >= SECOND {
            (self.second, self.left) = (now, MOST_PER_SECOND);
        }
        if let CacheEvent::Missed(missed) = event {
            if !is_planted(Plant::LossUnreported) {
                self.missed += missed;
            }
            return None;
        }
        if self.left == 0 && !is_planted(Plant::EventsUnlimited) {
            self.missed += 1;
            return None;
        }
        self.left = self.left.saturating_sub(1);
        match event {
            CacheEvent::Invalidated(event) => Some(named("invalidated", &Invalidation::of(&event))),
            CacheEvent::FillRefused { key, at } => {
                let refused = serde_json::json!({ "at_ms": at.as_millis(), "key": key.as_str() });
                Some(named("refused", &refused))
            }
            _ => None,
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn named(name: &str, data: &impl Serialize) -> Event {
    Event::default().event(name).data(serde_json::to_string(data).unwrap_or_default())
}

/// Answers with figures each second and events as they happen, until the page is closed.
pub(super) async fn live(State(state): State<ConsoleState>, request: Request) -> Result<Response, Refusal> {
    check_read(&request.into_parts().0)?;
    let Some(watcher) = state.sampler.watch() else {
        let advice = "close some pages of the console";
        let message = "enough pages of the console are open";
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_watchers", message, advice));
    };
    // Before the recent ones are read: an event between is seen twice, and not missed.
    let events = state.cache.events();
    let recent = state.cache.recent_invalidations();
    let recent: Vec<_> = recent.iter().rev().take(MOST_RECENT).map(|event| Invalidation::of(event)).collect();
    let live = Live {
        watcher,
        events,
        shutdown: state.shutdown.clone(),
        hello: Some(named("hello", &serde_json::json!({ "recent": recent }))),
        is_closing: false,
        missed: 0,
        second: Instant::now(),
        left: MOST_PER_SECOND,
    };
    let (connection, events) = mpsc::channel(1);
    tokio::spawn(live.feed(connection));
    let stream = stream::unfold(events, async |mut events| {
        events.recv().await.map(|event| (Ok::<_, Infallible>(event), events))
    });
    let mut response = Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // A proxy that collects the answer would show nothing.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_change_is_short() {
        assert_eq!(short_name("shop::prices::PriceChange"), "PriceChange");
        assert_eq!(short_name("alloc::vec::Vec<cache_core::key::CacheKey>"), "Vec<CacheKey>");
        assert_eq!(short_name("[cache_core::key::CacheKey; 2]"), "[CacheKey; 2]");
        assert_eq!(short_name(""), "");
    }
}
