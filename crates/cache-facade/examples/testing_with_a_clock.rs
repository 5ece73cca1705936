//! Tests of expiry without waiting, by a clock that the test moves.
//!
//! `cargo run -p cache-facade --example testing_with_a_clock`; in an application the functions below are its tests.

use std::sync::Arc;
use std::time::Duration;

use cache_facade::{
    Cache, CacheConfig, CacheKey, LoadError, LoadOptions, ManualClock, Result, Source, backend::MemoryBackend,
};

const MINUTE: Duration = Duration::from_mins(1);

/// The code that is tested: a rate that expires after a minute, and may be served stale for ten more if its load fails.
async fn rate(
    cache: &Cache,
    from_the_bank: std::result::Result<f64, &'static str>,
) -> std::result::Result<(f64, Source), LoadError<&'static str>> {
    let options = LoadOptions::new().expire(MINUTE).stale_if_error(10 * MINUTE);
    let key = CacheKey::builder("rates", "eur").build().expect("both parts are short");
    let loaded = cache.get_or_load_with(&key, options, async move || from_the_bank).await?;
    Ok((loaded.value, loaded.source))
}

/// A cache in memory with its clock: backend and handle take the same one.
fn cache_with_a_clock() -> Result<(Cache, Arc<ManualClock>)> {
    let clock = Arc::new(ManualClock::new());
    let store = Arc::new(MemoryBackend::new().with_clock(clock.clone()));
    let config = CacheConfig::builder().clock(clock.clone()).build()?;
    Ok((Cache::builder(store).config(config).build(), clock))
}

async fn a_rate_is_asked_for_again_after_a_minute() -> Result<()> {
    let (cache, clock) = cache_with_a_clock()?;
    assert_eq!(rate(&cache, Ok(1.09)).await.ok(), Some((1.09, Source::Loaded)));
    clock.advance(Duration::from_secs(59));
    assert_eq!(rate(&cache, Ok(1.10)).await.ok(), Some((1.09, Source::Hit)));
    clock.advance(Duration::from_secs(1));
    assert_eq!(rate(&cache, Ok(1.10)).await.ok(), Some((1.10, Source::Loaded)));
    Ok(())
}

async fn an_old_rate_is_better_than_none_and_not_for_ever() -> Result<()> {
    let (cache, clock) = cache_with_a_clock()?;
    assert_eq!(rate(&cache, Ok(1.09)).await.ok(), Some((1.09, Source::Loaded)));
    clock.advance(MINUTE);
    assert_eq!(rate(&cache, Err("the bank is closed")).await.ok(), Some((1.09, Source::Stale)));
    clock.advance(10 * MINUTE);
    assert!(rate(&cache, Err("the bank is closed")).await.is_err());
    Ok(())
}

// One thread: a value is stored before the caller of its load continues, so that every run is the same.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    a_rate_is_asked_for_again_after_a_minute().await?;
    an_old_rate_is_better_than_none_and_not_for_ever().await?;
    println!("eleven minutes went by in no time");
    Ok(())
}
