//! The trouble of the cache never reaches a client: the handler answers.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use cache_facade::backend::{
    CacheBackend, FillOutcome, FillToken, Lookup, MemoryBackend, NewEntry, async_trait,
};
use cache_facade::{
    BackendKind, Bytes, Cache, CacheKey, Error, ErrorKind, Invalidated, Invalidation, Result,
};

use crate::support::{Site, get, pages, response};

/// A store that fails, hangs or panics.
#[derive(Debug)]
struct Troubled {
    inner: MemoryBackend,
    trouble: Arc<AtomicU8>,
    filled: Arc<Mutex<Vec<CacheKey>>>,
}

impl Troubled {
    fn new() -> Self {
        Self { inner: MemoryBackend::new(), trouble: Arc::default(), filled: Arc::default() }
    }

    async fn trouble(&self) -> Result<()> {
        match self.trouble.load(Ordering::SeqCst) {
            1 => Err(Error::new(ErrorKind::Unavailable, "the store is away")),
            2 => std::future::pending().await,
            3 => panic!("a bug in the store"),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl CacheBackend for Troubled {
    fn kind(&self) -> BackendKind {
        BackendKind::Custom("troubled")
    }

    async fn lookup(&self, key: &CacheKey) -> Result<Lookup> {
        self.trouble().await?;
        self.inner.lookup(key).await
    }

    async fn fill(&self, key: &CacheKey, token: FillToken, entry: NewEntry) -> Result<FillOutcome> {
        self.trouble().await?;
        self.filled.lock().unwrap().push(key.clone());
        self.inner.fill(key, token, entry).await
    }

    async fn set(&self, key: &CacheKey, entry: NewEntry) -> Result<()> {
        self.inner.set(key, entry).await
    }

    async fn invalidate(&self, what: &[Invalidation]) -> Result<Invalidated> {
        self.trouble().await?;
        self.inner.invalidate(what).await
    }
}

// Law: trouble of the cache: the handler answers.
#[tokio::test(start_paused = true)]
async fn the_handler_answers_while_the_cache_fails_hangs_or_panics() {
    for vary in [&[][..], &[("vary", "accept")]] {
        let store = Troubled::new();
        let trouble = Arc::clone(&store.trouble);
        let cache = Cache::new(Arc::new(store));
        let site = Site::with(&pages(&cache), 200, vary);
        for _ in 0..2 {
            site.get("/a").await;
        }
        assert!(site.get("/a").await.is_hit());
        for kind in 1..=3 {
            trouble.store(kind, Ordering::SeqCst);
            let calls = site.calls();
            for path in ["/a", "/b"] {
                let reply = site.get(path).await;
                assert!(reply.status == 200 && !reply.is_hit(), "trouble {kind}");
            }
            let head = http::Request::builder().method("HEAD").uri("/a");
            assert_eq!(site.send(head).await.status, 200);
            assert_eq!(site.calls(), calls + 3);
        }
        trouble.store(0, Ordering::SeqCst);
        assert!(site.get("/a").await.is_hit(), "it is found again");
    }
}

#[tokio::test]
async fn without_a_cache_requests_are_passed_on() {
    let site = Site::with(&pages(&Cache::disabled()), 200, &[]);
    for call in 0..2 {
        let reply = site.get("/a").await;
        assert_eq!(
            (reply.text(), reply.cache_status()),
            (&*format!("call {call}"), "fwd=bypass; detail=disabled")
        );
    }
}

// A damaged or foreign value is a miss.
#[tokio::test]
async fn a_value_that_is_no_response_is_replaced() {
    let cache = Cache::memory();
    let key = cache.family::<(String, Option<String>), Bytes>("page").unwrap().key(("/a", None::<&str>));
    for vary in [&[][..], &[("vary", "accept")]] {
        let site = Site::with(&pages(&cache), 200, vary);
        site.get("/a").await;
        for foreign in
            ["", "foreign", "chr1", "chr1p", "chr1n", "chr1i", "chr1v", "chr1pxxxxxxxxxxxxxxxxxxxxxxxxxxx"]
        {
            cache.set(&key, &Bytes::from_static(foreign.as_bytes())).await.unwrap();
            let reply = site.get("/a").await;
            assert!(reply.text().starts_with("call") && !reply.is_hit(), "{foreign:?}");
            site.get("/a").await;
            assert!(site.get("/a").await.is_hit(), "{foreign:?}: {}", site.get("/a").await.cache_status());
        }
        cache.set(&key, &42_u64).await.unwrap();
        site.get("/a").await;
        assert!(site.get("/a").await.is_hit(), "a value of another type");
        assert!(cache.clear().await.is_ok());
    }
}

// A request that could name the key of another viewer's response would not be given it.
#[tokio::test]
async fn a_variant_is_not_served_as_a_page() {
    let store = Troubled::new();
    let filled = Arc::clone(&store.filled);
    let cache = Cache::new(Arc::new(store));
    let own = Site::new(&pages(&cache).per_viewer(|_| Some("ada")), |_, _| response(200, &[], "of ada"));
    own.get("/a").await;
    let filled = filled.lock().unwrap().clone();
    let [index, variant] = &filled[..] else { panic!("an index and a response") };
    assert_eq!((index.as_str(), variant.group()), ("page:/a:%-", "page:/a"));
    for key in [index, variant] {
        let key = key.clone();
        let site = Site::with(&cache_http::layer(&cache).key(move |_| key.clone()), 200, &[]);
        for _ in 0..3 {
            assert!(site.send(get("/x")).await.text().starts_with("call"));
        }
    }
}

// A scope that makes keys too long: nothing is stored, and everything is answered.
#[tokio::test]
async fn a_key_that_is_too_long_for_the_scope_is_not_stored() {
    let cache = Cache::memory().scoped(&"s".repeat(64)).unwrap();
    let layer = cache_http::layer(&cache).key(|request| {
        let builder = CacheKey::builder("page", 1).part("x".repeat(200)).part("y".repeat(200));
        builder.part("z".repeat(200)).part("u".repeat(200)).part(request.uri.path().repeat(80)).build()
    });
    let site = Site::with(&layer, 200, &[]);
    for call in 0..2 {
        assert_eq!(site.get("/a").await.text(), format!("call {call}"));
    }
}
