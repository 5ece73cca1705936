//! The console of the cache at `/cache`: it answers `ADMIN_USERS` alone, shows and clears entries, and ends with the server.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use cache_facade::Cache;
use image_manager::Settings;

use crate::harness::{Server, png, settings};

const PATHS: [&str; 4] =
    ["/cache", "/cache/index.html", "/cache/page/main.js", "/cache/api/v1/key?key=image:1:metadata"];

fn over(change: impl FnOnce(&mut Settings)) -> (tempfile::TempDir, Server) {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = settings(directory.path());
    change(&mut settings);
    (directory, Server::over(settings, async || Cache::memory()))
}

#[test]
fn admins_see_the_cache_and_clear_it_and_other_users_do_not_reach_it() {
    let server = Server::start();
    let image = server.upload(&server.project(), "a.png", &png([1, 2, 3]));
    let path = format!("/api/images/{image}");
    server.get("ann", &path).expect(200);
    for path in PATHS {
        server.get("demo", path).expect(200);
        assert_eq!(server.get("ann", path).expect(403).code(), "forbidden", "{path}");
        // The user of a browser that names none.
        server.request("GET", path, &[], None).expect(200);
    }
    let overview = server.get("demo", "/cache/api/v1/overview").expect(200).json();
    assert_eq!(overview["may_change"], true);

    let origin = format!("http://{}", server.address());
    let body = format!("{{\"group\": \"image:{image}\"}}");
    let clear = |user, origin| {
        let headers = [("x-user", user), ("content-type", "application/json"), ("origin", origin)];
        server.request("POST", "/cache/api/v1/clear", &headers, Some(body.as_bytes()))
    };
    clear("ann", origin.as_str()).expect(403);
    clear("demo", "http://other.example").expect(403);
    assert_eq!(server.get("ann", &path).source(), "hit");
    assert_eq!(clear("demo", origin.as_str()).expect(200).json()["removed"], 1);
    assert_eq!(server.get("ann", &path).source(), "miss");
}

#[test]
fn on_a_public_address_there_is_none_unless_it_is_asked_for() {
    let public = |settings: &mut Settings| {
        let address = |name: &str| (name == "BIND").then(|| "0.0.0.0:8080".to_owned());
        let read = Settings::read(address).unwrap();
        (settings.bind, settings.console) = (read.bind, read.console);
        settings.admin_users = vec!["ann".to_owned()];
    };
    let (_directory, server) = over(public);
    for path in PATHS {
        assert_eq!(server.get("ann", path).expect(404).code(), "not_found", "{path}");
    }
    let (_directory, server) = over(|settings| {
        public(settings);
        settings.console = true;
    });
    for path in PATHS {
        server.get("ann", path).expect(200);
        server.get("bob", path).expect(403);
        server.request("GET", path, &[], None).expect(401);
    }
}

#[test]
fn an_open_console_does_not_delay_the_stop() {
    // Requests that run would be waited for as long as this.
    let (_directory, server) =
        over(|settings| settings.shutdown_timeout = std::time::Duration::from_hours(1));
    let mut socket = TcpStream::connect(server.address()).unwrap();
    socket.write_all(b"GET /cache/api/v1/live HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut lines = BufReader::new(socket).lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "event: hello"));
    server.tell_to_stop();
    assert!(lines.any(|line| line == "event: closing"));
    server.stop();
}
