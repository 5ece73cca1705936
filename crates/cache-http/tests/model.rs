//! Random requests, viewers, headers and changes against a simple model of what each request must be answered.
//!
//! With a defence of the layer switched off the model must find it:
//! `PLANTED_BUG=viewer-left-out cargo test -p cache-http --features cache-core/plants --test model`, and so for `set-cookie-stored` and
//! `vary-ignored`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::collections::HashSet;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use cache_core::plants::{Plant, is_planted};
use cache_facade::{Cache, CacheGroup};
use futures_util::future::{join, join_all};
use http::request::Parts;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};
use tower::{Layer, ServiceExt, service_fn};

const PATHS: [&str; 3] = ["/a", "/b", "/a/b"];
const VIEWERS: [Option<&str>; 4] = [None, Some("ada"), Some("bob"), Some("")];
const COOKIES: [Option<&str>; 3] = [None, Some("session=1"), Some("session=2")];
const VALUES: [Option<&str>; 4] = [None, Some(""), Some("x"), Some("x, y")];

/// A request, by its place in each table.
#[derive(Debug, Clone, Copy)]
struct Asked {
    path: usize,
    viewer: usize,
    cookie: usize,
    accept: usize,
    language: usize,
    is_head: bool,
}

#[derive(Debug, Clone)]
enum Step {
    /// Requests at the same time, and a change of a path meanwhile.
    Requests(Vec<Asked>, Option<usize>),
    Change(usize),
}

/// How the responses of a path are at a version of it.
#[derive(Debug, Clone, Copy)]
struct Rules {
    status: u16,
    fields: &'static [(&'static str, &'static str)],
    by_accept: bool,
    by_language: bool,
    is_storable: bool,
}

/// Responses of many kinds. One path has one after the other, as it changes.
fn rules(path: usize, version: u64) -> Rules {
    let kinds: [(u16, &'static [(&'static str, &'static str)], bool); 10] = [
        (200, &[], true),
        (200, &[("vary", "Accept")], true),
        (200, &[("set-cookie", "session=1"), ("cache-control", "public, max-age=60")], false),
        (200, &[("vary", "accept-language, accept")], true),
        (200, &[("cache-control", "no-store")], false),
        (404, &[("vary", "Accept-Language")], true),
        (200, &[("set-cookie", "a=b"), ("vary", "accept")], false),
        (503, &[], false),
        (200, &[("vary", "accept, x-unknown")], false),
        (200, &[("cache-control", "private"), ("vary", "accept-language")], true),
    ];
    let index = (version as usize * 7 + path * 3) % kinds.len();
    let (status, fields, is_storable) = kinds[index];
    let vary = fields
        .iter()
        .find(|(name, _)| *name == "vary")
        .map_or(String::new(), |(_, vary)| vary.to_lowercase());
    Rules {
        status,
        fields,
        by_accept: vary.split(", ").any(|name| name == "accept"),
        by_language: vary.contains("accept-language"),
        is_storable,
    }
}

/// What a response says it was made for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Content {
    path: String,
    version: u64,
    viewer: String,
    cookie: String,
    accept: String,
    language: String,
    call: u64,
}

impl Content {
    fn of(request: &Parts, versions: &[AtomicU64; 3], call: u64) -> (Self, Rules) {
        let path = request.uri.path();
        let index = PATHS.iter().position(|known| *known == path).unwrap();
        let version = versions[index].load(Ordering::SeqCst);
        let rules = rules(index, version);
        let value = |name: &str, is_used: bool| {
            let value = request.headers.get(name).map(|value| value.to_str().unwrap());
            format!("{:?}", value.filter(|_| is_used))
        };
        let content = Self {
            path: path.to_owned(),
            version,
            viewer: value("x-viewer", true),
            // Without a viewer the handler goes by the cookie.
            cookie: value("cookie", !request.headers.contains_key("x-viewer")),
            accept: value("accept", rules.by_accept),
            language: value("accept-language", rules.by_language),
            call,
        };
        (content, rules)
    }

    fn text(&self) -> String {
        let Self { path, version, viewer, cookie, accept, language, call } = self;
        [path, &version.to_string(), viewer, cookie, accept, language, &call.to_string()]
            .map(String::as_str)
            .join("|")
    }

    fn parse(text: &str) -> Self {
        let parts: Vec<String> = text.split('|').map(str::to_owned).collect();
        let [path, version, viewer, cookie, accept, language, call] = parts.try_into().expect("seven parts");
        let (version, call) = (version.parse().unwrap(), call.parse().unwrap());
        Self { path, version, viewer, cookie, accept, language, call }
    }
}

fn headers(asked: Asked) -> HeaderMap {
    let lines = [
        ("x-viewer", VIEWERS[asked.viewer]),
        ("cookie", COOKIES[asked.cookie]),
        ("accept", VALUES[asked.accept]),
        ("accept-language", VALUES[asked.language]),
    ];
    let lines =
        lines.into_iter().filter_map(|(name, value)| Some((name.parse().unwrap(), value?.parse().unwrap())));
    lines.collect()
}

/// What the requests of a run have in common.
struct Run {
    cache: Cache,
    versions: Arc<[AtomicU64; 3]>,
    calls: Arc<AtomicU64>,
    /// Calls whose responses must be served once.
    served: Mutex<HashSet<u64>>,
    hits: AtomicU64,
}

impl Run {
    fn new() -> Self {
        Self {
            cache: Cache::memory(),
            versions: Arc::new([const { AtomicU64::new(0) }; 3]),
            calls: Arc::default(),
            served: Mutex::default(),
            hits: AtomicU64::new(0),
        }
    }

    fn service(
        &self,
    ) -> impl tower::Service<
        Request<Empty<Bytes>>,
        Response = Response<cache_http::ResponseBody<Full<Bytes>>>,
        Error = Infallible,
    > + Clone
    + use<> {
        let (versions, calls) = (Arc::clone(&self.versions), Arc::clone(&self.calls));
        let handler = service_fn(move |request: Request<Empty<Bytes>>| {
            let call = calls.fetch_add(1, Ordering::SeqCst);
            // The row is read first, and the response is made later.
            let (content, rules) = Content::of(&request.into_parts().0, &versions, call);
            async move {
                for _ in 0..call % 5 {
                    tokio::task::yield_now().await;
                }
                let response = Response::builder().status(rules.status);
                let response = rules
                    .fields
                    .iter()
                    .fold(response, |response, (name, value)| response.header(*name, *value));
                Ok::<_, Infallible>(response.body(Full::from(content.text())).unwrap())
            }
        });
        let layer = cache_http::layer(&self.cache).family("page").unwrap().by_path_and_query();
        layer
            .per_viewer(|request| Some(request.headers.get("x-viewer")?.to_str().unwrap().to_owned()))
            .layer(handler)
    }

    async fn change(&self, path: usize) {
        let versions = Arc::clone(&self.versions);
        let change = self.cache.change(CacheGroup::new("page", PATHS[path]), async move || {
            tokio::task::yield_now().await;
            versions[path].fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            Ok::<_, Infallible>(())
        });
        change.await.unwrap();
    }

    async fn ask<S>(&self, service: &S, asked: Asked)
    where
        S: tower::Service<
                Request<Empty<Bytes>>,
                Response = Response<cache_http::ResponseBody<Full<Bytes>>>,
                Error = Infallible,
            > + Clone,
    {
        let current = self.versions[asked.path].load(Ordering::SeqCst);
        let mut request = Request::builder().uri(PATHS[asked.path]).body(Empty::new()).unwrap();
        *request.headers_mut() = headers(asked);
        if asked.is_head {
            *request.method_mut() = http::Method::HEAD;
        }
        let Ok(response) = service.clone().oneshot(request).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let status = parts.headers.get_all("cache-status").iter().next_back().unwrap().to_str().unwrap();
        let is_own = !status.contains("hit") && !status.contains("collapsed");
        self.hits.fetch_add(u64::from(!is_own), Ordering::SeqCst);
        if asked.is_head && !is_own {
            assert!(body.is_empty(), "a body for HEAD");
            return;
        }
        let found = Content::parse(std::str::from_utf8(&body).unwrap());
        let at_the_time = [const { AtomicU64::new(0) }; 3];
        at_the_time[asked.path].store(found.version, Ordering::SeqCst);
        let mut request = Request::builder().uri(PATHS[asked.path]).body(()).unwrap();
        *request.headers_mut() = headers(asked);
        let (expected, rules) = Content::of(&request.into_parts().0, &at_the_time, found.call);
        assert!(found.version >= current, "stale response: {found:?} at version {current}");
        let identity = |content: &Content| (content.viewer.clone(), content.cookie.clone());
        assert_eq!(identity(&found), identity(&expected), "response of another viewer ({status})");
        assert_eq!(found, expected, "response of another variant ({status})");
        assert_eq!(parts.status, rules.status);
        let is_new = self.served.lock().unwrap().insert(found.call);
        assert!(is_new || rules.is_storable, "stored response that must not be: {found:?} ({status})");
    }
}

fn run(steps: &[Step]) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let run = Run::new();
        // Two instances with one cache, of which each learns by itself.
        let services = [run.service(), run.service()];
        for (number, step) in steps.iter().enumerate() {
            match step {
                Step::Change(path) => run.change(*path).await,
                Step::Requests(requests, change) => {
                    let requests = requests.iter().enumerate().map(|(place, asked)| {
                        let service = &services[(number + place) % 2];
                        run.ask(service, *asked)
                    });
                    let change = async {
                        if let Some(path) = change {
                            tokio::task::yield_now().await;
                            run.change(*path).await;
                        }
                    };
                    join(join_all(requests), change).await;
                }
            }
        }
        run.hits.load(Ordering::SeqCst)
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let path = || 0..PATHS.len();
    let asked = (
        path(),
        0..VIEWERS.len(),
        0..COOKIES.len(),
        0..VALUES.len(),
        0..VALUES.len(),
        prop::bool::weighted(0.1),
    );
    let asked = asked.prop_map(|(path, viewer, cookie, accept, language, is_head)| Asked {
        path,
        viewer,
        cookie,
        accept,
        language,
        is_head,
    });
    let requests = (prop::collection::vec(asked, 1..6), prop::option::weighted(0.2, path()));
    let step = prop_oneof![
        6 => requests.prop_map(|(requests, change)| Step::Requests(requests, change)),
        1 => path().prop_map(Step::Change),
    ];
    prop::collection::vec(step, 1..60)
}

/// Runs random steps; panics with the message of the shortest ones that fail.
fn check(cases: u32) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let hits = AtomicU64::new(0);
    let outcome = TestRunner::new(config).run(&steps(), |steps| {
        let found = catch_unwind(AssertUnwindSafe(|| run(&steps)));
        hits.fetch_add(*found.as_ref().unwrap_or(&0), Ordering::SeqCst);
        found.map(drop).map_err(|panic| {
            let message = panic.downcast_ref::<String>().cloned();
            TestCaseError::fail(message.unwrap_or_else(|| "a panic without a message".to_owned()))
        })
    });
    match outcome {
        Ok(()) => assert!(hits.into_inner() > u64::from(cases), "the steps find too few stored responses"),
        Err(TestError::Fail(reason, steps)) => panic!("{reason} after {steps:#?}"),
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}

#[test]
fn each_response_is_one_that_the_model_allows() {
    const NOT_TO_BE_STORED: &str = "stored response that must not be";
    const FINDS: [(Plant, &[&str]); 3] = [
        (Plant::ViewerLeftOut, &["response of another viewer"]),
        (Plant::SetCookieStored, &[NOT_TO_BE_STORED]),
        // Of a response that varies by what is no key, the next one is wrong in the one way or in the other.
        (Plant::VaryIgnored, &["response of another variant", NOT_TO_BE_STORED]),
    ];
    let Some((_, expected)) = FINDS.into_iter().find(|(plant, _)| is_planted(*plant)) else {
        return check(200);
    };
    let found = catch_unwind(|| check(200)).expect_err("the planted bug was not found");
    let message = found.downcast_ref::<String>().expect("a failure with a message");
    assert!(
        expected.iter().any(|start| message.contains(start)),
        "the model failed for another reason: {message}"
    );
}
