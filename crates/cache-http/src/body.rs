//! [`ResponseBody`]: the body of a response that went through the layer.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::sync::mpsc;

/// Any error of a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

pin_project! {
    /// The body of a response that went through the layer: stored bytes, the handler's own body, or the handler's body as
    /// it is read to be stored.
    pub struct ResponseBody<B> {
        #[pin]
        inner: Inner<B>,
    }
}

pin_project! {
    #[project = Projected]
    enum Inner<B> {
        Stored { data: Option<Bytes> },
        Passed { #[pin] body: B },
        Read { reading: Reading<B> },
    }
}

/// A part of a body that a task reads.
pub(crate) enum Part<B> {
    Data(Bytes),
    Trailers(HeaderMap),
    Failed(BoxError),
    /// What is left, to be read by the client alone.
    Rest(Pin<Box<B>>),
    End,
}

/// A body that a task reads.
struct Reading<B> {
    parts: mpsc::UnboundedReceiver<Part<B>>,
    rest: Option<Pin<Box<B>>>,
    /// The number of bytes that are left, where it was known.
    left: Option<u64>,
    has_ended: bool,
}

impl<B> ResponseBody<B> {
    /// A body of stored bytes.
    pub(crate) fn stored(data: Bytes) -> Self {
        Self { inner: Inner::Stored { data: Some(data).filter(|data| !data.is_empty()) } }
    }

    /// A body without a byte.
    pub(crate) fn empty() -> Self {
        Self { inner: Inner::Stored { data: None } }
    }

    /// The handler's body, untouched.
    pub(crate) fn passed(body: B) -> Self {
        Self { inner: Inner::Passed { body } }
    }

    /// A body that a task reads, of `length` bytes where this is known.
    pub(crate) fn read(parts: mpsc::UnboundedReceiver<Part<B>>, length: Option<u64>) -> Self {
        Self { inner: Inner::Read { reading: Reading { parts, rest: None, left: length, has_ended: false } } }
    }
}

impl<B> Reading<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        let polled = loop {
            if let Some(rest) = &mut self.rest {
                break ready!(rest.as_mut().poll_frame(context)).map(|frame| frame.map_err(Into::into));
            }
            break match ready!(self.parts.poll_recv(context)) {
                Some(Part::Data(data)) => Some(Ok(Frame::data(data))),
                Some(Part::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
                Some(Part::Failed(error)) => Some(Err(error)),
                Some(Part::End) => None,
                Some(Part::Rest(rest)) => {
                    self.rest = Some(rest);
                    continue;
                }
                // The task panicked, or the runtime is being shut down: what came is not all.
                None => Some(Err("the body of the response was not read to its end".into())),
            };
        };
        match &polled {
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                self.left = self.left.and_then(|left| left.checked_sub(u64::try_from(length).ok()?));
            }
            Some(Err(_)) | None => self.has_ended = true,
        }
        Poll::Ready(polled)
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.project().inner.project() {
            Projected::Stored { data } => Poll::Ready(data.take().map(|data| Ok(Frame::data(data)))),
            Projected::Passed { body } => body.poll_frame(context).map_err(Into::into),
            Projected::Read { reading } => reading.poll(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Stored { data } => data.is_none(),
            Inner::Passed { body } => body.is_end_stream(),
            Inner::Read { reading } => reading.has_ended,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Stored { data } => SizeHint::with_exact(data.as_ref().map_or(0, |data| data.len() as u64)),
            Inner::Passed { body } => body.size_hint(),
            Inner::Read { reading } => reading.left.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

impl<B> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.inner {
            Inner::Stored { .. } => "stored",
            Inner::Passed { .. } => "passed",
            Inner::Read { .. } => "read",
        };
        f.debug_tuple("ResponseBody").field(&kind).finish()
    }
}
