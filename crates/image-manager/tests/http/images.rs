//! Uploading, viewing, editing, deleting and restoring.

use image::ImageFormat;
use serde_json::json;

use crate::harness::{Field, Server, file, multipart, plain, png};

#[test]
fn an_uploaded_picture_is_described_as_it_is() {
    let server = Server::start();
    let project = server.project();
    let path = format!("/api/projects/{project}/images");
    for (format, content_type) in [
        (ImageFormat::Jpeg, "image/jpeg"),
        (ImageFormat::Png, "image/png"),
        (ImageFormat::Gif, "image/gif"),
        (ImageFormat::WebP, "image/webp"),
    ] {
        let picture = file(&plain(40, 30, [9, 8, 7]), format);
        let fields: [Field<'_>; 2] =
            [("metadata", None, b"{\"camera\": \"Leica\"}"), ("file", Some("../cat.xyz"), &picture)];
        let answer = server.form("POST", "ann", &path, &fields).expect(201);
        let image = answer.json();
        assert_eq!(image["content_type"], content_type);
        assert_eq!(image["project_id"], project.as_str());
        assert_eq!((&image["width"], &image["height"]), (&json!(40), &json!(30)));
        assert_eq!(image["size_bytes"], picture.len());
        assert_eq!(image["filename"], "cat.xyz");
        assert_eq!(image["metadata"], json!({"camera": "Leica"}));
        assert_eq!(image["uploaded_by"], "ann");
        assert!(image["deleted_at"].is_null());
        assert!(image["created_at"].as_str().is_some_and(|time| time.ends_with('Z') && time.contains('T')));

        let id = image["id"].as_str().unwrap();
        let seen = server.get("bob", &format!("/api/images/{id}")).expect(200);
        assert_eq!(seen.json(), image);
    }
}

#[test]
fn a_file_keeps_the_name_that_its_client_gave_it() {
    let server = Server::start();
    let path = format!("/api/projects/{}/images", server.project());
    let headers = [("x-user", "ann"), ("content-type", "multipart/form-data; boundary=frontier")];
    let named = |filename: &str| {
        let mut body =
            format!("--frontier\r\nContent-Disposition: form-data; name=\"file\"; {filename}\r\n\r\n")
                .into_bytes();
        body.extend(png([1, 2, 3]));
        body.extend(b"\r\n--frontier--\r\n");
        let image = server.request("POST", &path, &headers, Some(&body)).expect(201).json();
        image["filename"].as_str().unwrap().to_owned()
    };
    assert_eq!(named("filename*=UTF-8''%C3%B6%20%E2%82%AC.png"), "ö €.png");
    assert_eq!(named("filename=\"=?utf-8?B?w7YucG5n?=\"; filename*=utf-8''%C3%B6.png"), "ö.png");
    assert_eq!(named("filename=\"=?utf-8?B?w7YucG5n?=\""), "ö.png");
    // Without what would deceive in a listing, also where it is encoded.
    assert_eq!(named("filename=\"photo_\u{202E}gpj.exe\""), "photo_gpj.exe");
    assert_eq!(named("filename*=UTF-8''..%2F%E2%80%AEa%E2%80%8B%E2%80%A8b%0D.png"), "ab.png");
    for nothing in ["filename=\"..\"", "filename*=UTF-8''%2E", "filename=\"\u{200B}\""] {
        assert_eq!(named(nothing), "unnamed", "{nothing}");
    }
}

#[test]
fn the_second_read_is_a_hit_and_equals_the_first() {
    let server = Server::start();
    let image = server.upload(&server.project(), "a.png", &png([1, 2, 3]));
    let path = format!("/api/images/{image}");
    let first = server.get("ann", &path).expect(200);
    let second = server.get("bob", &path).expect(200);
    assert_eq!((first.source(), second.source()), ("miss", "hit"));
    assert_eq!(first.json(), second.json());
    assert_eq!(second.backend(), "memory");
    assert!(second.header("server-timing").starts_with("cache;desc=\"memory\";dur="), "{second:?}");
    assert_eq!(second.header("cache-control"), "private, no-cache");
    assert_eq!(second.header("vary"), "X-User");
    assert_eq!(second.header("x-content-type-options"), "nosniff");
}

#[test]
fn new_metadata_replace_the_whole_object_and_are_in_the_next_read() {
    let server = Server::start();
    let image = server.upload(&server.project(), "a.png", &png([1, 2, 3]));
    let path = format!("/api/images/{image}");
    for round in 0..3 {
        let metadata = json!({ format!("round{round}"): [round, null, {"deep": true}] });
        let answer = server.send("PUT", "bob", &format!("{path}/metadata"), &metadata).expect(200);
        assert_eq!(answer.json()["metadata"], metadata);
        let read = server.get("ann", &path).expect(200);
        assert_eq!((read.source(), read.json()), ("miss", answer.json()));
        assert_eq!(server.get("ann", &path).source(), "hit");
    }
}

#[test]
fn a_deleted_image_is_gone_until_it_is_restored() {
    let server = Server::start();
    let project = server.project();
    let image = server.upload(&project, "a.png", &png([1, 2, 3]));
    let path = format!("/api/images/{image}");
    let thumbnail = format!("{path}/thumbnail");
    let analysis =
        server.send("POST", "ann", &format!("{path}/analyses"), &json!({"kind": "sharpness"})).json();
    let results = format!("/api/analyses/{}/results", analysis["id"].as_str().unwrap());
    let with_deleted = format!("{path}?include_deleted=true");
    // Everything is warm, deleted and not.
    for warm in [&path, &thumbnail, &results, &with_deleted] {
        server.get("ann", warm).expect(200);
        assert_eq!(server.get("ann", warm).source(), "hit");
    }

    assert!(server.delete("bob", &path).expect(204).body.is_empty());
    for gone in [&path, &thumbnail, &results, &format!("{path}/content"), &format!("{path}/analyses")] {
        for _ in 0..2 {
            assert_eq!(server.get("ann", gone).expect(404).code(), "not_found");
        }
    }
    for _ in 0..2 {
        assert!(server.get("ann", &with_deleted).expect(200).json()["deleted_at"].is_string());
        server.get("ann", &path).expect(404);
    }
    server.delete("ann", &path).expect(404);
    server.send("PUT", "ann", &format!("{path}/metadata"), &json!({})).expect(404);
    server.form("PUT", "ann", &format!("{path}/file"), &[("file", Some("b.png"), &png([0; 3]))]).expect(404);
    server.send("POST", "ann", &format!("{path}/analyses"), &json!({"kind": "sharpness"})).expect(404);

    let restored = server.post("ann", &format!("{path}/restore")).expect(200).json();
    assert!(restored["deleted_at"].is_null());
    assert_eq!(server.get("ann", &path).expect(200).json(), restored);
    for back in [&thumbnail, &results] {
        server.get("ann", back).expect(200);
    }
    assert_eq!(server.post("ann", &format!("{path}/restore")).expect(409).code(), "conflict");
}

#[test]
fn new_pixels_are_in_every_next_read() {
    let server = Server::start();
    let project = server.project();
    let image = server.upload(&project, "old.png", &png([250, 0, 0]));
    let path = format!("/api/images/{image}");
    let thumbnail = format!("{path}/thumbnail?width=32&height=32");
    let listing = format!("/api/projects/{project}/images");
    let analysis =
        server.send("POST", "ann", &format!("{path}/analyses"), &json!({"kind": "mean_colour"})).json();
    let results = format!("/api/analyses/{}/results", analysis["id"].as_str().unwrap());
    for warm in [&path, &thumbnail, &results, &listing] {
        server.get("ann", warm).expect(200);
        assert_eq!(server.get("ann", warm).source(), "hit");
    }
    assert_eq!(server.get("ann", &results).json()["results"]["red"], 250.0);

    let new = file(&plain(128, 96, [0, 0, 250]), ImageFormat::Jpeg);
    let answer =
        server.form("PUT", "bob", &format!("{path}/file"), &[("file", Some("new.jpg"), &new)]).expect(200);
    let replaced = answer.json();
    assert_eq!((&replaced["id"], &replaced["filename"]), (&json!(image), &json!("new.jpg")));
    assert_eq!((&replaced["width"], &replaced["content_type"]), (&json!(128), &json!("image/jpeg")));

    assert_eq!(server.get("ann", &path).expect(200).json(), replaced);
    assert_eq!(server.get("ann", &listing).expect(200).json()["items"][0], replaced);
    assert_eq!(server.get("ann", &format!("{path}/content")).expect(200).body, new);
    let small = server.get("ann", &thumbnail).expect(200);
    assert_eq!(small.header("content-type"), "image/jpeg");
    let pixel = image::load_from_memory(&small.body).unwrap().into_rgb8().get_pixel(10, 10).0;
    assert!(pixel[0] < 20 && pixel[2] > 230, "{pixel:?}");
    let found = server.get("ann", &results).expect(200).json();
    assert!(found["results"]["blue"].as_f64().unwrap() > 230.0, "{found}");
}

#[test]
fn new_pixels_may_be_the_whole_body() {
    let server = Server::start();
    let image = server.upload(&server.project(), "kept.png", &png([1, 1, 1]));
    let new = png([2, 2, 2]);
    let path = format!("/api/images/{image}");
    let headers = [("x-user", "ann"), ("content-type", "image/png")];
    let answer = server.request("PUT", &format!("{path}/file"), &headers, Some(&new)).expect(200);
    assert_eq!(answer.json()["filename"], "kept.png");
    assert_eq!(server.get("ann", &format!("{path}/content")).expect(200).body, new);
}

#[test]
fn a_deleted_project_is_gone_with_its_images() {
    let server = Server::start();
    let project = server.project();
    let image = server.upload(&project, "a.png", &png([1, 2, 3]));
    let paths = [
        format!("/api/projects/{project}"),
        format!("/api/projects/{project}/images"),
        format!("/api/images/{image}"),
        format!("/api/images/{image}?include_deleted=true"),
        format!("/api/images/{image}/thumbnail"),
        format!("/api/images/{image}/content"),
    ];
    for path in &paths {
        server.get("ann", path).expect(200);
        server.get("ann", path).expect(200);
    }
    server.delete("ann", &paths[0]).expect(204);
    for path in &paths {
        server.get("ann", path).expect(404);
    }
    assert_eq!(server.get("ann", "/api/projects").expect(200).json()["items"], json!([]));
}

#[test]
fn header_values_without_case_are_compared_in_any_case() {
    let server = Server::start();
    let project = server.project();
    let picture = png([1, 2, 3]);
    let form = multipart(&[("file", Some("a.png"), &picture)]);
    let send = |method, path: &str, content_type, body: &[u8]| {
        server.request(method, path, &[("x-user", "ann"), ("content-type", content_type)], Some(body))
    };
    let images = format!("/api/projects/{project}/images");
    for content_type in [
        "Multipart/Form-Data; boundary=frontier",
        "MULTIPART/FORM-DATA; BOUNDARY=frontier",
        "multipart/form-data;Boundary=\"frontier\"",
    ] {
        let image = send("POST", &images, content_type, &form).expect(201).json();
        let file = format!("/api/images/{}/file", image["id"].as_str().unwrap());
        send("PUT", &file, content_type, &form).expect(200);
        // Taken for a form, not for a picture.
        send("PUT", &file, content_type, &picture).expect(400);
    }
    send("POST", &images, "multipart/form-datax; boundary=frontier", &form).expect(415);
    for content_type in ["Application/JSON", "application/json; Charset=UTF-8", "APPLICATION/x+JSON"] {
        send("POST", "/api/projects", content_type, b"{\"name\": \"P\"}").expect(201);
    }
}

#[test]
fn a_change_of_an_image_whose_condition_is_not_met_is_refused() {
    let server = Server::start();
    let image = server.upload(&server.project(), "a.png", &png([1, 2, 3]));
    let path = format!("/api/images/{image}");
    let tag = server.get("ann", &format!("{path}/content")).expect(200).header("etag").to_owned();
    let change = |method: &str, what: &str, condition: (&str, &str)| {
        let headers = [("x-user", "ann"), ("content-type", "application/json"), condition];
        let body = (method == "PUT").then_some(b"{\"a\": 1}".as_slice());
        server.request(method, &format!("{path}{what}"), &headers, body)
    };
    for (method, what, done) in [("PUT", "/metadata", 200), ("DELETE", "", 204)] {
        for condition in [("if-match", "\"nope\""), ("if-none-match", "*")] {
            assert_eq!(change(method, what, condition).expect(412).code(), "precondition_failed");
        }
        assert_eq!(server.get("ann", &path).expect(200).json()["metadata"] == json!({}), method == "PUT");
        change(method, what, ("if-match", &tag)).expect(done);
    }
    server.get("ann", &path).expect(404);
}
