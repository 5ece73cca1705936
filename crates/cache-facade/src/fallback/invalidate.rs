//! Invalidations: sent to the zones of the primary that are in use, and kept in the journal for the zones that are away.

use std::result;
use std::sync::Arc;

use cache_core::{EpochScope, Error, ErrorKind, Invalidated, Invalidation, Result};

use super::router::{Router, State};
use super::{Primary, Unacknowledged};
use crate::catch_panic::catch_panic;
use crate::durability::zones::ZoneSet;
use crate::gauges;

/// Where an invalidation goes.
struct InvalidationRoute<'a> {
    primary: Option<Arc<dyn Primary>>,
    /// The zones to which it is sent.
    sent: ZoneSet,
    /// Whether some of these are recovering: the fallback store is still read for them.
    is_recovering: bool,
    /// The append for the other zones, if it concerns any.
    append: Option<Append<'a>>,
}

/// An invalidation that is being appended to the journal for some zones. The breaker of these does not close meanwhile.
pub(super) struct Append<'a> {
    router: &'a Router,
    zones: ZoneSet,
}

/// Returns the zones of `primary` that `what` concerns.
pub(super) fn concerned(primary: &dyn Primary, what: &Invalidation) -> ZoneSet {
    match what.epoch_scope() {
        EpochScope::Group(group) => primary.zone_of(group).into(),
        EpochScope::All => primary.zones(),
    }
}

/// Removes `what` from `zones` of `primary`, whose panic counts as no acknowledgement.
pub(super) async fn invalidate_in(
    primary: &dyn Primary,
    zones: ZoneSet,
    what: &[Invalidation],
) -> result::Result<Invalidated, Unacknowledged> {
    let call = async { Ok(primary.invalidate_in(zones, what).await) };
    catch_panic(call).await.unwrap_or_else(|error| Err(Unacknowledged { zones, error }))
}

impl Router {
    /// Removes `what` from the primary. Where that is away or does not acknowledge, removes it from the fallback store and,
    /// through the journal, later from the primary.
    ///
    /// # Errors
    /// `Closed` when the cache was closed before; errors of the call itself, such as an invalid pattern.
    ///
    /// # Cancellation
    /// Counts as not done.
    pub(super) async fn invalidate(&self, what: &[Invalidation]) -> Result<Invalidated> {
        let InvalidationRoute { primary, sent, is_recovering, append } = self.route_invalidation(what)?;
        let primary = primary.as_deref();
        let concerned = |what: &_| primary.map_or(ZoneSet::ALL, |primary| concerned(primary, what));
        let part_in = |zones: ZoneSet| -> Vec<Invalidation> {
            what.iter().filter(|what| concerned(what).meets(zones)).cloned().collect()
        };
        let mut appends = Vec::from_iter(append);
        let mut removed = 0;
        if let Some(primary) = primary
            && !sent.is_empty()
        {
            let outcome = if appends.is_empty() {
                invalidate_in(primary, sent, what).await
            } else {
                invalidate_in(primary, sent, &part_in(sent)).await
            };
            match outcome {
                Ok(invalidated) => removed = invalidated.removed(),
                Err(Unacknowledged { error, .. }) if is_of_the_call(error.kind()) => return Err(error),
                Err(Unacknowledged { zones, error }) => {
                    let asked = what.iter().map(concerned).collect::<ZoneSet>() & sent;
                    let failed = if zones.meets(asked) { zones & asked } else { asked };
                    appends.push(self.unacknowledged(failed, &error));
                }
            }
        }
        if appends.is_empty() && !is_recovering {
            return Ok(Invalidated::Applied { removed });
        }
        removed += self.remove_from_store(what).await;
        if appends.is_empty() {
            return Ok(Invalidated::Applied { removed });
        }
        let owed: ZoneSet = appends.iter().map(|append| append.zones).collect();
        let are_all_owed = owed.covers(what.iter().map(concerned).collect());
        let appended = self.journal.append(&part_in(owed), owed, are_all_owed).await;
        gauges::journal_depth(self.journal.depth());
        drop(appends);
        appended.map(|()| Invalidated::Journaled { removed })
    }

    /// Opens the breaker of `zones` because they did not acknowledge an invalidation, and keeps it from closing until the
    /// invalidation is in the journal.
    pub(super) fn unacknowledged(&self, zones: ZoneSet, cause: &Error) -> Append<'_> {
        // Created first: if what follows panics, the breaker can close again only after the drop.
        let append = Append::new(self, &mut self.state.lock(), zones);
        self.lose(zones, cause);
        append
    }

    /// Chooses where `what` goes. No zone is computed while none is away.
    fn route_invalidation(&self, what: &[Invalidation]) -> Result<InvalidationRoute<'_>> {
        let mut state = self.state.lock();
        state.check_open()?;
        let (primary, away) = (state.primary.clone(), state.breaker.away());
        let concerned = match primary.as_deref() {
            Some(primary) if !away.is_empty() => what.iter().map(|what| concerned(primary, what)).collect(),
            _ => state.breaker.all(),
        };
        let recovering = concerned & state.breaker.recovering();
        let kept = (concerned & away) - recovering;
        Ok(InvalidationRoute {
            primary,
            sent: concerned - kept,
            is_recovering: !recovering.is_empty(),
            append: (!kept.is_empty()).then(|| Append::new(self, &mut state, kept)),
        })
    }

    /// Removes `what` from the fallback store, and returns the number of entries. Replaces a store that fails.
    ///
    /// A store that replaces this one meanwhile is empty at first, and its values are loaded after this call began.
    async fn remove_from_store(&self, what: &[Invalidation]) -> u64 {
        let (period, store) = {
            let state = self.state.lock();
            (state.period, Arc::clone(&state.store))
        };
        match store.invalidate(what).await {
            Ok(invalidated) => invalidated.removed(),
            // Its outage is over, or the cache was closed: it is not read any more.
            Err(error) if error.kind() == ErrorKind::Closed => 0,
            Err(error) => {
                cache_core::log::warn!(
                    limit: self.id, %error, "fallback invalidation failed; fallback store replaced"
                );
                let mut state = self.state.lock();
                if state.period == period {
                    self.replace_store(&mut state);
                }
                0
            }
        }
    }
}

impl<'a> Append<'a> {
    fn new(router: &'a Router, state: &mut State, zones: ZoneSet) -> Self {
        state.appending.push(zones);
        Self { router, zones }
    }
}

impl Drop for Append<'_> {
    fn drop(&mut self) {
        let mut state = self.router.state.lock();
        if let Some(at) = state.appending.iter().position(|zones| *zones == self.zones) {
            state.appending.swap_remove(at);
        }
        drop(state);
        self.router.changed.notify_one();
    }
}

/// Returns whether the error is the caller's and not the backend's.
fn is_of_the_call(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::InvalidKey | ErrorKind::InvalidPattern | ErrorKind::Unsupported)
}
