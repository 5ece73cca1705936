//! As much of an HTTP client as the demonstration needs: one request a connection, to this machine.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// No answer of the application may take longer than this.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    /// The header `X-User`.
    pub(crate) user: &'a str,
    pub(crate) content_type: &'a str,
    pub(crate) body: &'a [u8],
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The first header of this name, in any case; empty if there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find(|(header, _)| header.eq_ignore_ascii_case(name))
            .map_or("", |(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Result<Value, String> {
        serde_json::from_slice(&self.body).map_err(|error| {
            format!("the answer is no JSON: {error}: {}", String::from_utf8_lossy(&self.body))
        })
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let split = bytes
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .ok_or("an answer without an end of its head")?;
        let (head, rest) = bytes.split_at(split);
        let body = rest.get(4..).unwrap_or_default();
        let head = String::from_utf8_lossy(head);
        let mut lines = head.lines();
        let status = lines
            .next()
            .and_then(|line| line.split_whitespace().nth(1))
            .and_then(|status| status.parse().ok())
            .ok_or("an answer without a status")?;
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        let mut answer = Self { status, headers, body: body.to_vec() };
        if answer.header("transfer-encoding").eq_ignore_ascii_case("chunked") {
            answer.body = unchunked(body)?;
        } else if let Ok(length) = answer.header("content-length").parse::<usize>()
            && length != answer.body.len()
        {
            return Err(format!("the answer promises {length} bytes and has {}", answer.body.len()));
        }
        Ok(answer)
    }
}

/// Sends a request to a port of this machine and reads the whole answer.
pub(crate) fn send(port: u16, request: &Request<'_>) -> Result<Answer, String> {
    let failed = |error: std::io::Error| format!("{} {}: {error}", request.method, request.path);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    let Request { method, path, user, content_type, body } = request;
    let optional = |name: &str, value: &str| {
        if value.is_empty() { String::new() } else { format!("{name}: {value}\r\n") }
    };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n{}{}Content-Length: {}\r\n\r\n",
        optional("X-User", user),
        optional("Content-Type", content_type),
        body.len()
    );
    stream.write_all(head.as_bytes()).map_err(failed)?;
    stream.write_all(body).map_err(failed)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).map_err(failed)?;
    Answer::parse(&bytes).map_err(|why| format!("{method} {path}: {why}"))
}

/// A `multipart/form-data` body with one file, and its content type.
pub(crate) fn upload(name: &str, content_type: &str, bytes: &[u8]) -> (String, Vec<u8>) {
    const BOUNDARY: &str = "xtask-demo-5f1d7c0e";
    let mut body = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: {content_type}\r\n\r\n"
    )
    .into_bytes();
    body.extend_from_slice(bytes);
    body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={BOUNDARY}"), body)
}

fn unchunked(mut rest: &[u8]) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n").ok_or("a chunk without a length")?;
        let (length, after) = rest.split_at(end);
        let length = std::str::from_utf8(length)
            .ok()
            .and_then(|length| {
                usize::from_str_radix(length.split(';').next().unwrap_or_default().trim(), 16).ok()
            })
            .ok_or("a chunk with a wrong length")?;
        if length == 0 {
            return Ok(body);
        }
        body.extend_from_slice(after.get(2..2 + length).ok_or("a chunk that is cut short")?);
        rest = after.get(4 + length..).ok_or("a chunk without an end")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_parsed_and_header_names_have_no_case() {
        let answer =
            Answer::parse(b"HTTP/1.1 200 OK\r\nX-Cache: hit\r\nContent-Length: 2\r\n\r\n{}").unwrap();
        assert_eq!((answer.status, answer.header("x-cache")), (200, "hit"));
        assert!(answer.json().unwrap().is_object());
    }

    #[test]
    fn a_body_shorter_than_promised_is_an_error() {
        assert!(Answer::parse(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}").is_err());
        assert!(Answer::parse(b"HTTP/1.1 200 OK\r\n").is_err());
    }

    #[test]
    fn a_chunked_body_is_put_together_and_a_cut_one_refused() {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let whole = format!("{head}3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n");
        assert_eq!(Answer::parse(whole.as_bytes()).unwrap().body, b"abcde");
        assert!(Answer::parse(format!("{head}3\r\nab").as_bytes()).is_err());
    }

    #[test]
    fn an_upload_ends_with_its_boundary() {
        let (content_type, body) = upload("a.png", "image/png", b"xyz");
        let boundary = content_type.split_once("boundary=").unwrap().1;
        assert!(String::from_utf8(body).unwrap().ends_with(&format!("--{boundary}--\r\n")));
    }
}
