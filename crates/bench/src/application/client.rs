//! Requests over connections that stay open, with as little work for the client as can be.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::server::Server;
use crate::Outcome;

/// Requests as they are sent.
#[derive(Debug, Clone)]
pub(super) struct Requests(pub(super) Arc<[Vec<u8>]>);

/// The text of a request.
pub(super) fn request(method: &str, path: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let about = if body.is_empty() {
        String::new()
    } else {
        format!("content-type: {content_type}\r\ncontent-length: {}\r\n", body.len())
    };
    let text = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n{about}\r\n");
    [text.as_bytes(), body].concat()
}

/// A connection, with the last answer.
#[derive(Debug)]
struct Connection {
    socket: TcpStream,
    answer: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr) -> Outcome<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, answer: Vec::with_capacity(1 << 17) })
    }

    /// Sends a request and reads the whole answer, which must say success; returns its body.
    async fn ask(&mut self, request: &[u8]) -> Outcome<&[u8]> {
        self.socket.write_all(request).await?;
        self.answer.clear();
        let mut whole = None;
        while whole.is_none_or(|(_, end)| self.answer.len() < end) {
            let read = self.socket.read_buf(&mut self.answer).await?;
            ensure!(read > 0, "the server closed the connection");
            if whole.is_none() {
                whole = whole_answer(&self.answer)?;
            }
        }
        let (body, end) = whole.context("an answer has a head")?;
        self.answer.get(body..end).context("an answer has a body")
    }
}

/// Where the body of an answer begins and ends; `None` until its head is there.
fn whole_answer(answer: &[u8]) -> Outcome<Option<(usize, usize)>> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = String::from_utf8_lossy(answer.get(..end).unwrap_or_default());
    ensure!(head.starts_with("HTTP/1.1 20"), "an answer is {head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.with_context(|| format!("no length in {head}"))?.parse()?;
    Ok(Some((end + 4, end + 4 + length)))
}

/// Connections at a time.
pub(super) const CONNECTIONS: usize = 32;

/// Sends each request once; returns how many were answered.
pub(super) async fn ask_each(server: &Server, requests: &Requests) -> Outcome<usize> {
    let most = requests.0.len();
    Ok(ask(server, requests, move |number, _| number < most).await?.1)
}

/// Sends requests for about so long; returns how long it took until all were answered, and how many.
pub(super) async fn ask_for(
    server: &Server,
    requests: &Requests,
    slice: Duration,
) -> Outcome<(Duration, usize)> {
    ask(server, requests, move |_, elapsed| elapsed < slice).await
}

/// Sends requests over [`CONNECTIONS`], one after the other over each, while `goes_on`, by their number and the time since
/// the first.
async fn ask(
    server: &Server,
    requests: &Requests,
    goes_on: impl Fn(usize, Duration) -> bool + Clone + Send + 'static,
) -> Outcome<(Duration, usize)> {
    // New ones each time: the server closes those that were silent during the turns of others.
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(Connection::open(server.address).await?);
    }
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let mut tasks = Vec::new();
    for mut connection in connections {
        let (next, requests, goes_on) = (Arc::clone(&next), requests.clone(), goes_on.clone());
        tasks.push(tokio::spawn(async move {
            let mut answered = 0;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if !goes_on(number, started.elapsed()) {
                    return Outcome::Ok(answered);
                }
                let request = requests.0.get(number % requests.0.len()).context("no request")?;
                connection.ask(request).await?;
                answered += 1;
            }
        }));
    }
    let mut answered = 0;
    for task in tasks {
        answered += task.await??;
    }
    Ok((started.elapsed(), answered))
}

/// A project and its images.
#[derive(Debug)]
pub(super) struct Images {
    pub(super) project: String,
    pub(super) ids: Vec<String>,
}

/// Makes a project of `count` images out of some pictures.
pub(super) async fn upload(server: &Server, pictures: &[Vec<u8>], count: usize) -> Outcome<Images> {
    const BOUNDARY: &str = "bench-5f1d7c0e";
    let mut connection = Connection::open(server.address).await?;
    let id = |answer: &[u8]| {
        let answer: Value = serde_json::from_slice(answer)?;
        Outcome::Ok(answer.get("id").and_then(Value::as_str).context("an answer without an id")?.to_owned())
    };
    let new = request("POST", "/api/projects", "application/json", br#"{"name": "Bench"}"#);
    let project = id(connection.ask(&new).await?)?;
    let mut ids = Vec::new();
    for (number, picture) in pictures.iter().cycle().take(count).enumerate() {
        let metadata = serde_json::json!({
            "title": format!("Picture {number}"), "place": "from the bridge, towards the mountains", "rating": number % 5,
            "tags": (0..8).map(|tag| format!("tag-{}", (number + tag) % 50)).collect::<Vec<_>>(),
        });
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"metadata\"\r\n\r\n{metadata}\r\n\
             --{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"DSC_{number:06}.jpeg\"\r\n\
             Content-Type: image/jpeg\r\n\r\n"
        );
        let end = format!("\r\n--{BOUNDARY}--\r\n");
        let body = [head.as_bytes(), picture, end.as_bytes()].concat();
        let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
        let path = format!("/api/projects/{project}/images");
        ids.push(id(connection.ask(&request("POST", &path, &content_type, &body)).await?)?);
    }
    Ok(Images { project, ids })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_its_body_is() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
        assert_eq!(whole_answer(answer).unwrap(), Some((38, 40)));
        assert_eq!(whole_answer(b"HTTP/1.1 200 OK\r\n").unwrap(), None);
        for wrong in ["HTTP/1.1 403 Forbidden\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"] {
            assert!(whole_answer(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_request_with_a_body_says_its_length() {
        let text = String::from_utf8(request("POST", "/x", "text/plain", b"hello")).unwrap();
        assert!(text.contains("content-length: 5\r\n") && text.ends_with("\r\n\r\nhello"), "{text}");
        assert!(request("GET", "/x", "", b"").ends_with(b"localhost\r\n\r\n"));
    }
}
