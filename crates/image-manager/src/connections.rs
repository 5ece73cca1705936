//! Connections: the limit of open ones, and the time-outs of each.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::{CONNECTION, CONTENT_LENGTH};
use axum::http::{HeaderValue, Request, StatusCode};
use axum::response::IntoResponse;
use cache_facade::log::limited;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, getrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;

use crate::app::App;
use crate::drain_body::drain;
use crate::error::ApiError;
use crate::metrics;
use crate::settings::Settings;

/// How long a connection may be idle between two requests. Longer than load balancers keep one (60 s is usual), since they
/// answer 502 when a connection closes under a request.
const IDLE: Duration = Duration::from_secs(75);
/// How long a connection over the limit has for the request that is refused.
const REFUSAL: Duration = Duration::from_secs(2);
/// Connections over the limit that are answered at a time.
const REFUSALS: usize = 16;
/// How long a further one waits for its turn before it is closed without an answer.
const REFUSAL_WAIT: Duration = Duration::from_millis(100);
/// How long a connection without a request in progress stays open when the server stops: a request that the client has
/// already sent is read by then.
const LAST_HEAD: Duration = Duration::from_millis(100);
/// Bytes of a request's head, and of a body that is read ahead.
const BUFFER_BYTES: usize = 64 * 1024;
/// Files that the process has open beside its connections: the database's, the cache's, Redis, the log.
const OTHER_FILES: usize = 52;

/// The open connections of a server.
pub(crate) struct Connections {
    app: App,
    router: Router,
    places: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    tasks: JoinSet<()>,
    draining: watch::Sender<bool>,
}

impl Connections {
    /// Creates the connections of a server, without any.
    ///
    /// # Errors
    /// When the limit of open files leaves no room for any.
    pub(crate) fn new(app: &App) -> io::Result<Self> {
        let places = connection_limit(app.settings())?;
        Ok(Self {
            app: app.clone(),
            router: app.router(),
            places: Arc::new(Semaphore::new(places)),
            refusals: Arc::new(Semaphore::new(refusals(places))),
            tasks: JoinSet::new(),
            draining: watch::Sender::new(false),
        })
    }

    /// Accepts and serves connections, for ever.
    ///
    /// # Cancellation
    /// Connections that were accepted stay open and are served on.
    pub(crate) async fn accept(&mut self, listener: &TcpListener) -> Infallible {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = self.tasks.join_next() => continue,
            };
            match accepted {
                Ok((stream, _)) => self.admit(stream).await,
                Err(error) if is_of_the_connection(&error) => {}
                Err(error) => {
                    limited((), |suppressed| tracing::warn!(%error, suppressed, "cannot accept connections"));
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// Lets requests that have begun finish, and closes all other connections; returns when none is open.
    pub(crate) async fn drain(&mut self) {
        self.draining.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }

    /// Closes every connection at once.
    pub(crate) async fn cut_off(&mut self) {
        self.tasks.shutdown().await;
    }

    /// Serves the connection, or refuses it where there is no place.
    ///
    /// # Cancellation
    /// The connection may be closed.
    async fn admit(&mut self, stream: TcpStream) {
        // A small answer must not wait for the client to acknowledge the one before (Nagle's algorithm).
        let _ = stream.set_nodelay(true);
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            let (app, service) = (self.app.clone(), TowerToHyperService::new(self.router.clone()));
            let draining = self.draining.subscribe();
            self.tasks.spawn(async move {
                let _place = place;
                serve_connection(stream, app, service, draining).await;
            });
            return;
        }
        limited((), |suppressed| {
            tracing::warn!(suppressed, "too many connections; further ones are answered 503");
        });
        metrics::connection_refused();
        // Meanwhile the system queues what comes next.
        let refusal = timeout(REFUSAL_WAIT, Arc::clone(&self.refusals).acquire_owned()).await;
        if let Ok(Ok(refusal)) = refusal {
            self.tasks.spawn(async move {
                let _refusal = refusal;
                refuse(stream).await;
            });
        }
    }
}

/// Serves one connection: its first request head must be complete within `CLIENT_TIMEOUT_SECONDS`, and an answer must not
/// wait for its client for longer than three times that.
async fn serve_connection(
    stream: TcpStream,
    app: App,
    service: TowerToHyperService<Router>,
    mut draining: watch::Receiver<bool>,
) {
    let client_timeout = app.settings().client_timeout;
    let has_begun = Arc::new(AtomicBool::new(false));
    let begins = Arc::clone(&has_begun);
    let service = service_fn(move |request: Request<Incoming>| {
        begins.store(true, Ordering::Relaxed);
        let answer = service.call(request);
        let app = app.clone();
        async move {
            let mut response = answer.await?;
            if app.is_stopping() {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            // axum says 0, which on 304 would be wrong of the representation, and 204 has no length at all (RFC 9110, 8.6).
            if matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
                response.headers_mut().remove(CONTENT_LENGTH);
            }
            Ok::<_, Infallible>(response)
        }
    });
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(client_timeout.saturating_mul(3)));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    let mut connection = std::pin::pin!(connection);
    let mut head_is_due = std::pin::pin!(sleep(client_timeout));
    let (mut is_checked, mut is_draining) = (false, false);
    loop {
        tokio::select! {
            // After an error the client is gone, or does not speak HTTP.
            _ = connection.as_mut() => return,
            () = head_is_due.as_mut(), if !is_checked => {
                if !has_begun.load(Ordering::Relaxed) {
                    return;
                }
                is_checked = true;
                if is_draining {
                    connection.as_mut().graceful_shutdown();
                }
            }
            _ = draining.wait_for(|draining| *draining), if !is_draining => {
                is_draining = true;
                is_checked = false;
                head_is_due.set(sleep(LAST_HEAD));
            }
        }
    }
}

/// Answers one request with 503.
async fn refuse(stream: TcpStream) {
    let service = service_fn(async |request: Request<Incoming>| {
        drain(request.map(Body::new), REFUSAL / 2).await;
        let refusal = ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "too many connections are open (MAX_CONNECTIONS); try again",
        );
        Ok::<_, Infallible>(refusal.into_response())
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let _ = timeout(REFUSAL, connection).await;
}

/// Returns the number of connections that may be open, by `MAX_CONNECTIONS` and the limit of open files.
///
/// # Errors
/// When the limit of open files leaves no room for any.
pub(crate) fn connection_limit(settings: &Settings) -> io::Result<usize> {
    places(settings.max_connections, getrlimit(Resource::Nofile).current)
}

/// Returns the smaller of `wanted` and the number of connections that can each open a file beside their socket.
fn places(wanted: usize, open_files: Option<u64>) -> io::Result<usize> {
    let files = open_files.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
    let possible = files.saturating_sub(OTHER_FILES) / 2;
    let most = possible - refusals(possible).min(possible / 2);
    if most == 0 {
        return Err(io::Error::other(format!(
            "the limit of {files} open files leaves none for connections; raise it (ulimit -n) to 1024 or more"
        )));
    }
    Ok(wanted.min(most))
}

fn refusals(places: usize) -> usize {
    (places / 4).clamp(1, REFUSALS)
}

/// Returns whether the error concerns only the connection that was about to be accepted.
fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_fit_the_limit_of_open_files() {
        for files in [56, 64, 128, 256, 1024, 4096] {
            let places = places(1000, Some(files)).unwrap();
            assert!((1..=1000).contains(&places));
            assert!(
                OTHER_FILES + 2 * places + refusals(places) <= usize::try_from(files).unwrap(),
                "{files}"
            );
        }
        assert_eq!(places(1000, Some(4096)).unwrap(), 1000);
        assert_eq!(places(1000, None).unwrap(), 1000);
        assert_eq!(places(7, Some(4096)).unwrap(), 7);
    }

    #[test]
    fn a_limit_without_room_for_a_connection_is_an_error_that_says_what_to_raise() {
        assert!(places(1000, Some(40)).unwrap_err().to_string().contains("ulimit -n"));
    }
}
