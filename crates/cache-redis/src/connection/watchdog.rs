//! Waiting for a reply without waiting on a connection that has ended.

use std::pin::Pin;
use std::time::Duration;

use futures_util::FutureExt;
use redis::{RedisError, RedisResult};
use tokio::time::{Instant, timeout_at};

use super::Status;
use crate::error::Fault;

/// How long a request waits before the connection is looked at; the next wait is twice as long, and so on.
pub(crate) const FIRST_LOOK: Duration = Duration::from_millis(10);

/// Waits for the reply to `request` until `deadline`.
///
/// A request can be lost without an error:
///
/// 1. The task of the connection finds the socket closed and is about to end.
/// 2. A caller hands it a request; the channel between them accepts it.
/// 3. The task ends. The channel keeps the request and the sender of its reply (see "Disconnection" in the documentation
///    of `tokio::sync::mpsc`), so the reply neither comes nor fails.
///
/// So a request that waits for long checks whether the task still runs.
pub(crate) async fn reply_to<T>(
    status: &Status,
    // Pinned by the caller: a large future would be stored twice.
    mut request: Pin<&mut impl Future<Output = RedisResult<T>>>,
    deadline: Instant,
) -> Result<T, Fault> {
    let mut pause = FIRST_LOOK;
    // Computed from the deadline: the clock is not read for every request.
    let mut until = deadline.checked_sub(status.after_first_look).unwrap_or(deadline);
    loop {
        let is_over = match timeout_at(until, request.as_mut()).await {
            Ok(reply) => return Ok(reply?),
            Err(_) if until == deadline => return Err(Fault::timeout()),
            Err(_) => status.is_over(),
        };
        if is_over {
            // The reply may have come before the connection ended.
            return request.now_or_never().unwrap_or_else(|| Err(closed())).map_err(Fault::from);
        }
        pause *= 2;
        until = deadline.min(Instant::now() + pause);
    }
}

fn closed() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::BrokenPipe).into()
}
