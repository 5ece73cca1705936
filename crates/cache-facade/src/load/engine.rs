//! [`CacheEngine`]: what all views of a cache share.

use std::pin::pin;
use std::sync::Arc;

use cache_core::{
    AtomicBackend, BackendKind, CacheBackend, CacheKey, Clock, Entry, Error, ErrorKind, Refusal, Result,
    RoundTrips,
};
use tokio::sync::Semaphore;

use super::cooldown::Cooldown;
use super::flight::Flights;
use super::others::OwnTokens;
use super::parts::PartSize;
use super::type_mismatches::TypeMismatches;
use crate::catch_panic::catch_panic;
use crate::change::Changes;
use crate::config::CacheConfig;
use crate::decoded::DecodedValues;
use crate::durability::journal::Journal;
use crate::encoding::Decode;
use crate::lifetime::{Freshness, Lifetime};
use crate::observe::error_reporter::ErrorReporter;
use crate::observe::events::{Event, Operation};
use crate::observe::feed::Feed;
use crate::observe::loads::LoadCounters;
use crate::observe::metrics::Metrics;
use crate::open::OpenStore;
use crate::time_budget::{LONGEST, TimeBudget};

/// Most background loads that replace old values at the same time.
const MOST_REFRESHES: usize = 64;

/// Most hits that are verified at the same time.
const MOST_VERIFICATIONS: usize = 8;

/// What all views of a cache share.
pub(crate) struct CacheEngine {
    pub(crate) backend: Arc<dyn CacheBackend>,
    pub(crate) atomic: Option<Arc<dyn AtomicBackend>>,
    /// Whether values are read and stored; otherwise every value is loaded, and changes are still invalidated.
    pub(crate) enabled: bool,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) flights: Arc<Flights>,
    pub(super) refreshes: Arc<Semaphore>,
    pub(super) verifications: Arc<Semaphore>,
    pub(super) cooldown: Cooldown,
    pub(super) own_tokens: OwnTokens,
    pub(super) part_size: PartSize,
    pub(crate) config: CacheConfig,
    pub(super) round_trips: RoundTrips,
    pub(crate) type_mismatches: TypeMismatches,
    decoded: Arc<DecodedValues>,
    pub(crate) changes: Changes,
    pub(crate) journal: Arc<Journal>,
    /// The opened backend, where a configuration selected it.
    pub(crate) selected: Option<Arc<OpenStore>>,
    pub(crate) errors: ErrorReporter,
    pub(crate) metrics: Metrics,
    pub(crate) loads: LoadCounters,
    pub(crate) feed: Feed,
}

impl CacheEngine {
    pub(crate) fn new(
        backend: Arc<dyn CacheBackend>,
        atomic: Option<Arc<dyn AtomicBackend>>,
        selected: Option<Arc<OpenStore>>,
        config: CacheConfig,
    ) -> Self {
        let journal = selected.as_ref().map(|selected| Arc::clone(&selected.journal));
        let decoded = selected.as_ref().map(|selected| Arc::clone(&selected.decoded));
        Self {
            metrics: Metrics::new(backend.kind()),
            backend,
            atomic,
            journal: journal.unwrap_or_else(|| Arc::new(Journal::none())),
            decoded: decoded.unwrap_or_else(|| Arc::new(DecodedValues::new(config.decoded_bytes()))),
            selected,
            enabled: config.enabled(),
            clock: config.clock(),
            flights: Flights::new(config.load_timeout()),
            refreshes: Arc::new(Semaphore::new(MOST_REFRESHES)),
            verifications: Arc::new(Semaphore::new(MOST_VERIFICATIONS)),
            cooldown: Cooldown::default(),
            own_tokens: OwnTokens::default(),
            part_size: PartSize::default(),
            config,
            round_trips: RoundTrips::new(),
            type_mismatches: TypeMismatches::default(),
            changes: Changes::default(),
            errors: ErrorReporter::default(),
            loads: LoadCounters::default(),
            feed: Feed::default(),
        }
    }

    /// The backend that answers now.
    pub(crate) fn kind(&self) -> BackendKind {
        if self.enabled { self.backend.kind() } else { BackendKind::Null }
    }

    /// Waits for a call of the backend within `budget`. `None` after an error or a timeout, which is reported.
    pub(crate) async fn call<T>(
        &self,
        operation: Operation,
        key: &CacheKey,
        budget: &mut TimeBudget,
        call: impl Future<Output = Result<T>>,
    ) -> Option<T> {
        let started = self.metrics.start(&*self.clock);
        let outcome = budget.wait(&*self.backend, pin!(catch_panic(call))).await;
        self.metrics.took(&*self.clock, self.kind(), operation, started);
        let error = match outcome {
            Some(Ok(value)) => return Some(value),
            Some(Err(error)) => error,
            None => {
                let (operation, millis) = (operation.as_str(), LONGEST.as_millis());
                let message = format!("the cache gave no answer to a {operation} in {millis} ms");
                Error::new(ErrorKind::Timeout, message)
            }
        };
        self.report(operation, key, &error);
        None
    }

    /// Reports an error that the caller does not get.
    pub(crate) fn report(&self, operation: Operation, key: &CacheKey, error: &Error) {
        self.errors.report(self.flights.number(), operation, key.family(), error);
        self.metrics.error(self.kind(), operation);
    }

    /// Reports a value that is not stored, once for its type.
    pub(super) fn report_refusal(&self, key: &CacheKey, Refusal { error, is_first }: &Refusal) {
        if *is_first {
            self.errors.report_type(key.family(), error);
            self.metrics.error(self.kind(), Operation::Encode);
        }
    }

    /// Counts `event` of `key`.
    pub(crate) fn count(&self, event: Event, key: &CacheKey) {
        self.metrics.count(event, self.kind(), key);
    }

    /// Counts a loaded value of `key` that was not stored.
    pub(super) fn fill_refused(&self, key: &CacheKey) {
        self.count(Event::FillRefused, key);
        self.loads.refused(key.family());
        self.feed.fill_refused(key, || self.clock.now());
    }

    /// Decodes `entry`; `None` where it is absent or no value of `T`.
    pub(crate) fn decode<T, V: Decode<T>>(
        &self,
        encoding: V,
        key: &CacheKey,
        entry: Option<Entry>,
    ) -> Option<T> {
        let Entry { payload, codec, shape, .. } = entry?;
        let value = if codec == encoding.codec() {
            encoding.decode_once(&self.decoded, key, &payload, shape).ok()
        } else {
            None
        };
        if value.is_none() {
            // Another type, codec or build stored it: the next load replaces it.
            cache_core::log::debug!(
                %key, stored = ?codec, "cached value has another type; it is loaded again"
            );
            self.type_mismatches.record(key);
        }
        value
    }

    /// Decodes `entry`, and counts a hit or a miss.
    pub(crate) fn hit<T, V: Decode<T>>(
        &self,
        encoding: V,
        key: &CacheKey,
        entry: Option<Entry>,
    ) -> Option<T> {
        let value = self.decode(encoding, key, entry);
        if value.is_some() {
            cache_core::log::trace!(%key, "cache hit");
        }
        self.count(if value.is_some() { Event::Hit } else { Event::Miss }, key);
        value
    }

    /// Returns `entry` unless it expired: an entry may be kept longer for readers that take stale values.
    pub(crate) fn fresh(&self, entry: Option<Entry>) -> Option<Entry> {
        // Most entries do not expire, and cost no read of the clock.
        entry.filter(|entry| entry.fresh_until.is_none() || entry.is_fresh(self.clock.now()))
    }

    /// How fresh `entry` is for a caller whose options say `said`.
    pub(crate) fn freshness(&self, key: &CacheKey, said: Lifetime, entry: Option<&Entry>) -> Freshness {
        match entry {
            // Most entries do not expire, and cost no look at settings and clock.
            Some(entry) if entry.expires_at.is_some() || entry.fresh_until.is_some() => {
                self.lifetime(key, said).freshness(entry, self.clock.now())
            }
            _ => Freshness::Fresh,
        }
    }

    /// The lifetime in force for `key`: what the caller says, and point by point the settings of the key's family.
    pub(crate) fn lifetime(&self, key: &CacheKey, said: Lifetime) -> Lifetime {
        said.or(self.config.lifetime(key.family()))
    }
}
