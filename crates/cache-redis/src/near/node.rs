//! The tasks that hold sessions, one for each server: they register, renew, read the logs of changes and forget what these
//! concern.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cache_core::{Error, ErrorKind, Result};
use futures_util::future::{join, join_all};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::LEASE;
use super::session::Held;
use crate::connection::Connection;
use crate::engine::RedisEngine;
use crate::error::{Fate, Fault};
use crate::pool::Pool;
use crate::protocol::registry::{Registry, Scopes, bell, slot_of_registry};
use crate::protocol::slot::Slot;

/// How long one round waits for a change. A server that is idle looks at such limits ten times a second only, so that this takes
/// up to 200 ms.
const BLOCK: Duration = Duration::from_millis(50);
/// How long the replies of one round may take.
const ROUND: Duration = Duration::from_secs(1);
/// How much of the server's time all sessions may take together: on average, each makes a round in this time for each session
/// that there is.
const PAUSE_BY_SESSION: Duration = Duration::from_micros(100);
/// How far ahead of that average a session may be before it pauses, so that a change after a quiet time is heard of at once.
const BURST: Duration = Duration::from_millis(10);
/// How often each instance looks for sessions that are silent.
const CENSUS: Duration = Duration::from_secs(1);
/// The pause before a session is registered again.
const RETRY: Duration = Duration::from_millis(100);

/// The sessions at one server.
struct Node {
    pool: Arc<Pool>,
    connection: Connection,
    held: Vec<Held>,
    /// The last entry of the bell that was read, in a cluster.
    rung: String,
    /// When the next round would be due if all were made at the average pace.
    due: Instant,
    /// When silent sessions were looked for last.
    census: Instant,
    /// When a registration may be tried again.
    retry: Instant,
}

impl RedisEngine {
    /// Holds sessions at all servers for as long as this runs.
    pub(crate) async fn hold_sessions_forever(self: &Arc<Self>) {
        let (mut tasks, mut running) = (JoinSet::new(), HashSet::new());
        loop {
            for pool in self.servers.pools() {
                if running.insert(Arc::as_ptr(&pool) as usize) {
                    let engine = Arc::clone(self);
                    tasks.spawn(async move { engine.hold_sessions_at(pool).await });
                }
            }
            // A task ends when its server holds no keys any more. Others begin where slots went.
            match timeout(self.servers.config.heartbeat, tasks.join_next()).await {
                Ok(Some(Ok(ended))) => drop(running.remove(&ended)),
                // It panicked: which one is not known.
                Ok(Some(Err(_))) => {
                    tasks.abort_all();
                    running.clear();
                }
                Ok(None) => sleep(self.servers.config.heartbeat).await,
                Err(_) => {}
            }
        }
    }

    /// Holds sessions at the server of `pool`, until it is not in use any more. Returns the address of the pool.
    async fn hold_sessions_at(&self, pool: Arc<Pool>) -> usize {
        let (mut before, mut pause) = (HashMap::new(), RETRY);
        while self.is_used(&pool) {
            let began = Instant::now();
            let Err(error) = Box::pin(self.hold(&pool, &mut before)).await;
            self.leave_all(&pool, &before).await;
            let address = &pool.address;
            if error.kind() == ErrorKind::Configuration {
                cache_core::log::warn!(limit: address, %error, "Redis refuses to serve values from memory");
            } else {
                cache_core::log::debug!(
                    limit: address, %error, "values in memory are not served until Redis answers"
                );
            }
            self.near.note(Some(error.to_string()));
            if began.elapsed() > self.servers.config.heartbeat {
                pause = RETRY;
            }
            sleep(pause).await;
            pause = (2 * pause).min(self.servers.config.heartbeat);
        }
        Arc::as_ptr(&pool) as usize
    }

    /// Removes sessions that have ended, so that no invalidation waits for them.
    async fn leave_all(&self, pool: &Pool, sessions: &HashMap<u8, String>) {
        let Some(connection) = pool.least_used() else { return };
        let deadline = Instant::now() + self.servers.config.timeout;
        let leaving = sessions.iter().map(async |(zone, session)| {
            let (registry, mut connection) = (self.registry(&connection, *zone), connection.clone());
            // Where that fails, the next invalidation waits for this session once.
            let _ = connection.leave(&registry, session, deadline).await;
        });
        join_all(leaving).await;
    }

    fn is_used(&self, pool: &Arc<Pool>) -> bool {
        self.servers.map().pools().iter().any(|used| Arc::ptr_eq(used, pool))
    }

    /// Holds sessions over one connection until that is lost. `before` has the names of the last sessions by zone.
    async fn hold(&self, pool: &Arc<Pool>, before: &mut HashMap<u8, String>) -> Result<Infallible> {
        let mut connection = pool.open_apart(Instant::now() + ROUND).await?;
        let failed = |fault: Fault| fault.into_error(&pool.address);
        self.check_server(pool, &mut connection).await?;
        let now = Instant::now();
        let mut node = Node {
            pool: Arc::clone(pool),
            connection,
            held: Vec::new(),
            rung: "0".to_owned(),
            due: now,
            census: now,
            retry: now,
        };
        loop {
            let began = Instant::now();
            if !self.is_used(pool) {
                return Err(Error::new(ErrorKind::Unavailable, "the server is not in use any more"));
            }
            self.register_missing(&mut node, before).await.map_err(failed)?;
            self.round(&mut node).await.map_err(failed)?;
            self.near.note(None);
            let sessions = u32::try_from(self.near.registered.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
            node.due = node.due.max(began) + PAUSE_BY_SESSION.saturating_mul(sessions);
            if node.due > Instant::now() + BURST {
                sleep_until(node.due).await;
            }
            if node.census.elapsed() >= CENSUS {
                self.take_census(&mut node).await.map_err(failed)?;
            }
        }
    }

    /// Checks that the server keeps registries and runs what sessions need.
    ///
    /// # Errors
    /// `Configuration`, saying what to change.
    async fn check_server(&self, pool: &Pool, connection: &mut Connection) -> Result<()> {
        let policy = pool.manager.info.load().policy.clone();
        if policy == "allkeys-random" || policy.starts_with("volatile-") {
            let problem = format!(
                "with maxmemory-policy {policy} nothing is served from memory, because the registry of instances may be \
                 evicted at any time; type: CONFIG SET maxmemory-policy allkeys-lru"
            );
            return Err(pool.manager.error(ErrorKind::Configuration, &problem));
        }
        match connection.try_registry(&self.layout, Instant::now() + ROUND).await {
            Err(fault) if fault.kind == ErrorKind::Configuration => {
                let problem = format!(
                    "nothing is served from memory: {}; type: ACL SETUSER with the user, and +hgetall +hexists +hincrby \
                     +xadd +xread",
                    fault.cause
                );
                Err(pool.manager.error(ErrorKind::Configuration, &problem))
            }
            // The registration itself shows what else is wrong.
            _ => Ok(()),
        }
    }

    /// Registers sessions in the zones whose registries the server holds, and ends those in others.
    async fn register_missing(&self, node: &mut Node, before: &mut HashMap<u8, String>) -> Result<(), Fault> {
        let zones = self.zones_of(&node.pool);
        node.held.retain(|held| zones.contains(&held.zone));
        let is_held = |zone: &u8| node.held.iter().any(|held| held.zone == *zone);
        let missing: Vec<u8> = zones.into_iter().filter(|zone| !is_held(zone)).collect();
        if missing.is_empty() || Instant::now() < node.retry {
            return Ok(());
        }
        let (deadline, epochs) = (Instant::now() + ROUND, &node.pool.manager.epochs);
        let registering = missing.into_iter().map(|zone| {
            let registry = self.registry(&node.connection, zone);
            let (mut connection, before) = (node.connection.clone(), before.get(&zone).cloned());
            async move {
                let before = before.unwrap_or_default();
                Held::register(zone, registry, &before, &mut connection, epochs, &*self.clock, deadline).await
            }
        });
        for registered in join_all(registering).await {
            match registered {
                Ok((held, registry)) => {
                    before.insert(held.zone, held.session.id.clone());
                    // An invalidation of this instance relies on the registry in half a second.
                    self.near.look(held.zone, Some(registry), Instant::now());
                    if let Some(slot) = self.near.slot(held.zone) {
                        slot.store(Some(Arc::clone(&held.session)));
                    }
                    self.near.count(|counts| counts.sessions += 1);
                    node.held.push(held);
                }
                // The slot of the registry is being moved.
                Err(fault) if matches!(fault.fate, Fate::Moved | Fate::Moving) => {
                    node.retry = Instant::now() + self.servers.config.heartbeat;
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }

    /// Renews the sessions that are due, waits for changes and forgets what they concern.
    async fn round(&self, node: &mut Node) -> Result<(), Fault> {
        let (deadline, pool) = (Instant::now() + ROUND, Arc::clone(&node.pool));
        let epochs = &pool.manager.epochs;
        let first = node.held.iter().map(|held| held.zone).min();
        let is_cluster = self.servers.is_cluster();
        let bell = first.filter(|_| is_cluster).map(|zone| bell(&self.layout, zone));
        let log = node.held.first().map(|held| (held.session.registry.clone(), held.processed));
        // Before the request: the lease begins when it is sent, at the latest.
        let until = self.clock.boot().saturating_add(LEASE);
        let mut waiting = node.connection.clone();
        // Sent together, in this order; the replies to the renewals do not wait for a change.
        let renewing =
            node.held.iter_mut().filter(|held| held.is_due(if is_cluster { BLOCK } else { Duration::ZERO }));
        let renewing = renewing.map(|held| {
            let mut connection = node.connection.clone();
            async move {
                let was_serving = held.session.near.is_serving(&*self.clock);
                let renewed = held.renew(&mut connection, epochs, &*self.clock, until, deadline).await;
                (held.zone, was_serving, renewed)
            }
        });
        let rung = &mut node.rung;
        let hearing = async {
            match (&bell, log) {
                (Some(bell), _) => {
                    let zones = waiting.wait_for_bell(bell, rung, BLOCK, deadline).await?;
                    Ok((zones, Vec::new()))
                }
                (None, Some((registry, processed))) => {
                    let changes = waiting.read_log(&registry, processed, Some(BLOCK), deadline).await?;
                    Ok((Vec::new(), changes))
                }
                (None, None) => {
                    sleep(BLOCK).await;
                    Ok((Vec::new(), Vec::new()))
                }
            }
        };
        let (renewed, heard): (_, Result<(Vec<u8>, Vec<(u64, Scopes)>), Fault>) =
            join(join_all(renewing), hearing).await;
        let mut announced = HashMap::new();
        let mut ended = Vec::new();
        for (zone, was_serving, renewed) in renewed {
            match renewed {
                Ok(renewed) => {
                    self.near.registered.store(renewed.sessions, Ordering::Relaxed);
                    self.near.count(|counts| counts.lapses += u64::from(!was_serving));
                    announced.insert(zone, renewed.announced);
                }
                // Its registry was lost, or goes to another server: the others are not concerned.
                Err(fault) if matches!(fault.fate, Fate::Keep | Fate::Moved | Fate::Moving) => {
                    ended.push((zone, fault))
                }
                Err(fault) => return Err(fault),
            }
        }
        let (mut rung, changes) = match heard {
            // The slot of the bell is being moved: changes are found by the renewals.
            Err(fault) if bell.is_some() && matches!(fault.fate, Fate::Moved | Fate::Moving) => {
                sleep(BLOCK).await;
                (Vec::new(), Vec::new())
            }
            heard => heard?,
        };
        self.end(node, ended);
        let is_behind =
            |held: &&Held| announced.get(&held.zone).is_some_and(|announced| held.processed < *announced);
        rung.extend(node.held.iter().filter(is_behind).map(|held| held.zone));
        let mut changes = if is_cluster {
            self.read_logs(node, &rung, deadline).await?
        } else {
            node.held.iter().map(|held| (held.zone, changes.clone())).collect()
        };
        for held in &mut node.held {
            let (before, announced) = (held.processed, announced.get(&held.zone).copied().unwrap_or(0));
            held.process(changes.remove(&held.zone).unwrap_or_default(), announced);
            if before < announced {
                // What was announced before this renewal is forgotten now.
                held.extend(epochs, until)?;
            }
        }
        Ok(())
    }

    /// Reads the logs of `zones` where sessions are held there.
    async fn read_logs(
        &self,
        node: &Node,
        zones: &[u8],
        deadline: Instant,
    ) -> Result<HashMap<u8, Vec<(u64, Scopes)>>, Fault> {
        let reading = node.held.iter().filter(|held| zones.contains(&held.zone)).map(|held| {
            let mut connection = node.connection.clone();
            async move {
                let registry = &held.session.registry;
                match connection.read_log(registry, held.processed, None, deadline).await {
                    // Everything is forgotten instead.
                    Err(fault) if matches!(fault.fate, Fate::Keep | Fate::Moved | Fate::Moving) => {
                        Ok((held.zone, Vec::new()))
                    }
                    changes => changes.map(|changes| (held.zone, changes)),
                }
            }
        });
        join_all(reading).await.into_iter().collect()
    }

    /// Ends the sessions of zones that were lost.
    fn end(&self, node: &mut Node, ended: Vec<(u8, Fault)>) {
        for (zone, fault) in ended {
            node.held.retain(|held| held.zone != zone);
            self.near.note(Some(fault.cause.to_string()));
        }
    }

    /// Removes sessions that are silent, so that no invalidation has to wait for them.
    async fn take_census(&self, node: &mut Node) -> Result<(), Fault> {
        let (since, deadline) = (node.census.elapsed(), Instant::now() + ROUND);
        node.census = Instant::now();
        if let Some(zone) = node.held.iter().map(|held| held.zone).min().filter(|_| self.servers.is_cluster())
        {
            node.connection.keep_bell(&bell(&self.layout, zone), deadline).await?;
        }
        let looking = node.held.iter_mut().map(|held| {
            let mut connection = node.connection.clone();
            async move { held.remove_silent(&mut connection, since, deadline).await }
        });
        for removed in join_all(looking).await {
            match removed {
                Ok(removed) => self.near.count(|counts| counts.removed_sessions += removed),
                Err(fault) if matches!(fault.fate, Fate::Keep | Fate::Moved | Fate::Moving) => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }

    /// Returns the zones whose registries are in slots that the server of `pool` holds.
    pub(crate) fn zones_of(&self, pool: &Arc<Pool>) -> Vec<u8> {
        if !self.servers.is_cluster() {
            return vec![0];
        }
        let map = self.servers.map();
        let is_its =
            |zone: &u8| map.owner(slot_of_registry(*zone)).is_some_and(|owner| Arc::ptr_eq(owner, pool));
        (0..64).filter(is_its).collect()
    }

    /// Names the registry of `zone` at the server of `connection`.
    pub(crate) fn registry(&self, connection: &Connection, zone: u8) -> Registry {
        let zone = Some(zone).filter(|_| connection.is_in_cluster);
        Registry::new(&self.layout, connection.run, connection.epoch.incarnation, zone)
    }

    /// Returns the slot of the registry of `zone`.
    pub(crate) fn slot_of_registry(&self, zone: u8) -> Slot {
        if self.servers.is_cluster() { slot_of_registry(zone) } else { Slot::default() }
    }

    /// Ends all sessions: nothing is served from memory any more, and no invalidation waits for this instance.
    pub(crate) async fn end_sessions(&self) {
        let deadline = Instant::now() + self.servers.config.timeout;
        let sessions: Vec<_> = self.near.sessions.iter().filter_map(|slot| slot.swap(None)).collect();
        for session in &sessions {
            session.near.end();
        }
        let leaving = sessions.iter().map(async |session| {
            let owner =
                self.servers.pools().into_iter().find(|pool| pool.manager.epochs.is_current(&session.epoch));
            // Where that fails, the next invalidation waits for this session once.
            if let Some(mut connection) = owner.and_then(|pool| pool.least_used()) {
                let _ = connection.leave(&session.registry, &session.id, deadline).await;
            }
        });
        join_all(leaving).await;
    }
}
