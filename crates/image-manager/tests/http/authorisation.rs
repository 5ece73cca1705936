//! Permissions, on cached answers too.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cache_facade::Cache;
use serde_json::json;

use crate::harness::{Field, Server, png, settings};

/// Every path that reads something of one image, warmed by `ann`.
fn warm_paths(server: &Server, project: &str, image: &str) -> Vec<String> {
    let analyses = format!("/api/images/{image}/analyses");
    let asked = server.send("POST", "ann", &analyses, &json!({"kind": "histogram"})).expect(201).json();
    let paths = vec![
        format!("/api/projects/{project}"),
        format!("/api/projects/{project}/images"),
        format!("/api/images/{image}"),
        format!("/api/images/{image}?include_deleted=true"),
        format!("/api/images/{image}/content"),
        format!("/api/images/{image}/thumbnail"),
        analyses,
        format!("/api/analyses/{}/results", asked["id"].as_str().unwrap()),
    ];
    for path in &paths {
        server.get("ann", path).expect(200);
        assert!(["hit", "bypass", ""].contains(&server.get("ann", path).expect(200).source()), "{path}");
    }
    paths
}

#[test]
fn a_stranger_gets_403_on_warm_entries_too() {
    let server = Server::start();
    let project = server.project();
    let image = server.upload(&project, "a.png", &png([1, 2, 3]));
    for path in warm_paths(&server, &project, &image) {
        let refused = server.get("eve", &path).expect(403);
        assert_eq!(refused.code(), "forbidden", "{path}");
        assert_eq!(refused.source(), "", "{path}");
    }
}

#[test]
fn a_removed_member_gets_403_at_once_and_a_new_one_gets_in() {
    let server = Server::start();
    let project = server.project();
    let image = server.upload(&project, "a.png", &png([1, 2, 3]));
    let paths = warm_paths(&server, &project, &image);
    for path in &paths {
        server.get("bob", path).expect(200);
    }
    let members = format!("/api/projects/{project}/members");
    let answer = server.send("PUT", "ann", &members, &json!({"members": ["ann", "eve", "eve"]})).expect(200);
    assert_eq!(answer.json()["members"], json!(["ann", "eve"]));
    for path in &paths {
        server.get("bob", path).expect(403);
        server.get("eve", path).expect(200);
    }
    server.send("PUT", "bob", &members, &json!({"members": ["bob"]})).expect(403);
}

#[test]
fn a_member_that_is_removed_while_values_are_read_and_loaded_is_out_at_once() {
    let server = Server::start();
    let project = server.project();
    let image = server.upload(&project, "a.png", &png([1, 2, 3]));
    let own = format!("/api/images/{image}");
    let paths = [own.clone(), format!("{own}/thumbnail"), format!("/api/projects/{project}/images")];
    // Odd while the members are being changed; of the even numbers, every other one stands for bob's absence.
    let (phase, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let answers = [200, 403].map(|status| (status, AtomicU64::new(0)));
    std::thread::scope(|scope| {
        for path in &paths {
            let (server, phase, done, answers) = (&server, &phase, &done, &answers);
            scope.spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    let before = phase.load(Ordering::SeqCst);
                    let answer = server.get("bob", path);
                    if before % 2 == 0 && phase.load(Ordering::SeqCst) == before {
                        let (status, count) = &answers[usize::try_from(before / 2 % 2).unwrap()];
                        assert_eq!(answer.status, *status, "{path} in phase {before}");
                        count.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
        let members = format!("/api/projects/{project}/members");
        for round in 0..200 {
            let names = if round % 2 == 0 { json!(["ann"]) } else { json!(["ann", "bob"]) };
            phase.fetch_add(1, Ordering::SeqCst);
            server.send("PUT", "ann", &members, &json!({ "members": names })).expect(200);
            phase.fetch_add(1, Ordering::SeqCst);
            // The next reads load, and meet the next change of the members.
            server.send("PUT", "ann", &format!("{own}/metadata"), &json!({ "round": round })).expect(200);
        }
        done.store(true, Ordering::SeqCst);
    });
    for (status, count) in answers {
        assert!(count.into_inner() > 50, "few answers {status} were compared");
    }
}

#[test]
fn a_change_of_members_that_the_cache_was_not_told_of_counts_at_once() {
    let server = Server::start();
    let project = server.project();
    let image = server.upload(&project, "a.png", &png([1, 2, 3]));
    let paths = warm_paths(&server, &project, &image);
    let database = rusqlite::Connection::open(server.database().path().unwrap()).unwrap();
    database.execute("DELETE FROM members WHERE user = 'bob'", []).unwrap();
    for path in &paths {
        server.get("bob", path).expect(403);
        server.get("ann", path).expect(200);
    }
}

#[test]
fn a_304_comes_after_authorisation() {
    let server = Server::start();
    let project = server.project();
    let image = server.upload(&project, "a.png", &png([1, 2, 3]));
    for path in [
        format!("/api/projects/{project}/images"),
        format!("/api/images/{image}"),
        format!("/api/images/{image}/thumbnail"),
        format!("/api/images/{image}/content"),
    ] {
        let tag = server.get("ann", &path).expect(200).header("etag").to_owned();
        let ask = |user| server.request("GET", &path, &[("x-user", user), ("if-none-match", &tag)], None);
        assert!(ask("ann").expect(304).body.is_empty());
        ask("eve").expect(403);
    }
}

#[test]
fn a_stranger_changes_nothing() {
    let server = Server::start();
    let project = server.project();
    let image = server.upload(&project, "a.png", &png([1, 2, 3]));
    let before = server.get("ann", &format!("/api/images/{image}")).expect(200).json();
    let file: [Field<'_>; 1] = [("file", Some("b.png"), &png([9, 9, 9]))];
    server.form("POST", "eve", &format!("/api/projects/{project}/images"), &file).expect(403);
    server.form("PUT", "eve", &format!("/api/images/{image}/file"), &file).expect(403);
    server.send("PUT", "eve", &format!("/api/images/{image}/metadata"), &json!({"a": 1})).expect(403);
    server
        .send("PUT", "eve", &format!("/api/projects/{project}/members"), &json!({"members": ["eve"]}))
        .expect(403);
    server
        .send("POST", "eve", &format!("/api/images/{image}/analyses"), &json!({"kind": "histogram"}))
        .expect(403);
    server.delete("eve", &format!("/api/images/{image}")).expect(403);
    server.delete("eve", &format!("/api/projects/{project}")).expect(403);
    server.post("eve", &format!("/api/images/{image}/restore")).expect(403);
    assert_eq!(server.get("ann", &format!("/api/images/{image}")).expect(200).json(), before);
    assert_eq!(server.get("eve", "/api/projects").expect(200).json()["items"], json!([]));
}

#[test]
fn without_a_name_the_user_is_the_local_one() {
    let server = Server::start();
    let created = server.request(
        "POST",
        "/api/projects",
        &[("content-type", "application/json")],
        Some(br#"{"name": "mine"}"#),
    );
    assert_eq!(created.expect(201).json()["members"], json!(["demo"]));
    let listed = server.request("GET", "/api/projects", &[], None).expect(200).json();
    assert_eq!(listed["items"][0]["name"], "mine");
}

#[test]
fn on_a_public_address_a_request_without_a_user_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = settings(directory.path());
    settings.bind = "0.0.0.0:8080".parse().unwrap();
    let server = Server::over(settings, async || Cache::memory());
    for path in ["/api/projects", "/api/cache/stats"] {
        assert_eq!(server.request("GET", path, &[], None).expect(401).code(), "unauthorized");
        for name in ["", "  ", "x\ty"] {
            server.request("GET", path, &[("x-user", name)], None).expect(401);
        }
        server.request("GET", path, &[("x-user", "ann"), ("x-user", "eve")], None).expect(401);
        server.get("ann", path).expect(200);
    }
    for path in ["/healthz", "/metrics", "/api/cache/health"] {
        server.request("GET", path, &[], None).expect(200);
    }
}

#[test]
fn a_page_of_another_site_writes_nothing() {
    let server = Server::start();
    let headers = [("content-type", "application/json"), ("sec-fetch-site", "cross-site")];
    let refused = server.request("POST", "/api/projects", &headers, Some(br#"{"name": "theirs"}"#));
    assert_eq!(refused.expect(403).code(), "forbidden");
}
