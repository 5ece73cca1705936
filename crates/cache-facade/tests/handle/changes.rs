//! Writes through `change`: invalidations, errors, cancellation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};

use cache_facade::{
    Cache, CacheConfig, ChangeError, Commit, Invalidated, Invalidation, backend::MemoryBackend,
    images::ImageChange,
};
use tokio::sync::Semaphore;

use crate::support::{Faulty, every_store, key, let_others_run};

const CHANGE: ImageChange<u32> = ImageChange::ImageUpdated { project: 1, image: 5 };

async fn warm(cache: &Cache) {
    cache.set(&key(5), "old").await.unwrap();
}

async fn is_warm(cache: &Cache) -> bool {
    cache.contains(&key(5)).await
}

#[tokio::test]
async fn a_committed_change_is_invalidated_and_gives_the_commits_value() {
    let cache = Cache::memory();
    warm(&cache).await;
    let changed = cache.change(&CHANGE, async || Ok::<_, &str>(7)).await.unwrap();
    assert_eq!((changed.value, changed.invalidated), (7, Invalidated::Applied { removed: 1 }));
    assert!(!is_warm(&cache).await);
}

#[tokio::test]
async fn a_failed_commit_may_be_in_the_database_and_is_invalidated() {
    let cache = Cache::memory();
    warm(&cache).await;
    let failed = cache.change(&CHANGE, async || Err::<(), _>("connection lost")).await;
    assert!(matches!(failed, Err(ChangeError::Failed("connection lost"))));
    assert!(!is_warm(&cache).await);
}

#[tokio::test]
async fn a_change_that_is_certainly_rolled_back_is_not_invalidated() {
    let cache = Cache::memory();
    warm(&cache).await;
    let failed = cache.change(&CHANGE, async || Commit::<(), _>::RolledBack("name is taken")).await;
    assert!(matches!(failed, Err(ChangeError::Failed("name is taken"))));
    assert!(is_warm(&cache).await);
}

#[tokio::test]
async fn a_panicking_commit_is_invalidated() {
    let cache = Cache::memory();
    warm(&cache).await;
    let commit = async || -> Result<(), &str> { panic!("half-way") };
    let failed = cache.change(&CHANGE, commit).await;
    assert!(matches!(failed, Err(ChangeError::Panicked(why)) if &*why == "half-way"));
    assert!(!is_warm(&cache).await);
}

#[tokio::test]
async fn a_change_that_could_not_be_invalidated_is_an_error_with_its_value() {
    let store = Faulty::new();
    store.invalidations_fail.store(true, Ordering::SeqCst);
    let cache = Cache::new(store);
    let told = cache.change(&CHANGE, async || Ok::<_, &str>("row")).await;
    assert!(matches!(told, Err(ChangeError::NotInvalidated(_))));
    assert!(cache.invalidate(&CHANGE).await.is_err());
}

#[tokio::test]
async fn a_change_completes_wherever_its_caller_is_cancelled() {
    for polls in 1..20 {
        let cache = Cache::memory();
        warm(&cache).await;
        let committed = Arc::new(AtomicBool::new(false));
        let commit = {
            let committed = Arc::clone(&committed);
            async move || {
                for _ in 0..5 {
                    tokio::task::yield_now().await;
                }
                committed.store(true, Ordering::SeqCst);
                tokio::task::yield_now().await;
                Ok::<_, &str>(())
            }
        };
        poll_then_drop(cache.change(&CHANGE, commit), polls).await;
        let_others_run().await;
        assert!(committed.load(Ordering::SeqCst), "dropped after {polls} polls");
        assert!(!is_warm(&cache).await, "dropped after {polls} polls");
    }
}

#[tokio::test]
async fn an_invalidation_completes_once_polled() {
    let cache = Cache::memory();
    warm(&cache).await;
    poll_then_drop(cache.invalidate(&CHANGE), 1).await;
    let_others_run().await;
    assert!(!is_warm(&cache).await);
}

#[tokio::test]
async fn closing_waits_for_running_changes() {
    let cache = Cache::memory();
    let gate = Arc::new(Semaphore::new(0));
    let commit = {
        let gate = Arc::clone(&gate);
        async move || {
            gate.acquire().await.unwrap().forget();
            Ok::<_, &str>(())
        }
    };
    let change = tokio::spawn({
        let cache = cache.clone();
        async move { cache.change(&CHANGE, commit).await }
    });
    let_others_run().await;
    let closing = tokio::spawn({
        let cache = cache.clone();
        async move { cache.close().await }
    });
    let_others_run().await;
    assert!(!closing.is_finished());
    gate.add_permits(1);
    assert!(change.await.unwrap().is_ok(), "it was invalidated before the store was closed");
    closing.await.unwrap().unwrap();
    assert!(cache.invalidate(&CHANGE).await.is_err());
    assert!(!is_warm(&cache).await);
}

#[tokio::test]
async fn after_closing_no_change_is_committed() {
    for stored in every_store().await {
        stored.cache.close().await.unwrap();
        let commit = async || -> Result<(), &str> { unreachable!("the cache is closed") };
        let refused = stored.cache.change(&CHANGE, commit).await;
        assert!(matches!(refused, Err(ChangeError::NotBegun(_))), "{} {refused:?}", stored.name);
    }
}

#[tokio::test]
async fn a_change_that_makes_nothing_stale_is_committed() {
    let cache = Cache::memory();
    let nothing: [Invalidation; 0] = [];
    let changed = cache.change(nothing, async || Ok::<_, &str>(1)).await.unwrap();
    assert_eq!(changed.invalidated, Invalidated::Applied { removed: 0 });
}

#[tokio::test]
async fn changes_invalidate_the_backend_of_a_disabled_cache() {
    let store = Arc::new(MemoryBackend::new());
    let reads = Cache::new(store.clone());
    let config = CacheConfig::builder().enabled(false).build().unwrap();
    let silent = Cache::builder(store).config(config).build();
    warm(&reads).await;
    silent.change(&CHANGE, async || Ok::<_, &str>(())).await.unwrap();
    assert!(!is_warm(&reads).await);
}

/// Polls `future` `times` times, letting the rest of the program run in between, and drops it.
async fn poll_then_drop(future: impl Future, times: usize) {
    let mut future = Box::pin(future);
    for _ in 0..times {
        if future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            return;
        }
        tokio::task::yield_now().await;
    }
}
