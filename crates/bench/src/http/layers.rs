//! Hits through the layer, over connections, beside the layers of others, each as its documentation sets it up.

use std::convert::Infallible;
use std::future::ready;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use axum::Router;
use axum::body::Body;
use axum::error_handling::HandleErrorLayer;
use axum::http::{Request, Response, StatusCode};
use axum::routing::get;
use bytes::Bytes;
use http_body_util::Full;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tower::{ServiceBuilder, service_fn};
use tower_http_cache::prelude::{CacheLayer, InMemoryBackend};

use super::{PATH, against, application, ours, send};
use crate::Outcome;
use crate::case::{Pace, Spec, Target, Unit, check, pair};
use crate::connection::{Connection, request};
use crate::facade::Caches;
use crate::session::Session;

const CONNECTIONS: usize = 64;

/// Requests of a round.
const REQUESTS: u64 = 10_000;

/// Makes an application of a body and a counter of the handler's calls.
type Make = fn(Bytes, Arc<AtomicU64>) -> Router;

/// Each with a note, and with how often its handler is called by three requests.
const RIVALS: [(&str, Make, &str, u64); 3] = [
    ("the handler alone", bare, "what the server and the client leave to any layer", 3),
    ("axum-response-cache 0.5", axum_response_cache, "as its README: 60 s", 1),
    ("tower-http-cache 0.6, in memory", tower_http_cache, "as its README; behind axum's HandleError", 1),
];

fn bare(body: Bytes, calls: Arc<AtomicU64>) -> Router {
    application(get(async move || {
        calls.fetch_add(1, Ordering::Relaxed);
        body
    }))
}

fn axum_response_cache(body: Bytes, calls: Arc<AtomicU64>) -> Router {
    let handler = async move || {
        calls.fetch_add(1, Ordering::Relaxed);
        body
    };
    let layer = axum_response_cache::CacheLayer::with_lifespan(Duration::from_secs(60));
    application(get(handler).layer(layer))
}

fn tower_http_cache(body: Bytes, calls: Arc<AtomicU64>) -> Router {
    let layer = CacheLayer::builder(InMemoryBackend::new(10_000))
        .ttl(Duration::from_secs(120))
        .negative_ttl(Duration::from_secs(10))
        .stale_while_revalidate(Duration::from_secs(30))
        .refresh_before(Duration::from_secs(5))
        .min_body_size(Some(1024))
        .max_body_size(Some(256 * 1024))
        .respect_cache_control(true)
        .build();
    // Its inner service must have a body that is `Sync`, which axum's own is not.
    let handler = service_fn(move |_: Request<Body>| {
        calls.fetch_add(1, Ordering::Relaxed);
        ready(Ok::<_, Infallible>(Response::new(Full::new(body.clone()))))
    });
    let failed = HandleErrorLayer::new(async |_: axum::BoxError| StatusCode::INTERNAL_SERVER_ERROR);
    Router::new().route_service(PATH, ServiceBuilder::new().layer(failed).layer(layer).service(handler))
}

/// An application that is served, and connections to it.
struct Site {
    runtime: Arc<Runtime>,
    server: JoinHandle<std::io::Result<()>>,
    connections: Vec<Connection>,
    length: usize,
}

impl Site {
    fn start(runtime: &Arc<Runtime>, application: Router, length: usize) -> Outcome<Self> {
        runtime.block_on(async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            let address: SocketAddr = listener.local_addr()?;
            let server = tokio::spawn(async move { axum::serve(listener, application).await });
            let mut connections = Vec::new();
            for _ in 0..CONNECTIONS {
                connections.push(Connection::open(address).await?);
            }
            Ok(Self { runtime: Arc::clone(runtime), server, connections, length })
        })
    }

    /// Sends so many requests over all connections, one after the other over each.
    fn ask(&mut self, requests: u64) -> Outcome<Duration> {
        let (next, length) = (Arc::new(AtomicU64::new(0)), self.length);
        self.runtime.block_on(async {
            let started = Instant::now();
            let tasks = self.connections.drain(..).map(|mut connection| {
                let next = Arc::clone(&next);
                tokio::spawn(async move {
                    let request = request("GET", PATH, "", b"");
                    while next.fetch_add(1, Ordering::Relaxed) < requests {
                        check(Some(connection.ask(&request).await?.len()), length)?;
                    }
                    Outcome::Ok(connection)
                })
            });
            let tasks: Vec<_> = tasks.collect();
            for task in tasks {
                self.connections.push(task.await??);
            }
            Ok(started.elapsed())
        })
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Measures a row for each of the other layers.
pub(super) fn run(session: &mut Session, caches: &Caches, body: &Bytes) -> Outcome<()> {
    let (alone, name) = match body.len() {
        1024 => ("HTTP hit 1 KB", "HTTP hits 1 KB, 64 connections"),
        _ => ("HTTP hit 100 KB", "HTTP hits 100 KB, 64 connections"),
    };
    let runtime = Arc::clone(&session.runtime);
    for (peer_name, make, note, expected) in RIVALS {
        let calls = Arc::new(AtomicU64::new(0));
        let mut peer = make(body.clone(), Arc::clone(&calls));
        runtime.block_on(async {
            for _ in 0..3 {
                drop(send(&mut peer).await?);
            }
            ensure!(
                calls.load(Ordering::Relaxed) == expected,
                "{peer_name} calls its handler {calls:?} times"
            );
            Ok(())
        })?;
        if expected == 1 {
            let spec = Spec::new(alone, peer_name, Unit::Micros, Pace::FREE, Target::Ratio(1.0)).note(note);
            against(session, &spec, &mut ours(caches, body)?, &mut peer, body.len())?;
        }
        let target = Target::Ratio(if expected == 1 { 2.0 } else { 0.8 });
        let mut of_ours = Site::start(&runtime, ours(caches, body)?, body.len())?;
        let mut of_peer = Site::start(&runtime, peer, body.len())?;
        let mut case = pair(|requests| of_ours.ask(requests), |requests| of_peer.ask(requests));
        let pace = Pace::Whole { operations: REQUESTS };
        let spec = Spec::new(name, peer_name, Unit::PerSecond, pace, target);
        session.measure(&spec.note(note), &mut case)?;
    }
    Ok(())
}
