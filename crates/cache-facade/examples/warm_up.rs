//! Fills the cache in advance: key by key with limited concurrency, or many keys with one query.
//!
//! `cargo run -p cache-facade --example warm_up`

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cache_facade::{Cache, LoadOptions, Warmed, images};

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
    let (cache, database) = (Cache::memory(), Database::default());

    // Key by key, eight at a time. Failures are counted, and the others go on.
    let load = async |cache: &Cache, id: u64| {
        let database = database.clone();
        cache.get_or_load(&images::image_metadata(id), async move || database.name(id).await).await
    };
    let progress = |warmed: Warmed| {
        if warmed.done.is_multiple_of(10) {
            println!("{} of 20 are warm, {} failed", warmed.done, warmed.failed);
        }
    };
    let warmed = cache.warm(1..=20, 8, load, progress).await;
    assert_eq!((warmed.done, warmed.failed), (19, 1));

    // Many at once: the load is called with the missing items alone.
    let items = (1..=100).map(|id: u64| (id, images::image_metadata(id)));
    let rows = database.clone();
    let names =
        cache.get_or_load_many(items, LoadOptions::new(), async move |ids| rows.names(ids).await).await?;
    println!("{} names with {} queries", names.len(), database.queries.load(Ordering::Relaxed));
    assert_eq!((names.len(), database.queries.load(Ordering::Relaxed)), (100, 21));
    Ok(())
}
