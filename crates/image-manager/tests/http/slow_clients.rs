//! Clients that are slow or silent cost a bounded time and a bounded number of connections.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use cache_facade::Cache;
use image_manager::Settings;

use crate::harness::{Server, png, settings};

const TIMEOUT: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(20);

fn start(more: impl FnOnce(Settings) -> Settings) -> (tempfile::TempDir, Server) {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings { client_timeout: TIMEOUT, ..settings(directory.path()) };
    let server = Server::over(more(settings), async || Cache::memory());
    (directory, server)
}

fn connect(server: &Server, send: &str) -> TcpStream {
    let mut socket = TcpStream::connect(server.address()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(send.as_bytes()).unwrap();
    socket
}

/// What the server sends until it closes the connection, and after how long that is.
fn rest(mut socket: TcpStream) -> (String, Duration) {
    let started = Instant::now();
    let mut answer = Vec::new();
    match socket.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the connection stays open: {error}"),
    }
    (String::from_utf8_lossy(&answer).into_owned(), started.elapsed())
}

#[test]
fn a_connection_without_a_whole_head_is_closed() {
    let (_directory, server) = start(|settings| settings);
    for sent in ["", "GET /healthz HTTP/1.1\r\nhost: local"] {
        let (answer, took) = rest(connect(&server, sent));
        assert_eq!(answer, "", "{sent:?}");
        assert!(took < PATIENCE / 2, "{took:?}");
    }
    let dripping = connect(&server, "GET /healthz HTTP/1.1\r\n");
    let mut drips = dripping.try_clone().unwrap();
    std::thread::spawn(move || {
        while drips.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    assert_eq!(rest(dripping).0, "");
}

#[test]
fn a_body_that_stands_still_or_drips_is_answered_408() {
    let (_directory, server) = start(|settings| settings);
    let project = server.project();
    let image = server.upload(&project, "a.png", &png([1, 2, 3]));
    for (method, path, content_type) in [
        ("POST", "/api/projects".to_owned(), "application/json"),
        ("POST", format!("/api/projects/{project}/images"), "multipart/form-data; boundary=frontier"),
        ("PUT", format!("/api/images/{image}/file"), "image/png"),
    ] {
        for drips in [false, true] {
            let head = format!(
                "{method} {path} HTTP/1.1\r\nhost: localhost\r\nx-user: ann\r\ncontent-type: {content_type}\r\n\
                 content-length: 100000\r\n\r\n{{"
            );
            let socket = connect(&server, &head);
            let mut sender = socket.try_clone().unwrap();
            if drips {
                std::thread::spawn(move || {
                    while sender.write_all(b" ").is_ok() {
                        std::thread::sleep(Duration::from_millis(50));
                    }
                });
            }
            let (answer, took) = rest(socket);
            assert!(answer.starts_with("HTTP/1.1 408 "), "{path}: {answer}");
            assert!(took >= TIMEOUT / 2 && took < PATIENCE / 2, "{took:?}");
        }
    }
}

#[test]
fn an_answer_that_is_not_read_is_cut_off() {
    let (_directory, server) = start(|settings| Settings { max_upload_bytes: 64 << 20, ..settings });
    let project = server.project();
    // Larger than what the system buffers of a connection; what comes after the picture belongs to no pixel.
    let mut picture = png([1, 2, 3]);
    picture.resize(32 << 20, 0);
    let image = server.upload(&project, "a.png", &picture);
    let request =
        format!("GET /api/images/{image}/content HTTP/1.1\r\nhost: localhost\r\nx-user: ann\r\n\r\n");
    let socket = connect(&server, &request);
    std::thread::sleep(6 * TIMEOUT);
    let (answer, _) = rest(socket);
    assert!(answer.len() < picture.len(), "the whole answer came");
}

#[test]
fn connections_over_the_limit_are_answered_503_until_there_is_room() {
    let (_directory, server) = start(|settings| Settings { max_connections: 4, ..settings });
    let silent: Vec<_> = (0..4).map(|_| connect(&server, "")).collect();
    let ask =
        || rest(connect(&server, "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")).0;
    let refused = ask();
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("retry-after: 1"), "{refused}");
    assert!(refused.contains("MAX_CONNECTIONS"), "{refused}");
    let large = vec![0; 4 * 1024 * 1024];
    let mut uploading = connect(
        &server,
        &format!("POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", large.len()),
    );
    uploading.write_all(&large).unwrap();
    assert!(rest(uploading).0.starts_with("HTTP/1.1 503 "), "it learns why although it sends first");
    drop(silent);
    let started = Instant::now();
    while !ask().starts_with("HTTP/1.1 200 ") {
        assert!(started.elapsed() < PATIENCE, "there is no room again");
    }
}

#[test]
fn after_a_refusal_the_connection_serves_the_next_request_though_the_body_came_late() {
    let (_directory, server) = start(|settings| settings);
    let unknown = "00000000-0000-7000-8000-000000000000";
    for (method, path, status) in [
        ("PUT", format!("/api/images/{unknown}/metadata"), "404"),
        ("PUT", "/api/images/7/metadata".to_owned(), "404"),
        ("POST", "/api/nothing".to_owned(), "404"),
        ("PUT", "/api/projects".to_owned(), "405"),
        ("POST", format!("/api/projects/{unknown}/images"), "404"),
    ] {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nx-user: ann\r\ncontent-type: application/json\r\n\
             content-length: 2\r\n\r\n"
        );
        let mut socket = connect(&server, &head);
        std::thread::sleep(Duration::from_millis(200));
        socket.write_all(b"{}GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
        let (answers, _) = rest(socket);
        assert!(answers.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {path}: {answers}");
        assert!(
            answers.contains("\r\nHTTP/1.1 200 ") || answers.contains("}HTTP/1.1 200 "),
            "{method} {path}: {answers}"
        );
    }
}
