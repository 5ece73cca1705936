//! The fallback store: one for each outage. It starts empty, and holds nothing of an earlier outage.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use cache_core::{CacheBackend, NullBackend};
use tokio::sync::Mutex;

use super::router::Router;

/// Opens the stores of outages, one at a time.
#[async_trait]
pub(crate) trait OpenFallback: Debug + Send + Sync + 'static {
    /// Opens an empty store. Default: one that stores nothing.
    async fn open(&self) -> Arc<dyn CacheBackend> {
        Arc::new(NullBackend::new())
    }

    /// Removes the files of a closed store.
    fn remove(&self) {}
}

/// Stores nothing during outages: everything is loaded.
#[derive(Debug)]
pub(crate) struct NoFallback;

impl OpenFallback for NoFallback {}

/// The store that is open: it is closed before the next is opened.
pub(super) struct Opened {
    pub(super) opener: Arc<dyn OpenFallback>,
    /// With the last period whose store was opened or retired.
    pub(super) current: Mutex<(u64, Option<Arc<dyn CacheBackend>>)>,
}

impl Router {
    /// Opens the fallback store of `period`, unless the period is over. Until then the fallback store is
    /// [`Unopened`](super::unopened::Unopened).
    pub(super) async fn open_store(&self, period: u64) {
        let mut current = self.opened.current.lock().await;
        if period <= current.0 {
            return;
        }
        self.opened.close(current.1.take()).await;
        let store = self.opened.opener.open().await;
        // Set after the opening: if that panics, the store is opened again.
        *current = (period, Some(Arc::clone(&store)));
        let mut state = self.state.lock();
        if state.period == period {
            state.store = store;
        }
    }

    /// Closes the fallback store of `period`, and those before it.
    pub(super) async fn retire_store(&self, period: u64) {
        let mut current = self.opened.current.lock().await;
        if current.0 <= period {
            current.0 = period;
            self.opened.close(current.1.take()).await;
        }
    }
}

impl Opened {
    async fn close(&self, store: Option<Arc<dyn CacheBackend>>) {
        let Some(store) = store else { return };
        if let Err(error) = store.close().await {
            cache_core::log::debug!(
                %error, "a fallback store did not close cleanly; its content is not used again"
            );
        }
        self.opener.remove();
    }
}
