//! Whatever a client gets wrong has a clear answer and leaves nothing behind.

use std::path::Path;

use cache_facade::Cache;
use image::ImageFormat;
use serde_json::json;

use crate::harness::{Field, Server, file, multipart, plain, png, settings};

fn files_below(directory: &Path) -> usize {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { files_below(&path) } else { 1 }).sum()
}

#[test]
fn a_refused_upload_leaves_no_row_and_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(directory.path());
    let data = settings.data_directory.clone();
    let server = Server::over(settings, async || Cache::memory());
    let project = server.project();
    let path = format!("/api/projects/{project}/images");
    let good = png([1, 2, 3]);
    let torn = &file(&plain(300, 300, [1, 2, 3]), ImageFormat::Jpeg)[..900];
    let mut garbled = good.clone();
    let middle = garbled.len() / 2;
    garbled[middle] ^= 0x55;
    let svg: &[u8] = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>";
    let bomb = png_header(60_000, 60_000);
    let huge = vec![0; 1024 * 1024 + 1];

    for (name, bytes, status) in [
        ("torn.jpg", torn, 415),
        ("garbled.png", &garbled, 415),
        ("drawing.svg", svg, 415),
        ("drawing.png", svg, 415),
        ("empty.png", b"", 415),
        ("text.jpg", b"hello", 415),
        ("bomb.png", &bomb, 413),
        ("huge.png", &huge, 413),
    ] {
        let answer = server.form("POST", "ann", &path, &[("file", Some(name), bytes)]).expect(status);
        assert!(!answer.code().is_empty());
    }
    let long = vec![b'1'; 20_000];
    let forms: [(&str, &[Field<'_>], u16); 6] = [
        ("no file", &[("metadata", None, b"{}")], 422),
        ("two files", &[("file", Some("a"), &good), ("file", Some("b"), &good)], 422),
        ("metadata that are no object", &[("file", Some("a"), &good), ("metadata", None, b"[1]")], 422),
        ("metadata that are no JSON", &[("file", Some("a"), &good), ("metadata", None, b"{")], 400),
        ("metadata that are too long", &[("metadata", None, &long), ("file", None, &good)], 413),
        ("nothing", &[], 422),
    ];
    for (what, fields, status) in forms {
        let answer = server.form("POST", "ann", &path, fields);
        assert_eq!(answer.status, status, "{what}: {answer:?}");
    }
    let headers = [("x-user", "ann"), ("content-type", "multipart/form-data; boundary=frontier")];
    server.request("POST", &path, &headers, Some(b"--frontier\r\nContent-Disposition: fo")).expect(400);
    server.request("POST", &path, &headers[..1], Some(&good)).expect(415);

    assert_eq!(server.get("ann", &path).expect(200).json(), json!({"items": [], "total": 0}));
    assert_eq!(files_below(&data.join("originals")) + files_below(&data.join("incoming")), 0);

    let image = server.upload(&project, "good.png", &good);
    let replacement = format!("/api/images/{image}/file");
    server.form("PUT", "ann", &replacement, &[("file", Some("torn.jpg"), torn)]).expect(415);
    let whole = [("x-user", "ann"), ("content-type", "image/svg+xml")];
    server.request("PUT", &replacement, &whole, Some(svg)).expect(415);
    server.request("PUT", &replacement, &whole, Some(&huge)).expect(413);
    assert_eq!(server.get("ann", &format!("/api/images/{image}/content")).expect(200).body, good);
    assert_eq!(files_below(&data.join("originals")), 1);

    // Replaced and deleted pictures leave nothing behind either.
    server.form("PUT", "ann", &replacement, &[("file", None, &png([4, 4, 4]))]).expect(200);
    assert_eq!(files_below(&data.join("originals")), 1);
    server.delete("ann", &format!("/api/projects/{project}")).expect(204);
    assert_eq!(files_below(&data.join("originals")) + files_below(&data.join("incoming")), 0);
}

/// A PNG that claims a size and has no pixels.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut header = png([0; 3]);
    header.truncate(33);
    header[16..20].copy_from_slice(&width.to_be_bytes());
    header[20..24].copy_from_slice(&height.to_be_bytes());
    let checksum = crc32(&header[12..29]);
    header[29..].copy_from_slice(&checksum.to_be_bytes());
    header.extend(b"\0\0\0\0IDAT");
    header.extend(crc32(b"IDAT").to_be_bytes());
    header
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[test]
fn a_client_that_sends_everything_first_learns_why_it_is_refused() {
    use std::io::{Read, Write};
    let server = Server::start();
    let project = server.project();
    let large = vec![0; 16 * 1024 * 1024];
    for (host, user, expected) in [
        ("localhost", "ann", "HTTP/1.1 413"),
        ("localhost", "eve", "HTTP/1.1 403"),
        ("evil.example", "ann", "HTTP/1.1 421"),
    ] {
        let mut connection = std::net::TcpStream::connect(server.address()).unwrap();
        write!(
            connection,
            "POST /api/projects/{project}/images HTTP/1.1\r\nhost: {host}\r\nx-user: {user}\r\nconnection: close\r\n\
             content-type: multipart/form-data; boundary=frontier\r\ncontent-length: {}\r\n\r\n",
            large.len()
        )
        .unwrap();
        connection.write_all(&large).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(expected), "{answer}");
    }
}

#[test]
fn what_precedes_a_field_is_bounded_and_a_field_that_nothing_reads_is_not() {
    let server = Server::start();
    let path = format!("/api/projects/{}/images", server.project());
    let headers = [("x-user", "ann"), ("content-type", "multipart/form-data; boundary=frontier")];
    let picture = png([1, 2, 3]);
    let form = multipart(&[("file", Some("a.png"), &picture)]);
    let long = vec![b'x'; 600_000];
    let preamble = [&long, b"\r\n".as_slice(), &form].concat();
    let header = [b"--frontier\r\nX-Long: ".as_slice(), &long, b"\r\n", &form[12..]].concat();
    for body in [preamble, header] {
        server.request("POST", &path, &headers, Some(&body)).expect(400);
    }
    server
        .form("POST", "ann", &path, &[("else", None, &long), ("file", Some("a.png"), &picture)])
        .expect(201);
}

#[test]
fn what_does_not_exist_is_404() {
    let server = Server::start();
    let unknown = "00000000-0000-7000-8000-000000000000";
    for id in [unknown, "7", "not-a-uuid", "..%2F..%2Fetc", "%00", "%FF"] {
        for path in [
            format!("/api/projects/{id}"),
            format!("/api/projects/{id}/images"),
            format!("/api/images/{id}"),
            format!("/api/images/{id}/content"),
            format!("/api/images/{id}/thumbnail"),
            format!("/api/images/{id}/analyses"),
            format!("/api/analyses/{id}/results"),
        ] {
            assert_eq!(server.get("ann", &path).expect(404).code(), "not_found", "{path}");
        }
        server.delete("ann", &format!("/api/images/{id}")).expect(404);
        server.delete("ann", &format!("/api/projects/{id}")).expect(404);
        server.post("ann", &format!("/api/images/{id}/restore")).expect(404);
        server.send("PUT", "ann", &format!("/api/images/{id}/metadata"), &json!({})).expect(404);
        server
            .form("POST", "ann", &format!("/api/projects/{id}/images"), &[("file", None, &png([0; 3]))])
            .expect(404);
    }
    for path in ["/page", "/api", "/api/images", "/api/nothing"] {
        assert_eq!(server.get("ann", path).expect(404).code(), "not_found");
    }
    let answer = server.request("PUT", "/api/projects", &[("x-user", "ann")], Some(b"{}")).expect(405);
    assert_eq!(answer.code(), "method_not_allowed");
}

#[test]
fn parameters_out_of_range_are_400() {
    let server = Server::start();
    let project = server.project();
    for query in [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=ten",
        "limit=",
        "skip=-1",
        "skip=1.5",
        "skip=9223372036854775808",
        "skip=99999999999999999999",
        "include_deleted=maybe",
        "deleted_only=1&deleted_only=0",
    ] {
        let answer = server.get("ann", &format!("/api/projects/{project}/images?{query}")).expect(400);
        assert_eq!(answer.code(), "bad_request", "{query}");
    }
    server
        .get("ann", &format!("/api/projects/{project}/images?skip=9223372036854775807&limit=1000"))
        .expect(200);
    server.get("ann", &format!("/api/projects/{project}/images?unknown=1")).expect(200);
}

#[test]
fn bodies_that_make_no_sense_are_refused() {
    let server = Server::start();
    let project = server.project();
    let members = format!("/api/projects/{project}/members");
    for (body, status) in [
        (json!({}), 422),
        (json!({"name": ""}), 422),
        (json!({"name": "  "}), 422),
        (json!({"name": 7}), 422),
        (json!({"name": "x".repeat(201)}), 422),
        (json!({"name": "a\nb"}), 422),
        (json!({"name": "."}), 422),
        (json!({"name": ".."}), 422),
        (json!({"name": "a\u{202E}b"}), 422),
        (json!({"name": "a\u{200B}b"}), 422),
        (json!({"name": "a\u{2028}b"}), 422),
        (json!({"name": "a", "members": ["bo\u{200B}b"]}), 422),
        (json!({"name": "a", "members": [""]}), 422),
        (json!({"name": "a", "members": "bob"}), 422),
        (json!({"name": "a", "members": ["x".repeat(201)]}), 422),
        (json!({"name": "x".repeat(300_000)}), 413),
    ] {
        server.send("POST", "ann", "/api/projects", &body).expect(status);
    }
    server.send("PUT", "ann", &members, &json!({"members": []})).expect(422);
    server.send("PUT", "ann", &members, &json!({})).expect(422);
    let json_type = [("x-user", "ann"), ("content-type", "application/json")];
    assert_eq!(
        server.request("POST", "/api/projects", &json_type, Some(b"{nonsense")).expect(400).code(),
        "bad_request"
    );
    server.request("POST", "/api/projects", &[("x-user", "ann")], Some(br#"{"name": "a"}"#)).expect(415);

    let image = server.upload(&project, "a.png", &png([0; 3]));
    let metadata = format!("/api/images/{image}/metadata");
    for body in [json!([]), json!("text"), json!(null), json!(1)] {
        server.send("PUT", "ann", &metadata, &body).expect(422);
    }
    server.send("PUT", "ann", &metadata, &json!({"long": "x".repeat(20_000)})).expect(413);
    let deep = format!("{}1{}", "{\"a\":".repeat(500), "}".repeat(500));
    server.request("PUT", &metadata, &json_type, Some(deep.as_bytes())).expect(400);
    assert_eq!(server.get("ann", &format!("/api/images/{image}")).expect(200).json()["metadata"], json!({}));
    assert_eq!(server.get("ann", "/api/projects").expect(200).json()["items"].as_array().unwrap().len(), 1);
}
