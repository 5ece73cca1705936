//! What operations have to do with values in memory: reads from it, and announcements to other instances.

use std::sync::Arc;
use std::time::Duration;

use cache_core::{CacheKey, CacheStats, Invalidation, Lookup, NearCache};
use redis::Value;
use tokio::time::{Instant, timeout};

use crate::connection::Connection;
use crate::engine::RedisEngine;
use crate::error::Fault;
use crate::near::Announcement;
use crate::protocol::registry::Registry;
use crate::protocol::slot::Slot;

/// How long the look for a registry may take; the next heartbeat looks again.
const LOOK: Duration = Duration::from_millis(250);

impl RedisEngine {
    /// Finds the value of `key` in memory.
    pub(crate) fn at_hand(&self, key: &CacheKey) -> Option<Lookup> {
        self.near.find(key, |epoch| {
            let map = self.servers.map();
            self.servers.check_open().is_ok()
                && map.owner(Slot::default()).is_some_and(|pool| pool.manager.epochs.is_current(epoch))
        })
    }

    /// Waits until no instance serves from memory what `announcement` concerns; see [`Near::settle`](crate::near::Near::settle).
    pub(crate) async fn settle(
        &self,
        announcement: Option<Announcement>,
        reply: Option<Value>,
        connection: &mut Connection,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let Some(announcement) = announcement else { return Ok(()) };
        let info = self.servers.map().owner(Slot::default()).map(|pool| pool.manager.info.load_full());
        // Boxed to keep the futures of operations small.
        Box::pin(self.near.settle(&announcement, reply, connection, &info.unwrap_or_default(), deadline))
            .await
    }

    /// Tells other instances that values were replaced by refreshed ones, and does not wait for them: those in their memory are
    /// older, and not out of date.
    pub(crate) fn announce_refreshed(self: &Arc<Self>, what: Vec<Invalidation>) {
        if what.is_empty() || !self.near.is_strict() {
            return;
        }
        self.near.forget(&what);
        let engine = Arc::clone(self);
        tokio::spawn(async move {
            let (engine, what) = (&engine, &what);
            // Where that fails, they serve the older value for longer.
            let _ = engine
                .run(Slot::default(), 0, |mut connection, deadline| async move {
                    match engine.near.announcement(what, &engine.layout, &connection) {
                        Some(announcement) => {
                            connection.ask(announcement.command(), deadline).await.map(drop)
                        }
                        None => Ok(()),
                    }
                })
                .await;
        });
    }

    /// Looks whether instances keep values in memory, so that no invalidation has to wait because it sees their registry for the
    /// first time.
    pub(crate) async fn look_for_registry(&self) {
        let Some(pool) = self.servers.map().owner(Slot::default()).cloned() else { return };
        let looking = async {
            let mut connection = pool.least_used()?;
            if connection.is_in_cluster {
                return None;
            }
            let registry = Registry::new(&self.layout, connection.epoch.incarnation);
            let (name, _) = connection.values(&registry, &[], Instant::now() + LOOK).await.ok()?;
            self.near.look(name, Instant::now());
            Some(())
        };
        let _ = timeout(LOOK, looking).await;
    }

    /// Returns the figures of this process, with those of the memory.
    pub(crate) fn stats(&self, limit_bytes: u64) -> CacheStats {
        let mut stats = self.stats.read(limit_bytes);
        let Some(near) = self.near.stats() else { return stats };
        for (family, hits) in self.near.cache.iter().flat_map(NearCache::hits_by_family) {
            stats.families.entry(family.to_owned()).or_default().hits += hits;
        }
        let (hits, misses) = (stats.hits + near.hits, stats.misses);
        CacheStats { near: Some(near), ..stats }.with_lookups(hits, misses)
    }
}
