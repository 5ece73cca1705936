//! Events of a cache, what is remembered of invalidations, figures of loads, and counts before a clear.

use std::sync::atomic::Ordering;
use std::time::Duration;

use cache_facade::{
    Cache, CacheGroup, CachePattern, Invalidated, Invalidates, Invalidation, ManualClock,
    stats::{CacheEvent, CacheEvents, InvalidationEvent},
};

use crate::support::*;

struct Renamed;

impl Invalidates for Renamed {
    fn invalidations(&self) -> Vec<Invalidation> {
        vec![key(1).into(), CacheGroup::new("image", 2).into()]
    }
}

async fn load(cache: &Cache, id: u64) {
    cache.get_or_load(&key(id), async || Ok::<_, Nothing>("value".to_owned())).await.unwrap();
}

async fn invalidation(events: &mut CacheEvents) -> std::sync::Arc<InvalidationEvent> {
    match events.next().await {
        Some(CacheEvent::Invalidated(event)) => event,
        other => unreachable!("expected an invalidation, found {other:?}"),
    }
}

#[tokio::test]
async fn an_invalidation_is_announced_with_its_call_its_change_and_what_it_removed() {
    let cache = Cache::memory();
    load(&cache, 1).await;
    load(&cache, 2).await;
    let mut events = cache.events();
    cache.change(&Renamed, async || Ok::<_, Nothing>(())).await.unwrap();
    let event = invalidation(&mut events).await;
    assert_eq!(
        (event.call, event.count, &event.outcome),
        ("change", 2, &Ok(Invalidated::Applied { removed: 2 }))
    );
    assert!(event.change.ends_with("::watching::Renamed"), "{}", event.change);
    assert!(event.matches("image:2:thumbnail") && !event.matches("image:1:thumbnail"));

    let _ = cache.delete(&key(1)).await.unwrap();
    let _ = cache.invalidate(&key(1)).await.unwrap();
    let _ = cache.clear_pattern("image:1").await.unwrap();
    let _ = cache.clear().await.unwrap();
    for call in ["delete", "invalidate", "clear_pattern", "clear"] {
        assert_eq!(invalidation(&mut events).await.call, call);
    }
}

#[tokio::test]
async fn an_invalidation_that_fails_is_announced_and_explains_no_key() {
    let faulty = Faulty::new();
    let cache = Cache::new(faulty.clone());
    let mut events = cache.events();
    faulty.invalidations_fail.store(true, Ordering::SeqCst);
    cache.invalidate(&key(1)).await.unwrap_err();
    assert!(invalidation(&mut events).await.outcome.as_ref().unwrap_err().contains("the disk is full"));
    assert!(cache.last_invalidation(&key(1)).unwrap().is_none());
}

#[tokio::test]
async fn a_refused_fill_is_announced_and_counted() {
    let cache = Cache::memory();
    let mut events = cache.events();
    let changing = cache.clone();
    let load = async move || {
        let _ = changing.delete(&key(1)).await.unwrap();
        Ok::<_, Nothing>("old".to_owned())
    };
    cache.get_or_load(&key(1), load).await.unwrap();
    invalidation(&mut events).await;
    let refused = events.next().await;
    assert!(
        matches!(&refused, Some(CacheEvent::FillRefused { key: refused, .. }) if *refused == key(1)),
        "{refused:?}"
    );
    assert_eq!(cache.load_stats()["image"].fills_refused, 1);
}

#[tokio::test]
async fn the_last_invalidation_of_a_key_is_remembered_without_a_receiver() {
    let cache = Cache::memory();
    let scoped = cache.scoped("reports").unwrap();
    let _ = cache.invalidate(&key(1).to_group()).await.unwrap();
    let _ = cache.invalidate(&key(2)).await.unwrap();
    let _ = scoped.invalidate(&key(3)).await.unwrap();
    let last = |cache: &Cache, id: u64| {
        cache.last_invalidation(&key(id)).unwrap().map(|event| event.what[0].to_string())
    };
    assert_eq!(last(&cache, 1).as_deref(), Some("group image:1"));
    assert_eq!((last(&cache, 3), last(&scoped, 1)), (None, None));
    assert_eq!(last(&scoped, 3).as_deref(), Some("key [reports]image:3:metadata"));
    assert_eq!(cache.recent_invalidations().len(), 3);
}

#[tokio::test]
async fn loads_are_counted_by_family_with_their_time() {
    let clock = std::sync::Arc::new(ManualClock::new());
    let cache = Cache::memory_with_clock(clock.clone());
    for id in 0..2_u64 {
        let clock = clock.clone();
        let load = async move || {
            clock.advance(Duration::from_millis(30));
            if id == 0 { Ok("value".to_owned()) } else { Err(std::io::Error::other("the database is away")) }
        };
        let _ = cache.get_or_load(&key(id), load).await;
    }
    load(&cache, 0).await;
    let stats = cache.load_stats()["image"];
    assert_eq!((stats.loads, stats.failed, stats.keys), (2, 1, 2), "a hit is no load");
    assert_eq!(stats.mean_time(), Some(Duration::from_millis(30)));
}

#[tokio::test]
async fn a_count_is_what_a_clear_removes_in_each_store_and_scope() {
    for store in every_store().await {
        let scoped = store.cache.scoped("reports").unwrap();
        for id in 0..5 {
            load(&store.cache, id).await;
            load(&scoped, id).await;
        }
        for (cache, what, count) in [
            (&store.cache, Invalidation::from(key(1)), 1),
            (&store.cache, CacheGroup::new("image", 2).into(), 1),
            (&store.cache, CachePattern::parse("image").unwrap().into(), 3),
            (&scoped, CachePattern::parse("image:*").unwrap().into(), 5),
            (&store.cache, Invalidation::Everything, 0),
        ] {
            assert_eq!(cache.count_matches(&what).await.unwrap(), Some(count), "{}: {what}", store.name);
            assert_eq!(cache.invalidate(&what).await.unwrap().removed(), count, "{}: {what}", store.name);
        }
    }
}

#[tokio::test]
async fn a_store_that_cannot_count_says_so() {
    assert_eq!(Cache::new(Faulty::new()).count_matches(&key(1).into()).await.unwrap(), None);
    assert_eq!(Cache::disabled().count_matches(&key(1).into()).await.unwrap(), Some(0));
}
