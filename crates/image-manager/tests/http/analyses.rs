//! Analyses: asked for, computed, kept, and computed anew when the pixels change.

use image::ImageFormat;
use serde_json::json;

use crate::harness::{Server, file, plain};

#[test]
fn every_kind_is_computed_once_and_kept() {
    let server = Server::start();
    let image =
        server.upload(&server.project(), "a.png", &file(&plain(20, 10, [10, 20, 30]), ImageFormat::Png));
    let path = format!("/api/images/{image}/analyses");
    let mut asked = Vec::new();
    for kind in ["histogram", "mean_colour", "sharpness"] {
        let created = server.send("POST", "ann", &path, &json!({"kind": kind})).expect(201).json();
        let id = created["id"].as_str().unwrap().to_owned();
        let results = format!("/api/analyses/{id}/results");
        let (miss, hit) = (server.get("ann", &results).expect(200), server.get("bob", &results).expect(200));
        assert_eq!((miss.source(), hit.source()), ("miss", "hit"));
        assert_eq!(miss.json(), hit.json());
        assert_eq!((&hit.json()["kind"], &hit.json()["status"]), (&json!(kind), &json!("done")));
        let found = &hit.json()["results"];
        match kind {
            "histogram" => {
                assert_eq!(
                    (&found["red"][10], &found["green"][20], &found["blue"][30]),
                    (&json!(200), &json!(200), &json!(200))
                );
            }
            "mean_colour" => {
                assert_eq!(found, &json!({"red": 10.0, "green": 20.0, "blue": 30.0, "hex": "#0a141e"}));
            }
            _ => assert_eq!(found, &json!({"variance_of_laplacian": 0.0})),
        }
        asked.push(json!({"id": id, "kind": kind}));
    }
    assert_eq!(server.get("bob", &path).expect(200).json()["items"], json!(asked));
}

#[test]
fn an_unknown_kind_is_refused() {
    let server = Server::start();
    let image = server.upload(&server.project(), "a.png", &file(&plain(4, 4, [0; 3]), ImageFormat::Png));
    let path = format!("/api/images/{image}/analyses");
    for body in [json!({"kind": "beauty"}), json!({}), json!({"kind": 1}), json!([])] {
        assert_eq!(server.send("POST", "ann", &path, &body).expect(422).code(), "invalid");
    }
    assert_eq!(server.get("ann", &path).expect(200).json()["items"], json!([]));
}
