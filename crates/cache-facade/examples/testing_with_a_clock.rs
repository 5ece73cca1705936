//! Tests of expiry without waiting, by a clock that the test moves.
//!
//! `cargo run -p cache-facade --example testing_with_a_clock`; in an application the functions below are its tests.

use std::sync::Arc;
use std::time::Duration;

use cache_facade::{Cache, Family, LoadError, ManualClock, Result, Source};

const MINUTE: Duration = Duration::from_secs(60);

/// The code that is tested: a rate that expires after a minute, and may be served stale for ten more if its load fails.
async fn rate(
    cache: &Cache,
    from_the_bank: std::result::Result<f64, &'static str>,
) -> std::result::Result<(f64, Source), LoadError<&'static str>> {
    let rates: Family<&str, f64> = cache.family("rates").expect("a name that keys can have");
    let loaded = rates
        .get_or_load("eur", async move || from_the_bank)
        .ttl(MINUTE)
        .stale_if_error(10 * MINUTE)
        .details()
        .await?;
    Ok((loaded.value, loaded.source))
}

fn cache_with_a_clock() -> (Cache, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new());
    (Cache::memory_with_clock(clock.clone()), clock)
}

async fn a_rate_is_asked_for_again_after_a_minute() {
    let (cache, clock) = cache_with_a_clock();
    assert_eq!(rate(&cache, Ok(1.09)).await.ok(), Some((1.09, Source::Loaded)));
    clock.advance(Duration::from_secs(59));
    assert_eq!(rate(&cache, Ok(1.10)).await.ok(), Some((1.09, Source::Hit)));
    clock.advance(Duration::from_secs(1));
    assert_eq!(rate(&cache, Ok(1.10)).await.ok(), Some((1.10, Source::Loaded)));
}

async fn an_old_rate_is_better_than_none_and_not_for_ever() {
    let (cache, clock) = cache_with_a_clock();
    assert_eq!(rate(&cache, Ok(1.09)).await.ok(), Some((1.09, Source::Loaded)));
    clock.advance(MINUTE);
    assert_eq!(rate(&cache, Err("the bank is closed")).await.ok(), Some((1.09, Source::Stale)));
    clock.advance(10 * MINUTE);
    assert!(rate(&cache, Err("the bank is closed")).await.is_err());
}

// One thread: a value is stored before the caller of its load continues, so that every run is the same.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    a_rate_is_asked_for_again_after_a_minute().await;
    an_old_rate_is_better_than_none_and_not_for_ever().await;
    println!("eleven minutes went by in no time");
    Ok(())
}
