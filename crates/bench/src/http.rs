//! HTTP responses: a hit through the layer of cache-http beside the handler that returns the same bytes from memory, and
//! requests over connections beside the layers of others; and what the console costs a hit.

mod console;
#[cfg(feature = "peers")]
mod layers;

use std::sync::Arc;

use anyhow::ensure;
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use axum::routing::{MethodRouter, get};
use bytes::Bytes;
use http_body_util::BodyExt;
use tower::Service;

use crate::Outcome;
use crate::case::{Pace, Spec, Target, Unit, check, pair, timed_async};
use crate::facade::Caches;
use crate::session::Session;

const PATH: &str = "/page";

/// Rows by the size of a body, with the most that the layer may add, in microseconds.
const SIZES: [(&str, usize, f64); 2] = [("HTTP hit 1 KB", 1 << 10, 3.0), ("HTTP hit 100 KB", 100 << 10, 6.0)];

/// A route whose handler returns the same bytes each time.
fn route(body: &Bytes) -> MethodRouter {
    let body = body.clone();
    get(async move || body)
}

/// An application as `axum::serve` makes it: with its state, so that its layers are there once.
fn application(route: MethodRouter) -> Router {
    Router::new().route(PATH, route).with_state(())
}

/// A route behind the layer, whose response is in memory.
fn ours(caches: &Caches, body: &Bytes) -> Outcome<Router> {
    let layer = cache_http::layer(&caches.cache).family("page")?.by_path_and_query();
    let mut application = application(route(body).layer(layer));
    caches.runtime.block_on(async {
        // Stored, read from the disk into memory, and read from there.
        for _ in 0..3 {
            send(&mut application).await?;
            caches.bare.flush().await?;
        }
        let status = send(&mut application).await?.headers().get("cache-status").cloned();
        ensure!(status.as_ref().is_some_and(|status| status == "cache-http; hit"), "no hit: {status:?}");
        Ok(application)
    })
}

async fn send(application: &mut Router) -> Outcome<Response> {
    let request = Request::get(PATH).body(Body::empty())?;
    Ok(application.call(request).await?)
}

/// Sends a request without a network, and reads the body of the response.
async fn ask(application: &mut Router, length: usize) -> Outcome<()> {
    let body = send(application).await?.into_body().collect().await?.to_bytes();
    check(Some(body.len()), length)
}

/// Measures the rows.
pub fn run(session: &mut Session) -> Outcome<()> {
    if !cfg!(feature = "peers") {
        session.leave_out("axum-response-cache, tower-http-cache", "built without the feature `peers`");
    }
    for (name, length, most) in SIZES {
        let caches = Caches::with_memory(&session.runtime, 64, 32)?;
        let body = Bytes::from(vec![b'#'; length]);
        let (mut of_ours, mut of_peer) = (ours(&caches, &body)?, application(route(&body)));
        let (unit, target) = (Unit::Micros, Target::Difference(most));
        let spec = Spec::new(name, "the handler alone", unit, Pace::FREE, target);
        against(session, &spec, &mut of_ours, &mut of_peer, length)?;
        #[cfg(feature = "peers")]
        layers::run(session, &caches, &body)?;
    }
    console::run(session)
}

/// Measures one application beside another.
fn against(
    session: &mut Session,
    spec: &Spec,
    of_ours: &mut Router,
    of_peer: &mut Router,
    length: usize,
) -> Outcome<()> {
    let (here, there) = (Arc::clone(&session.runtime), Arc::clone(&session.runtime));
    let mut case = pair(
        |operations| here.block_on(timed_async(0..operations, async |_| ask(of_ours, length).await)),
        |operations| there.block_on(timed_async(0..operations, async |_| ask(of_peer, length).await)),
    );
    session.measure(spec, &mut case)?;
    Ok(())
}
