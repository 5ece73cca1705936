//! Laws of routing, the journal and the recovery, over a primary whose failures the tests choose.

use std::task::Poll;

use cache_core::{BreakerState, ManualClock};

use super::testing::{Behaviour, Closing, InMemory, SharedStore, TestConnector, Undeletable};
use super::*;
use crate::rt;

mod zones;

const MAX_AGE: Duration = Duration::from_secs(30);

struct Setup {
    shared: Arc<SharedStore>,
    clock: Arc<ManualClock>,
    backend: Closing,
}

impl Router {
    /// Whether a probe has to tell whether zones are away.
    pub(super) fn is_in_doubt(&self) -> bool {
        !self.state.lock().breaker.in_doubt().is_empty()
    }
}

impl Setup {
    async fn new() -> Self {
        Self::with(Behaviour::Up, |clock| Arc::new(InMemory(clock))).await
    }

    async fn with(
        behaviour: Behaviour,
        fallback: impl FnOnce(Arc<ManualClock>) -> Arc<dyn OpenFallback>,
    ) -> Self {
        let clock = Arc::new(ManualClock::new());
        let shared = SharedStore::new(&clock);
        shared.set(behaviour);
        Self::over(shared, fallback(clock.clone()), clock, Box::new(|| {})).await
    }

    async fn over(
        shared: Arc<SharedStore>,
        fallback: Arc<dyn OpenFallback>,
        clock: Arc<ManualClock>,
        on_recovery: OnRecovery,
    ) -> Self {
        let journal = Arc::new(Journal::in_memory());
        let parts = Parts {
            connector: Arc::new(TestConnector(Arc::clone(&shared))),
            fallback,
            journal: Arc::clone(&journal),
            clock: clock.clone(),
            max_age: MAX_AGE,
            on_recovery,
        };
        let backend = Closing { inner: FallbackBackend::start(parts).await, journal };
        Self { shared, clock, backend }
    }

    fn breaker(&self) -> BreakerState {
        self.backend.inner.router.state.lock().health().breaker.unwrap()
    }

    async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        for _ in 0..10_000 {
            if condition(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        unreachable!("never: {what}");
    }

    async fn is_back(&self) {
        self.until("the primary is in use", |setup| setup.breaker() == BreakerState::Closed).await;
    }

    /// Opens the breaker, and waits until the fallback store is open.
    async fn falls_back(&self) {
        self.shared.set(Behaviour::Refuses);
        let _ = self.backend.lookup(&key()).await;
        let is_open =
            |setup: &Self| setup.backend.inner.router.state.lock().store.kind() != BackendKind::Fallback;
        self.until("a fallback store is open", is_open).await;
    }
}

fn key() -> CacheKey {
    CacheKey::builder("image", 5).part("metadata").build().unwrap()
}

fn what() -> Vec<Invalidation> {
    vec![Invalidation::Key(key())]
}

#[tokio::test(start_paused = true)]
async fn the_recovery_task_starts_again_after_a_panic_and_no_pending_invalidation_is_lost() {
    let setup = Setup::new().await;
    let before = setup.backend.health().await.panics;
    setup.shared.set(Behaviour::Panics);
    // A panic of the primary during an invalidation counts as not acknowledged.
    let invalidated = setup.backend.invalidate(&what()).await.unwrap();
    assert_eq!(invalidated, Invalidated::Journaled { removed: 0 });
    setup
        .until("health tells of the panic", |setup| {
            let health = setup.backend.inner.router.state.lock().health();
            health
                .cause
                .is_some_and(|cause| cause.contains("panicked") && cause.contains("a bug in the client"))
        })
        .await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(setup.backend.health().await.panics >= before + 10);
    assert_ne!(setup.breaker(), BreakerState::Closed);
    setup.shared.set(Behaviour::Up);
    setup.is_back().await;
    assert!(setup.backend.journal.is_drained());
}

#[tokio::test(start_paused = true)]
async fn while_the_breaker_is_open_no_call_reaches_the_primary() {
    let setup = Setup::new().await;
    setup.falls_back().await;
    let before = setup.shared.calls();
    for _ in 0..1000 {
        let found = setup.backend.lookup(&key()).await.unwrap();
        let _ = setup.backend.fill(&key(), found.token, NewEntry::new("x")).await.unwrap();
        let _ = setup.backend.get(&key()).await.unwrap();
        let _ = setup.backend.invalidate(&what()).await.unwrap();
        let _ = setup.backend.stats().await.unwrap();
    }
    assert_eq!(setup.shared.calls(), before);
}

#[tokio::test(start_paused = true)]
async fn a_lookup_that_finds_the_primary_away_is_answered_by_the_fallback_store() {
    let setup = Setup::new().await;
    setup.shared.set(Behaviour::Refuses);
    let found = setup.backend.lookup(&key()).await.unwrap();
    assert!(found.entry.is_none());
    assert_eq!((found.backend, setup.breaker()), (BackendKind::Fallback, BreakerState::Open));
    assert!(found.token.is_never(), "the fallback store is not open yet");
}

/// Looks up, and gives up after each of these milliseconds.
async fn give_up_after(setup: &Setup, waits: &[u64]) {
    for waited in waits {
        assert_eq!(setup.breaker(), BreakerState::Closed);
        let (key, backend) = (key(), &setup.backend);
        let mut lookup = backend.lookup(&key);
        assert!(matches!(rt::poll_once(&mut lookup).await, Poll::Pending));
        setup.clock.advance(Duration::from_millis(*waited));
        drop(lookup);
    }
}

#[tokio::test(start_paused = true)]
async fn calls_given_up_late_open_the_breaker_if_a_probe_fails_too_and_calls_given_up_early_do_not() {
    let setup = Setup::new().await;
    let router = &setup.backend.inner.router;
    setup.shared.set(Behaviour::Hangs);
    give_up_after(&setup, &[10, 10, 10, 10, 250, 250, 250]).await;
    assert!(router.is_in_doubt());
    setup.shared.set(Behaviour::Refuses);
    setup.until("it is away", |setup| setup.breaker() != BreakerState::Closed).await;
}

#[tokio::test(start_paused = true)]
async fn time_outs_of_a_primary_that_answers_probes_do_not_open_the_breaker() {
    let setup = Setup::new().await;
    let router = &setup.backend.inner.router;
    setup.shared.set(Behaviour::Busy);
    for _ in 0..10 {
        give_up_after(&setup, &[250; 3]).await;
        setup.until("the doubt is settled", |setup| !setup.backend.inner.router.is_in_doubt()).await;
        setup.clock.advance(Duration::from_millis(250));
    }
    assert_eq!((setup.breaker(), router.is_in_doubt()), (BreakerState::Closed, false));
}

#[tokio::test(start_paused = true)]
async fn a_call_from_before_an_outage_does_not_open_the_breaker_after_it() {
    let setup = Setup::new().await;
    let before = setup.backend.inner.router.state.lock().breaker.losses();
    setup.shared.set(Behaviour::Hangs);
    let key = key();
    let mut old = setup.backend.lookup(&key);
    assert!(matches!(rt::poll_once(&mut old).await, Poll::Pending));
    setup.falls_back().await;
    setup.shared.set(Behaviour::Up);
    setup.is_back().await;
    setup.clock.advance(Duration::from_millis(250));
    for _ in 0..3 {
        setup.backend.inner.router.failed(
            before,
            zone_of(&key),
            breaker::Failure::Fatal,
            &Error::new(ErrorKind::Unavailable, "old"),
        );
    }
    drop(old);
    assert_eq!(setup.breaker(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_failed_invalidation_opens_the_breaker_before_it_returns_and_is_sent_later() {
    let setup = Setup::new().await;
    let token = setup.backend.lookup(&key()).await.unwrap().token;
    let _ = setup.backend.fill(&key(), token, NewEntry::new("old")).await.unwrap();
    setup.shared.set(Behaviour::RefusesInvalidations);
    let journaled = setup.backend.invalidate(&what()).await.unwrap();
    assert!(matches!(journaled, Invalidated::Journaled { .. }));
    assert_ne!(setup.breaker(), BreakerState::Closed);
    assert!(setup.backend.lookup(&key()).await.unwrap().entry.is_none());
    assert_eq!(setup.backend.health().await.journal_depth, 1);
    // Reads would be answered, but the pending invalidation fails: the primary does not recover.
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_ne!(setup.breaker(), BreakerState::Closed);
    assert!(setup.shared.store_of(&key()).lookup(&key()).await.unwrap().entry.is_some());
    setup.shared.set(Behaviour::Up);
    setup.is_back().await;
    assert!(setup.backend.lookup(&key()).await.unwrap().entry.is_none());
    assert_eq!(setup.backend.health().await.journal_depth, 0);
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_revokes_the_tokens_of_the_fallback_store() {
    let setup = Setup::new().await;
    setup.falls_back().await;
    let token = setup.backend.lookup(&key()).await.unwrap().token;
    let _ = setup.backend.invalidate(&what()).await.unwrap();
    let filled = setup.backend.fill(&key(), token, NewEntry::new("old")).await.unwrap();
    assert_eq!(filled, FillOutcome::Refused);
}

/// History 26: two outages with one slow load across both, and a load across the return.
#[tokio::test(start_paused = true)]
async fn a_token_is_refused_by_every_store_but_its_own() {
    let setup = Setup::new().await;
    let on_primary = setup.backend.lookup(&key()).await.unwrap().token;
    setup.falls_back().await;
    let in_first = setup.backend.lookup(&key()).await.unwrap().token;
    let fill = async |token| setup.backend.fill(&key(), token, NewEntry::new("old")).await.unwrap();
    assert_eq!(fill(on_primary).await, FillOutcome::Refused);
    setup.shared.set(Behaviour::Up);
    setup.is_back().await;
    assert_eq!(fill(in_first).await, FillOutcome::Refused);
    setup.falls_back().await;
    assert_eq!(fill(in_first).await, FillOutcome::Refused);
    assert_eq!(fill(on_primary).await, FillOutcome::Refused);
    let own = setup.backend.lookup(&key()).await.unwrap().token;
    assert_eq!(fill(own).await, FillOutcome::Stored);
}

/// History 24: the breaker waits for a late append.
#[tokio::test(start_paused = true)]
async fn the_breaker_does_not_close_during_an_append() {
    let setup = Setup::new().await;
    let router = &setup.backend.inner.router;
    let append = router.unacknowledged(Zone::new(0).into(), &Error::new(ErrorKind::Unavailable, "no reply"));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_ne!(setup.breaker(), BreakerState::Closed, "it answers, but an append is in progress");
    setup.backend.journal.append(&what(), ZoneSet::ALL, true).await.unwrap();
    drop(append);
    setup.is_back().await;
    assert!(setup.backend.journal.is_drained());
}

/// History 29: the disk is full during an outage.
#[tokio::test(start_paused = true)]
async fn a_fallback_store_that_cannot_invalidate_is_replaced_by_an_empty_one() {
    let setup = Setup::with(Behaviour::Refuses, |_| Arc::new(Undeletable::default())).await;
    let token = setup.backend.lookup(&key()).await.unwrap().token;
    let filled = setup.backend.fill(&key(), token, NewEntry::new("old")).await.unwrap();
    assert_eq!(filled, FillOutcome::Stored);
    let journaled = setup.backend.invalidate(&what()).await.unwrap();
    assert!(matches!(journaled, Invalidated::Journaled { .. }));
    assert!(setup.backend.lookup(&key()).await.unwrap().entry.is_none());
    assert_eq!(setup.backend.fill(&key(), token, NewEntry::new("old")).await.unwrap(), FillOutcome::Refused);
    setup.falls_back().await;
    assert!(setup.backend.lookup(&key()).await.unwrap().entry.is_none(), "also when a new one is open");
}

#[tokio::test(start_paused = true)]
async fn without_a_fallback_no_value_is_stored_and_loads_can_still_be_joined() {
    let setup = Setup::with(Behaviour::Refuses, |_| Arc::new(NoFallback)).await;
    let (one, two) =
        (setup.backend.lookup(&key()).await.unwrap(), setup.backend.lookup(&key()).await.unwrap());
    assert!(one.token == two.token && !one.token.is_never());
    let filled = setup.backend.fill(&key(), one.token, NewEntry::new("x")).await.unwrap();
    assert_eq!(filled, FillOutcome::Refused);
    assert_eq!(setup.backend.health().await.active, BackendKind::Null);
}

#[tokio::test(start_paused = true)]
async fn an_unstable_primary_is_probed_less_and_less_often() {
    let setup = Setup::new().await;
    setup.shared.set(Behaviour::RefusesInvalidations);
    let _ = setup.backend.invalidate(&what()).await.unwrap();
    let before = setup.shared.calls();
    tokio::time::sleep(Duration::from_secs(100)).await;
    // A probe and a failed invalidation, at least every two seconds and at most every second.
    let calls = setup.shared.calls() - before;
    assert!((100..=230).contains(&calls), "{calls} calls in 100 s");
}

#[tokio::test(start_paused = true)]
async fn memory_is_asked_while_the_primary_is_in_use_and_never_during_an_outage() {
    let setup = Setup::new().await;
    setup.backend.set(&key(), NewEntry::new(Bytes::from_static(b"old"))).await.unwrap();
    assert!(setup.backend.at_hand(&key()).is_none(), "not read yet");
    let read = setup.backend.lookup(&key()).await.unwrap();
    let found = setup.backend.at_hand(&key()).unwrap();
    assert_eq!((found.entry, found.token), (read.entry, read.token));
    assert_eq!(found.backend, BackendKind::Memory);
    assert_eq!(setup.backend.stats().await.unwrap().near.map(|near| near.hits), Some(1));
    assert_eq!(setup.backend.health().await.near.map(|near| near.sessions), Some(1));

    setup.falls_back().await;
    assert!(setup.backend.at_hand(&key()).is_none());
    let invalidated = setup.backend.invalidate(&what()).await.unwrap();
    assert!(matches!(invalidated, Invalidated::Journaled { .. }));
    setup.shared.set(Behaviour::Up);
    setup.is_back().await;
    assert!(setup.backend.at_hand(&key()).is_none(), "the primary was told before it was used again");
}
