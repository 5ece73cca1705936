//! A process that answers requests for ever grows by nothing, also while nothing reads its metrics.
//!
//! `RELIABILITY_TIMES=15 cargo test -p image-manager --test process memory` looks for a minute and a half.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use testkit::memory::{growth, resident_bytes};
use testkit::reliability::{Tally, times};

use super::Process;

/// How much the process may seem to grow while it is watched.
const NOISE_BYTES: f64 = 2e6;
/// Clients at a time, each over one connection.
const CLIENTS: usize = 4;
/// Requests that a client sends before it reads the answers.
const AT_ONCE: usize = 50;

/// Asks for one picture's metadata, a hit, until the time is over.
fn ask(address: &str, image: &str, until: Instant, asked: &AtomicU64) {
    let request = format!("GET {image} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_nodelay(true).unwrap();
    let (requests, mut buffer) = (request.repeat(AT_ONCE), vec![0; 1 << 16]);
    while Instant::now() < until {
        socket.write_all(requests.as_bytes()).unwrap();
        let mut text = Vec::new();
        while !are_whole(&text) {
            let read = socket.read(&mut buffer).unwrap();
            assert!(read > 0, "the server closed the connection");
            text.extend_from_slice(&buffer[..read]);
        }
        asked.fetch_add(AT_ONCE as u64, Ordering::Relaxed);
    }
}

/// Whether these are all answers to what was sent at once: JSON, which holds no line break.
fn are_whole(text: &[u8]) -> bool {
    let ends = text.windows(4).enumerate().filter(|(_, end)| end == b"\r\n\r\n");
    let heads: Vec<usize> = ends.map(|(at, _)| at).collect();
    let Some(last) = heads.last().filter(|_| heads.len() == AT_ONCE) else { return false };
    let head = String::from_utf8_lossy(&text[..*last]);
    let length = head.rsplit("content-length: ").next().unwrap().split('\r').next().unwrap();
    text.len() - last - 4 >= length.parse::<usize>().unwrap()
}

#[test]
fn memory_does_not_grow_with_the_requests_while_nothing_reads_the_metrics() {
    let tally = Tally::new("operations while memory is watched", None);
    let directory = tempfile::tempdir().unwrap();
    let process = Process::start(directory.path());
    let image = process.sample();
    let address = process.base.trim_start_matches("http://");
    let (warm_up, span) = (Duration::from_secs(4), Duration::from_secs(times(6) as u64));
    let (started, asked) = (Instant::now(), AtomicU64::new(0));
    let mut samples = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| ask(address, &image, started + warm_up + span, &asked));
        }
        while started.elapsed() < warm_up + span {
            std::thread::sleep(span / 200);
            if started.elapsed() > warm_up {
                samples.push((started.elapsed().as_secs_f64(), resident_bytes(process.child.id())));
            }
        }
    });
    let asked = asked.into_inner();
    tally.attempts(usize::try_from(asked).unwrap());
    let grown = growth(&samples);
    println!("{asked} requests, {:.2} MB more in {span:?}", grown / 1e6);
    tally.note(format!("application: {:.1} MB more in {} s", grown / 1e6, span.as_secs()));
    assert!(grown < NOISE_BYTES, "{:.1} MB more after {asked} requests", grown / 1e6);
}
