//! Requests to the application, over several connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;

use super::server::Server;
use crate::Outcome;
use crate::connection::{Connection, request};

/// Requests as they are sent.
#[derive(Debug, Clone)]
pub(super) struct Requests(pub(super) Arc<[Vec<u8>]>);

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
