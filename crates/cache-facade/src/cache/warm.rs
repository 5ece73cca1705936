//! Filling a cache before it is needed.

use futures_util::StreamExt;
use futures_util::stream;

use super::Cache;

/// How far a [`Cache::warm`] has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Warmed {
    /// Items that were loaded, or were there already.
    pub done: u64,
    /// Items whose load failed.
    pub failed: u64,
}

impl Cache {
    /// Calls `load` for each of `items`, `concurrency` of them at a time, and `progress` after each.
    ///
    /// ```
    /// # async fn example(cache: cache_facade::Cache) {
    /// use cache_facade::images;
    ///
    /// let warmed = cache
    ///     .warm(1..=100, 8, async |cache, id| {
    ///         let load = async move || Ok::<_, std::io::Error>(format!("image {id}"));
    ///         cache.get_or_load(&images::image_metadata(id), load).await
    ///     }, |warmed| eprintln!("{} of 100", warmed.done))
    ///     .await;
    /// # }
    /// ```
    ///
    /// A failed item is counted and the rest goes on. A `concurrency` of 0 counts as 1.
    ///
    /// # Cancellation
    /// Loads that have begun run to their end; no further one begins.
    pub async fn warm<I, L, T, E>(
        &self,
        items: I,
        concurrency: usize,
        load: L,
        mut progress: impl FnMut(Warmed),
    ) -> Warmed
    where
        I: IntoIterator,
        L: AsyncFn(&Self, I::Item) -> Result<T, E>,
    {
        let mut warmed = Warmed::default();
        let load = &load;
        let loads = stream::iter(items).map(async |item| load(self, item).await.is_ok());
        let mut loads = std::pin::pin!(loads.buffer_unordered(concurrency.max(1)));
        while let Some(done) = loads.next().await {
            if done {
                warmed.done += 1;
            } else {
                warmed.failed += 1;
            }
            progress(warmed);
        }
        warmed
    }
}
