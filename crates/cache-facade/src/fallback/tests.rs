//! Laws of routing, owing and coming back, over a store that is away at will.

use std::task::Poll;

use cache_core::{BreakerState, ManualClock, MemoryBackend};

use super::testing::{InMemory, Mood, Nobody, Shop, Stubborn, Way, Whole};
use super::*;

const MAX_AGE: Duration = Duration::from_secs(30);

struct Site {
    shop: Arc<Shop>,
    clock: Arc<ManualClock>,
    whole: Whole,
}

impl Site {
    async fn new() -> Self {
        Self::with(Mood::Up, |clock| Arc::new(InMemory(clock))).await
    }

    async fn with(mood: Mood, standin: impl FnOnce(Arc<ManualClock>) -> Arc<dyn Standin>) -> Self {
        let clock = Arc::new(ManualClock::new());
        let shop = Shop::new(MemoryBackend::new().with_clock(clock.clone()));
        shop.set(mood);
        let journal = Arc::new(Journal::in_memory());
        let parts = Parts {
            connector: Arc::new(Way(Arc::clone(&shop))),
            standin: standin(clock.clone()),
            journal: Arc::clone(&journal),
            clock: clock.clone(),
            max_age: MAX_AGE,
            first_return: FirstReturn::new(|| {}),
        };
        let whole = Whole { backend: FallbackBackend::start(parts).await, journal };
        Self { shop, clock, whole }
    }

    fn breaker(&self) -> BreakerState {
        self.whole.backend.shared.switch.health().breaker.unwrap()
    }

    async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        for _ in 0..10_000 {
            if condition(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        unreachable!("it never came to be that {what}");
    }

    async fn is_back(&self) {
        self.until("the primary is in use", |site| site.breaker() == BreakerState::Closed).await;
    }

    /// Opens the breaker, and waits until what stands in can store.
    async fn falls_back(&self) {
        self.shop.set(Mood::Refuses);
        let _ = self.whole.lookup(&key()).await;
        for _ in 0..10_000 {
            if self.whole.lookup(&key()).await.is_ok_and(|found| !found.token.is_never()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        unreachable!("nothing stands in");
    }
}

fn key() -> CacheKey {
    CacheKey::builder("image", 5).part("metadata").build().unwrap()
}

fn what() -> Vec<Invalidation> {
    vec![Invalidation::Key(key())]
}

#[tokio::test(start_paused = true)]
async fn the_task_that_brings_the_primary_back_begins_again_after_a_panic_and_nothing_owed_is_lost() {
    let site = Site::new().await;
    let before = site.whole.health().await.panics;
    site.shop.set(Mood::Panics);
    // The primary panics while it is told: that it did not acknowledge it is all that is known.
    let invalidated = site.whole.invalidate(&what()).await.unwrap();
    assert_eq!(invalidated, Invalidated::Journaled { removed: 0 });
    site.until("health tells of the panic", |site| {
        let health = site.whole.backend.shared.switch.health();
        health.cause.is_some_and(|cause| cause.contains("panicked") && cause.contains("a bug in the client"))
    })
    .await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(site.whole.health().await.panics >= before + 10);
    assert_ne!(site.breaker(), BreakerState::Closed);
    site.shop.set(Mood::Up);
    site.is_back().await;
    assert!(site.whole.journal.owes_nothing());
}

#[tokio::test(start_paused = true)]
async fn while_the_breaker_is_open_no_call_reaches_the_store() {
    let site = Site::new().await;
    site.falls_back().await;
    let before = site.shop.calls();
    for _ in 0..1000 {
        let found = site.whole.lookup(&key()).await.unwrap();
        let _ = site.whole.fill(&key(), found.token, NewEntry::new("x")).await.unwrap();
        let _ = site.whole.get(&key()).await.unwrap();
        let _ = site.whole.invalidate(&what()).await.unwrap();
        let _ = site.whole.stats().await.unwrap();
    }
    assert_eq!(site.shop.calls(), before);
}

#[tokio::test(start_paused = true)]
async fn a_fatal_lookup_is_answered_by_what_stands_in_and_one_that_times_out_once_is_an_error() {
    let site = Site::new().await;
    site.shop.set(Mood::Refuses);
    let found = site.whole.lookup(&key()).await.unwrap();
    assert!(found.entry.is_none());
    assert_eq!((found.backend, site.breaker()), (BackendKind::Fallback, BreakerState::Open));
}

/// Looks up, and gives up after each of these milliseconds.
async fn give_up_after(site: &Site, waits: &[u64]) {
    for waited in waits {
        assert_eq!(site.breaker(), BreakerState::Closed);
        let (key, backend) = (key(), &site.whole);
        let mut lookup = backend.lookup(&key);
        assert!(matches!(rt::poll_once(&mut lookup).await, Poll::Pending));
        site.clock.advance(Duration::from_millis(*waited));
        drop(lookup);
    }
}

#[tokio::test(start_paused = true)]
async fn callers_who_give_up_waiting_open_the_breaker_where_a_probe_fails_too_and_those_who_leave_early_do_not()
 {
    let site = Site::new().await;
    let switch = &site.whole.backend.shared.switch;
    site.shop.set(Mood::Hangs);
    give_up_after(&site, &[10, 10, 10, 10, 250, 250, 250]).await;
    assert!(switch.is_in_doubt(1));
    site.shop.set(Mood::Refuses);
    site.until("it is away", |site| site.breaker() != BreakerState::Closed).await;
}

#[tokio::test(start_paused = true)]
async fn time_outs_of_a_store_that_answers_probes_do_not_open_the_breaker() {
    let site = Site::new().await;
    let switch = &site.whole.backend.shared.switch;
    site.shop.set(Mood::Busy);
    for _ in 0..10 {
        give_up_after(&site, &[250; 3]).await;
        site.until("the doubt is settled", |site| !site.whole.backend.shared.switch.is_in_doubt(1)).await;
        site.clock.advance(Duration::from_millis(250));
    }
    assert_eq!((site.breaker(), switch.is_in_doubt(1)), (BreakerState::Closed, false));
}

#[tokio::test(start_paused = true)]
async fn what_failed_before_an_outage_ended_says_nothing_about_the_time_after_it() {
    let site = Site::new().await;
    site.shop.set(Mood::Hangs);
    let key = key();
    let mut old = site.whole.lookup(&key);
    assert!(matches!(rt::poll_once(&mut old).await, Poll::Pending));
    site.falls_back().await;
    site.shop.set(Mood::Up);
    site.is_back().await;
    site.clock.advance(Duration::from_millis(250));
    for _ in 0..3 {
        site.whole.backend.shared.switch.failed(
            1,
            breaker::Failure::Fatal,
            &Error::new(ErrorKind::Unavailable, "old"),
        );
    }
    drop(old);
    assert_eq!(site.breaker(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_failed_invalidation_opens_the_breaker_before_it_returns_and_is_told_later() {
    let site = Site::new().await;
    let token = site.whole.lookup(&key()).await.unwrap().token;
    let _ = site.whole.fill(&key(), token, NewEntry::new("old")).await.unwrap();
    site.shop.set(Mood::Deaf);
    let journaled = site.whole.invalidate(&what()).await.unwrap();
    assert!(matches!(journaled, Invalidated::Journaled { .. }));
    assert_ne!(site.breaker(), BreakerState::Closed);
    assert!(site.whole.lookup(&key()).await.unwrap().entry.is_none());
    assert_eq!(site.whole.health().await.journal_depth, 1);
    // Reads would be answered, but what it missed it does not take: it does not come back.
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_ne!(site.breaker(), BreakerState::Closed);
    assert!(site.shop.store.lookup(&key()).await.unwrap().entry.is_some());
    site.shop.set(Mood::Up);
    site.is_back().await;
    assert!(site.whole.lookup(&key()).await.unwrap().entry.is_none());
    assert_eq!(site.whole.health().await.journal_depth, 0);
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_takes_tokens_of_what_stands_in() {
    let site = Site::new().await;
    site.falls_back().await;
    let token = site.whole.lookup(&key()).await.unwrap().token;
    let _ = site.whole.invalidate(&what()).await.unwrap();
    let filled = site.whole.fill(&key(), token, NewEntry::new("old")).await.unwrap();
    assert_eq!(filled, FillOutcome::Refused);
}

/// History 26: two outages with one slow load across both, and a load across the return.
#[tokio::test(start_paused = true)]
async fn a_token_is_refused_by_every_store_but_its_own() {
    let site = Site::new().await;
    let on_primary = site.whole.lookup(&key()).await.unwrap().token;
    site.falls_back().await;
    let in_first = site.whole.lookup(&key()).await.unwrap().token;
    let fill = async |token| site.whole.fill(&key(), token, NewEntry::new("old")).await.unwrap();
    assert_eq!(fill(on_primary).await, FillOutcome::Refused);
    site.shop.set(Mood::Up);
    site.is_back().await;
    assert_eq!(fill(in_first).await, FillOutcome::Refused);
    site.falls_back().await;
    assert_eq!(fill(in_first).await, FillOutcome::Refused);
    assert_eq!(fill(on_primary).await, FillOutcome::Refused);
    let own = site.whole.lookup(&key()).await.unwrap().token;
    assert_eq!(fill(own).await, FillOutcome::Stored);
}

/// History 24: the append is late, and the breaker waits for it.
#[tokio::test(start_paused = true)]
async fn the_breaker_does_not_close_while_an_append_is_under_way() {
    let site = Site::new().await;
    let switch = &site.whole.backend.shared.switch;
    let append = switch.unacknowledged(&Error::new(ErrorKind::Unavailable, "no reply"));
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_ne!(site.breaker(), BreakerState::Closed, "it answers, and an append is on its way");
    site.whole.journal.owe(&what()).await.unwrap();
    drop(append);
    site.is_back().await;
    assert!(site.whole.journal.owes_nothing());
}

/// History 29: the disk is full during an outage.
#[tokio::test(start_paused = true)]
async fn what_stands_in_and_cannot_forget_is_replaced_by_something_empty() {
    let site = Site::with(Mood::Refuses, |_| Arc::new(Stubborn::default())).await;
    let token = site.whole.lookup(&key()).await.unwrap().token;
    let filled = site.whole.fill(&key(), token, NewEntry::new("old")).await.unwrap();
    assert_eq!(filled, FillOutcome::Stored);
    let journaled = site.whole.invalidate(&what()).await.unwrap();
    assert!(matches!(journaled, Invalidated::Journaled { .. }));
    assert!(site.whole.lookup(&key()).await.unwrap().entry.is_none());
    assert_eq!(site.whole.fill(&key(), token, NewEntry::new("old")).await.unwrap(), FillOutcome::Refused);
    site.falls_back().await;
    assert!(site.whole.lookup(&key()).await.unwrap().entry.is_none(), "also when a new one stands in");
}

#[tokio::test(start_paused = true)]
async fn with_nothing_to_stand_in_no_value_is_kept_and_loads_still_find_each_other() {
    let site = Site::with(Mood::Refuses, |_| Arc::new(Nobody)).await;
    let (one, two) = (site.whole.lookup(&key()).await.unwrap(), site.whole.lookup(&key()).await.unwrap());
    assert!(one.token == two.token && !one.token.is_never());
    let filled = site.whole.fill(&key(), one.token, NewEntry::new("x")).await.unwrap();
    assert_eq!(filled, FillOutcome::Refused);
    assert_eq!(site.whole.health().await.active, BackendKind::Null);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_comes_and_goes_is_asked_less_and_less_often() {
    let site = Site::new().await;
    site.shop.set(Mood::Deaf);
    let _ = site.whole.invalidate(&what()).await.unwrap();
    let before = site.shop.calls();
    tokio::time::sleep(Duration::from_secs(100)).await;
    // A probe and an attempt to tell it, every two seconds at most and once a second at least.
    let calls = site.shop.calls() - before;
    assert!((100..=230).contains(&calls), "{calls} calls in 100 s");
}
