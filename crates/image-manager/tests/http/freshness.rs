//! Nothing stale, however many read and write at once; and one load for many readers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use image::ImageFormat;
use serde_json::json;

use crate::harness::{Server, file, plain, png};

#[test]
fn a_read_that_starts_after_a_write_returned_sees_it() {
    let server = Server::start();
    let project = server.project();
    let image = server.upload(&project, "a.png", &png([1, 1, 1]));
    let path = format!("/api/images/{image}");
    let listing = format!("/api/projects/{project}/images");
    server.send("PUT", "ann", &format!("{path}/metadata"), &json!({"version": 0})).expect(200);
    let (written, done) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    for read in [&path, &listing] {
                        let least = written.load(Ordering::SeqCst);
                        let json = server.get("ann", read).expect(200).json();
                        let item = if read == &path { &json } else { &json["items"][0] };
                        let seen = item["metadata"]["version"].as_u64().unwrap();
                        assert!(seen >= least, "version {seen} after {least} was written ({read})");
                    }
                }
            });
        }
        for version in 1..=100 {
            server.send("PUT", "ann", &format!("{path}/metadata"), &json!({"version": version})).expect(200);
            written.store(version, Ordering::SeqCst);
        }
        done.store(true, Ordering::SeqCst);
    });
}

#[test]
fn pixels_that_change_under_their_readers_are_never_old() {
    let server = Server::start();
    let image = server.upload(&server.project(), "a.png", &png([0, 0, 0]));
    let path = format!("/api/images/{image}");
    let analysis =
        server.send("POST", "ann", &format!("{path}/analyses"), &json!({"kind": "mean_colour"})).json();
    let results = format!("/api/analyses/{}/results", analysis["id"].as_str().unwrap());
    let thumbnail = format!("{path}/thumbnail?width=40&height=40");
    let (written, done) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                let least = written.load(Ordering::SeqCst);
                let small = server.get("ann", &thumbnail).expect(200).body;
                let seen = image::load_from_memory(&small).unwrap().into_rgb8().get_pixel(3, 3).0[0];
                assert!(u64::from(seen) >= least, "thumbnail {seen} after {least}");
            }
        });
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                let least = written.load(Ordering::SeqCst);
                let seen = server.get("ann", &results).expect(200).json()["results"]["red"].as_f64().unwrap();
                assert!(seen >= least as f64, "analysis {seen} after {least}");
            }
        });
        for version in 1..=40_u8 {
            // Sizes change too, and with them the keys of thumbnails.
            let side = 48 + u32::from(version % 3) * 16;
            let picture = file(&plain(64, side, [version, 0, 0]), ImageFormat::Png);
            server.form("PUT", "ann", &format!("{path}/file"), &[("file", None, &picture)]).expect(200);
            written.store(version.into(), Ordering::SeqCst);
        }
        done.store(true, Ordering::SeqCst);
    });
}

#[test]
fn an_image_that_is_deleted_under_its_readers_is_shown_as_it_was_or_not_at_all() {
    let server = Server::start();
    let path = format!("/api/images/{}", server.upload(&server.project(), "a.png", &png([1, 1, 1])));
    let with_deleted = format!("{path}?include_deleted=true");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    let answer = server.get("ann", &path);
                    match answer.status {
                        200 => assert!(answer.json()["deleted_at"].is_null(), "{answer:?}"),
                        status => assert_eq!(status, 404, "{answer:?}"),
                    }
                    server.get("ann", &with_deleted).expect(200);
                }
            });
        }
        for _ in 0..100 {
            server.delete("ann", &path).expect(204);
            assert!(server.get("ann", &with_deleted).expect(200).json()["deleted_at"].is_string());
            server.post("ann", &format!("{path}/restore")).expect(200);
            assert!(server.get("ann", &with_deleted).expect(200).json()["deleted_at"].is_null());
        }
        done.store(true, Ordering::SeqCst);
    });
}

#[test]
fn many_readers_of_one_thumbnail_make_it_once() {
    let server = Server::start();
    let image =
        server.upload(&server.project(), "a.jpg", &file(&plain(1200, 900, [9, 9, 9]), ImageFormat::Jpeg));
    let path = format!("/api/images/{image}/thumbnail");
    std::thread::scope(|scope| {
        let readers: Vec<_> =
            (0..24).map(|_| scope.spawn(|| server.get("ann", &path).expect(200).body)).collect();
        let bodies: Vec<_> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
        assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]));
    });
    let stats = server.get("demo", "/api/cache/stats").expect(200).json();
    assert_eq!(stats["fills"], 1, "{stats}");
}

#[test]
fn a_change_goes_on_when_its_client_does_not_wait() {
    use std::io::Write;
    let server = Server::start();
    let image = server.upload(&server.project(), "a.png", &png([1, 1, 1]));
    let path = format!("/api/images/{image}");
    server.get("ann", &path).expect(200);
    // Fifty clients send a change and leave at once; whatever was committed must be what is read.
    for version in 0..50 {
        let body = json!({ "version": version }).to_string();
        let mut connection = std::net::TcpStream::connect(server.address()).unwrap();
        write!(
            connection,
            "PUT {path}/metadata HTTP/1.1\r\nhost: localhost\r\nx-user: ann\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        drop(connection);
        server.get("ann", &path).expect(200);
    }
    // The server may accept the last connections late, on a busy machine.
    std::thread::sleep(std::time::Duration::from_millis(500));
    // One change that is waited for, so that all before it are over: writers take turns.
    let last =
        server.send("PUT", "ann", &format!("{path}/metadata"), &json!({"last": true})).expect(200).json();
    assert_eq!(server.get("ann", &path).expect(200).json(), last);
    let listing = format!("/api/projects/{}/images", last["project_id"].as_str().unwrap());
    assert_eq!(server.get("ann", &listing).expect(200).json()["items"][0], last);
}
