//! What operations have to do with values in memory: reads from it, and announcements to other instances.

use std::collections::BTreeMap;
use std::iter;
use std::sync::Arc;
use std::time::Duration;

use cache_core::{CacheKey, CacheStats, EpochScope, Invalidation, Lookup, NearCache, Result};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join, join_all};
use redis::Value;
use tokio::time::{Instant, timeout};

use crate::connection::Connection;
use crate::engine::RedisEngine;
use crate::error::{Fate, Fault};
use crate::near::{Announcement, Change};
use crate::pool::Pool;
use crate::protocol::registry::{Scopes, bell, ring};
use crate::protocol::removal::group_of;
use crate::protocol::slot::Zones;

/// How long the look for registries may take; the next heartbeat looks again.
const LOOK: Duration = Duration::from_millis(250);

/// Changes that are announced in the round trip of their removals, and those whose registries are at other servers.
#[derive(Debug)]
pub(crate) struct Announcements {
    here: Vec<Announcement>,
    elsewhere: Vec<Change>,
}

impl Announcements {
    /// The commands to send behind the removals.
    pub(crate) fn commands(&self) -> impl Iterator<Item = &redis::Cmd> {
        self.here.iter().map(Announcement::command)
    }
}

impl RedisEngine {
    /// Finds the value of `key` in memory.
    pub(crate) fn at_hand(&self, key: &CacheKey) -> Option<Lookup> {
        let (slot, map) = (self.slot(key.group()), self.servers.map());
        let registrar = map.owner(self.slot_of_registry(slot.zone()))?;
        let found = self.near.find(key, slot.zone(), |epoch| registrar.manager.epochs.is_current(epoch))?;
        let pool = map.owner(slot)?;
        // A value of a server that was replaced since may have been removed at the new one, or is about to be.
        let is_current = pool.manager.epochs.has_issued(found.token) && self.servers.is_confirmed(pool);
        (is_current && self.servers.check_open().is_ok()).then_some(found)
    }

    /// Whether the value of `key` is in memory; `None` where nothing is kept there.
    pub(crate) fn is_at_hand(&self, key: &CacheKey) -> Option<bool> {
        self.near.holds(key, self.slot(key.group()).zone())
    }

    /// Sorts `what`, each of which belongs to one group, by zone; `is_set` where values were set.
    fn changes(&self, what: &[Invalidation], is_set: bool) -> Vec<Change> {
        if !self.servers.is_cluster() {
            let scopes = Scopes::new(what.iter().map(Invalidation::epoch_scope));
            return vec![Change { zone: 0, scopes, is_set }];
        }
        let mut by_zone: BTreeMap<u8, Vec<EpochScope<'_>>> = BTreeMap::new();
        for what in what {
            if let Some(group) = group_of(what) {
                by_zone.entry(self.slot(group).zone()).or_default().push(what.epoch_scope());
            }
        }
        let change =
            |(zone, scopes): (u8, Vec<_>)| Change { zone, scopes: Scopes::new(scopes.into_iter()), is_set };
        by_zone.into_iter().map(change).collect()
    }

    /// Prepares to announce `what`, which is about to be removed over `connection`; `is_set` where it is replaced instead.
    pub(crate) fn announcements(
        &self,
        what: &[Invalidation],
        is_set: bool,
        connection: &Connection,
    ) -> Announcements {
        let map = self.servers.map();
        let is_here = |change: &Change| {
            let owner = map.owner(self.slot_of_registry(change.zone));
            owner.is_some_and(|pool| pool.manager.epochs.is_current(&connection.epoch))
        };
        let (here, elsewhere): (Vec<_>, Vec<_>) = self.changes(what, is_set).into_iter().partition(is_here);
        let announcement = |change: Change| {
            let registry = self.registry(connection, change.zone);
            self.near.announcement(change, registry)
        };
        Announcements { here: here.into_iter().map(announcement).collect(), elsewhere }
    }

    /// Prepares to announce `what`, which was removed, in round trips of their own.
    pub(crate) fn all_elsewhere(&self, what: &[Invalidation]) -> Announcements {
        Announcements { here: Vec::new(), elsewhere: self.changes(what, false) }
    }

    /// Waits until no instance serves from memory what was announced with these `replies`, and announces what was not.
    pub(crate) async fn settle_all(
        self: &Arc<Self>,
        announcements: Announcements,
        replies: Vec<Value>,
        connection: &Connection,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let Announcements { here, elsewhere } = announcements;
        // The removals may have taken longer than one operation.
        let deadline = deadline.max(Instant::now() + self.servers.config.timeout);
        let here = here.into_iter().zip(replies).map(async |(announcement, reply)| {
            match self.settle(&announcement, reply, &mut connection.clone(), deadline).await {
                // The slot of the registry is held by another server by now, or goes there.
                Err(fault) if matches!(fault.fate, Fate::Moved | Fate::Moving) => {
                    self.announce(&announcement.into_change()).await
                }
                settled => settled,
            }
        });
        let elsewhere = elsewhere.iter().map(|change| self.announce(change));
        // Boxed to keep the futures of operations small.
        let settled = join(join_all(here), join_all(elsewhere)).boxed().await;
        settled.0.into_iter().chain(settled.1).collect()
    }

    async fn settle(
        &self,
        announcement: &Announcement,
        reply: Value,
        connection: &mut Connection,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let owner = self.servers.map().owner(self.slot_of_registry(announcement.zone())).cloned();
        let info = owner.as_ref().map(|pool| pool.manager.info.load_full()).unwrap_or_default();
        let first = owner
            .filter(|_| connection.is_in_cluster)
            .and_then(|pool| self.zones_of(&pool).into_iter().next());
        let ring = first.map(|first| ring(&bell(&self.layout, first), announcement.zone()));
        self.near.settle(announcement, reply, ring.as_ref(), connection, &info, deadline).await
    }

    /// Announces `change`, which has been removed, and waits until no instance serves it from memory.
    fn announce<'a>(self: &'a Arc<Self>, change: &'a Change) -> BoxFuture<'a, Result<(), Fault>> {
        let slot = self.slot_of_registry(change.zone);
        let announced = async move {
            let announced = self.run(slot, 0, |connection, deadline| async move {
                let mut announced = self.announce_over(change, false, connection.clone(), deadline).await;
                // While the slot of the registry is being moved, only what needs one key works.
                if is_moving(&announced) {
                    announced = self.announce_over(change, true, connection, deadline).await;
                }
                match announced {
                    Err(fault) if fault.fate == Fate::Moving => {
                        let asking = self.servers.asking(slot, &fault, deadline).await;
                        let connection = asking.map_err(|error| Fault::after(&error))?;
                        self.announce_over(change, true, connection, deadline).await
                    }
                    announced => announced,
                }
            });
            announced.await.map_err(|error| Fault::after(&error))
        };
        announced.boxed()
    }

    /// Announces `change` over `connection`; without its log if `is_alone`, so that sessions forget everything.
    async fn announce_over(
        &self,
        change: &Change,
        is_alone: bool,
        mut connection: Connection,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let registry = self.registry(&connection, change.zone);
        let registry = if is_alone { registry.without_log() } else { registry };
        let announcement = self.near.announcement(change.clone(), registry);
        let reply = connection.ask_sealed_one(announcement.command(), deadline).await?;
        self.settle(&announcement, reply, &mut connection, deadline).await
    }

    /// Announces that anything may have changed in `zones`, and waits until no instance serves it from memory. Returns the zones
    /// in which that failed, and why.
    pub(crate) async fn announce_everything(self: &Arc<Self>, zones: Zones) -> (Zones, Option<Fault>) {
        let all = (0..64).filter(|zone| zones & 1 << zone != 0);
        let announcing = all.map(async |zone: u8| {
            let change = Change { zone, scopes: Scopes::new(iter::once(EpochScope::All)), is_set: false };
            (zone, self.announce(&change).await)
        });
        let (mut failed, mut failure) = (0, None);
        for (zone, announced) in join_all(announcing).await {
            if let Err(fault) = announced {
                failed |= 1 << zone;
                failure = Some(fault);
            }
        }
        (failed, failure)
    }

    /// Tells other instances that values were replaced by refreshed ones, and does not wait for them: those in their memory are
    /// older, and not out of date.
    pub(crate) fn announce_refreshed(self: &Arc<Self>, what: &[Invalidation]) {
        if what.is_empty() || !self.near.is_strict() {
            return;
        }
        for change in self.changes(what, true) {
            self.near.forget(&change);
            let engine = Arc::clone(self);
            tokio::spawn(async move {
                // Where that fails, they serve the older value for longer.
                let _ = engine.announce(&change).await;
            });
        }
    }

    /// Announces, in the background, removals that were repeated at servers that have taken over: instances may have read there what
    /// was removed, before it was.
    pub(crate) fn announce_repeated(self: &Arc<Self>) {
        // Until this instance has seen a registry, they are kept: it may see one at the next heartbeat.
        let zones = if self.near.is_strict() { self.servers.take_repeated() } else { 0 };
        if zones == 0 {
            return;
        }
        let engine = Arc::clone(self);
        tokio::spawn(async move {
            let (failed, _) = engine.announce_everything(zones).await;
            engine.servers.put_repeated(failed);
        });
    }

    /// Forgets `what` in the memory of this instance: the server refused fills by the tokens of these keys.
    pub(crate) fn forget(&self, what: &[Invalidation]) {
        if self.near.cache.is_some() && !what.is_empty() {
            self.changes(what, true).iter().for_each(|change| self.near.forget(change));
        }
    }

    /// Looks whether instances keep values in memory, so that no invalidation has to wait because it sees a registry for the first
    /// time.
    pub(crate) async fn look_for_registries(&self, pool: &Arc<Pool>) {
        let looking = async {
            let connection = pool.least_used()?;
            let looks = self.zones_of(pool).into_iter().map(|zone| {
                let (registry, mut connection) = (self.registry(&connection, zone), connection.clone());
                async move {
                    let found = connection.values(&registry, &[], Instant::now() + LOOK).await;
                    if let Ok((name, _)) = found {
                        self.near.look(zone, name, Instant::now());
                    }
                }
            });
            join_all(looks).await;
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

fn is_moving(announced: &Result<(), Fault>) -> bool {
    announced.as_ref().is_err_and(|fault| fault.fate == Fate::Moving)
}
