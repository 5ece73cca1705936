//! Redis with a fallback to disk: the backend that answers, and the outcome of a change while Redis is unreachable.
//!
//! `cargo run -p cache-facade --features redis --example redis_with_fallback`, with a Redis on 127.0.0.1:6379 and without
//! one. Stop and start the server while it runs.

use std::time::Duration;

use cache_facade::{Cache, CacheConfig, CacheKey, Fallback, Invalidated, LoadOptions, RedisConfig};

/// Number of rounds, one a second.
const ROUNDS: u32 = 5;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_env_filter("info").init();
    let config = CacheConfig::builder()
        .redis(RedisConfig::at("127.0.0.1"))
        .fallback(Fallback::Disk)
        // Other instances' changes cannot arrive during an outage: no older entry is served then.
        .fallback_max_age(Duration::from_secs(30))
        .build()?;
    // An unreachable Redis is no error here: it is logged, the fallback answers, and Redis is used again when it is back.
    let cache = Cache::connect(config).await?;
    let key = CacheKey::builder("picture", 7).part("name").build()?;

    for round in 0..ROUNDS {
        let load = async move || Ok::<_, std::io::Error>(format!("picture-{round}.jpg"));
        let name = cache.get_or_load_with(&key, LoadOptions::new(), load).await?;
        println!("{} ({} from {})", *name, name.source, name.backend);

        let changed = cache.change(&key, async || Ok::<_, std::io::Error>(())).await?;
        match changed.invalidated {
            Invalidated::Applied { .. } => println!("every instance sees the change"),
            Invalidated::Journaled { .. } => println!("this instance sees it, the others when Redis is back"),
        }
        let health = cache.health().await;
        println!("{:?}: {} invalidations wait for Redis", health.breaker, health.journal_depth);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    cache.close().await?;
    Ok(())
}
