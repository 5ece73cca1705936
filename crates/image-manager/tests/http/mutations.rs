//! Every route that changes something announces it to the cache, and no other does.
//!
//! The compiler has its part: the database takes a write only with a proof that nothing but `App::change` makes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cache_core::{
    BackendKind, CacheBackend, CacheKey, CacheStats, Entry, Explanation, Fill, FillOutcome, FillToken,
    Health, Invalidated, Invalidation, Lookup, MemoryBackend, NewEntry, Result,
};
use cache_facade::Cache;
use serde_json::json;

use crate::harness::{Server, png};

/// Notes every invalidation.
#[derive(Debug)]
struct Recording {
    store: MemoryBackend,
    noted: Mutex<Vec<String>>,
}

impl Recording {
    /// What was noted since the last call, in order of the alphabet.
    fn take(&self) -> Vec<String> {
        let mut noted = std::mem::take(&mut *self.noted.lock().unwrap());
        noted.sort();
        noted
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl CacheBackend for Recording {
    fn kind(&self) -> BackendKind {
        self.store.kind()
    }
    fn polled_within(&self) -> Option<Duration> {
        self.store.polled_within()
    }
    fn at_hand(&self, key: &CacheKey) -> Option<Lookup> {
        self.store.at_hand(key)
    }
    async fn lookup(&self, key: &CacheKey) -> Result<Lookup> {
        self.store.lookup(key).await
    }
    async fn fill(&self, key: &CacheKey, token: FillToken, entry: NewEntry) -> Result<FillOutcome> {
        self.store.fill(key, token, entry).await
    }
    async fn set(&self, key: &CacheKey, entry: NewEntry) -> Result<()> {
        self.store.set(key, entry).await
    }
    async fn invalidate(&self, what: &[Invalidation]) -> Result<Invalidated> {
        self.noted.lock().unwrap().extend(what.iter().map(ToString::to_string));
        self.store.invalidate(what).await
    }
    async fn count_matches(&self, what: &Invalidation) -> Result<Option<u64>> {
        self.store.count_matches(what).await
    }
    async fn stats(&self) -> Result<CacheStats> {
        self.store.stats().await
    }
    async fn get(&self, key: &CacheKey) -> Result<Option<Entry>> {
        self.store.get(key).await
    }
    async fn lookup_many(&self, keys: &[CacheKey]) -> Result<Vec<Lookup>> {
        self.store.lookup_many(keys).await
    }
    async fn fill_many(&self, fills: Vec<Fill>) -> Result<Vec<FillOutcome>> {
        self.store.fill_many(fills).await
    }
    async fn get_many(&self, keys: &[CacheKey]) -> Result<Vec<Option<Entry>>> {
        self.store.get_many(keys).await
    }
    async fn set_many(&self, entries: Vec<(CacheKey, NewEntry)>) -> Result<()> {
        self.store.set_many(entries).await
    }
    async fn explain(&self, key: &CacheKey) -> Result<Explanation> {
        self.store.explain(key).await
    }
    async fn health(&self) -> Health {
        self.store.health().await
    }
    async fn close(&self) -> Result<()> {
        self.store.close().await
    }
}

#[test]
fn every_mutating_route_announces_its_change_and_no_read_does() {
    let recording = Arc::new(Recording { store: MemoryBackend::new(), noted: Mutex::default() });
    let server = Server::with_cache(Cache::new(recording.clone()));
    let mut mutating_routes = 0;
    let mut changed = |expected: &[&String]| {
        mutating_routes += 1;
        assert_eq!(recording.take().iter().collect::<Vec<_>>(), expected);
    };

    let project = server.project();
    let listings = format!("group project_images:{project}");
    changed(&[&listings]);

    let image = server.upload(&project, "a.png", &png([1, 1, 1]));
    let metadata = format!("key image:{image}:metadata");
    let everything = [format!("group image:{image}"), listings.clone(), format!("group thumbnail:{image}")];
    changed(&[&listings]);

    let path = format!("/api/images/{image}");
    server.send("PUT", "ann", &format!("{path}/metadata"), &json!({"a": 1})).expect(200);
    changed(&[&listings, &metadata]);

    let analysis =
        server.send("POST", "ann", &format!("{path}/analyses"), &json!({"kind": "sharpness"})).json();
    let analysis = analysis["id"].as_str().unwrap().to_owned();
    changed(&[&format!("group analysis:{analysis}")]);

    server.form("PUT", "ann", &format!("{path}/file"), &[("file", None, &png([2, 2, 2]))]).expect(200);
    let pixels = [
        format!("group analysis:{analysis}"),
        listings.clone(),
        format!("group thumbnail:{image}"),
        metadata,
    ];
    changed(&pixels.each_ref());

    server.delete("ann", &path).expect(204);
    changed(&everything.each_ref());
    server.post("ann", &format!("{path}/restore")).expect(200);
    changed(&everything.each_ref());

    for read in [
        "/api/projects".to_owned(),
        format!("/api/projects/{project}"),
        format!("/api/projects/{project}/images"),
        path.clone(),
        format!("{path}/content"),
        format!("{path}/thumbnail"),
        format!("{path}/analyses"),
        format!("/api/analyses/{analysis}/results"),
        "/api/cache/stats".to_owned(),
    ] {
        server.get("ann", &read).expect(200);
    }
    assert_eq!(recording.take(), Vec::<String>::new());

    server
        .send("PUT", "ann", &format!("/api/projects/{project}/members"), &json!({"members": ["ann"]}))
        .expect(200);
    changed(&[&listings]);
    server.delete("ann", &format!("/api/projects/{project}")).expect(204);
    changed(&[&listings]);
    server.delete("demo", "/api/cache").expect(200);
    changed(&[&"everything".to_owned()]);

    // None was forgotten: the table of routes has as many methods that change something.
    let routes = include_str!("../../src/routes/mod.rs");
    let methods = ["post(", "put(", "delete("].map(|method| routes.matches(method).count());
    assert_eq!(methods.iter().sum::<usize>(), mutating_routes);
}

#[test]
fn a_refused_change_is_not_announced() {
    let recording = Arc::new(Recording { store: MemoryBackend::new(), noted: Mutex::default() });
    let server = Server::with_cache(Cache::new(recording.clone()));
    let project = server.project();
    let image = server.upload(&project, "a.png", &png([1, 1, 1]));
    recording.take();
    let path = format!("/api/images/{image}");
    server.post("ann", &format!("{path}/restore")).expect(409);
    server.delete("eve", &path).expect(403);
    server.send("PUT", "ann", &format!("{path}/metadata"), &json!([])).expect(422);
    server.form("PUT", "ann", &format!("{path}/file"), &[("file", None, b"nonsense")]).expect(415);
    assert_eq!(recording.take(), Vec::<String>::new());
}
