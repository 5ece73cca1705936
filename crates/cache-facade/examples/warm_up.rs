//! Fills the cache in advance: key by key with limited concurrency, or many keys with one query.
//!
//! `cargo run -p cache-facade --example warm_up`

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cache_facade::{Cache, Family, Warmed};

/// Stands for a database; it counts its queries.
#[derive(Clone, Default)]
struct Database {
    queries: Arc<AtomicU64>,
}

impl Database {
    async fn name(&self, id: u64) -> Result<String, std::io::Error> {
        self.queries.fetch_add(1, Ordering::Relaxed);
        tokio::task::yield_now().await;
        if id == 13 { Err(std::io::Error::other("row 13 is broken")) } else { Ok(format!("image-{id}.png")) }
    }

    /// One query for many rows: `WHERE id IN (...)`.
    async fn names(&self, ids: Vec<u64>) -> Result<Vec<(u64, String)>, std::io::Error> {
        self.queries.fetch_add(1, Ordering::Relaxed);
        tokio::task::yield_now().await;
        Ok(ids.into_iter().map(|id| (id, format!("image-{id}.png"))).collect())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (names, database): (Family<u64, String>, _) = (Cache::memory().family("name")?, Database::default());

    // Key by key, eight at a time. Failures are counted, and the others go on.
    let rows = database.clone();
    let load = async move |id| rows.name(id).await;
    let progress = |warmed: Warmed| {
        if warmed.done.is_multiple_of(10) {
            println!("{} of 20 are warm, {} failed", warmed.done, warmed.failed);
        }
    };
    let warmed = names.warm(1..=20, 8, load, progress).await;
    assert_eq!((warmed.done, warmed.failed), (19, 1));

    // Many at once: the load is called with the missing ids alone.
    let rows = database.clone();
    let found = names.get_or_load_many(1..=100, async move |ids| rows.names(ids).await).await?;
    println!("{} names with {} queries", found.len(), database.queries.load(Ordering::Relaxed));
    assert_eq!((found.len(), database.queries.load(Ordering::Relaxed)), (100, 21));
    Ok(())
}
