//! Options of a load hold for responses, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use cache_facade::backend::MemoryBackend;
use cache_facade::{Cache, CacheConfig, ManualClock};
use cache_http::CacheLayer;
use testkit::Lines;
use tracing::Level;

use crate::support::{Site, get, let_others_run, pages, response};

const MINUTE: Duration = Duration::from_secs(60);

/// A layer over a cache with a clock, and a handler whose status the test can change.
struct Timed {
    clock: Arc<ManualClock>,
    status: Arc<AtomicU16>,
    site: Site,
}

impl Timed {
    fn new(
        layer: impl FnOnce(CacheLayer) -> CacheLayer,
        fields: &'static [(&'static str, &'static str)],
    ) -> Self {
        let clock = Arc::new(ManualClock::new());
        let cache = Cache::memory_with_clock(clock.clone());
        let status = Arc::new(AtomicU16::new(200));
        let current = Arc::clone(&status);
        let layer = layer(pages(&cache).clock(clock.clone()));
        let site = Site::new(&layer, move |_, call| {
            let status = current.load(Ordering::SeqCst);
            assert_ne!(status, 599, "a bug in the handler");
            response(status, fields, format!("call {call}"))
        });
        Self { clock, status, site }
    }

    async fn get(&self) -> (String, String) {
        let reply = self.site.get("/a").await;
        (reply.text().to_owned(), reply.cache_status().to_owned())
    }
}

fn is(reply: &(String, String), text: &str, status: &str) {
    assert_eq!((&*reply.0, &*reply.1), (text, status));
}

// Law: `ttl` holds for responses.
#[tokio::test]
async fn a_response_is_served_as_long_as_it_lives() {
    let timed = Timed::new(|layer| layer.ttl(MINUTE), &[]);
    timed.get().await;
    timed.clock.advance(Duration::from_secs(59));
    is(&timed.get().await, "call 0", "hit; ttl=1");
    timed.clock.advance(Duration::from_secs(1));
    is(&timed.get().await, "call 1", "fwd=miss; stored");
}

// Law: `stale_while_revalidate` holds for responses.
#[tokio::test]
async fn a_stale_response_is_served_while_a_new_one_is_made() {
    for vary in [&[][..], &[("vary", "accept")]] {
        let timed = Timed::new(|layer| layer.ttl(MINUTE).stale_while_revalidate(MINUTE), vary);
        // The first response that varies is not stored.
        let first = usize::from(!vary.is_empty());
        for _ in 0..=first {
            timed.get().await;
        }
        timed.clock.advance(MINUTE + Duration::from_secs(5));
        is(&timed.get().await, &format!("call {first}"), "hit; ttl=-5");
        let_others_run().await;
        is(&timed.get().await, &format!("call {}", first + 1), "hit; ttl=60");
        timed.clock.advance(2 * MINUTE);
        is(&timed.get().await, &format!("call {}", first + 2), "fwd=miss; stored");
    }
}

// RFC 9111 section 4.2.4: a stale response is not served where its directives forbid it.
#[tokio::test]
async fn a_response_that_must_be_validated_is_not_served_stale() {
    for control in ["must-revalidate", "proxy-revalidate", "no-cache", "s-maxage=60"] {
        let fields: &'static [_] = vec![("cache-control", control)].leak();
        let timed = Timed::new(
            |layer| layer.ttl(MINUTE).stale_while_revalidate(MINUTE).stale_if_error(MINUTE),
            fields,
        );
        timed.get().await;
        is(&timed.get().await, "call 0", "hit; ttl=60");
        timed.clock.advance(MINUTE);
        assert_eq!(timed.get().await.0, "call 1", "{control}");
        timed.clock.advance(MINUTE);
        timed.status.store(500, Ordering::SeqCst);
        let reply = timed.site.get("/a").await;
        assert_eq!(reply.status, 500, "{control}");
    }
}

// RFC 9111 section 5.2.1.4: a request with `no-cache` is answered with nothing stale.
#[tokio::test]
async fn a_request_may_want_no_stale_response() {
    let timed = Timed::new(|layer| layer.ttl(MINUTE).stale_while_revalidate(10 * MINUTE), &[]);
    timed.get().await;
    timed.clock.advance(2 * MINUTE);
    let reply = timed.site.send(get("/a").header("cache-control", "no-cache")).await;
    assert_eq!(reply.text(), "call 1");
    is(&timed.get().await, "call 1", "hit; ttl=60");
}

// Law: `stale_if_error` holds for responses: an error status, and a panic, are errors.
#[tokio::test]
async fn a_stale_response_is_served_where_the_handler_fails() {
    for failure in [500, 503, 599] {
        let timed = Timed::new(|layer| layer.ttl(MINUTE).stale_if_error(MINUTE), &[]);
        timed.get().await;
        timed.clock.advance(MINUTE);
        timed.status.store(failure, Ordering::SeqCst);
        is(&timed.get().await, "call 0", "hit; ttl=0");
        timed.status.store(200, Ordering::SeqCst);
        is(&timed.get().await, "call 2", "fwd=miss; stored");
        timed.clock.advance(3 * MINUTE);
        timed.status.store(503, Ordering::SeqCst);
        assert_eq!(timed.site.get("/a").await.status, 503, "there is nothing to serve in its place");
    }
}

// A response that is not stored, and is no error, is the answer: the stale one is not.
#[tokio::test]
async fn a_stale_response_is_not_served_in_place_of_an_answer() {
    for status in [403, 201] {
        let timed = Timed::new(|layer| layer.ttl(MINUTE).stale_if_error(MINUTE), &[]);
        timed.get().await;
        timed.clock.advance(MINUTE);
        timed.status.store(status, Ordering::SeqCst);
        assert_eq!(timed.site.get("/a").await.status, status);
    }
}

#[tokio::test]
async fn the_settings_of_the_family_hold_for_responses() {
    let clock = Arc::new(ManualClock::new());
    let backend = Arc::new(MemoryBackend::new().clock(clock.clone()));
    let lifetime = cache_facade::Lifetime::new().ttl(MINUTE);
    let config =
        CacheConfig::builder().clock(clock.clone()).family_lifetime("page", lifetime).build().unwrap();
    let cache = Cache::builder(backend).config(config).build();
    for vary in [&[][..], &[("vary", "accept")]] {
        let site = Site::with(&pages(&cache), 200, vary);
        let path = if vary.is_empty() { "/a" } else { "/b" };
        for _ in 0..2 {
            site.get(path).await;
        }
        assert!(site.get(path).await.is_hit());
        clock.advance(MINUTE);
        assert!(!site.get(path).await.is_hit());
        assert!(site.get(path).await.is_hit());
    }
}

// `CACHE_VERIFY` compares stored responses with new ones, and finds those alone that changed without an invalidation.
#[tokio::test(start_paused = true)]
async fn verification_finds_a_page_that_changed_without_an_invalidation() {
    const DIFFERS: &str = "cached value differs";
    Lines::capture(Level::WARN);
    let config = CacheConfig::builder().verify(1.0).build().unwrap();
    let cache = Cache::builder(Arc::new(MemoryBackend::new())).config(config).build();
    let per_viewer = pages(&cache).per_viewer(|_| Some("ada"));
    let plain = Site::new(&pages(&cache), |_, call| response(200, &[("date", &call.to_string())], "same"));
    let varies = Site::new(&per_viewer, |_, _| response(200, &[("vary", "accept")], "same"));
    for (site, path) in [(&plain, "/plain"), (&varies, "/varies")] {
        for _ in 0..5 {
            site.get(path).await;
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        assert!(site.calls() > 3, "hits are verified");
    }
    assert_eq!(Lines::with(DIFFERS), Vec::<String>::new());
    let changes = Site::with(&pages(&cache), 200, &[]);
    for _ in 0..3 {
        changes.get("/changes").await;
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    assert!(!Lines::with(DIFFERS).is_empty());
}
