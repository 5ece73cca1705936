//! [`BodyReader`]: reads a handler's body to store it, and gives it to the client at the same time.

use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{Either, select};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use crate::body::{BoxError, Part};
use crate::verdict::Reason;

/// Frames for which no more memory is needed than for a body of the largest size.
const MOST_FRAMES: usize = 1024;
const BYTES_OF_A_FRAME: usize = 64;

/// How the reading of a body ended.
pub(crate) enum End {
    /// The whole body was read.
    Whole(Vec<Bytes>),
    /// It is not to be stored. What is left is read by the client.
    NotStored(Reason),
    /// The handler's body failed.
    Failed,
}

/// Reads a handler's body.
///
/// The client gets each part as it is read, over a channel without a bound: a client that reads slowly holds up neither the
/// load nor the callers that wait for it. The channel shares the bytes that are kept for storing, of which there are at most as
/// many as are stored. Where there are more, the client gets the body itself, and reads it at its own pace.
pub(crate) struct BodyReader<B> {
    body: Pin<Box<B>>,
    kept: Vec<Bytes>,
    left: usize,
    frames: usize,
    client: mpsc::UnboundedSender<Part<B>>,
}

impl<B> BodyReader<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    /// Begins to read `body`, of which up to `limit` bytes are kept. The client takes the parts from the channel.
    pub(crate) fn new(body: B, limit: usize) -> (Self, mpsc::UnboundedReceiver<Part<B>>) {
        let (client, parts) = mpsc::unbounded_channel();
        let frames = MOST_FRAMES.saturating_add(limit / BYTES_OF_A_FRAME);
        (Self { body: Box::pin(body), kept: Vec::new(), left: limit, frames, client }, parts)
    }

    /// The length of the body, where it is known before it is read.
    pub(crate) fn exact_length(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// Reads what is there without waiting; `None` where the rest is still to come.
    pub(crate) fn read_ready(&mut self) -> Option<End> {
        loop {
            let frame = self.body.frame().now_or_never()?;
            if let Some(end) = self.take(frame) {
                return Some(end);
            }
        }
    }

    /// Reads the rest. A body that takes longer than `timeout` is not stored.
    pub(crate) async fn read_rest(mut self, timeout: Duration) -> End {
        let mut timeout = pin!(tokio::time::sleep(timeout));
        loop {
            let frame = match select(self.body.frame(), timeout.as_mut()).await {
                Either::Left((frame, _)) => Some(frame),
                Either::Right(_) => None,
            };
            let Some(frame) = frame else {
                self.hand_over();
                return End::NotStored(Reason::Stream);
            };
            if let Some(end) = self.take(frame) {
                if matches!(end, End::NotStored(_)) {
                    self.hand_over();
                }
                return end;
            }
        }
    }

    /// Gives what is left of the body to the client. Without one, the body is dropped.
    pub(crate) fn hand_over(self) {
        drop(self.client.send(Part::Rest(self.body)));
    }

    /// Gives a part to the client, which may be gone.
    fn give(&self, part: Part<B>) {
        drop(self.client.send(part));
    }

    fn take(&mut self, frame: Option<Result<Frame<Bytes>, B::Error>>) -> Option<End> {
        let frame = match frame {
            None => {
                self.give(Part::End);
                return Some(End::Whole(std::mem::take(&mut self.kept)));
            }
            Some(Err(error)) => {
                self.give(Part::Failed(error.into()));
                return Some(End::Failed);
            }
            Some(Ok(frame)) => frame,
        };
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    self.give(Part::Trailers(trailers));
                }
                return Some(End::NotStored(Reason::Body));
            }
        };
        let fits = self.left.checked_sub(data.len()).zip(self.frames.checked_sub(1));
        self.give(Part::Data(data.clone()));
        let Some(left) = fits else { return Some(End::NotStored(Reason::Size)) };
        (self.left, self.frames) = left;
        self.kept.push(data);
        None
    }
}
