//! Invalidations: acknowledged by the current server, or not done.

use std::collections::BTreeMap;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cache_core::{CacheKey, Error, ErrorKind, Invalidation, Result};
use futures_util::future::{BoxFuture, join, join_all};
use redis::Cmd;
use tokio::time::{Instant, timeout};

use crate::connection::Connection;
use crate::connection::server_epoch::ServerEpoch;
use crate::engine::RedisEngine;
use crate::error::{Fate, Fault};
use crate::pool::Pool;
use crate::protocol::removal::{Removal, group_of};
use crate::protocol::scan::Elsewhere;
use crate::protocol::slot::{ALL_ZONES, Slot, Zones};

/// How many times an invalidation begins again because another server took over meanwhile.
const SWITCHES: usize = 3;

/// An invalidation that some zones have not acknowledged; all others that were asked have.
#[derive(Debug)]
pub struct Unacknowledged {
    /// These zones: bit n stands for zone n.
    pub zones: u64,
    /// Why.
    pub error: Error,
}

impl RedisEngine {
    /// Removes all of `what` from the servers of `zones`. Returns about how many entries that were: a whole group counts with
    /// its leases.
    pub(crate) fn invalidate<'a>(
        self: &'a Arc<Self>,
        what: &'a [Invalidation],
        zones: Zones,
    ) -> BoxFuture<'a, Result<u64, Unacknowledged>> {
        // Boxed here: each crate that awaits it would compile the futures within anew.
        Box::pin(async move {
            let total = AtomicU64::new(0);
            let outcome = self
                .remove(what, zones, &|group, entries| {
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
            let is_everywhere = zones == ALL_ZONES || !self.servers.is_cluster();
            if clears > 0 && is_everywhere && outcome.is_ok() {
                self.stats.counted(&BTreeMap::new());
            }
            outcome.map(|()| total)
        })
    }

    /// Removes all of `what`. Reports the name of each group and about how many entries were removed from it to `removed`.
    pub(crate) async fn remove(
        self: &Arc<Self>,
        what: &[Invalidation],
        zones: Zones,
        removed: &(impl Fn(&str, u64) + Sync),
    ) -> Result<(), Unacknowledged> {
        let (mut named, everywhere): (Vec<_>, Vec<_>) =
            what.iter().cloned().partition(|what| !self.servers.is_cluster() || group_of(what).is_some());
        named.retain(|what| group_of(what).is_none_or(|group| self.slot(group).zones() & zones != 0));
        let slot_of =
            |at: usize| named.get(at).and_then(group_of).map_or(Slot::default(), |group| self.slot(group));
        let in_slots = self.spread_apart(named.len(), slot_of, async |slot, positions| {
            let named: Vec<_> = positions.iter().filter_map(|at| named.get(*at)).cloned().collect();
            self.remove_in(slot, &named, removed).await.map(|()| vec![(); positions.len()])
        });
        let everywhere = async {
            if everywhere.is_empty() {
                return Ok(());
            }
            let removed = self.remove_everywhere(&everywhere, zones, removed).await;
            self.announced_everywhere(zones, removed).await
        };
        let (in_slots, everywhere) = join(in_slots, everywhere).await;
        let mut failures = everywhere.err();
        for (positions, part) in in_slots {
            if let Err(error) = part {
                let zones = positions.into_iter().fold(0, |zones, at| zones | slot_of(at).zones());
                let failed = failures.get_or_insert(Unacknowledged { zones, error });
                failed.zones |= zones;
            }
        }
        failures.map_or(Ok(()), Err)
    }

    /// Removes `what` from the server that holds its slots, among them `slot`.
    async fn remove_in(
        self: &Arc<Self>,
        slot: Slot,
        what: &[Invalidation],
        removed: &(impl Fn(&str, u64) + Sync),
    ) -> Result<()> {
        let moving = self.run_recorded(slot, 0, what, async |mut connection, deadline| {
            let announcements = self.announcements(what, false, &connection);
            let last: Vec<&Cmd> = announcements.commands().collect();
            let removal = self.removal(&mut connection, removed, Elsewhere::Fail);
            match removal.run(what, &last, deadline).await {
                Err(fault) if fault.fate == Fate::Moving => Ok(Some(fault)),
                Err(fault) => Err(fault),
                Ok(replies) => {
                    self.settle_all(announcements, replies, &connection, deadline).await?;
                    Ok(None)
                }
            }
        });
        match (moving.await?, what) {
            (None, _) => Ok(()),
            (Some(fault), [only]) => self.remove_moving(slot, &fault, only, removed).await,
            // Those that are moving are told apart one by one.
            (Some(_), all) => {
                let each = all.iter().map(async |only| {
                    let slot = group_of(only).map_or(slot, |group| self.slot(group));
                    Box::pin(self.remove_in(slot, slice::from_ref(only), removed)).await
                });
                join_all(each).await.into_iter().collect()
            }
        }
    }

    /// Removes `what` from the node to which its slot is being moved: the one that holds the slot has nothing of it, and
    /// redirects there by `fault`.
    async fn remove_moving(
        self: &Arc<Self>,
        slot: Slot,
        fault: &Fault,
        what: &Invalidation,
        removed: &(impl Fn(&str, u64) + Sync),
    ) -> Result<()> {
        let what = slice::from_ref(what);
        self.run_recorded(slot, 0, what, async |_, deadline| {
            let mut connection =
                self.servers.asking(slot, fault, deadline).await.map_err(|error| Fault::after(&error))?;
            let removal = self.removal(&mut connection, removed, Elsewhere::Fail);
            removal.run(what, &[], deadline).await?;
            // The node that holds the slot has the registry, too, or it was moved before.
            self.settle_all(self.all_elsewhere(what), Vec::new(), &connection, deadline).await
        })
        .await
    }

    /// Removes `what`, each of which may have values in any slot, from all servers of a cluster.
    ///
    /// A key that moves from a server that is scanned later to one that was scanned before is not found. So servers are
    /// scanned again, one after the other and twice, where any slot was moving: meanwhile a key moves at most once.
    async fn remove_everywhere(
        self: &Arc<Self>,
        what: &[Invalidation],
        zones: Zones,
        removed: &(impl Fn(&str, u64) + Sync),
    ) -> Result<(), Unacknowledged> {
        let mut left = zones;
        for _ in 0..SWITCHES {
            if self.servers.map().moving() & left != 0 {
                // No server in the map holds these slots, and the next one may have read already what it has missed.
                let _ = timeout(self.servers.config.timeout, self.servers.refresh()).await;
            }
            let servers = self.servers.map().of_zones(left);
            let before = self.servers.placement(&servers).await;
            let (mut epochs, mut failure) = self.scan(&servers, false, what, removed).await;
            if !before.is_settled() || self.servers.placement(&servers).await != before {
                // What it finds is in the map.
                let _ = self.servers.refresh().await;
                let servers = self.servers.map().of_zones(left);
                let twice = [&servers[..], &servers[..]].concat();
                (epochs, failure) = self.scan(&twice, true, what, removed).await;
            }
            self.servers.removed(what);
            let map = self.servers.map();
            let mut owed = map.away() | map.moving();
            for (pool, zones) in map.of_zones(left) {
                let is_current = |epoch| pool.manager.epochs.is_current(epoch);
                if !self.servers.is_confirmed(&pool) || !epochs.iter().any(is_current) {
                    owed |= zones;
                }
            }
            left &= owed;
            if left == 0 {
                return Ok(());
            }
            if let Some(error) = failure {
                return Err(Unacknowledged { zones: left, error });
            }
        }
        let message = "Redis cluster: slots are held by no node, or go from one node to another too often";
        Err(Unacknowledged { zones: left, error: Error::new(ErrorKind::Unavailable, message) })
    }

    /// Announces the clear of those of `zones` where it was acknowledged, by the outcome `removed`.
    async fn announced_everywhere(
        self: &Arc<Self>,
        zones: Zones,
        removed: Result<(), Unacknowledged>,
    ) -> Result<(), Unacknowledged> {
        let left = removed.as_ref().err().map_or(0, |unacknowledged| unacknowledged.zones);
        let (failed, failure) = self.announce_everything(zones & !left).await;
        let Some(fault) = failure else { return removed };
        let error = fault.into_error(&self.address);
        Err(removed.err().map_or(Unacknowledged { zones: failed, error }, |removed| Unacknowledged {
            zones: removed.zones | failed,
            ..removed
        }))
    }

    /// Removes `what` from these servers of a cluster, all at once or one after the other. Returns the epochs of those that
    /// acknowledged it, and why another one did not.
    async fn scan(
        &self,
        servers: &[(Arc<Pool>, Zones)],
        is_in_turn: bool,
        what: &[Invalidation],
        removed: &(impl Fn(&str, u64) + Sync),
    ) -> (Vec<Arc<ServerEpoch>>, Option<Error>) {
        let scans = servers.iter().map(|(pool, _)| self.scan_server(Arc::clone(pool), what, removed));
        let mut scanned = Vec::with_capacity(servers.len());
        if is_in_turn {
            for scan in scans {
                scanned.push(scan.await);
            }
        } else {
            scanned = join_all(scans).await;
        }
        let (mut epochs, mut failed, mut failure) = (Vec::new(), Vec::new(), None);
        for ((pool, _), scanned) in servers.iter().zip(scanned) {
            match scanned {
                Ok(epoch) => epochs.push(epoch),
                Err(error) => {
                    failed.push(pool);
                    failure = Some(error);
                }
            }
        }
        // Of two scans of a server both count.
        epochs.retain(|epoch| !failed.iter().any(|pool| pool.manager.epochs.is_current(epoch)));
        (epochs, failure)
    }

    /// Removes `what` from one server of a cluster. Returns its epoch.
    async fn scan_server(
        &self,
        pool: Arc<Pool>,
        what: &[Invalidation],
        removed: &(impl Fn(&str, u64) + Sync),
    ) -> Result<Arc<ServerEpoch>> {
        let deadline = Instant::now() + self.servers.config.timeout;
        let mut connection = match pool.least_used() {
            Some(connection) => connection,
            None => pool.check_out(deadline).await?,
        };
        connection.is_asking = true;
        let removal = self.removal(&mut connection, removed, Elsewhere::Skip);
        match removal.run(what, &[], deadline).await {
            Ok(_) => Ok(Arc::clone(&connection.epoch)),
            Err(fault) => {
                self.stats.add(|stats| stats.errors += 1);
                Err(fault.into_error(&pool.address))
            }
        }
    }

    fn removal<'a, R>(
        &'a self,
        connection: &'a mut Connection,
        removed: &'a R,
        elsewhere: Elsewhere,
    ) -> Removal<'a, R> {
        Removal {
            connection,
            layout: &self.layout,
            removed,
            timeout: self.servers.config.timeout,
            elsewhere,
            within: None,
        }
    }

    /// Runs `operation`, which sends `bytes` of values and makes the values of `what` out of date, until the server that has
    /// acknowledged it still holds the slots of `what`, among them `slot`.
    pub(crate) async fn run_recorded<T, F: Future<Output = Result<T, Fault>>>(
        &self,
        slot: Slot,
        bytes: usize,
        what: &[Invalidation],
        operation: impl Fn(Connection, Instant) -> F,
    ) -> Result<T> {
        for _ in 0..SWITCHES {
            let run = self.run(slot, bytes, |connection, deadline| {
                let epoch = Arc::clone(&connection.epoch);
                let operation = operation(connection, deadline);
                async move { operation.await.map(|done| (done, epoch)) }
            });
            let (done, epoch) = run.await?;
            self.servers.removed(what);
            // Otherwise another server took over, which may still hold what the first one removed.
            let mut slots = what.iter().map(|what| group_of(what).map_or(slot, |group| self.slot(group)));
            if slots.all(|slot| self.servers.is_current(slot, &epoch)) {
                return Ok(done);
            }
        }
        let address = self.servers.config.address();
        let message = format!("Redis at {address}: the address changes from one server to another");
        Err(Error::new(ErrorKind::Unavailable, message))
    }
}
