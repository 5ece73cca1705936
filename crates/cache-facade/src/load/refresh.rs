//! Expired values: served once more while they are loaded anew, or because that failed.

use std::sync::Arc;
use std::time::Duration;

use cache_core::{CacheKey, FillToken};

use super::context::{self, LoadContext};
use super::engine::CacheEngine;
use super::flight::Join;
use super::leader::{Led, LoadTask, Loader};
use super::options::LoadOptions;
use super::{LoadError, Loaded, Source};
use crate::encoding::{Decode, Encode};
use crate::lifetime::{Freshness, Lifetime};
use crate::observe::events::Event;
use crate::observe::span::Span;
use crate::rt;
use crate::time_budget::TimeBudget;

impl CacheEngine {
    /// Loads the value of `key` anew in the background, unless a load is in flight, enough others run, or the last one failed
    /// a short time ago.
    ///
    /// `token` is that of the lookup that hit, and `mark` was taken before it. An invalidation changes the token, so that a
    /// load which it overtakes is not stored.
    pub(crate) fn refresh<T: Send + 'static, E: Send + Sync + 'static, V: Encode<T>>(
        self: &Arc<Self>,
        encoding: V,
        key: &CacheKey,
        options: LoadOptions<T>,
        load: Loader<(), T, E>,
        (token, mark): (FillToken, u64),
    ) {
        let (engine, key) = (Arc::clone(self), key.clone());
        let id = engine.flights.id::<V::Stored, E>(&key, encoding.codec());
        // A load that hangs takes one permit, and not one more whenever its deadline passes.
        if token.is_never() || context::is_running(&id) || engine.flights.is_in_flight(&id, token) {
            return;
        }
        if engine.cooldown.lasts(&*engine.clock, &key) {
            return;
        }
        let Ok(permit) = Arc::clone(&engine.refreshes).try_acquire_owned() else {
            engine.count(Event::RefreshSkipped, &key);
            return;
        };
        let Join::Leader(leader) = engine.flights.join::<E>(&id, token, mark) else { return };
        // No load waits for it: what it requests may wait for the load that it is started from.
        let context = LoadContext::background(id, Arc::clone(leader.node()));
        let span = Span::new(
            || tracing::debug_span!(parent: None, "cache_refresh", %key, outcome = tracing::field::Empty, fill = tracing::field::Empty),
        );
        let task_span = span.clone();
        let task = async move {
            let _permit = permit;
            let mut led = Led { item: (), key: key.clone(), token, leader };
            if led.leader.looks_again() {
                let found = engine.lookup(&key, &mut TimeBudget::new()).await;
                let freshness = engine.freshness(&key, options.lifetime, found.entry.as_ref());
                if found.token.is_never() || found.entry.is_some() && freshness == Freshness::Fresh {
                    return;
                }
                led.token = found.token;
                led.leader.retoken(found.token);
            }
            engine.count(Event::Refreshed, &key);
            let task = LoadTask {
                engine: Arc::clone(&engine),
                encoding,
                led: vec![led],
                alone: Vec::new(),
                options: Arc::new(options),
                load,
                wait: Duration::ZERO,
                span: task_span,
            };
            let report = |values: Result<_, LoadError<E>>| {
                if let Err(error) = values {
                    engine.report_failed_refresh(&key, &error);
                }
            };
            task.complete(report).await;
        };
        rt::spawn(span.around(context.run(task)));
    }

    /// The value of `key` for a caller whose load failed, stale as it may be. It is looked up again, because an
    /// invalidation during the load has removed it.
    pub(super) async fn stale_if_error<T, V: Decode<T>>(
        &self,
        encoding: V,
        key: &CacheKey,
        lifetime: Lifetime,
        budget: &mut TimeBudget,
    ) -> Option<Loaded<T>> {
        let found = self.lookup(key, budget).await;
        let entry = found.entry?;
        let now = self.clock.now();
        // Another caller may have stored a new one meanwhile.
        let is_stale = matches!(lifetime.freshness(&entry, now), Freshness::Stale | Freshness::Expired);
        let serves = lifetime.serves_on_error(&entry, now);
        let value = self.decode(encoding, key, Some(entry).filter(|_| serves))?;
        if is_stale {
            self.metrics.count(Event::Stale, found.backend, key);
        }
        let source = if is_stale { Source::Stale } else { Source::Hit };
        Some(Loaded { value, source, backend: found.backend })
    }

    /// Reports a background load that failed, whose error no caller gets.
    fn report_failed_refresh<E>(&self, key: &CacheKey, error: &LoadError<E>) {
        self.cooldown.begin(&*self.clock, key);
        self.count(Event::RefreshFailed, key);
        let panic = match error {
            LoadError::Panicked(message) => Some(&**message),
            LoadError::Failed(_) | LoadError::Recursive => None,
        };
        cache_core::log::warn!(
            limit: self.flights.number(), family = key.family(), panic,
            "background refresh failed; serving the stale value within its window"
        );
    }
}
