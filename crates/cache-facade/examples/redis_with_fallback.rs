//! Redis with a fallback to disk: the backend that answers, and the outcome of a change while Redis is unreachable.
//!
//! `cargo run -p cache-facade --features redis --example redis_with_fallback`, with a Redis on 127.0.0.1:6379 and without
//! one. Stop and start the server while it runs.

use std::time::Duration;

use cache_facade::{Cache, CacheConfig, Family, Invalidated, RedisConfig, config::Fallback};

/// Number of rounds, one a second.
const ROUNDS: u32 = 5;

/// Stands for a query.
async fn name_in(round: u32) -> Result<String, std::io::Error> {
    tokio::task::yield_now().await;
    Ok(format!("picture-{round}.jpg"))
}

/// Stands for an UPDATE, with its COMMIT.
async fn rename(round: u32) -> Result<(), std::io::Error> {
    tokio::task::yield_now().await;
    println!("renamed in round {round}");
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_env_filter("info").init();
    let config = CacheConfig::builder()
        .redis(RedisConfig::from_url("redis://127.0.0.1:6379")?)
        .fallback(Fallback::Disk)
        // Other instances' changes cannot arrive during an outage: no older entry is served then.
        .fallback_max_age(Duration::from_secs(30))
        .build()?;
    // An unreachable Redis is no error here: it is logged, the fallback answers, and Redis is used again when it is back.
    let cache = Cache::connect(config).await?;
    let names: Family<u32, String> = cache.family("picture")?;

    for round in 0..ROUNDS {
        let name = names.get_or_load(7, async move || name_in(round).await).details().await?;
        println!("{} ({} from {})", *name, name.source, name.backend);

        let changed = cache.change(names.at(7), async move || rename(round).await).await?;
        match changed.invalidated {
            Invalidated::Applied { .. } => println!("every instance sees the change"),
            Invalidated::Journaled { .. } => println!("this instance sees it, the others when Redis is back"),
        }
        println!("{}", cache.health().await);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    cache.close().await?;
    Ok(())
}
