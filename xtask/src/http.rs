//! HTTP requests to a server on this machine.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use ureq::{Agent, http};

/// No answer of the application may take longer than this.
const TIMEOUT: Duration = Duration::from_secs(30);

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: http::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The first header of this name, in any case; empty if there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Whether the answer came from the cache, by `Cache-Status`.
    pub(crate) fn is_hit(&self) -> bool {
        self.header("cache-status").starts_with("cache-http; hit")
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("the answer is no JSON: {}", self.text()))
    }

    /// Returns the answer if it has this status.
    pub(crate) fn expect(self, status: u16) -> Result<Self> {
        ensure!(self.status == status, "expected {status}, got {}: {}", self.status, self.text());
        Ok(self)
    }
}

/// Sends a request to a port of this machine over a connection of its own, and reads the whole answer.
///
/// An empty `user` is no header `X-User`; `GET` and `DELETE` are sent without the body.
pub(crate) fn send(
    port: u16,
    method: &str,
    path: &str,
    user: &str,
    (content_type, body): (&str, &[u8]),
) -> Result<Answer> {
    let mut request = http::Request::builder().method(method).uri(format!("http://127.0.0.1:{port}{path}"));
    for (name, value) in [("X-User", user), ("Content-Type", content_type)] {
        if !value.is_empty() {
            request = request.header(name, value);
        }
    }
    let config = Agent::config_builder().http_status_as_error(false).timeout_global(Some(TIMEOUT));
    let agent = config.max_idle_connections(0).build().new_agent();
    let response = match method {
        "GET" | "DELETE" => agent.run(request.body(())?),
        _ => agent.run(request.body(body)?),
    };
    let mut response = response.with_context(|| format!("{method} {path}"))?;
    let body = response.body_mut().read_to_vec().with_context(|| format!("{method} {path}"))?;
    Ok(Answer { status: response.status().as_u16(), headers: response.headers().clone(), body })
}

/// A `multipart/form-data` body with one file, after its content type.
pub(crate) fn upload(name: &str, content_type: &str, bytes: &[u8]) -> (String, Vec<u8>) {
    const BOUNDARY: &str = "xtask-demo-5f1d7c0e";
    let head = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: {content_type}\r\n\r\n"
    );
    let end = format!("\r\n--{BOUNDARY}--\r\n");
    (format!("multipart/form-data; boundary={BOUNDARY}"), [head.as_bytes(), bytes, end.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_another_status_is_an_error_and_header_names_have_no_case() {
        let mut headers = http::HeaderMap::new();
        headers.insert("Cache-Status", http::HeaderValue::from_static("cache-http; hit"));
        let answer = Answer { status: 200, headers, body: b"{}".to_vec() };
        assert_eq!((answer.header("cache-status"), answer.header("x-other")), ("cache-http; hit", ""));
        assert!(answer.is_hit());
        assert!(answer.json().unwrap().is_object());
        assert!(answer.clone().expect(200).is_ok() && answer.expect(204).is_err());
    }

    #[test]
    fn an_upload_ends_with_its_boundary() {
        let (content_type, body) = upload("a.png", "image/png", b"xyz");
        let boundary = content_type.split_once("boundary=").unwrap().1;
        assert!(String::from_utf8(body).unwrap().ends_with(&format!("--{boundary}--\r\n")));
    }
}
