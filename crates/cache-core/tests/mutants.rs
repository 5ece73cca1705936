//! Backends with one bug each, and the laws that must find it.
#![cfg(not(feature = "shuttle"))]

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cache_conformance::model::{self, Steps};
use cache_conformance::{
    Eviction, Figures, Law, Opened, Promises, Subject, check, eviction, expiry, explaining, freshness,
    lifetime, many, neighbours, tokens, values,
};
use cache_core::{
    BackendKind, CacheBackend, CacheKey, CachePattern, CacheStats, Clock, Explanation, FillOutcome,
    FillToken, Health, Invalidated, Invalidation, Lookup, ManualClock, MemoryBackend, NewEntry, Result,
    Timestamp,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    /// Treats `project_images:420` as a part of `project_images:42`.
    ComparesGroupsByText,
    /// Skips the invalidation of a key that is not stored.
    ForgetsUnknownKeys,
    /// Clears only unscoped keys when everything is invalidated.
    LeavesScopes,
    /// Applies only the first of several invalidations.
    StopsAfterTheFirst,
    /// Lets a load that started before a `set` overwrite it.
    SetsWithoutAFence,
    /// Ignores TTLs.
    NeverExpires,
    /// Adds a millisecond to every TTL.
    ExpiresLate,
    /// Hides expired entries, which still take room.
    KeepsTheExpired,
    /// Truncates values to one page.
    Truncates,
    /// Keeps one value for all keys of a group.
    ConfusesKeys,
    /// Returns the results of many lookups in reverse order.
    ReversesMany,
    /// Counts an explanation as a lookup.
    CountsExplanations,
    /// Reports that no entry was removed.
    RemovesInSilence,
    /// Ignores that it was closed.
    IgnoresClose,
    /// Evicts entries for a value before it checks its size.
    EvictsForNothing,
    /// Does not count a hit as a use.
    EvictsInOrderOfArrival,
}

#[derive(Debug)]
struct Mutant {
    inner: MemoryBackend,
    bug: Bug,
    clock: Arc<ManualClock>,
    hidden_from: Mutex<HashMap<CacheKey, Timestamp>>,
}

impl Mutant {
    fn has(&self, bug: Bug) -> bool {
        self.bug == bug
    }

    fn key(&self, key: &CacheKey) -> CacheKey {
        let group = CacheKey::parse(key.group()).expect("a group is a key");
        if self.has(Bug::ConfusesKeys) { group } else { key.clone() }
    }

    fn changed(&self, key: &CacheKey, mut entry: NewEntry) -> NewEntry {
        match self.bug {
            Bug::KeepsTheExpired => {
                if let Some(ttl) = entry.expires_in.take() {
                    let at = self.clock.now().saturating_add(ttl);
                    self.hidden_from.lock().expect("no mutant panics").insert(key.clone(), at);
                }
            }
            Bug::NeverExpires => entry.expires_in = None,
            Bug::ExpiresLate => {
                entry.expires_in = entry.expires_in.map(|ttl| ttl.saturating_add(Duration::from_millis(1)));
            }
            Bug::Truncates => entry.payload.truncate(4_080),
            _ => {}
        }
        entry
    }

    async fn make_room(&self, entry: &NewEntry) {
        if self.has(Bug::EvictsForNothing) && entry.payload.len() as u64 > LIMIT / 8 {
            let _ = self.inner.invalidate(&["pattern *".parse().expect("a pattern")]).await;
        }
    }
}

#[async_trait]
impl CacheBackend for Mutant {
    fn kind(&self) -> BackendKind {
        self.inner.kind()
    }

    async fn lookup(&self, key: &CacheKey) -> Result<Lookup> {
        let mut lookup = self.inner.lookup(&self.key(key)).await?;
        let hidden_from = self.hidden_from.lock().expect("no mutant panics").get(key).copied();
        if hidden_from.is_some_and(|at| at <= self.clock.now()) {
            lookup.entry = None;
        }
        if let (Bug::EvictsInOrderOfArrival, Some(_)) = (self.bug, &lookup.entry) {
            // As if all other entries had been used since.
            for other in 0..100_u32 {
                let other = CacheKey::builder("image", other).part("metadata").build()?;
                if other != *key {
                    self.inner.lookup(&other).await?;
                }
            }
        }
        Ok(lookup)
    }

    async fn fill(&self, key: &CacheKey, token: FillToken, entry: NewEntry) -> Result<FillOutcome> {
        self.make_room(&entry).await;
        self.inner.fill(&self.key(key), token, self.changed(key, entry)).await
    }

    async fn set(&self, key: &CacheKey, entry: NewEntry) -> Result<()> {
        self.make_room(&entry).await;
        if self.has(Bug::SetsWithoutAFence) {
            let token = self.inner.lookup(key).await?.token;
            let _ = self.inner.fill(key, token, entry).await?;
            return Ok(());
        }
        self.inner.set(&self.key(key), self.changed(key, entry)).await
    }

    async fn invalidate(&self, what: &[Invalidation]) -> Result<Invalidated> {
        let mut what = what.to_vec();
        match self.bug {
            Bug::ComparesGroupsByText => {
                let by_text = what.iter().filter_map(|what| match what {
                    Invalidation::Group(group) => Some(CachePattern::parse(&format!("{group}*"))),
                    _ => None,
                });
                let by_text = by_text.collect::<Result<Vec<_>>>()?;
                what.extend(by_text.into_iter().map(Invalidation::Pattern));
            }
            Bug::ForgetsUnknownKeys => {
                if let [Invalidation::Key(key)] = &what[..]
                    && !self.inner.explain(key).await?.found
                {
                    return Ok(Invalidated::Applied { removed: 0 });
                }
            }
            Bug::LeavesScopes => {
                for what in &mut what {
                    if *what == Invalidation::Everything {
                        *what = "pattern *".parse()?;
                    }
                }
            }
            Bug::StopsAfterTheFirst => what.truncate(1),
            Bug::ConfusesKeys => {
                for what in &mut what {
                    if let Invalidation::Key(key) = what {
                        *key = self.key(key);
                    }
                }
            }
            _ => {}
        }
        let outcome = self.inner.invalidate(&what).await?;
        Ok(if self.has(Bug::RemovesInSilence) { Invalidated::Applied { removed: 0 } } else { outcome })
    }

    async fn stats(&self) -> Result<CacheStats> {
        self.inner.stats().await
    }

    async fn lookup_many(&self, keys: &[CacheKey]) -> Result<Vec<Lookup>> {
        let mut found = Vec::new();
        for key in keys {
            found.push(self.lookup(key).await?);
        }
        if self.has(Bug::ReversesMany) {
            found.reverse();
        }
        Ok(found)
    }

    async fn explain(&self, key: &CacheKey) -> Result<Explanation> {
        if self.has(Bug::CountsExplanations) {
            self.inner.lookup(key).await?;
        }
        self.inner.explain(&self.key(key)).await
    }

    async fn health(&self) -> Health {
        self.inner.health().await
    }

    async fn close(&self) -> Result<()> {
        if self.has(Bug::IgnoresClose) {
            return Ok(());
        }
        self.inner.close().await
    }
}

const LIMIT: u64 = 8 * 1_048_576;

#[derive(Debug)]
struct Mutants {
    clock: Arc<ManualClock>,
    bug: Bug,
}

#[async_trait]
impl Subject for Mutants {
    fn promises(&self) -> Promises {
        Promises {
            eviction: Eviction::LeastRecentlyUsed,
            figures: Figures::Exact,
            limit_bytes: Some(LIMIT),
            largest_value: Some(LIMIT / 8),
            ..Promises::default()
        }
    }

    fn clock(&self) -> &Arc<ManualClock> {
        &self.clock
    }

    async fn open(&self, _place: &str) -> Opened {
        let inner = MemoryBackend::new().limit_bytes(LIMIT).clock(self.clock.clone());
        let clock = Arc::clone(&self.clock);
        Opened::cache(Mutant { inner, bug: self.bug, clock, hidden_from: Mutex::default() })
    }
}

fn mutants(bug: Bug) -> Mutants {
    Mutants { clock: Arc::new(ManualClock::new()), bug }
}

fn is_found(bug: Bug, law: for<'a> fn(&'a dyn Subject) -> Law<'a>) {
    let found = catch_unwind(AssertUnwindSafe(|| check(&mutants(bug), law)));
    assert!(found.is_err(), "the law did not find {bug:?}");
}

macro_rules! mutants_are_found {
    ($($test:ident: $bug:ident by $module:ident::$law:ident;)*) => {
        $(
            #[test]
            fn $test() {
                is_found(Bug::$bug, |subject| Box::pin($module::$law(subject)));
            }
        )*
    };
}

mutants_are_found! {
    groups_compared_by_text: ComparesGroupsByText by neighbours::a_group_clears_no_neighbour;
    unknown_keys_forgotten: ForgetsUnknownKeys by freshness::a_fill_after_its_keys_invalidation_is_refused;
    scopes_left_by_a_clear: LeavesScopes by neighbours::a_clear_clears_everything;
    scopes_left_with_their_tokens: LeavesScopes by freshness::a_clear_takes_the_tokens_of_every_scope;
    only_the_first_of_many: StopsAfterTheFirst by neighbours::many_invalidations_in_one_call_remove_all_they_name;
    only_the_first_of_many_fenced: StopsAfterTheFirst by freshness::a_fill_after_one_of_many_invalidations_is_refused;
    a_set_without_a_fence: SetsWithoutAFence by tokens::a_set_takes_tokens_away;
    no_expiry: NeverExpires by expiry::an_entry_is_a_miss_from_the_instant_it_expires;
    no_expiry_for_the_future: NeverExpires by expiry::a_clock_set_forward_expires_entries_with_a_ttl_alone;
    expiry_a_millisecond_late: ExpiresLate by expiry::an_entry_is_a_miss_from_the_instant_it_expires;
    room_taken_by_the_expired: KeepsTheExpired by eviction::expired_entries_make_room_before_live_ones;
    truncated_values: Truncates by values::values_of_every_size_come_back_exactly;
    confused_keys: ConfusesKeys by values::no_key_gets_another_keys_value;
    confused_keys_in_a_group: ConfusesKeys by neighbours::a_key_clears_itself_alone;
    many_in_the_wrong_order: ReversesMany by many::lookup_many_answers_in_order;
    explanations_counted: CountsExplanations by explaining::an_explanation_says_what_is_there;
    removals_not_counted: RemovesInSilence by neighbours::a_clear_clears_everything;
    close_ignored: IgnoresClose by lifetime::after_closing_every_call_says_closed;
    evictions_for_nothing: EvictsForNothing by eviction::a_value_over_the_limit_for_one_entry_is_refused_and_evicts_nothing;
    first_in_first_out: EvictsInOrderOfArrival by eviction::the_least_recently_used_entry_goes_first;
}

#[test]
fn the_model_finds_the_bugs_of_mutants() {
    for bug in [
        Bug::ForgetsUnknownKeys,
        Bug::LeavesScopes,
        Bug::StopsAfterTheFirst,
        Bug::SetsWithoutAFence,
        Bug::NeverExpires,
        Bug::ExpiresLate,
        Bug::Truncates,
        Bug::ConfusesKeys,
    ] {
        // The search stops at the first sequence that shows the bug; the bound is far above what it usually needs.
        let steps = Steps { cases: 20_000, ..Steps::default() };
        let found = catch_unwind(|| model::check(|| mutants(bug), steps));
        assert!(found.is_err(), "the model did not find {bug:?}");
    }
}
