//! Every route: what it answers, and the headers of every answer.

use axum::Router;
use axum::body::Body;
use axum::http::{Method, StatusCode};
use cache_facade::{Cache, CacheGroup, Invalidates, Invalidation};
use tower::ServiceExt;

use crate::support::{Site, load_users, request};

const API: [&str; 5] = ["overview", "families", "timeline", "doctor", "key?key=user:1"];

struct Renamed(u64);

impl Invalidates for Renamed {
    fn invalidations(&self) -> Vec<Invalidation> {
        vec![CacheGroup::new("user", self.0).into()]
    }
}

#[tokio::test]
async fn every_answer_forbids_frames_other_hosts_and_guesses_of_its_type() {
    let site = Site::new();
    let pages =
        ["", "/index.html", "/page/style.css", "/page/main.js", "/page/missing.js", "/api/v1/nothing"];
    let api = API.map(|name| format!("/api/v1/{name}"));
    for path in pages.into_iter().chain(api.iter().map(String::as_str)) {
        let answer = site.get(path).await;
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        for part in [
            "default-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "require-trusted-types-for 'script'",
        ] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{path}");
        let kept = answer.headers["cache-control"].to_str().unwrap();
        assert!(kept == "no-store" || (kept == "no-cache" && !path.contains("api")), "{path}: {kept}");
        assert!(!answer.headers.contains_key("access-control-allow-origin"), "{path}");
    }
}

#[tokio::test]
async fn the_page_is_found_wherever_the_console_is_mounted() {
    let site = Site::new();
    let moved = site.get("").await;
    // Relative, so that a proxy may add a prefix: `/cache` leads to `/cache/index.html`.
    assert_eq!(
        (moved.status, &moved.headers["location"]),
        (StatusCode::TEMPORARY_REDIRECT, &"./cache/index.html".parse().unwrap())
    );
    let page = site.get("/index.html").await;
    assert!(page.status.is_success() && page.text.contains("<h1>Cache console</h1>"));
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    for (name, kind) in
        [("main.js", "text/javascript; charset=utf-8"), ("style.css", "text/css; charset=utf-8")]
    {
        let file = site.get(&format!("/page/{name}")).await;
        assert_eq!(file.headers["content-type"], kind);
        assert!(!file.text.is_empty());
    }
    site.get("/page/..%2f..%2fCargo.toml").await.is_refused(404, "unknown_file");
    let console = cache_http::console(Cache::memory()).into_router();
    for (app, path) in [
        (Router::new().merge(console.clone()), "/"),
        (Router::new().nest_service("/cache", console.clone()), "/cache/"),
        (Router::new().nest("/cache", console), "/cache/index.html"),
    ] {
        let get = axum::http::Request::get(path).body(Body::empty()).unwrap();
        assert_eq!(app.oneshot(get).await.unwrap().status(), StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn wrong_routes_and_methods_are_refused_with_what_to_do() {
    let site = Site::new();
    site.get("/api/v1/nothing").await.is_refused(404, "unknown_route");
    site.get("/api/v2/overview").await.is_refused(404, "unknown_route");
    for (method, path, allowed) in [
        (Method::POST, "/api/v1/overview", "GET,HEAD"),
        (Method::GET, "/api/v1/clear", "POST"),
        (Method::OPTIONS, "/api/v1/clear", "POST"),
    ] {
        let answer = site.answer(request(method, path).body(Body::empty()).unwrap()).await;
        answer.is_refused(405, "method_not_allowed");
        assert_eq!(answer.headers["allow"], allowed, "{path}");
    }
    let head = site.answer(request(Method::HEAD, "/api/v1/overview").body(Body::empty()).unwrap()).await;
    assert!(head.status.is_success() && head.text.is_empty());
}

#[tokio::test]
async fn the_overview_shows_the_figures_of_the_cache() {
    let site = Site::new();
    let users = load_users(&site.cache, 0..3).await;
    for _ in 0..9 {
        users.get(1).await.unwrap();
    }
    let overview = site.get("/api/v1/overview").await.json();
    assert_eq!(
        (&overview["health"]["status"], &overview["health"]["active"]),
        (&"ok".into(), &"memory".into())
    );
    let figures = &overview["figures"];
    assert_eq!(
        (&figures["entries"], &figures["hits"], &figures["misses"]),
        (&3.into(), &9.into(), &3.into())
    );
    assert_eq!((&figures["loads"], &figures["hit_ratio"]), (&3.into(), &0.75.into()));
    assert!(figures["saved_ms"].as_f64().unwrap() >= 0.0 && figures["hits_unmeasured"] == 0);
    let seconds: Vec<_> = overview["windows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|window| window["seconds"].as_u64().unwrap())
        .collect();
    assert_eq!(seconds, [10, 100, 1000]);
    assert_eq!(
        (&overview["windows"][0]["hit_ratio"], &overview["watchers"]),
        (&().into(), &0.into()),
        "nothing watches"
    );
}

#[tokio::test]
async fn a_viewer_is_told_whether_it_may_clear() {
    let site = Site::new();
    let may_change = async |request: axum::http::request::Builder| {
        site.answer(request.body(Body::empty()).unwrap()).await.json()["may_change"].clone()
    };
    let overview = || request(Method::GET, "/api/v1/overview");
    assert_eq!(may_change(overview()).await, false);
    assert_eq!(may_change(overview().header("x-operator", "ann")).await, true);
}

#[tokio::test]
async fn families_are_shown_with_their_loads() {
    let site = Site::new();
    drop(load_users(&site.cache, 0..2).await);
    let families = site.get("/api/v1/families").await.json();
    let user = &families["families"][0];
    assert_eq!((&user["name"], &user["entries"], &user["loads"]), (&"user".into(), &2.into(), &2.into()));
    assert!(user["mean_load_ms"].is_number() && user["recent"]["hits"].is_array());
    assert_eq!(site.get("/api/v1/timeline").await.json()["points"], serde_json::json!([]));
}

#[tokio::test]
async fn a_key_is_explained_with_the_change_that_removed_it() {
    let site = Site::new();
    let story = async |key: &str| {
        let answer = site.get(&format!("/api/v1/key?key={key}")).await.json();
        let story: Vec<_> = answer["story"]
            .as_array()
            .unwrap()
            .iter()
            .map(|line| line.as_str().unwrap().to_owned())
            .collect();
        (answer, story.join("\n"))
    };
    let (_, never) = story("user:1").await;
    assert!(never.contains("It is not in the cache") && never.contains("No lookup"), "{never}");
    let users = load_users(&site.cache, 1..2).await;
    let (answer, there) = story("user:1").await;
    assert!(there.contains("It is in the cache (memory)") && there.contains("It does not expire"), "{there}");
    assert_eq!((&answer["explanation"]["found"], &answer["last_invalidation"]), (&true.into(), &().into()));
    site.cache.change(Renamed(1), async || Ok::<_, std::io::Error>(())).await.unwrap();
    assert_eq!(users.get(1).await, None);
    let (answer, gone) = story("user:1").await;
    for part in ["it had been invalidated", "by change with Renamed (group user:1), which removed 1 entry"] {
        assert!(gone.contains(part), "{part}: {gone}");
    }
    let change = &answer["last_invalidation"];
    assert_eq!(
        (&change["change"], &change["reach"], &change["what"][0]),
        (&"Renamed".into(), &"applied".into(), &"group user:1".into())
    );
}

#[tokio::test]
async fn a_key_that_is_none_is_refused_with_the_form_of_keys() {
    let site = Site::new();
    for bad in ["user", "user:a%20b", "%5Bx:y", "a:%00", "user:", ""] {
        site.get(&format!("/api/v1/key?key={bad}")).await.is_refused(400, "invalid_key");
    }
    for none in ["", "?", "?other=1", "?key=a:b&key=c:d"] {
        site.get(&format!("/api/v1/key{none}")).await.is_refused(400, "no_key");
    }
}

#[tokio::test]
async fn the_doctor_checks_the_running_cache() {
    let site = Site::new();
    let report = site.get("/api/v1/doctor").await.json();
    assert_eq!(report["healthy"], true, "{report}");
    assert!(
        report["checks"]
            .as_array()
            .unwrap()
            .iter()
            .any(|check| check["name"] == "state" && check["result"] == "fine")
    );
    site.cache.close().await.unwrap();
    let report = site.get("/api/v1/doctor").await.json();
    assert_eq!(report["healthy"], false, "{report}");
    let wrong: Vec<_> =
        report["checks"].as_array().unwrap().iter().filter(|check| check["result"] == "wrong").collect();
    assert!(!wrong.is_empty() && wrong.iter().all(|check| check["advice"].is_string()), "{report}");
}

#[tokio::test]
async fn a_closed_cache_is_shown_as_such() {
    let site = Site::new();
    site.cache.close().await.unwrap();
    let overview = site.get("/api/v1/overview").await.json();
    assert_eq!((&overview["health"]["status"], &overview["figures"]), (&"degraded".into(), &().into()));
    site.get("/api/v1/key?key=user:1").await.is_refused(503, "cache_unavailable");
    site.post("/api/v1/clear", r#"{"key":"user:1"}"#).await.is_refused(503, "cache_unavailable");
}
