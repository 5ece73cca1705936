//! How the server stops: bounded in time, and announced to load balancers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use cache_facade::Cache;
use image_manager::Settings;

use crate::harness::{Server, settings};

const LONG: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_secs(15);

fn start(delay: Duration, timeout: Duration) -> (tempfile::TempDir, Server) {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings {
        shutdown_delay: delay,
        shutdown_timeout: timeout,
        client_timeout: LONG,
        ..settings(directory.path())
    };
    let server = Server::over(settings, async || Cache::memory());
    (directory, server)
}

fn connect(server: &Server, send: &str) -> TcpStream {
    let mut socket = TcpStream::connect(server.address()).unwrap();
    socket.write_all(send.as_bytes()).unwrap();
    socket
}

/// A request whose body never comes, and which is being handled.
fn unfinished(server: &Server) -> TcpStream {
    let mut socket = connect(
        server,
        "POST /api/projects HTTP/1.1\r\nhost: localhost\r\nx-user: ann\r\nexpect: 100-continue\r\n\
         content-type: application/json\r\ncontent-length: 1000\r\n\r\n",
    );
    let mut answer = [0; 25];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");
    socket
}

#[test]
fn connections_without_a_whole_request_head_do_not_delay_the_stop() {
    let (_directory, server) = start(Duration::ZERO, LONG);
    let half = "GET /healthz HTTP/1.1\r\nhost: local";
    let answered = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let _open = ["", half, answered, &format!("{answered}{half}")].map(|sent| connect(&server, sent));
    server.get("ann", "/healthz").expect(200);
    std::thread::sleep(Duration::from_millis(300));
    let started = Instant::now();
    server.stop();
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
}

#[test]
fn a_request_that_comes_right_after_the_stop_is_answered() {
    let is_answered = || {
        let (_directory, mut server) = start(Duration::ZERO, LONG);
        let asked = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
        let mut open = [connect(&server, ""), connect(&server, asked)];
        open[1].read_exact(&mut [0]).unwrap();
        server.get("ann", "/healthz").expect(200);
        server.begin_to_stop();
        open.iter_mut().all(|socket| {
            let mut answer = String::new();
            let _ = socket.write_all(asked.as_bytes()).and_then(|()| socket.read_to_string(&mut answer));
            answer.to_lowercase().matches("connection: close").count() == 1
        })
    };
    // The server waits a tenth of a second, which this machine may take between two lines.
    assert!((0..10).any(|_| is_answered()));
}

#[test]
fn a_request_that_does_not_end_is_cut_off_when_the_time_is_over() {
    let (_directory, server) = start(Duration::ZERO, Duration::from_secs(1));
    let _unfinished = unfinished(&server);
    let started = Instant::now();
    server.stop();
    let took = started.elapsed();
    assert!(took >= Duration::from_secs(1) && took < SOON, "{took:?}");
}

#[test]
fn a_second_word_to_stop_cuts_off_what_still_runs() {
    let (_directory, mut server) = start(Duration::ZERO, LONG);
    let _unfinished = unfinished(&server);
    let started = Instant::now();
    server.begin_to_stop();
    server.tell_to_stop();
    server.stop();
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
}

#[test]
fn before_the_listener_closes_the_instance_says_that_it_is_not_ready_and_serves_on() {
    let (_directory, server) = start(LONG, LONG);
    assert_eq!(server.get("ann", "/readyz").expect(200).json()["status"], "ready");
    server.tell_to_stop();
    let started = Instant::now();
    while server.get("ann", "/readyz").status != 503 {
        assert!(started.elapsed() < SOON, "it says that it is ready");
    }
    assert_eq!(server.get("ann", "/readyz").expect(503).code(), "not_ready");
    assert_eq!(server.get("ann", "/healthz").expect(200).header("connection"), "close");
    server.project();
    // The second word ends the wait.
    server.stop();
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
}
