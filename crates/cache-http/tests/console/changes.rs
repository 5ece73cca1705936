//! Clearing: what a body may say, and what it removes.

use cache_facade::stats::CacheEvent;

use crate::support::{Site, load_users};

const PATHS: [&str; 2] = ["/api/v1/clear", "/api/v1/clear/dry-run"];

#[tokio::test]
async fn a_key_a_group_and_a_pattern_are_cleared() {
    let site = Site::new();
    let users = load_users(&site.cache, 0..30).await;
    for (body, removed, what) in [
        (r#"{"key":"user:1"}"#, 1, "key user:1"),
        (r#"{"group":"user:2"}"#, 1, "group user:2"),
        (r#"{"pattern":"user:2*"}"#, 10, "pattern user:2*"),
        (r#"{"pattern":"user","key":null}"#, 18, "pattern user"),
        (r#"{"group":"user:2"}"#, 0, "group user:2"),
    ] {
        let answer = site.post("/api/v1/clear", body).await.json();
        assert_eq!(answer, serde_json::json!({ "what": what, "removed": removed, "reach": "applied" }));
    }
    assert!(!users.contains(29).await);
}

#[tokio::test]
async fn no_pattern_of_wildcards_alone_is_cleared_or_counted() {
    let site = Site::new();
    let users = load_users(&site.cache, 0..3).await;
    for path in PATHS {
        for pattern in ["*", "**", "?*", "*:*", " * ", "[user]*", "*?:*"] {
            let body = serde_json::json!({ "pattern": pattern }).to_string();
            site.post(path, &body).await.is_refused(400, "pattern_matches_all");
        }
        site.post(path, r#"{"group":"*"}"#).await.is_refused(400, "invalid_group");
        site.post(path, r#"{"key":"*"}"#).await.is_refused(400, "invalid_key");
        site.post(path, r#"{"pattern":""}"#).await.is_refused(400, "invalid_pattern");
    }
    assert!(users.contains(0).await && users.contains(2).await);
}

#[tokio::test]
async fn a_body_that_says_nothing_or_too_much_is_refused() {
    let site = Site::new();
    for path in PATHS {
        for body in [
            "",
            "{",
            "[]",
            "null",
            "{}",
            r#""user""#,
            r#"{"key":null}"#,
            r#"{"key":7}"#,
            r#"{"everything":true}"#,
            r#"{"key":"user:1","group":"user:1"}"#,
            r#"{"key":"user:1","sure":true}"#,
            r#"{"key":"user:1"} {}"#,
        ] {
            site.post(path, body).await.is_refused(400, "invalid_body");
        }
        let long = format!(r#"{{"key":"user:{}"}}"#, "1".repeat(9_000));
        site.post(path, &long).await.is_refused(413, "body_too_large");
        let long = format!(r#"{{"key":"user:{}"}}"#, "1".repeat(2_000));
        site.post(path, &long).await.is_refused(400, "invalid_key");
    }
}

#[tokio::test]
async fn a_clear_is_announced_as_one_of_the_console() {
    let site = Site::new();
    drop(load_users(&site.cache, 1..2).await);
    let mut events = site.cache.events();
    site.post("/api/v1/clear", r#"{"group":"user:1"}"#).await.json();
    let Some(CacheEvent::Invalidated(event)) = events.next().await else { panic!("no invalidation") };
    assert!(event.change.ends_with("::ConsoleClear"), "{}", event.change);
    assert!(event.matches("user:1"));
    let answer = site.get("/api/v1/key?key=user:1").await.json();
    assert_eq!(answer["last_invalidation"]["origin"], "in a console", "{answer}");
}

#[tokio::test]
async fn the_console_of_a_view_clears_in_its_scope_alone() {
    let whole = Site::new();
    let users = load_users(&whole.cache, 0..3).await;
    let view = Site::of(whole.cache.scoped("reports").unwrap());
    let scoped = load_users(&view.cache, 0..3).await;
    assert_eq!(view.post("/api/v1/clear/dry-run", r#"{"pattern":"user"}"#).await.json()["entries"], 3);
    assert_eq!(view.post("/api/v1/clear", r#"{"pattern":"user"}"#).await.json()["removed"], 3);
    assert!(users.contains(0).await && !scoped.contains(0).await);
}
