//! Laws of shards that are lost and return, one by one.

use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use testkit::Lines;
use tracing::Level;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_shard_returns_while_another_stays_away_or_refuses_what_is_owed_to_it() {
    for stays in [Behaviour::Refuses, Behaviour::RefusesInvalidations] {
        let cluster = Cluster::new().await;
        cluster.fill(&key(1), "old").await;
        cluster.lose(1).await;
        cluster.lose(2).await;
        let _ = cluster.invalidate(&keys([1, 2])).await;
        let _ = cluster.invalidate(&pattern()).await;
        cluster.0.shared.set_shard(2, stays);
        cluster.regains(1).await;
        assert!(cluster.value(&key(1)).await.is_none() && cluster.there(&key(1)).await.is_none());
        assert_eq!((cluster.away(), cluster.owed()), (zones(2), zones(2)));
        assert!(cluster.lookup(&key(1)).await.backend == BackendKind::Redis);
        cluster.regains(2).await;
        assert!(cluster.owed().is_empty() && cluster.0.backend.journal.is_drained());
    }
}

/// A probe takes long where a server has to be cleared before it is used.
#[tokio::test(start_paused = true)]
async fn a_shard_that_is_lost_during_a_long_recovery_of_another_has_a_fallback_store() {
    let cluster = Cluster::new().await;
    cluster.lose(2).await;
    cluster.lose(1).await;
    cluster.regains(1).await;
    cluster.0.shared.set_shard(2, Behaviour::Hangs);
    tokio::time::sleep(Duration::from_secs(5)).await;
    cluster.lose(1).await;
    cluster.fill(&key(1), "new").await;
    assert_eq!(cluster.value(&key(1)).await.unwrap(), "new");
}

/// History 40: the zone that is lost again.
#[tokio::test(start_paused = true)]
async fn the_fallback_store_never_serves_a_value_of_an_earlier_outage_of_the_zone() {
    let cluster = Cluster::new().await;
    cluster.lose(2).await;
    cluster.lose(1).await;
    let first = cluster.lookup(&key(1)).await.token;
    cluster.fill(&key(1), "old").await;
    cluster.regains(1).await;
    // A change of another instance, of which this one does not learn.
    cluster.lose(1).await;
    assert!(cluster.value(&key(1)).await.is_none(), "shard 2 was away all the time");
    let filled = cluster.0.backend.fill(&key(1), first, NewEntry::new("old")).await.unwrap();
    assert_eq!(filled, FillOutcome::Refused);
}

#[tokio::test(start_paused = true)]
async fn zones_that_are_lost_one_after_another_share_one_fallback_store() {
    let cluster = Cluster::new().await;
    cluster.lose(1).await;
    cluster.fill(&key(1), "kept").await;
    cluster.lose(2).await;
    assert_eq!(cluster.value(&key(1)).await.unwrap(), "kept");
    // After a return of all, the next outage begins with an empty store, whichever zone it is of.
    cluster.fill(&key(2), "old").await;
    cluster.regains(1).await;
    cluster.regains(2).await;
    cluster.lose(0).await;
    assert_eq!(cluster.lookup(&key(0)).await.backend, BackendKind::Fallback);
    cluster.lose(2).await;
    assert!(cluster.value(&key(2)).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_append_for_one_zone_does_not_delay_the_return_of_another() {
    let cluster = Cluster::new().await;
    cluster.lose(1).await;
    cluster.lose(2).await;
    let error = Error::new(ErrorKind::Unavailable, "no reply");
    let append = cluster.router().unacknowledged(Zone::new(2).into(), &error);
    cluster.regains(1).await;
    cluster.0.shared.set_shard(2, Behaviour::Up);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(cluster.away(), Zone::new(2).into(), "it answers, but an append is in progress");
    drop(append);
    cluster.0.is_back().await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_the_recovery_waits_until_every_zone_has_acknowledged_what_is_owed() {
    let done = Arc::new(AtomicU64::new(0));
    let count = |done: &Arc<AtomicU64>| {
        let done = Arc::clone(done);
        move || _ = done.fetch_add(1, Ordering::SeqCst)
    };
    let without_1 = |shared: &SharedStore| shared.set_shard(1, Behaviour::Refuses);
    let cluster = Cluster::with(true, without_1, count(&done)).await;
    assert_eq!((cluster.away(), done.load(Ordering::SeqCst)), (zones(1), 1), "nothing was owed");
    cluster.0.backend.inner.start_over(Box::new(count(&done)));
    let is_back = |setup: &Setup| setup.backend.inner.router.state.lock().breaker.away() == zones(1);
    cluster.0.until("the other shards are back", is_back).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((cluster.owed(), done.load(Ordering::SeqCst)), (zones(1), 1));
    cluster.regains(1).await;
    assert_eq!(done.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn the_zones_that_are_away_are_probed_together() {
    let cluster = Cluster::new().await;
    cluster.lose(0).await;
    cluster.lose(1).await;
    let before = cluster.0.shared.calls();
    tokio::time::sleep(Duration::from_secs(100)).await;
    // One probe of each server a round, and a round at least every two seconds and at most every second.
    let calls = cluster.0.shared.calls() - before;
    assert!((100..=230).contains(&calls), "{calls} calls in 100 s");
}

/// History 41: a slot that moves while an invalidation is owed to its zone.
#[tokio::test(start_paused = true)]
async fn a_zone_that_moves_to_another_shard_is_read_there_only_after_it_was_told_what_is_owed() {
    let cluster = Cluster::new().await;
    let (zone, shared) = (Zone::new(1), &cluster.0.shared);
    cluster.lose(1).await;
    let _ = cluster.invalidate(&keys([1])).await;
    shared.set_shard(0, Behaviour::RefusesInvalidations);
    shared.move_zone(zone, 0);
    let moved_with_it = NewEntry::new("old");
    shared.store_of(&key(1)).set(&key(1), moved_with_it).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(cluster.value(&key(1)).await.is_none() && cluster.away().covers(zone.into()));
    shared.set_shard(0, Behaviour::Up);
    let is_back = |setup: &Setup| {
        let state = setup.backend.inner.router.state.lock();
        !state.breaker.away().contains(zone)
    };
    cluster.0.until("the zone is in use", is_back).await;
    assert!(cluster.value(&key(1)).await.is_none() && cluster.there(&key(1)).await.is_none());
    assert_eq!(cluster.away(), zones(1) - zone.into(), "the other zones of the lost shard did not move");
}

#[tokio::test(start_paused = true)]
async fn the_log_tells_of_a_lost_shard_of_a_lost_cache_and_of_their_return() {
    const NAME: &str = "the_log_tells_of_a_lost_shard_of_a_lost_cache_and_of_their_return";
    const ALONE: &str = "TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        // In a process of its own: beyond some number of caches, the events of all share a limit.
        let mut child = Command::new(std::env::current_exe().unwrap());
        let output = child.arg(NAME).env(ALONE, "").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    Lines::capture(Level::INFO);
    let without_2 = |shared: &SharedStore| shared.set_shard(2, Behaviour::Refuses);
    let cluster = Cluster::with(true, without_2, || {}).await;
    let lost = Lines::with("Redis shard lost, its keys fall back to disk cache");
    assert!(lost.len() == 1 && lost[0].contains("percent_away=33"), "{lost:?}");
    assert!(lost[0].contains("the shared store is away"), "{lost:?}");
    cluster.regains(2).await;
    let again = || Lines::with("Redis shard available again");
    assert!(again().len() == 1 && again()[0].contains("percent_away=0"), "{:?}", again());
    for shard in 0..SHARDS {
        cluster.lose(shard).await;
    }
    assert_eq!(Lines::with("Redis cache lost, falling back to disk cache").len(), 1);
    cluster.0.shared.set(Behaviour::Up);
    cluster.0.is_back().await;
    assert_eq!((Lines::with("Redis cache available again").len(), again().len()), (1, 1));
}
