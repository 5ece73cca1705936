//! A page is served until a change makes it stale, and no longer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cache_facade::Cache;
use tokio::sync::Semaphore;

use crate::support::{Site, get, group, let_others_run, pages, response};

// Law: a page is served until a change makes it stale.
#[tokio::test]
async fn a_change_makes_the_page_stale_and_no_other() {
    let cache = Cache::memory();
    let site = Site::with(&pages(&cache), 200, &[]);
    site.get("/a").await;
    site.get("/b").await;
    cache.change(&group("/a"), async || Ok::<_, std::io::Error>(())).await.unwrap();
    assert_eq!(site.get("/a").await.text(), "call 2");
    assert_eq!(site.get("/b").await.text(), "call 1");
}

/// A handler that reads a row at once, and responds once the test has given it a permit.
struct Rows {
    site: Site,
    row: Arc<AtomicU64>,
    gate: Arc<Semaphore>,
}

impl Rows {
    fn new(cache: &Cache, fields: &'static [(&'static str, &'static str)]) -> Self {
        let (row, gate) = (Arc::new(AtomicU64::new(1)), Arc::new(Semaphore::new(0)));
        let (read, opened) = (Arc::clone(&row), Arc::clone(&gate));
        let site = Site::slow(&pages(cache), move |_, _| {
            let (row, opened) = (read.load(Ordering::SeqCst), Arc::clone(&opened));
            Box::pin(async move {
                opened.acquire().await.unwrap().forget();
                response(200, fields, format!("row {row}"))
            })
        });
        Self { site, row, gate }
    }

    /// Changes the row while a request is with the handler; returns what the request and a later one are answered.
    async fn change_meanwhile(&self, cache: &Cache) -> (String, String) {
        let site = self.site.clone();
        let early = tokio::spawn(async move { site.get("/a").await });
        let_others_run().await;
        let next = self.row.load(Ordering::SeqCst) + 1;
        let row = Arc::clone(&self.row);
        let group = group("/a");
        let change = cache.change(&group, async move || {
            row.store(next, Ordering::SeqCst);
            Ok::<_, std::io::Error>(())
        });
        change.await.unwrap();
        // The late one asks after the change, while the early one is still with the handler.
        let site = self.site.clone();
        let late = tokio::spawn(async move { site.get("/a").await });
        let_others_run().await;
        self.gate.add_permits(2);
        let (early, late) = (early.await.unwrap(), late.await.unwrap());
        (early.text().to_owned(), late.text().to_owned())
    }
}

// Law: a page that is invalidated while its handler runs is not stored as fresh.
#[tokio::test]
async fn a_page_that_changes_while_its_handler_runs_is_not_stored() {
    let cache = Cache::memory();
    let rows = Rows::new(&cache, &[]);
    let (early, late) = rows.change_meanwhile(&cache).await;
    assert_eq!((&*early, &*late), ("row 1", "row 2"), "the late one does not join the early one");
    assert_eq!(rows.site.get("/a").await.text(), "row 2");
    assert_eq!(rows.site.calls(), 2);
}

#[tokio::test]
async fn a_variant_that_changes_while_its_handler_runs_is_not_stored() {
    let cache = Cache::memory();
    let rows = Rows::new(&cache, &[("vary", "accept")]);
    // The first responses of the route are not stored.
    rows.gate.add_permits(1);
    rows.site.get("/a").await;
    for row in 1..4 {
        let (early, late) = rows.change_meanwhile(&cache).await;
        assert_eq!((early, &late), (format!("row {row}"), &format!("row {}", row + 1)));
        assert_eq!(rows.site.get("/a").await.text(), late);
        assert!(cache.invalidate(&group("/a")).await.is_ok());
    }
}

// The body is part of the load: a change while it is streamed counts, too.
#[tokio::test]
async fn a_page_that_changes_while_its_body_is_read_is_not_stored() {
    let cache = Cache::memory();
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let site = Site::new(&pages(&cache), move |_, call| {
        let opened = Arc::clone(&opened);
        let stream = futures_util::stream::once(async move {
            opened.acquire().await.unwrap().forget();
            Ok::<_, std::io::Error>(http_body::Frame::data(bytes::Bytes::from(format!("call {call}"))))
        });
        let body = http_body_util::BodyExt::boxed_unsync(http_body_util::StreamBody::new(Box::pin(stream)));
        response(200, &[], "").map(|_| body)
    });
    let streamed = site.open(get("/a")).await;
    assert!(cache.invalidate(&group("/a")).await.is_ok());
    gate.add_permits(2);
    assert_eq!(crate::support::Reply::read(streamed).await.text(), "call 0");
    assert_eq!(site.get("/a").await.text(), "call 1");
    assert_eq!(site.get("/a").await.text(), "call 1");
}

// An invalidation that removes the index alone, and one that removes a response alone.
#[tokio::test]
async fn a_pattern_below_the_group_makes_the_pages_stale_that_it_matches() {
    let cache = Cache::memory();
    let site = Site::with(&pages(&cache), 200, &[("vary", "accept")]);
    for _ in 0..2 {
        site.get("/a?1").await;
        site.get("/a?2").await;
    }
    assert!(site.get("/a?1").await.is_hit() && site.get("/a?2").await.is_hit());
    assert!(cache.clear_pattern("page:/a:1").await.is_ok());
    assert!(!site.get("/a?1").await.is_hit());
    assert!(site.get("/a?2").await.is_hit());
}
