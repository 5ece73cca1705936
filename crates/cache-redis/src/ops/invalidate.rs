//! Invalidations: acknowledged by the current server, or not done.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cache_core::envelope::LEASE_LENGTH;
use cache_core::{CacheKey, CachePattern, ErrorKind, Invalidation, Result};
use redis::Pipeline;
use tokio::time::Instant;

use crate::connection::Connection;
use crate::engine::RedisEngine;
use crate::error::Fault;
use crate::protocol::scan::{self, Scan, Throttle};

/// How many keys and groups are removed in one round trip.
const PER_ROUND_TRIP: usize = 500;
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
        let epochs = &self.pool.manager.epochs;
        for _ in 0..SWITCHES {
            let epoch = self
                .run(0, |mut connection, deadline| async move {
                    self.remove_on(&mut connection, what, removed, deadline).await?;
                    Ok(Arc::clone(&connection.epoch))
                })
                .await?;
            epochs.record_use();
            // Otherwise another server took over, which may still hold what the first one removed.
            if epochs.is_current(&epoch) {
                return Ok(());
            }
        }
        Err(self.pool.manager.error(ErrorKind::Unavailable, "the address changes from one server to another"))
    }

    async fn remove_on(
        &self,
        connection: &mut Connection,
        what: &[Invalidation],
        removed: &(impl Fn(&str, u64) + Sync),
        mut deadline: Instant,
    ) -> Result<(), Fault> {
        for what in what.chunks(PER_ROUND_TRIP) {
            self.remove_by_name(connection, what, removed, deadline).await?;
            // Each round trip has the time of one operation.
            deadline = Instant::now() + self.pool.manager.connector.config.timeout;
        }
        for what in what.iter().filter(|what| by_name(what).is_none()) {
            if let Invalidation::Pattern(pattern) = what {
                self.remove_pattern(connection, pattern, removed).await?;
            } else {
                let all = self.layout.groups_from("");
                scan::unlink_groups(connection, &self.layout, all, removed, |_, _| true).await?;
            }
        }
        Ok(())
    }

    /// Removes those of `what` that are keys and whole groups.
    async fn remove_by_name(
        &self,
        connection: &mut Connection,
        what: &[Invalidation],
        removed: &(impl Fn(&str, u64) + Sync),
        deadline: Instant,
    ) -> Result<(), Fault> {
        let mut commands = Pipeline::new();
        for (group, field) in what.iter().filter_map(by_name) {
            let key = self.layout.group(&connection.epoch, group);
            match field {
                Some(field) => commands.cmd("HSTRLEN").arg(&key).arg(field).cmd("HDEL").arg(&key).arg(field),
                None => commands.cmd("HLEN").arg(&key).cmd("UNLINK").arg(&key),
            };
        }
        if commands.is_empty() {
            return Ok(());
        }
        let counts = scan::acknowledged(connection, commands, deadline).await?;
        for ((group, field), counts) in what.iter().filter_map(by_name).zip(counts.chunks(2)) {
            let entries = match (field, counts) {
                // A lease is no entry.
                (Some(_), [length, 1]) => u64::from(*length > LEASE_LENGTH as u64),
                (None, [fields, _]) => *fields,
                _ => 0,
            };
            removed(group, entries);
        }
        Ok(())
    }

    async fn remove_pattern(
        &self,
        connection: &mut Connection,
        pattern: &CachePattern,
        removed: &(impl Fn(&str, u64) + Sync),
    ) -> Result<(), Fault> {
        let mut throttle = Throttle::start();
        if let Some(group) = pattern.group() {
            let key = self.layout.group(&connection.epoch, group);
            return scan::prune(connection, &key, group, pattern, removed, &mut throttle).await;
        }
        let groups = self.layout.groups_from(pattern.literal_prefix());
        if !pattern.is_glob() {
            let is_covered = |group: &str, _| pattern.matches(group);
            return scan::unlink_groups(connection, &self.layout, groups, removed, is_covered).await;
        }
        let mut scan = Scan::keys(groups);
        while let Some(keys) = scan.next_keys(connection, &mut throttle).await? {
            for key in keys {
                if let Some((group, _)) = self.layout.parse(&key) {
                    scan::prune(connection, &key, group, pattern, removed, &mut throttle).await?;
                }
            }
        }
        Ok(())
    }
}

/// Returns the group that `what` removes, and the field if it is not the whole group; `None` if it takes a scan to remove.
fn by_name(what: &Invalidation) -> Option<(&str, Option<&str>)> {
    match what {
        Invalidation::Key(key) => Some((key.group(), Some(key.rest()))),
        Invalidation::Group(group) => Some((group.as_str(), None)),
        Invalidation::Pattern(pattern) if !pattern.is_glob() => {
            pattern.group().filter(|group| *group == pattern.as_str()).map(|group| (group, None))
        }
        Invalidation::Pattern(_) | Invalidation::Everything => None,
    }
}
