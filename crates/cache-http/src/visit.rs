//! [`Visit`]: a request that may be answered from the cache.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cache_facade::{CacheKey, LoadError, LoadOptions, Source};
use futures_util::future::{Either, select};
use http::Response;
use tokio::sync::oneshot::{self, error::TryRecvError};

use crate::body::ResponseBody;
use crate::exchange::{Ended, Exchange};
use crate::index::Index;
use crate::load::{PageLoad, Ready, Target};
use crate::request::Page;
use crate::serve::{Lookup, not_modified, served, unanswered, unavailable};
use crate::service::{Handler, Shared, forward, passed, with_status};
use crate::stored::{Record, StoredResponse, is_index};
use crate::verdict::{Reason, Verdict};

/// Indexes have no time of their own: the responses have.
const FOR_EVER: Duration = Duration::from_secs(3600 * 24 * 365 * 100);

/// A request that may be answered from the cache.
pub(crate) struct Visit<S: Handler<Q>, Q> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) page: Page,
    pub(crate) exchange: Arc<Exchange<S, Q, S::ResponseBody, S::Error>>,
}

/// What came of a load.
enum Answer<B, E> {
    /// A record, with the channel of the load that may have taken the request.
    Found(Record, Lookup, Option<oneshot::Receiver<Ready<B>>>),
    /// The response of this request's own call of the handler.
    Ready(Ready<B>),
    /// The failure of this request's own call of the handler.
    Failed(Result<Response<B>, E>),
    /// Nothing: the handler is to be called.
    Nothing(Option<oneshot::Receiver<Ready<B>>>),
    /// The handler panicked, in a load of this request or of another one.
    Panicked(Arc<str>),
    /// The last response was not stored: this one may be, the next time.
    Passes(Reason),
}

/// What is at the key of a page whose responses depend on more than the key.
enum Place {
    Index(Index),
    Page(StoredResponse, Lookup),
    Nothing,
}

impl<S: Handler<Q>, Q: Send + 'static> Visit<S, Q> {
    /// Answers the request.
    ///
    /// # Cancellation
    /// A load goes on, and its response is stored.
    pub(crate) async fn answer(self) -> Result<Response<ResponseBody<S::ResponseBody>>, S::Error> {
        if self.page.is_head || self.page.only_if_cached {
            return self.answer_stored().await;
        }
        let shared = Arc::clone(&self.shared);
        let Shared { policy, learned, .. } = &*shared;
        let has_variants = || learned.names().is_some_and(|names| !names.is_empty());
        let mut index = None;
        if !policy.is_per_viewer() && !has_variants() {
            let key = self.page.key.clone();
            // A response may show that there are variants, and so may what another process has stored.
            let or_index = learned.names().is_none();
            match self.load(&key, Target::Page { or_index }).await {
                Answer::Found(Record::Index(found), ..) => {
                    learned.add(&found.names);
                    index = Some(found);
                }
                // The response that this request has waited for showed that there are variants.
                Answer::Nothing(_) if has_variants() => {}
                answer => return self.finish(key, answer).await,
            }
        }
        let place = match index {
            Some(index) => Place::Index(index),
            None => self.place().await,
        };
        match place {
            Place::Index(index) => match self.variant(&index) {
                Some(key) => {
                    let answer = self.load(&key, Target::Variant(index.names)).await;
                    self.finish(key, answer).await
                }
                None => self.call_handler(None).await,
            },
            Place::Page(stored, lookup) => Ok(served(policy, &self.page, stored, lookup)),
            Place::Nothing => self.call_handler(None).await,
        }
    }

    /// Answers a request that starts no load.
    async fn answer_stored(self) -> Result<Response<ResponseBody<S::ResponseBody>>, S::Error> {
        let Self { shared, page, .. } = &self;
        let policy = &shared.policy;
        let mut found = self.stored(&page.key).await;
        if let Some(Record::Index(index)) = &found {
            shared.learned.add(&index.names);
            found = match self.variant(index) {
                Some(key) => self.stored(&key).await,
                None => None,
            };
        }
        match found {
            Some(Record::Variant(stored)) => Ok(served(policy, page, stored, self.lookup(Source::Hit))),
            Some(Record::Page(stored)) if !policy.is_per_viewer() => {
                Ok(served(policy, page, stored, self.lookup(Source::Hit)))
            }
            _ if page.only_if_cached => Ok(unavailable()),
            _ => self.call_handler(None).await,
        }
    }

    /// How a request was answered whose lookup tells no backend.
    fn lookup(&self, source: Source) -> Lookup {
        Lookup { source, backend: self.shared.policy.cache.backend_kind() }
    }

    async fn stored(&self, key: &CacheKey) -> Option<Record> {
        Record::decode(&self.shared.policy.cache.get(key).await?)
    }

    /// The key of the response to this request.
    fn variant(&self, index: &Index) -> Option<CacheKey> {
        let viewer = self.page.viewer.as_deref();
        self.exchange.headers(|headers| index.key(&self.page.key, viewer, headers)).flatten()
    }

    /// Finds the index of the page, or makes one of the names that are known.
    async fn place(&self) -> Place {
        let Shared { policy, learned, .. } = &*self.shared;
        let key = &self.page.key;
        let names = learned.names().unwrap_or_default();
        let options =
            LoadOptions::new().ttl(FOR_EVER).stale_while_revalidate(Duration::ZERO).refresh_ahead(0.0);
        let index = async move || Ok::<_, Infallible>(Index::new(names).encode());
        let found = policy.cache.get_or_load(key, index).options(options).details().await;
        let Ok(found) = found else { return Place::Nothing };
        let lookup = Lookup { source: found.source, backend: found.backend };
        match Record::decode(&found.value) {
            Some(Record::Index(index)) => {
                learned.add(&index.names);
                Place::Index(index)
            }
            // Stored before there was a response with `Vary`.
            Some(Record::Page(stored)) if !policy.is_per_viewer() => Place::Page(stored, lookup),
            _ => {
                self.shared.remove(key).await;
                Place::Nothing
            }
        }
    }

    /// Finds the response at `key`, or loads it.
    async fn load(&self, key: &CacheKey, target: Target) -> Answer<S::ResponseBody, S::Error> {
        let Self { shared, page, exchange } = self;
        let Shared { policy, passes, .. } = &**shared;
        if let Some(reason) = passes.reason(key) {
            return Answer::Passes(reason);
        }
        let or_index = matches!(target, Target::Page { or_index: true });
        let (give, ready) = oneshot::channel();
        let load = PageLoad {
            shared: Arc::clone(shared),
            page: page.key.clone(),
            key: key.clone(),
            target,
            for_viewer: page.viewer.is_some(),
        };
        let exchange = Arc::clone(exchange);
        let call = policy.cache.get_or_load::<Bytes, _, _, _>(key, move || load.run(exchange, give));
        let mut call = call.options(policy.options.clone());
        if page.no_cache {
            call = call.stale_while_revalidate(Duration::ZERO);
        }
        if or_index {
            // It is also why there is no verification, which would compare an index with a response.
            call = call.ttl_by(|record| is_index(record).then_some(FOR_EVER));
        }
        let call = pin!(call.details().into_future());
        let (loaded, mut ready) = match select(call, ready).await {
            Either::Left((loaded, ready)) => (loaded, Some(ready)),
            Either::Right((Ok(given), _)) => return Answer::Ready(given),
            Either::Right((Err(_), call)) => (call.await, None),
        };
        match ready.as_mut().map(oneshot::Receiver::try_recv) {
            Some(Ok(given)) => return Answer::Ready(given),
            // Not to be asked again.
            Some(Err(TryRecvError::Closed)) => ready = None,
            // The load runs in the background.
            Some(Err(TryRecvError::Empty)) | None => {}
        }
        match loaded {
            Ok(loaded) => match Record::decode(&loaded.value) {
                Some(Record::NotStored) if !matches!(loaded.source, Source::Hit | Source::Stale) => {
                    Answer::Nothing(ready)
                }
                None | Some(Record::NotStored) => {
                    self.shared.remove(key).await;
                    Answer::Nothing(ready)
                }
                Some(record) => {
                    let lookup = Lookup { source: loaded.source, backend: loaded.backend };
                    Answer::Found(record, lookup, ready)
                }
            },
            Err(error) => match (self.exchange.ended(), error) {
                (Some(Ended::Failed(outcome)), _) => Answer::Failed(outcome),
                (_, LoadError::Panicked(message)) => Answer::Panicked(message),
                _ => Answer::Nothing(ready),
            },
        }
    }

    /// Makes the response of what came of the load of `key`.
    async fn finish(
        self,
        key: CacheKey,
        answer: Answer<S::ResponseBody, S::Error>,
    ) -> Result<Response<ResponseBody<S::ResponseBody>>, S::Error> {
        let is_page = key == self.page.key;
        match answer {
            Answer::Found(Record::Page(stored), lookup, ready) if is_page => {
                self.serve(stored, lookup, ready).await
            }
            Answer::Found(Record::Variant(stored), lookup, ready) if !is_page => {
                self.serve(stored, lookup, ready).await
            }
            Answer::Found(_, _, ready) => {
                self.shared.remove(&key).await;
                self.call_handler(ready).await
            }
            Answer::Ready(ready) => Ok(self.ready(ready)),
            Answer::Failed(outcome) => Ok(passed(outcome?, Verdict::NotStored(Reason::Status))),
            Answer::Nothing(ready) => self.call_handler(ready).await,
            Answer::Passes(reason) => self.pass(&key, reason).await,
            Answer::Panicked(message) => match self.exchange.take() {
                Some((service, request)) => forward(service, request, Verdict::Miss).await,
                // As without the layer: the panic of the handler goes on in its caller.
                None => std::panic::resume_unwind(Box::new(message.to_string())),
            },
        }
    }

    async fn serve(
        self,
        stored: StoredResponse,
        lookup: Lookup,
        ready: Option<oneshot::Receiver<Ready<S::ResponseBody>>>,
    ) -> Result<Response<ResponseBody<S::ResponseBody>>, S::Error> {
        if stored.never_stale && lookup.source == Source::Stale {
            return self.call_handler(ready).await;
        }
        Ok(served(&self.shared.policy, &self.page, stored, lookup))
    }

    /// Answers by the handler: by the load in the background that calls it with this request, if there is one.
    async fn call_handler(
        self,
        ready: Option<oneshot::Receiver<Ready<S::ResponseBody>>>,
    ) -> Result<Response<ResponseBody<S::ResponseBody>>, S::Error> {
        if let Some(ready) = ready
            && let Ok(ready) = ready.await
        {
            return Ok(self.ready(ready));
        }
        if let Some((service, request)) = self.exchange.take() {
            return forward(service, request, Verdict::Miss).await;
        }
        let record = match self.exchange.ended() {
            Some(Ended::Failed(outcome)) => {
                return Ok(passed(outcome?, Verdict::NotStored(Reason::Status)));
            }
            Some(Ended::Stored(record)) => Record::decode(&record),
            None => None,
        };
        Ok(match record {
            Some(Record::Page(stored) | Record::Variant(stored)) => {
                served(&self.shared.policy, &self.page, stored, self.lookup(Source::Loaded))
            }
            // The handler panicked in the background.
            _ => unanswered(),
        })
    }

    /// Answers by the handler, without a load. A response that could be stored ends the period in which this is done.
    async fn pass(
        self,
        key: &CacheKey,
        reason: Reason,
    ) -> Result<Response<ResponseBody<S::ResponseBody>>, S::Error> {
        let Some((mut service, request)) = self.exchange.take() else { return Ok(unanswered()) };
        let (parts, body) = service.call(request).await?.into_parts();
        let was_header = !matches!(reason, Reason::Size | Reason::Body | Reason::Stream);
        if was_header && self.shared.policy.admit(&parts, self.page.viewer.is_some()).is_ok() {
            self.shared.passes.end(key);
        }
        Ok(passed(Response::from_parts(parts, body), Verdict::Miss))
    }

    fn ready(&self, ready: Ready<S::ResponseBody>) -> Response<ResponseBody<S::ResponseBody>> {
        let Ready { response, verdict } = ready;
        with_status(not_modified(&self.page, response), verdict)
    }
}
