//! Invalidations: acknowledged by the current server, or not done.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cache_core::{CacheKey, ErrorKind, Invalidation, Result};
use tokio::time::Instant;

use crate::connection::Connection;
use crate::engine::RedisEngine;
use crate::error::Fault;
use crate::protocol::removal::Removal;

/// How many times an invalidation begins again because another server took over meanwhile.
const SWITCHES: usize = 3;

impl RedisEngine {
    /// Removes all of `what`. Returns about how many entries that were: a whole group counts with its leases.
    pub(crate) async fn invalidate(&self, what: &[Invalidation]) -> Result<u64> {
        let total = AtomicU64::new(0);
        let outcome = self
            .remove(what, &|group, entries| {
                total.fetch_add(entries, Ordering::Relaxed);
                if let Ok(key) = CacheKey::parse(group) {
                    self.stats.removed(key.family(), entries);
                }
            })
            .await;
        let total = total.into_inner();
        self.miss_log.lock().invalidated(what);
        for what in what {
            if let Invalidation::Group(group) = what {
                self.predictor.record(group.as_str(), false);
            }
        }
        let clears = what.iter().filter(|what| **what == Invalidation::Everything).count() as u64;
        self.stats.add(|stats| {
            stats.clears += clears;
            stats.invalidations += what.len() as u64 - clears;
            stats.invalidated_entries += total;
        });
        if clears > 0 {
            self.stats.counted(&BTreeMap::new());
        }
        outcome.map(|()| total)
    }

    async fn remove(&self, what: &[Invalidation], removed: &(impl Fn(&str, u64) + Sync)) -> Result<()> {
        let timeout = self.pool.manager.connector.config.timeout;
        self.run_recorded(0, what, |mut connection, deadline| async move {
            let connection = &mut connection;
            Removal { connection, layout: &self.layout, removed, timeout }.run(what, deadline).await
        })
        .await
    }

    /// Runs `operation`, which sends `bytes` of values and makes the values of `what` out of date, until the server that has
    /// acknowledged it is still the current one.
    pub(crate) async fn run_recorded<F: Future<Output = Result<(), Fault>>>(
        &self,
        bytes: usize,
        what: &[Invalidation],
        operation: impl Fn(Connection, Instant) -> F,
    ) -> Result<()> {
        let epochs = &self.pool.manager.epochs;
        for _ in 0..SWITCHES {
            let run = self.run(bytes, |connection, deadline| {
                let epoch = Arc::clone(&connection.epoch);
                let operation = operation(connection, deadline);
                async move { operation.await.map(|()| epoch) }
            });
            let epoch = run.await?;
            epochs.removed(what);
            // Otherwise another server took over, which may still hold what the first one removed.
            if epochs.is_current(&epoch) && epochs.is_lease_valid() {
                return Ok(());
            }
        }
        Err(self.pool.manager.error(ErrorKind::Unavailable, "the address changes from one server to another"))
    }
}
