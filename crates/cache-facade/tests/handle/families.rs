//! Lifetimes from settings, jitter and `set`; refreshes outside a runtime.

use std::time::Duration;

use cache_facade::{Lifetime, LoadOptions, Source};

use crate::lifetimes::{MINUTE, Timed, revalidated};
use crate::support::{Nothing, key};

#[tokio::test]
async fn settings_of_a_family_apply_option_by_option_where_a_load_sets_none() {
    let timed = Timed::configured(|config| {
        let all = Lifetime::new().ttl(MINUTE).stale_while_revalidate(10 * MINUTE);
        config.default_lifetime(all).family_lifetime("image", Lifetime::new().stale_while_revalidate(MINUTE))
    });
    timed.ask(LoadOptions::new(), 1).await;
    timed.wait(119);
    assert_eq!(timed.ask(LoadOptions::new(), 2).await, (1, Source::Stale));
    timed.wait(120);
    assert_eq!(timed.ask(LoadOptions::new(), 3).await, (3, Source::Loaded));
    timed.wait(60);
    let strict = || LoadOptions::new().stale_while_revalidate(Duration::ZERO);
    assert_eq!(timed.ask(strict(), 4).await, (4, Source::Loaded));
}

#[tokio::test]
async fn a_value_that_was_set_expires_and_is_never_served_stale() {
    let timed = Timed::configured(|config| {
        let lifetime = Lifetime::new().ttl(MINUTE).stale_while_revalidate(MINUTE);
        config.default_lifetime(lifetime)
    });
    timed.cache.set(&key(1), &1_u32).await.unwrap();
    timed.wait(60);
    assert_eq!(timed.ask(LoadOptions::new(), 2).await, (2, Source::Loaded));
}

#[tokio::test]
async fn values_loaded_together_do_not_expire_together() {
    let Timed { clock, cache } = Timed::new();
    for id in 0..200 {
        let options = LoadOptions::new().ttl(100 * MINUTE).jitter(0.5);
        cache
            .get_or_load(&key(id), async || Ok::<_, Nothing>(1_u32))
            .options(options)
            .details()
            .await
            .unwrap();
    }
    let left = async || {
        let keys: Vec<_> = (0..200).map(key).collect();
        cache.get_many::<u32>(&keys).await.iter().flatten().count()
    };
    clock.advance(49 * MINUTE);
    assert_eq!(left().await, 200);
    clock.advance(26 * MINUTE);
    assert!((1..200).contains(&left().await));
    clock.advance(25 * MINUTE);
    assert_eq!(left().await, 0);
}

#[test]
fn outside_a_runtime_a_stale_value_is_served_without_a_load() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let timed = runtime.block_on(async {
        let timed = Timed::new();
        timed.ask(revalidated(), 1).await;
        timed
    });
    timed.wait(60);
    let load = async || -> Result<u32, Nothing> { panic!("no runtime to run it") };
    let (key, options) = (key(1), revalidated());
    let asking = std::pin::pin!(timed.cache.get_or_load(&key, load).options(options).details().into_future());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(served) = asking.poll(&mut context) else { panic!("a hit does not wait") };
    assert_eq!(served.unwrap().source, Source::Stale);
}
