//! A cache in ten lines: the first read loads, the second does not, and the next read after a change sees it.
//!
//! `cargo run -p cache-facade --example quickstart`, twice: the second run finds the entries of the first, in `_cache`.

use std::time::Duration;

use cache_facade::{Cache, CacheKey, LoadOptions};

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
    let key = CacheKey::builder("picture", 7).part("name").build()?;

    for _ in 0..2 {
        let name = cache.get_or_load_with(&key, LoadOptions::new(), async || slow_name(7).await).await?;
        println!("{} ({} from {})", *name, name.source, name.backend);
    }

    // Write to the database through the cache: every later read sees the change.
    cache.change(&key, async || rename(7).await).await?;
    println!("still cached: {}", cache.contains(&key).await);

    // A value that no database holds, for a minute.
    cache.set_expiring(&key, "a draft", Duration::from_mins(1)).await?;
    println!("draft: {:?}", cache.get::<String>(&key).await);

    println!("{} entries, {} hits", cache.stats().await?.count, cache.stats().await?.hits);
    cache.close().await?;
    Ok(())
}
