//! Live connections: figures and events; clients that are slow, that leave, or that are too many.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, BodyDataStream};
use axum::http::{Method, StatusCode};
use cache_core::plants::Plant;
use cache_facade::{Cache, CacheKey, Invalidation};
use futures_util::StreamExt;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::support::{Site, finds, load_users, request};

/// Events after which a test gives up.
const MOST_EVENTS: usize = 5_000;

/// The events of a connection.
struct Events {
    stream: BodyDataStream,
    text: String,
}

impl Events {
    async fn open(site: &Site) -> Self {
        let get = request(Method::GET, "/api/v1/live").body(Body::empty()).unwrap();
        let response = site.send(get).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        Self { stream: response.into_body().into_data_stream(), text: String::new() }
    }

    /// The next event, and `None` at the end of the connection.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    event
                        .lines()
                        .find_map(|line| line.strip_prefix(name))
                        .unwrap_or_default()
                        .trim()
                        .to_owned()
                };
                let found = (field("event:"), field("data:"));
                self.text = self.text.split_off(self.text.len() - rest.len());
                if !found.0.is_empty() {
                    return Some((found.0, serde_json::from_str(&found.1).unwrap()));
                }
                continue;
            }
            let bytes = self.stream.next().await?.unwrap();
            self.text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }

    /// The next event with this name.
    async fn find(&mut self, name: &str) -> Value {
        for _ in 0..MOST_EVENTS {
            let (found, data) = self.next().await.unwrap();
            if found == name {
                return data;
            }
        }
        unreachable!("no {name} among {MOST_EVENTS} events")
    }
}

async fn watchers(site: &Site) -> u64 {
    site.get("/api/v1/overview").await.json()["watchers"].as_u64().unwrap()
}

/// Waits until so many pages are open: one that is closed is noticed by its task.
async fn watchers_become(site: &Site, expected: u64) {
    for _ in 0..MOST_EVENTS {
        if watchers(site).await == expected {
            return;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(watchers(site).await, expected);
}

fn user(id: u64) -> Invalidation {
    CacheKey::builder("user", id).build().unwrap().into()
}

#[tokio::test(start_paused = true)]
async fn an_open_page_gets_figures_each_second_and_events_as_they_happen() {
    let site = Site::new();
    drop(load_users(&site.cache, 0..5).await);
    let _ = site.cache.invalidate(&user(4)).await.unwrap();
    let mut events = Events::open(&site).await;
    let hello = events.find("hello").await;
    assert_eq!(hello["recent"][0]["what"][0], "key user:4");
    let users = load_users(&site.cache, 0..4).await;
    let _ = site.cache.invalidate(&users.at(1)).await.unwrap();
    let invalidated = events.find("invalidated").await;
    assert_eq!(
        (&invalidated["what"][0], &invalidated["removed"], &invalidated["call"]),
        (&"group user:1".into(), &1.into(), &"invalidate".into())
    );
    // The load of a key that is invalidated meanwhile is not stored.
    let cache = site.cache.clone();
    let load = async move || {
        let _ = cache.invalidate(&user(9)).await.unwrap();
        Ok::<_, std::io::Error>("old".to_owned())
    };
    users.get_or_load(9, load).await.unwrap();
    assert_eq!(events.find("refused").await["key"], "user:9");
    let sample = events.find("sample").await;
    assert_eq!(sample["overview"]["watchers"], 1);
    assert_eq!(sample["families"][0]["name"], "user");
    users.get(2).await.unwrap();
    let mut hits = 0;
    while hits == 0 {
        hits = events.find("sample").await["point"]["hits"].as_u64().unwrap();
    }
    assert_eq!(
        site.get("/api/v1/timeline").await.json()["points"].as_array().unwrap().last().unwrap()["hits"],
        hits
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_ends_the_sampler() {
    let site = Site::new();
    let (mut first, second) = (Events::open(&site).await, Events::open(&site).await);
    first.find("sample").await;
    assert_eq!(watchers(&site).await, 2);
    drop(second);
    first.find("sample").await;
    watchers_become(&site, 1).await;
    drop(first);
    watchers_become(&site, 0).await;
    let points = async || site.get("/api/v1/timeline").await.json()["points"].as_array().unwrap().len();
    let before = points().await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(points().await, before);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_neither_reads_nor_closes_ends_the_sampler_after_half_a_minute() {
    let site = Site::new();
    let (mut reads, mut stays) = (Events::open(&site).await, Events::open(&site).await);
    stays.find("hello").await;
    for _ in 0..20 {
        reads.find("sample").await;
    }
    assert_eq!(watchers(&site).await, 2, "a client may pause");
    for _ in 0..20 {
        reads.find("sample").await;
    }
    watchers_become(&site, 1).await;
    // It gets what was on its way, and the end.
    while stays.next().await.is_some() {}
    reads.find("sample").await;
}

/// Counts the invalidations that a page is shown, and those that it is told it missed, until there are `all`.
async fn shown_and_missed(events: &mut Events, all: u64) -> (u64, u64) {
    let (mut shown, mut missed) = (0, 0);
    for _ in 0..MOST_EVENTS {
        match events.next().await.unwrap() {
            (name, _) if name == "invalidated" => shown += 1,
            (name, data) if name == "missed" => missed += data["events"].as_u64().unwrap(),
            _ => {}
        }
        if shown + missed >= all {
            break;
        }
    }
    (shown, missed)
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_loses_events_is_told_so_and_delays_nothing() {
    finds(Plant::LossUnreported, "are neither shown nor missed", async {
        const ALL: u64 = 2_000;
        let site = Site::new();
        let mut events = Events::open(&site).await;
        events.find("hello").await;
        // The client does not read: every invalidation ends nevertheless.
        for id in 0..ALL {
            let _ = site.cache.invalidate(&user(id)).await.unwrap();
        }
        let (shown, missed) = shown_and_missed(&mut events, ALL).await;
        assert_eq!(shown + missed, ALL, "the others are neither shown nor missed");
        assert!((1..=100).contains(&shown), "{shown} are shown");
        // It goes on.
        let _ = site.cache.invalidate(&user(1)).await.unwrap();
        events.find("invalidated").await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_page_gets_fifty_events_in_each_second_and_is_told_how_many_more_there_were() {
    finds(Plant::EventsUnlimited, "of 60", async {
        let site = Site::new();
        let mut events = Events::open(&site).await;
        events.find("hello").await;
        for (sent, expected) in [(60, (50, 10)), (50, (50, 0)), (1, (1, 0))] {
            for id in 0..sent {
                let _ = site.cache.invalidate(&user(id)).await.unwrap();
            }
            let (shown, missed) = shown_and_missed(&mut events, sent).await;
            assert_eq!((shown, missed), expected, "of {sent}");
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_events_does_not_keep_the_figures_away() {
    let site = Site::new();
    let mut events = Events::open(&site).await;
    let (cache, (stop, mut stopped)) = (site.cache.clone(), oneshot::channel::<()>());
    let flood = tokio::spawn(async move {
        while stopped.try_recv().is_err() {
            let _ = cache.invalidate(&user(1)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    for _ in 0..3 {
        events.find("sample").await;
    }
    assert!(events.find("missed").await["events"].as_u64().unwrap() > 0);
    stop.send(()).unwrap();
    flood.await.unwrap();
}

#[tokio::test]
async fn more_pages_than_the_limit_are_refused_until_one_is_closed() {
    let site = Site::new();
    let mut open = Vec::new();
    for _ in 0..64 {
        open.push(Events::open(&site).await);
    }
    site.get("/api/v1/live").await.is_refused(503, "too_many_watchers");
    open.pop();
    watchers_become(&site, 63).await;
    let _one_more = Events::open(&site).await;
}

#[tokio::test]
async fn a_shutdown_ends_the_connections_of_open_pages() {
    let (stop, stopped) = oneshot::channel::<()>();
    let cache = Cache::memory();
    let console =
        cache_http::console(cache.clone()).shutdown(async move { drop(stopped.await) }).into_router();
    let site = Site { cache, app: Router::new().nest("/cache", console) };
    let (mut first, mut second) = (Events::open(&site).await, Events::open(&site).await);
    first.find("hello").await;
    stop.send(()).unwrap();
    for events in [&mut first, &mut second] {
        events.find("closing").await;
        assert!(events.next().await.is_none());
    }
    // A page that is opened now is told so at once.
    let mut late = Events::open(&site).await;
    late.find("closing").await;
    drop((first, second, late));
    watchers_become(&site, 0).await;
}
