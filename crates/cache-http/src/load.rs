//! [`PageLoad`]: the load of a page, which calls the handler and decides whether its response is stored.

use std::sync::Arc;

use bytes::Bytes;
use cache_facade::CacheKey;
use http::header::{CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue};
use http::{Request, Response, response};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use crate::body::ResponseBody;
use crate::cache_control::ResponseControl;
use crate::conditions::Conditions;
use crate::digest::push_hex;
use crate::exchange::{Ended, Exchange};
use crate::index::{Index, Names};
use crate::policy::content_length;
use crate::read::{BodyReader, End};
use crate::service::{Handler, Shared};
use crate::stored::{Kind, NewResponse, not_stored};
use crate::verdict::{Reason, Verdict};

/// Where the response of a load belongs.
pub(crate) enum Target {
    /// At the key of the page, for all requests alike. An index may take its place where no response of the route was seen before.
    Page { or_index: bool },
    /// At a key that is made of the values of these request headers.
    Variant(Names),
}

/// The error of a load whose response is no answer to other requests: the handler's own error, or an error status.
#[derive(Debug)]
pub(crate) struct LoadFailed;

/// A response that a call gives to its client before the load has ended, or without one.
pub(crate) struct Ready<B> {
    pub(crate) response: Response<ResponseBody<B>>,
    pub(crate) verdict: Verdict,
}

/// The load of a page.
pub(crate) struct PageLoad {
    pub(crate) shared: Arc<Shared>,
    pub(crate) page: CacheKey,
    /// The key at which the response is stored.
    pub(crate) key: CacheKey,
    pub(crate) target: Target,
    pub(crate) for_viewer: bool,
}

impl PageLoad {
    /// Calls the handler, and returns the record to be stored.
    ///
    /// A response that is not to be stored, or whose body is still to come, is given to the call by `ready`. Where the call does
    /// not take it, because its client is gone or the load runs in the background, a response that is not to be stored counts as an
    /// error: it would not be the same as a stored one in a verification.
    pub(crate) async fn run<S: Handler<Q>, Q>(
        self,
        exchange: Arc<Exchange<S, Q, S::ResponseBody, S::Error>>,
        ready: oneshot::Sender<Ready<S::ResponseBody>>,
    ) -> Result<Bytes, LoadFailed> {
        let (mut service, mut request): (S, Request<Q>) = exchange.take().ok_or(LoadFailed)?;
        Conditions::remove(request.headers_mut());
        let response = service.call(request).await;
        // Nothing of it is held while the body is read.
        drop(service);
        let response = match response {
            Ok(response) => response,
            Err(error) => {
                exchange.end(Ended::Failed(Err(error)));
                return Err(LoadFailed);
            }
        };
        let (parts, body) = response.into_parts();
        if let Err(reason) = self.admit(&parts).await {
            if parts.status.is_server_error() {
                // A stale response may be served in its place.
                exchange.end(Ended::Failed(Ok(Response::from_parts(parts, body))));
                return Err(LoadFailed);
            }
            let response = Response::from_parts(parts, ResponseBody::passed(body));
            return self.give(ready, response, reason);
        }

        let policy = &self.shared.policy;
        let (mut reader, read) = BodyReader::new(body, policy.max_body);
        let length = reader.exact_length();
        let body = move || ResponseBody::read(read, length);
        let (end, ready) = if let Some(end) = reader.read_ready() {
            if matches!(end, End::NotStored(_)) {
                reader.hand_over();
            }
            (end, Some((ready, body)))
        } else {
            let response = Response::from_parts(parts.clone(), body());
            drop(ready.send(Ready { response, verdict: Verdict::Miss }));
            // In a task: where nothing is stored, the load ends with the call, which has its response now.
            let rest = tokio::spawn(reader.read_rest(policy.body_timeout));
            match rest.await {
                Ok(end) => (end, None),
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => return Err(LoadFailed),
            }
        };
        let reason = match end {
            End::Whole(chunks) => match self.record(&parts, &chunks) {
                Ok(record) => {
                    exchange.end(Ended::Stored(record.clone()));
                    return Ok(record);
                }
                Err(reason) => reason,
            },
            End::NotStored(reason) => reason,
            End::Failed => {
                if let Some((ready, body)) = ready {
                    let response = Response::from_parts(parts, body());
                    drop(ready.send(Ready { response, verdict: Verdict::NotStored(Reason::Body) }));
                }
                return Err(LoadFailed);
            }
        };
        match ready {
            Some((ready, body)) => self.give(ready, Response::from_parts(parts, body()), reason),
            None => Ok(not_stored()),
        }
    }

    /// Decides by the header whether the response is stored at the key of this load.
    async fn admit(&self, parts: &response::Parts) -> Result<(), Reason> {
        let Self { shared, page, target, for_viewer, .. } = self;
        let names = shared.policy.admit(parts, *for_viewer)?;
        shared.learned.add(&names);
        match target {
            Target::Page { .. } if names.is_empty() => Ok(()),
            Target::Page { .. } => Err(Reason::NewVary),
            Target::Variant(known) if names.iter().all(|name| known.contains(name)) => Ok(()),
            Target::Variant(_) => {
                // The next request makes an index of all names that are known by then.
                shared.remove(page).await;
                Err(Reason::NewVary)
            }
        }
    }

    fn record(&self, parts: &response::Parts, chunks: &[Bytes]) -> Result<Bytes, Reason> {
        let Self { shared, target, .. } = self;
        let length: u64 = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        if content_length(&parts.headers).is_some_and(|declared| declared != length) {
            return Err(Reason::Body);
        }
        let has_none = parts.status.is_success() && !parts.headers.contains_key(ETAG);
        let new = NewResponse {
            kind: match target {
                Target::Page { .. } => Kind::Page,
                Target::Variant(_) => Kind::Variant,
            },
            status: parts.status,
            headers: &parts.headers,
            etag: has_none.then(|| etag(&parts.headers, chunks)).flatten(),
            never_stale: ResponseControl::of(&parts.headers).never_stale,
            clock: shared.policy.ttl.map(|_| &*shared.policy.clock),
            body: chunks,
        };
        new.encode().ok_or(Reason::Size)
    }

    /// Gives a response that is not stored to the call. From then on requests for the key do not wait for each other.
    fn give<B>(
        &self,
        ready: oneshot::Sender<Ready<B>>,
        response: Response<ResponseBody<B>>,
        reason: Reason,
    ) -> Result<Bytes, LoadFailed> {
        let given = ready.send(Ready { response, verdict: Verdict::NotStored(reason) });
        given.map_err(|_| LoadFailed)?;
        // After a new name in `Vary` the next response is stored, at another key.
        if reason != Reason::NewVary {
            self.shared.passes.begin(&self.key, reason);
        } else if matches!(self.target, Target::Page { or_index: true }) {
            return Ok(Index::new(self.shared.learned.names().unwrap_or_default()).encode());
        }
        Ok(not_stored())
    }
}

/// Makes the entity tag of a response: a weak one, because a layer outside may compress the body and leave the tag as it is.
fn etag(headers: &HeaderMap, chunks: &[Bytes]) -> Option<HeaderValue> {
    let mut hash = Sha256::new();
    for name in [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LANGUAGE] {
        for value in headers.get_all(name) {
            hash.update(value);
        }
        hash.update([0]);
    }
    for chunk in chunks {
        hash.update(chunk);
    }
    let digest = hash.finalize();
    let mut text = String::with_capacity(36);
    text.push_str("W/\"");
    push_hex(&mut text, &digest);
    text.push('"');
    HeaderValue::try_from(text).ok()
}
