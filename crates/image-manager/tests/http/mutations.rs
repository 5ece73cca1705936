//! Every route that changes something announces it to the cache, and no other does.
//!
//! The compiler has its part: the database takes a write only with a proof that nothing but `App::change` makes.

use std::sync::Arc;

use cache_facade::Cache;
use serde_json::json;

use crate::harness::{Server, png};
use crate::observed::Observed;

#[test]
fn every_mutating_route_announces_its_change_and_no_read_does() {
    let store = Arc::new(Observed::default());
    let server = Server::with_cache(Cache::new(store.clone()));
    let mut mutating_routes = 0;
    let mut changed = |expected: &[&String]| {
        mutating_routes += 1;
        assert_eq!(store.take().iter().collect::<Vec<_>>(), expected);
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
    assert_eq!(store.take(), Vec::<String>::new());

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
    let store = Arc::new(Observed::default());
    let server = Server::with_cache(Cache::new(store.clone()));
    let project = server.project();
    let image = server.upload(&project, "a.png", &png([1, 1, 1]));
    store.take();
    let path = format!("/api/images/{image}");
    server.post("ann", &format!("{path}/restore")).expect(409);
    server.delete("eve", &path).expect(403);
    server.send("PUT", "ann", &format!("{path}/metadata"), &json!([])).expect(422);
    server.form("PUT", "ann", &format!("{path}/file"), &[("file", None, b"nonsense")]).expect(415);
    assert_eq!(store.take(), Vec::<String>::new());
}
