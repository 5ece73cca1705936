//! [`Connection`]: requests over a connection that stays open, with as little work for the client as can be.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Outcome;

/// The text of a request.
pub(crate) fn request(method: &str, path: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let about = if body.is_empty() {
        String::new()
    } else {
        format!("content-type: {content_type}\r\ncontent-length: {}\r\n", body.len())
    };
    let text = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n{about}\r\n");
    [text.as_bytes(), body].concat()
}

/// A connection that stays open, with the last answer.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: TcpStream,
    answer: Vec<u8>,
}

impl Connection {
    /// Connects to a server.
    pub(crate) async fn open(address: SocketAddr) -> Outcome<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, answer: Vec::with_capacity(1 << 17) })
    }

    /// Sends a request and reads the whole answer, which must say success; returns its body.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Outcome<&[u8]> {
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
