//! A cache in ten lines: the first read loads, the second does not, and the next read after a change sees it.
//!
//! `cargo run -p cache-facade --example quickstart`, twice: the second run finds what the first one stored, in `_cache`.

use std::time::Duration;

use cache_facade::{Cache, Family};

/// Something slow, such as a query.
async fn slow_name(id: u32) -> Result<String, std::io::Error> {
    tokio::time::sleep(Duration::from_millis(200)).await;
    Ok(format!("picture-{id}.jpg"))
}

/// Stands for an UPDATE, with its COMMIT.
async fn rename(id: u32) -> Result<(), std::io::Error> {
    tokio::task::yield_now().await;
    println!("renamed {id}");
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Zero configuration: a disk cache of 1000 MB in `_cache`. The environment changes that, see `CacheConfig`.
    let cache = Cache::from_env().await?;
    let names: Family<u32, String> = cache.family("picture")?;

    for _ in 0..2 {
        let name = names.get_or_load(7, async || slow_name(7).await).details().await?;
        println!("{} ({} from {})", *name, name.source, name.backend);
    }

    // Write to the database through the cache: every later read sees the change.
    cache.change(names.at(7), async || rename(7).await).await?;
    println!("still cached: {}", names.contains(7).await);

    // A value that no database holds, for a minute.
    let drafts: Family<u32, String> = cache.family("draft")?.ttl(Duration::from_secs(60));
    println!("draft of an earlier run: {:?}", drafts.get(7).await);
    drafts.set(7, &"a draft".to_owned()).await?;

    println!("{}", cache.stats().await?);
    cache.close().await?;
    Ok(())
}
