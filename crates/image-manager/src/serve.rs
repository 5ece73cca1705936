//! Serves until told to stop, and stops within a bounded time.
//!
//! 1. The first request to stop: `/readyz` answers 503, so that load balancers look elsewhere; new requests are still
//!    answered for [`shutdown_delay`](crate::Settings::shutdown_delay).
//! 2. The listener closes. Requests that have begun may finish, for
//!    [`shutdown_timeout`](crate::Settings::shutdown_timeout) at most. A connection without a complete request head does not
//!    count as one.
//! 3. Other requests are cut off, and the cache is closed.
//!
//! Each further request to stop goes on to the next step at once.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::app::App;
use crate::connections::Connections;

/// Answers requests on `listener` until `stop` returns, then stops as the module says and closes the cache.
///
/// `stop` is called again while the server is stopping: each time it returns, the current step is cut short.
///
/// # Errors
/// When the limit of open files is too low to serve a single connection.
pub async fn serve(app: App, listener: TcpListener, mut stop: impl AsyncFnMut()) -> io::Result<()> {
    let mut connections = Connections::new(&app)?;
    tokio::select! {
        never = connections.accept(&listener) => match never {},
        () = stop() => {}
    }
    app.begin_to_stop();
    let delay = app.settings().shutdown_delay;
    if !delay.is_zero() {
        tracing::info!(seconds = delay.as_secs(), "stopping: not ready any more, still serving");
        keep_accepting(&mut connections, &listener, delay, &mut stop).await;
    }
    drop(listener);
    tracing::info!("stopping: requests that run may finish");
    let timeout = app.settings().shutdown_timeout;
    tokio::select! {
        () = connections.drain() => {}
        () = sleep(timeout) => {
            let seconds = timeout.as_secs();
            tracing::warn!(seconds, "requests that still run are cut off: SHUTDOWN_TIMEOUT_SECONDS is over");
        }
        () = stop() => tracing::warn!("requests that still run are cut off: told to stop again"),
    }
    connections.cut_off().await;
    if let Err(error) = app.cache().close().await {
        tracing::warn!(%error, "the cache could not be closed cleanly; it will recover when it is opened again");
    }
    tracing::info!("stopped");
    Ok(())
}

/// Serves on for `delay`, or until `stop` returns.
async fn keep_accepting(
    connections: &mut Connections,
    listener: &TcpListener,
    delay: Duration,
    stop: &mut impl AsyncFnMut(),
) {
    let never: Infallible = tokio::select! {
        never = connections.accept(listener) => never,
        () = sleep(delay) => return,
        () = stop() => return,
    };
    match never {}
}
