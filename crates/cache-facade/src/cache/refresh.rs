//! Values whose time is over: served once more while they are loaded anew, or because that failed.

use std::sync::Arc;

use cache_core::{BackendKind, CacheKey, Entry, FillToken};

use super::Shared;
use super::run::Run;
use crate::flight::Boarding;
use crate::form::{Form, Reads};
use crate::lifetime::{Lifetime, Standing};
use crate::load::{LoadError, Loaded, Source};
use crate::loading::{self, Loading};
use crate::options::LoadOptions;
use crate::patience::Patience;
use crate::rt;
use crate::span::Span;

/// A hit whose value ought to be loaded anew.
pub(super) struct Refresh<'a, T, F, V> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) form: V,
    pub(super) key: &'a CacheKey,
    pub(super) options: LoadOptions<T>,
    pub(super) load: F,
}

impl<T, F, V> Refresh<'_, T, F, V> {
    /// Loads behind the caller's back, unless somebody does already, or enough others do, or that has just failed.
    ///
    /// `token` is that of the lookup which hit, and `mark` was taken before it. An invalidation takes the token away, so
    /// that a load which it overtakes is not stored.
    pub(super) fn in_the_background<E, Fut>(self, mark: u64, token: FillToken)
    where
        T: Send + 'static,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        V: Form<T>,
    {
        let Self { shared, form, key, options, load } = self;
        let id = shared.flights.id::<T, E>(key, form.codec());
        // A load that hangs holds one place, not one more whenever its deadline is over.
        if token.is_never() || loading::is_running(&id) || shared.flights.is_aloft(&id, token) {
            return;
        }
        // What cannot be read now is not asked for by every hit: whoever owns it has trouble enough.
        if shared.pauses.holds(shared.clock.as_ref(), key) {
            return;
        }
        let Some(slot) = shared.refreshes.take() else {
            shared.meter.refresh_skipped(shared.kind(), key);
            return;
        };
        let Boarding::Leads(lead) = shared.flights.board::<E>(&id, token, mark) else { return };
        // Nobody waits for it: what it asks for may wait for its asker's own load.
        let loading = Loading::alone(id, Arc::clone(lead.node()));
        let (shared, key) = (Arc::clone(shared), key.clone());
        let span = Span::new(
            || tracing::debug_span!(parent: None, "cache_refresh", %key, outcome = tracing::field::Empty, fill = tracing::field::Empty),
        );
        let ended = span.clone();
        let task = async move {
            let _slot = slot;
            let (mut token, mut backend) = (token, shared.kind());
            if lead.looks_again() {
                let found = shared.lookup(&key, &mut Patience::new()).await;
                let standing = shared.standing(&key, options.lifetime, found.entry.as_ref());
                if found.token.is_never() || found.entry.is_some() && standing == Standing::Fresh {
                    return;
                }
                (token, backend) = (found.token, found.backend);
                lead.retoken(token);
            }
            shared.meter.refreshed(shared.kind(), &key);
            let run = Run {
                shared: Arc::clone(&shared),
                form,
                key: key.clone(),
                token,
                backend,
                lead,
                span,
                options,
                load,
            };
            run.complete(|answer| {
                if let Err(error) = answer {
                    shared.refresh_failed(&key, &error);
                }
            })
            .await;
        };
        rt::spawn(ended.around(loading.run(task)));
    }
}

impl Shared {
    /// Where `entry` stands in its life for a caller who says `said` of it.
    pub(super) fn standing(&self, key: &CacheKey, said: Lifetime, entry: Option<&Entry>) -> Standing {
        match entry {
            // Most entries never expire, and cost no look at settings and clock.
            Some(entry) if entry.expires_at.is_some() || entry.fresh_until.is_some() => {
                self.lifetime(key, said).standing(entry, self.clock.now())
            }
            _ => Standing::Fresh,
        }
    }

    /// `value` from the cache, counted where it is old.
    pub(super) fn served<T>(
        &self,
        key: &CacheKey,
        value: T,
        source: Source,
        backend: BackendKind,
    ) -> Loaded<T> {
        if source == Source::Stale {
            self.meter.stale(backend, key);
        }
        Loaded { value, source, backend }
    }

    /// The value of `key`, old as it may be, for a caller whose load failed. It is looked up again: an invalidation during the load has
    /// taken it away.
    pub(super) async fn rescued<T, V: Reads<T>>(
        &self,
        form: V,
        key: &CacheKey,
        lifetime: Lifetime,
        patience: &mut Patience,
    ) -> Option<Loaded<T>> {
        let found = self.lookup(key, patience).await;
        let entry = found.entry?;
        let now = self.clock.now();
        // Somebody else may have stored a new one meanwhile.
        let is_old = matches!(lifetime.standing(&entry, now), Standing::Stale | Standing::Over);
        let source = if is_old { Source::Stale } else { Source::Hit };
        let rescues = lifetime.rescues(&entry, now);
        let value = self.decoded(form, key, Some(entry).filter(|_| rescues))?;
        Some(self.served(key, value, source, found.backend))
    }

    /// Tells the owner of a load in the background that failed, since nobody else hears of it.
    fn refresh_failed<E>(&self, key: &CacheKey, error: &LoadError<E>) {
        self.pauses.begin(self.clock.as_ref(), key);
        self.meter.refresh_failed(self.kind(), key);
        let panic = match error {
            LoadError::Panicked(message) => Some(&**message),
            LoadError::Failed(_) | LoadError::Recursive => None,
        };
        cache_core::log::limited(self.flights.number(), |suppressed| {
            tracing::warn!(
                family = key.family(),
                panic,
                suppressed,
                "a load in the background failed; the old value is served while it may be"
            );
        });
    }
}
