//! Verification (`CACHE_VERIFY`): a share of hits is loaded again and compared, to find changes that do not invalidate.

use std::sync::Arc;
use std::time::Duration;

use cache_core::{BackendKind, CacheKey, Entry, FillToken, NewEntry, random_nonzero};
use tokio::sync::OwnedSemaphorePermit;

use super::context::LoadContext;
use super::engine::CacheEngine;
use super::leader::{Loader, load_one};
use crate::encoding::Encode;
use crate::observe::events::Event;
use crate::observe::span::Span;
use crate::rt;
use crate::time_budget::TimeBudget;

/// Time after a difference was found for which the value must stay in the cache to be wrong: a change that is being
/// committed during the verification invalidates it within that time.
const GRACE: Duration = Duration::from_secs(1);

/// Times a value is encoded anew to find out whether its type has one encoding.
const TRIALS: usize = 8;

/// A hit to verify: the entry that was served, and the permission to load it again.
#[derive(Debug)]
pub(crate) struct Sample {
    entry: Entry,
    token: FillToken,
    permit: OwnedSemaphorePermit,
}

impl CacheEngine {
    /// Chooses whether to verify a hit; never where changes of other instances may arrive late.
    pub(crate) fn sample(
        &self,
        entry: Option<&Entry>,
        token: FillToken,
        backend: BackendKind,
    ) -> Option<Sample> {
        let share = self.config.verify();
        if share <= 0.0 || token.is_never() || backend == BackendKind::Fallback {
            return None;
        }
        // 53 bits are as many as a float holds: a number from 0 to below 1.
        let random = (random_nonzero().get() >> 11) as f64 / (1_u64 << 53) as f64;
        let entry = entry.filter(|_| random < share)?.clone();
        let permit = Arc::clone(&self.verifications).try_acquire_owned().ok()?;
        Some(Sample { entry, token, permit })
    }

    /// Whether `entry` was neither invalidated nor replaced since the lookup that gave `token`.
    async fn still_serves(&self, key: &CacheKey, entry: &Entry, token: FillToken) -> bool {
        let found = self.lookup(key, &mut TimeBudget::new()).await;
        found.token == token && found.entry.is_some_and(|found| found == *entry)
    }

    fn report_verified(&self, key: &CacheKey, differs: bool) {
        self.count(Event::Verified, key);
        if !differs {
            return;
        }
        self.count(Event::VerifyMismatch, key);
        let family = key.family();
        // By family, so that one that is always wrong does not hide another.
        cache_core::log::warn!(
            limit: (self.flights.number(), family), family, %key,
            "cached value differs from the loaded one: some change does not invalidate it"
        );
    }

    /// Whether `loaded` is the value of `entry`, as far as their bytes can tell: a type with several encodings of one value,
    /// such as a `HashMap`, cannot be compared and counts as equal.
    fn is_same<T, V: Encode<T>>(&self, encoding: V, entry: &Entry, loaded: &NewEntry) -> bool {
        if entry.payload == loaded.payload {
            return true;
        }
        let encode_anew = || {
            let value = encoding.decode(&entry.payload, entry.shape).ok()?;
            encoding.encode(&self.round_trips, &value).ok()
        };
        (0..TRIALS).any(|_| encode_anew().is_none_or(|again| again.payload != entry.payload))
    }

    /// Loads the value of `key` again in the background, without joining other loads, and compares.
    pub(crate) fn verify<T: Send + 'static, E: Send + Sync + 'static, V: Encode<T>>(
        self: &Arc<Self>,
        encoding: V,
        key: &CacheKey,
        load: Loader<(), T, E>,
        sample: Sample,
    ) {
        let (engine, key) = (Arc::clone(self), key.clone());
        let id = engine.flights.id::<V::Stored, E>(&key, encoding.codec());
        let span = Span::new(|| tracing::debug_span!(parent: None, "cache_verify", %key));
        let task = async move {
            let Sample { entry, token, permit: _permit } = sample;
            // A load that hangs would keep its permit for ever.
            let Some(Ok(value)) = rt::before(engine.flights.deadline(), load_one(load)).await else { return };
            let Ok(loaded) = encoding.encode(&engine.round_trips, &value) else { return };
            let differs = !engine.is_same(encoding, &entry, &loaded);
            if differs {
                rt::sleep(GRACE).await;
            }
            if !differs || engine.still_serves(&key, &entry, token).await {
                engine.report_verified(&key, differs);
            }
        };
        rt::spawn(span.around(LoadContext::background(id, Arc::default()).run(task)));
    }
}
