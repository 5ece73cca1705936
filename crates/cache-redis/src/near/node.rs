//! The tasks that hold sessions, one for each server. `round` is what they do again and again.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cache_core::{Error, ErrorKind, Result};
use futures_util::future::join_all;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::session::Held;
use crate::connection::Connection;
use crate::engine::RedisEngine;
use crate::error::{Fate, Fault};
use crate::pool::Pool;
use crate::protocol::registry::{Registry, slot_of_registry};
use crate::protocol::slot::Slot;

/// How long the replies of one round may take.
pub(super) const ROUND: Duration = Duration::from_secs(1);
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
pub(super) struct Node {
    pub(super) pool: Arc<Pool>,
    pub(super) connection: Connection,
    pub(super) held: Vec<Held>,
    /// The last entry of the bell that was read, in a cluster.
    pub(super) rung: String,
    /// When the next round would be due if all were made at the average pace.
    due: Instant,
    /// When silent sessions were looked for last.
    pub(super) census: Instant,
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
                    tasks.shutdown().await;
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
                    "nothing is served from memory: {}; type: ACL SETUSER with the user, and +hgetall +hincrby +xadd \
                     +xread",
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
