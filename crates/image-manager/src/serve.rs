//! Serving until told to stop, and stopping so that nobody notices.

use std::future::Future;
use std::io;
use std::time::Duration;

use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::app::App;

/// How long requests that run may go on once the process was told to stop.
const GRACE: Duration = Duration::from_secs(30);

/// Answers requests on `listener` until `stop` is done; then takes no more, lets those that run finish, and closes the
/// cache.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(
    app: App,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (stopping, stopped) = oneshot::channel();
    let stop = async move {
        stop.await;
        tracing::info!("stopping: requests that run may finish");
        let _ = stopping.send(());
    };
    // A small answer must not wait for the client to acknowledge the one before (Nagle's algorithm).
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let server = axum::serve(listener, app.router()).with_graceful_shutdown(stop);
    let overdue = async {
        // The sender is gone only when the server has ended by itself, which `select!` sees.
        if stopped.await.is_err() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(GRACE).await;
    };
    let result = tokio::select! {
        result = server => result,
        () = overdue => {
            tracing::warn!("some requests were still running after {} seconds; they are cut off", GRACE.as_secs());
            Ok(())
        }
    };
    if let Err(error) = app.cache().close().await {
        tracing::warn!(%error, "the cache could not be closed cleanly; it will recover when it is opened again");
    }
    tracing::info!("stopped");
    result
}

/// Done when the process is told to stop: Ctrl-C, or SIGTERM.
///
/// # Errors
/// When the signals cannot be listened to.
pub fn stop_signal() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
