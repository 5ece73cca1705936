//! Clients that go away in the middle of a change: it happens as a whole or not at all, and nothing old is served.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Server, png};

const CLIENTS: usize = 200;
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn two_hundred_clients_that_hang_up_in_mid_put_lose_nothing_and_leave_nothing_old() {
    let server = Server::start();
    let project = server.project();
    let image = server.upload(&project, "a.png", &png([1, 2, 3]));
    let path = format!("/api/images/{image}/metadata");
    let read = || server.get("ann", &format!("/api/images/{image}"));
    assert_eq!(read().status, 200);
    for number in 0..CLIENTS {
        let body = json!({"title": format!("title {number}")}).to_string();
        let request = format!(
            "PUT {path} HTTP/1.1\r\nhost: x\r\nx-user: ann\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        // Cut off at another byte each time, and often after the last.
        let sent =
            if number.is_multiple_of(2) { request.len() } else { 1 + number * (request.len() - 1) / CLIENTS };
        let mut socket = TcpStream::connect(server.address()).unwrap();
        socket.write_all(&request.as_bytes()[..sent]).unwrap();
        if number.is_multiple_of(3) {
            let _ = socket.shutdown(Shutdown::Both);
        }
        drop(socket);
        if number.is_multiple_of(20) {
            assert_eq!(read().status, 200);
        }
    }
    // A change that is asked for now, and answered, comes after all that were begun before it, or before none of them:
    // once nothing is under way any more, what is cached is what the database holds.
    let started = Instant::now();
    loop {
        let answer = server.send("PUT", "ann", &path, &json!({"title": "the last"}));
        assert_eq!(answer.status, 200, "{answer:?}");
        let (cached, again) = (read(), read());
        assert_eq!((cached.status, again.status), (200, 200));
        if cached.json()["metadata"]["title"] == "the last" && again.json()["metadata"]["title"] == "the last"
        {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "an abandoned change is still under way: {again:?}");
    }
    assert_eq!(server.get("ann", "/healthz").status, 200);
}
