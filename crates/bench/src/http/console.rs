//! Measures what the console adds to the time of a hit, without an open page and with one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::ensure;
use axum::body::Body;
use axum::http::Request;
use bytes::Bytes;
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::{against, ours};
use crate::Outcome;
use crate::case::{Pace, Spec, Target, Unit};
use crate::facade::Caches;
use crate::session::Session;

/// Measures a row without and one with an open page.
pub(super) fn run(session: &mut Session) -> Outcome<()> {
    let body = Bytes::from(vec![b'#'; 1 << 10]);
    let runtime = Arc::clone(&session.runtime);
    let (watched, alone) = (Caches::with_memory(&runtime, 64, 32)?, Caches::with_memory(&runtime, 64, 32)?);
    let console = cache_http::console(watched.cache.clone()).into_router();
    let mut of_ours = ours(&watched, &body)?.nest("/cache", console.clone());
    let mut of_peer = ours(&alone, &body)?;
    let spec = |name| Spec::new(name, "no console", Unit::Micros, Pace::FREE, Target::Difference(0.3));
    let name = "HTTP hit 1 KB, console mounted";
    against(session, &spec(name), &mut of_ours, &mut of_peer, body.len())?;

    let frames = Arc::new(AtomicU64::new(0));
    let page = runtime.block_on(async {
        let request = Request::get("/api/v1/live").body(Body::empty())?;
        let mut stream = console.oneshot(request).await?.into_body();
        let frames = Arc::clone(&frames);
        Outcome::Ok(tokio::spawn(async move {
            while let Some(Ok(_)) = stream.frame().await {
                frames.fetch_add(1, Ordering::Relaxed);
            }
        }))
    })?;
    let name = "HTTP hit 1 KB, console open";
    against(session, &spec(name), &mut of_ours, &mut of_peer, body.len())?;
    page.abort();
    // The first frame is the list of recent invalidations, the others are the figures of each second.
    ensure!(frames.load(Ordering::Relaxed) > 1, "the page got no figures");
    Ok(())
}
