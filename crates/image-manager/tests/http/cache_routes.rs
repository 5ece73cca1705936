//! The cache from outside: figures, entries, clearing, health, metrics.

use cache_facade::Cache;
use serde_json::json;

use crate::harness::{Server, png};

#[test]
fn the_figures_count_what_happened() {
    let server = Server::start();
    let image = server.upload(&server.project(), "a.png", &png([1, 1, 1]));
    for _ in 0..3 {
        server.get("ann", &format!("/api/images/{image}")).expect(200);
    }
    let stats = server.get("demo", "/api/cache/stats").expect(200).json();
    assert_eq!((&stats["hits"], &stats["misses"], &stats["count"]), (&json!(2), &json!(1), &json!(1)));
    assert_eq!(stats["families"]["image"]["hits"], 2);
    for name in ["size_bytes", "size_mb", "limit_mb", "usage_percent", "count"] {
        assert!(stats[name].is_number(), "{name}");
    }
}

#[test]
fn an_entry_can_be_explained() {
    let server = Server::start();
    let image = server.upload(&server.project(), "a.png", &png([1, 1, 1]));
    let path = format!("/api/cache/entry?key=image:{image}:metadata");
    assert_eq!(server.get("demo", &path).expect(200).json()["found"], false);
    server.get("ann", &format!("/api/images/{image}")).expect(200);
    let entry = server.get("demo", &path).expect(200).json();
    assert_eq!((&entry["found"], &entry["group"]), (&json!(true), &json!(format!("image:{image}"))));
    // A key alone may tell more than another user should learn.
    assert_eq!(server.get("ann", &path).expect(403).code(), "forbidden");
    for wrong in ["?key=", "?key=one", "?key=a:b%20c", "", "?key=image:1:%2A"] {
        server.get("demo", &format!("/api/cache/entry{wrong}")).expect(400);
    }
}

#[test]
fn only_admins_clear_and_only_what_they_name() {
    let server = Server::start();
    let (one, other) = (server.project(), server.project());
    let listings = [format!("/api/projects/{one}/images"), format!("/api/projects/{other}/images")];
    let warm = || {
        for listing in &listings {
            server.get("ann", listing).expect(200);
            assert_eq!(server.get("ann", listing).expect(200).source(), "hit");
        }
    };
    warm();
    assert_eq!(server.delete("ann", "/api/cache").expect(403).code(), "forbidden");
    // An empty, a wrong and a misspelt pattern clear nothing.
    for query in ["?pattern=", "?pattern=%20", "?patern=project_images", "?pattern=a&pattern=b"] {
        server.delete("demo", &format!("/api/cache{query}")).expect(400);
    }
    for listing in &listings {
        assert_eq!(server.get("ann", listing).expect(200).source(), "hit");
    }

    let cleared =
        server.delete("demo", &format!("/api/cache?pattern=project_images:{one}")).expect(200).json();
    assert_eq!(cleared, json!({"cleared": 1}));
    assert_eq!(server.get("ann", &listings[0]).source(), "miss");
    assert_eq!(server.get("ann", &listings[1]).source(), "hit");
    warm();
    assert_eq!(server.delete("demo", "/api/cache").expect(200).json(), json!({"cleared": 2}));
    assert_eq!(server.get("ann", &listings[0]).source(), "miss");
}

#[test]
fn health_is_told_in_full() {
    let server = Server::start();
    for path in ["/healthz", "/api/cache/health"] {
        let health = server.get("demo", path).expect(200).json();
        assert_eq!(
            (&health["status"], &health["wanted"], &health["active"]),
            (&json!("ok"), &json!("memory"), &json!("memory"))
        );
        assert_eq!(health["journal_depth"], 0);
        assert!(health.get("since").is_some() && health.get("cause").is_some());
    }
}

#[test]
fn without_a_cache_everything_works_and_says_so() {
    let server = Server::with_cache(Cache::disabled());
    let project = server.project();
    let image = server.upload(&project, "a.png", &png([1, 1, 1]));
    for path in [
        format!("/api/images/{image}"),
        format!("/api/images/{image}/thumbnail"),
        format!("/api/projects/{project}/images"),
    ] {
        for _ in 0..2 {
            let answer = server.get("ann", &path).expect(200);
            assert_eq!((answer.source(), answer.backend()), ("bypass", "none"));
        }
    }
    assert_eq!(server.get("demo", "/healthz").expect(200).json()["status"], "off");
    assert_eq!(server.get("demo", "/api/cache/stats").expect(200).json()["backend"], "none");
}

#[test]
fn requests_are_counted_by_route() {
    image_manager::install_metrics();
    let server = Server::start();
    let image = server.upload(&server.project(), "a.png", &png([1, 1, 1]));
    server.get("ann", &format!("/api/images/{image}")).expect(200);
    let answer = server.get("demo", "/metrics").expect(200);
    assert!(answer.header("content-type").starts_with("text/plain"));
    let text = String::from_utf8(answer.body).unwrap();
    assert!(
        text.contains("http_requests_total{method=\"GET\",route=\"/api/images/{id}\",status=\"200\"}"),
        "{text}"
    );
    assert!(text.contains("http_request_duration_seconds_bucket"), "{text}");
    assert!(!text.contains(&image), "no series by id");
    for name in
        ["cache_hits_total{", "cache_size_bytes ", "cache_entries{", "cache_operation_seconds_bucket{"]
    {
        assert!(text.contains(name), "{name}: {text}");
    }
}
