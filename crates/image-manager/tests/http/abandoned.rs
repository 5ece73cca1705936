//! Clients that go away in the middle of a change: it happens as a whole or not at all, and nothing old is served.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Server, png};

const CLIENTS: usize = 200;
const PATIENCE: Duration = Duration::from_secs(20);

/// A request on a connection of its own, answered: every connection that was opened before it has been accepted.
fn pass(server: &Server) {
    let mut socket = TcpStream::connect(server.address()).unwrap();
    socket.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// Waits until what was abandoned is over: the server runs no more tasks than when it is idle.
fn settle(server: &Server, idle: usize) {
    pass(server);
    let started = Instant::now();
    while server.tasks() > idle {
        assert!(started.elapsed() < PATIENCE, "{} tasks, {idle} when idle", server.tasks());
        std::thread::yield_now();
    }
}

/// Waits until the server runs more for the request on `socket` than the connection, or has answered it already.
fn wait_until_it_is_begun(server: &Server, idle: usize, socket: &TcpStream) {
    socket.set_nonblocking(true).unwrap();
    let started = Instant::now();
    while server.tasks() < idle + 2 && socket.peek(&mut [0]).is_err() {
        assert!(started.elapsed() < PATIENCE, "the request is not carried out");
        std::thread::yield_now();
    }
}

#[test]
fn after_each_of_two_hundred_clients_that_hang_up_in_mid_put_what_is_read_is_what_the_database_holds() {
    let server = Server::start();
    let project = server.project();
    let image = server.upload(&project, "a.png", &png([1, 2, 3]));
    let path = format!("/api/images/{image}/metadata");
    let read = || server.get("ann", &format!("/api/images/{image}")).expect(200);
    server.send("PUT", "ann", &path, &json!({"title": "the first"})).expect(200);
    let database = server.database();
    let held = || -> String {
        let query = "SELECT metadata ->> 'title' FROM images WHERE id = ?1";
        database.query_row(query, [&image], |row| row.get(0)).unwrap()
    };
    read();
    // The fewest of many: the tasks of requests that have just been answered are still about to end.
    let idle = (0..100_000).map(|_| {
        std::thread::yield_now();
        server.tasks()
    });
    let idle = idle.min().unwrap();

    let mut changes = 0;
    for number in 0..CLIENTS {
        let before = held();
        assert_eq!(read().source(), "hit", "an old value could be served");
        let body = json!({"title": format!("title {number}")}).to_string();
        let request = format!(
            "PUT {path} HTTP/1.1\r\nhost: localhost\r\nx-user: ann\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        // Cut off at another byte each time, and often after the last: at once, or while the request is being carried out.
        let sent =
            if number.is_multiple_of(2) { request.len() } else { 1 + number * (request.len() - 1) / CLIENTS };
        let mut socket = TcpStream::connect(server.address()).unwrap();
        socket.write_all(&request.as_bytes()[..sent]).unwrap();
        if number % 4 == 2 {
            wait_until_it_is_begun(&server, idle, &socket);
        }
        if number.is_multiple_of(3) {
            let _ = socket.shutdown(Shutdown::Both);
        }
        drop(socket);

        settle(&server, idle);
        let held = held();
        // The second is a hit, whatever the first was.
        for answer in [read(), read()] {
            assert_eq!(answer.json()["metadata"]["title"], held, "after client {number}: {answer:?}");
        }
        assert!(held == before || held == format!("title {number}"), "{held} after {before}");
        changes += usize::from(held != before);
    }
    assert!(changes >= CLIENTS / 10, "only {changes} changes were carried out");
    settle(&server, idle);
}
