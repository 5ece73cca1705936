//! `CACHE_VERIFY`: a share of hits is loaded again and compared, to find the rule that somebody forgot.

use std::sync::Arc;
use std::time::Duration;

use cache_core::{BackendKind, CacheKey, Entry, FillToken, NewEntry, random_nonzero};

use super::Shared;
use super::run::caught;
use crate::background::{Background, Slot};
use crate::form::Form;
use crate::loading::Loading;
use crate::patience::Patience;
use crate::rt;
use crate::span::Span;

/// How many values are verified at the same time.
const MOST: usize = 8;

/// How long after a difference was found the value must still be in the cache to be wrong: a change that is being
/// committed while it is verified invalidates it by then.
const GRACE: Duration = Duration::from_secs(1);

/// How often a value is written anew to see whether its type has one way to be written.
const TRIALS: usize = 8;

/// Which hits are verified.
#[derive(Debug)]
pub(crate) struct Verification {
    share: f64,
    running: Arc<Background>,
}

/// A hit that is to be verified.
pub(super) struct Verify<V> {
    pub(super) shared: Arc<Shared>,
    pub(super) form: V,
    pub(super) key: CacheKey,
    pub(super) chosen: Chosen,
}

/// What the cache served, and the permission to load it again.
#[derive(Debug)]
pub(super) struct Chosen {
    entry: Entry,
    token: FillToken,
    slot: Slot,
}

impl Verification {
    /// Verifies `share` of the hits, 0 to 1.
    pub(crate) fn new(share: f64) -> Self {
        Self { share, running: Background::new(MOST) }
    }

    /// Whether this hit is to be verified: not where other instances' changes may arrive late.
    pub(super) fn chooses(
        &self,
        entry: Option<&Entry>,
        token: FillToken,
        backend: BackendKind,
    ) -> Option<Chosen> {
        if self.share <= 0.0 || token.is_never() || backend == BackendKind::Fallback {
            return None;
        }
        // 53 bits are as many as a float holds: a number from 0 to below 1.
        let random = (random_nonzero().get() >> 11) as f64 / (1_u64 << 53) as f64;
        let entry = entry.filter(|_| random < self.share)?.clone();
        Some(Chosen { entry, token, slot: self.running.take()? })
    }
}

impl<V> Verify<V> {
    /// Loads the value again, past everybody else's loads, and compares.
    pub(super) fn in_the_background<T, E, F, Fut>(self, load: F)
    where
        T: Send + 'static,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        V: Form<T>,
    {
        let id = self.shared.flights.id::<T, E>(&self.key, self.form.codec());
        let span = Span::new(|| tracing::debug_span!(parent: None, "cache_verify", key = %self.key));
        let task = async move {
            let Self { shared, form, key, chosen: Chosen { entry, token, slot: _slot } } = self;
            // One that hangs would hold its place for ever.
            let Some(Ok(value)) = rt::before(shared.flights.deadline(), caught(load)).await else { return };
            let Ok(loaded) = form.encode(&shared.round_trips, &value) else { return };
            let differs = !is_same(&shared, form, &entry, &loaded);
            if differs {
                rt::sleep(GRACE).await;
            }
            if !differs || shared.still_serves(&key, &entry, token).await {
                shared.verified(&key, differs);
            }
        };
        rt::spawn(span.around(Loading::alone(id, Arc::default()).run(task)));
    }
}

impl Shared {
    /// Whether nothing has invalidated or replaced `entry` since the lookup that gave `token`.
    async fn still_serves(&self, key: &CacheKey, entry: &Entry, token: FillToken) -> bool {
        let found = self.lookup(key, &mut Patience::new()).await;
        found.token == token && found.entry.is_some_and(|found| found == *entry)
    }

    fn verified(&self, key: &CacheKey, differs: bool) {
        self.meter.verified(self.kind(), key, differs);
        if !differs {
            return;
        }
        let family = key.family();
        // By family, so that one that is wrong all the time does not hide another.
        cache_core::log::limited((self.flights.number(), family), |suppressed| {
            tracing::warn!(
                family,
                %key,
                suppressed,
                "a cached value is not what is loaded now: some change does not invalidate it"
            );
        });
    }
}

/// Whether `loaded` is the value of `entry`, as far as their bytes can tell: a type whose values have several ways to be
/// written, such as a `HashMap`, cannot be compared and counts as the same.
fn is_same<T, V: Form<T>>(shared: &Shared, form: V, entry: &Entry, loaded: &NewEntry) -> bool {
    if entry.payload == loaded.payload {
        return true;
    }
    let again = || {
        let value = form.decode(&entry.payload, entry.shape).ok()?;
        form.encode(&shared.round_trips, &value).ok()
    };
    (0..TRIALS).any(|_| again().is_none_or(|again| again.payload != entry.payload))
}
