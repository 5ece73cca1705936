//! [`Servers`]: the servers that hold the keys: one, or the masters of a cluster, and which of them holds a slot.
//!
//! A refresh asks every node how it sees the cluster. The view with the highest epoch counts, and a node is used only for slots
//! that it names as its own. Slots that change from one node to another are held back until the new node was told the removals
//! that it may have missed.

mod map;
mod placement;
mod refresh;
mod take_over;
mod views;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use cache_core::{Error, ErrorKind, Invalidation, Result};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

pub(crate) use self::map::Map;

use self::refresh::{Met, greet_any};

use crate::config::RedisConfig;
use crate::connection::Connection;
use crate::connection::cluster::Node;
use crate::connection::history::History;
use crate::connection::server_epoch::ServerEpoch;
use crate::error::Fault;
use crate::manager::{Manager, Shared};
use crate::pool::{Pool, closed};
use crate::protocol::layout::Layout;
use crate::protocol::slot::{Slot, SlotHasher, Zones};

/// A refresh that is over.
#[derive(Debug)]
struct Refreshed {
    began: Instant,
    /// Why it failed, if it did.
    failure: Option<(ErrorKind, String)>,
}

#[derive(Debug)]
pub(crate) struct Servers {
    pub(crate) config: RedisConfig,
    shared: Shared,
    is_cluster: bool,
    map: ArcSwap<Map>,
    /// How many maps there were.
    version: watch::Sender<u64>,
    /// The last refresh; held while one runs.
    refreshed: tokio::sync::Mutex<Option<Refreshed>>,
    /// When a refresh that followed a `MOVED` did not find the node last, and how long none is begun after it.
    in_vain: Mutex<Option<(Instant, Duration)>>,
    /// The nodes that were named last, replicas too.
    known: Mutex<Vec<Node>>,
    is_closed: AtomicBool,
}

impl Servers {
    /// Connects to the server of `config`, or to all masters of its cluster.
    ///
    /// # Errors
    /// Why the server, or the first node of a cluster that answers, cannot be used. In a cluster it is no error that nodes are
    /// away.
    pub(crate) async fn connect(config: &RedisConfig, layout: &Arc<Layout>) -> Result<Arc<Self>> {
        let history = Arc::new(History::new(config.last_server_record.clone(), config.clock.as_ref()));
        let shared = Shared {
            layout: Arc::clone(layout),
            history,
            last_login: Arc::default(),
            repeated: Arc::default(),
        };
        let manager = Arc::new(Manager::new(config, &shared, "", true)?);
        let servers = |map, is_cluster| {
            Arc::new(Self {
                config: config.clone(),
                shared: shared.clone(),
                is_cluster,
                map: ArcSwap::from_pointee(map),
                version: watch::Sender::new(0),
                refreshed: tokio::sync::Mutex::default(),
                in_vain: Mutex::default(),
                known: Mutex::default(),
                is_closed: AtomicBool::new(false),
            })
        };
        let first = Met { greeting: manager.greet().await, manager };
        let Met { manager, greeting } = match &first.greeting {
            Err(_) if !config.nodes.is_empty() => greet_any(config, &shared).await.unwrap_or(first),
            _ => first,
        };
        let greeting = greeting?;
        if let Some(problem) = greeting.info().problem_of_kind(config) {
            return Err(manager.error(ErrorKind::Configuration, problem));
        }
        if greeting.info().cluster.is_none() {
            let first = manager.admit(greeting).await?;
            return Ok(servers(Map::of_one(Pool::new(manager, first)), false));
        }
        let servers = servers(Map::default(), true);
        let refreshed = servers.refresh_from(vec![Met { greeting: Ok(greeting), manager }]).await;
        if servers.map().pools().is_empty() { refreshed.map(|()| servers) } else { Ok(servers) }
    }

    pub(crate) fn map(&self) -> Guard<Arc<Map>> {
        self.map.load()
    }

    pub(crate) fn is_cluster(&self) -> bool {
        self.is_cluster
    }

    /// Returns the slot of `group`; always the same where there is one server.
    pub(crate) fn slot(&self, group: &str) -> Slot {
        if self.is_cluster { self.shared.layout.slot(group) } else { Slot::default() }
    }

    /// Returns the slot of a key that is no group.
    pub(crate) fn slot_of_key(&self, key: &str) -> Slot {
        if self.is_cluster { SlotHasher::default().with(key).slot() } else { Slot::default() }
    }

    /// Returns the settings of the node to which `fault`, a `MOVED` or an `ASK` for `slot`, redirects.
    pub(crate) fn target(&self, slot: Slot, fault: &Fault) -> RedisConfig {
        let asked = self.map.load().owner(slot).map(|pool| pool.manager.connector.config.host.clone());
        let target = fault.cause.redirect_node().and_then(|(address, _)| address.rsplit_once(':'));
        let (host, port) = target.unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        // Empty: the host that was asked ("cluster-preferred-endpoint-type" in the documentation of Redis).
        let host = if host.is_empty() { asked.unwrap_or_default() } else { host.to_owned() };
        self.config.of_node(&host, port.parse().unwrap_or(0))
    }

    /// Returns a connection to the node to which `fault`, an `ASK` for `slot`, redirects; it answers for slots that are being
    /// moved to it.
    ///
    /// # Errors
    /// Why the node cannot be asked.
    pub(crate) async fn asking(&self, slot: Slot, fault: &Fault, deadline: Instant) -> Result<Connection> {
        let owner = self.map.load().owner(slot).cloned();
        let config = self.target(slot, fault);
        let address = config.address();
        let pool = self.pools().into_iter().find(|pool| pool.address == address);
        let Some(pool) = pool else {
            return self.asking_new(config, owner, deadline).await;
        };
        let connection = match pool.least_used() {
            Some(connection) => connection,
            None => pool.check_out(deadline).await?,
        };
        Ok(Connection { is_asking: true, ..connection })
    }

    /// Connects to a node that has no slots yet, and to which `owner` moves its first one.
    fn asking_new(
        &self,
        config: RedisConfig,
        owner: Option<Arc<Pool>>,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<Connection>> {
        Box::pin(async move {
            let unknown = Manager::new(&config, &self.shared, "", false)?;
            let late = |_| Err(unknown.error(ErrorKind::Timeout, "no answer in time"));
            let greeting = timeout_at(deadline, unknown.greet()).await.unwrap_or_else(late)?;
            if !owner.is_some_and(|owner| greeting.knows(owner.manager.name())) {
                let problem = "a slot is being moved to this node, which is in another cluster";
                return Err(unknown.error(ErrorKind::Unavailable, problem));
            }
            Ok(Connection { is_asking: true, ..unknown.apart(&greeting) })
        })
    }

    /// How many maps there were.
    pub(crate) fn version(&self) -> u64 {
        *self.version.borrow()
    }

    /// Returns the pool of the node at `address`, which holds `slot` by the word of another; learns of it if need be.
    ///
    /// # Errors
    /// `Unavailable` if the node cannot be used. It is asked less and less often, down to once a heartbeat: a node that cannot be
    /// reached is no burden for the others.
    pub(crate) async fn follow(self: &Arc<Self>, slot: Slot, address: &str) -> Result<Arc<Pool>> {
        let owner = self.owner(slot).await?;
        if owner.address == address {
            return Ok(owner);
        }
        let unusable = || {
            let message =
                format!("Redis at {address}: this node holds slot {} now, and cannot be used", slot.0);
            Err(Error::new(ErrorKind::Unavailable, message))
        };
        let last = *self.in_vain.lock();
        if last.is_some_and(|(at, pause)| at.elapsed() < pause) {
            return unusable();
        }
        // What it finds is in the map; its error may be about other nodes.
        let _ = self.refresh().await;
        let owner = self.owner(slot).await?;
        if owner.address == address {
            *self.in_vain.lock() = None;
            return Ok(owner);
        }
        let heartbeat = self.config.heartbeat;
        let pause = last.map_or(heartbeat / 8, |(_, pause)| heartbeat.min(2 * pause));
        *self.in_vain.lock() = Some((Instant::now(), pause));
        unusable()
    }

    /// Waits while `slot` changes from one node to another, and returns the pool of the node that holds it.
    ///
    /// # Errors
    /// `Unavailable` if no node holds it, `Closed` after [`close`](Self::close).
    pub(crate) async fn owner(&self, slot: Slot) -> Result<Arc<Pool>> {
        let mut version = self.version.subscribe();
        loop {
            self.check_open()?;
            version.mark_unchanged();
            {
                let map = self.map.load();
                if let Some(pool) = map.owner(slot) {
                    return Ok(Arc::clone(pool));
                }
                if !map.is_moving(slot) {
                    let message = format!("Redis cluster: no node that can be reached holds slot {}", slot.0);
                    return Err(Error::new(ErrorKind::Unavailable, message));
                }
            }
            // Fails only when this is dropped.
            let _ = version.changed().await;
        }
    }

    /// Records that servers have removed `what`, or replaced it by newer values.
    ///
    /// The caller then checks whether the epoch of the acknowledgement is still that of the server that holds the slot. Another
    /// server, or another epoch of it, is entered only after the removals were read. So either the caller sees the switch and
    /// begins again, or the next server is told.
    pub(crate) fn removed(&self, what: &[Invalidation]) {
        self.shared.history.removed(what, self.config.clock.monotonic());
    }

    /// Whether `epoch` is that of the server that holds `slot`, and its lease has not ended.
    pub(crate) fn is_current(&self, slot: Slot, epoch: &Arc<ServerEpoch>) -> bool {
        self.map
            .load()
            .owner(slot)
            .is_some_and(|pool| pool.manager.epochs.is_current(epoch) && pool.manager.epochs.is_lease_valid())
    }

    /// Whether the server of `pool` may be used as far as its lease goes. A server without a cluster is checked by connecting.
    pub(crate) fn is_confirmed(&self, pool: &Pool) -> bool {
        !self.is_cluster || pool.manager.epochs.is_lease_valid()
    }

    /// Takes the zones in which removals were repeated since the last call.
    pub(crate) fn take_repeated(&self) -> Zones {
        self.shared.repeated.swap(0, Ordering::SeqCst)
    }

    /// Returns zones whose repeated removals could not be announced.
    pub(crate) fn put_repeated(&self, zones: Zones) {
        self.shared.repeated.fetch_or(zones, Ordering::SeqCst);
    }

    /// How many epochs were entered so far, of all servers.
    pub(crate) fn switches(&self) -> u64 {
        self.map.load().pools().iter().map(|pool| pool.manager.epochs.switches()).sum()
    }

    /// How many keys the servers hold.
    pub(crate) fn keys(&self) -> u64 {
        self.map.load().pools().iter().map(|pool| pool.manager.info.load().keys).sum()
    }

    /// Returns the servers in use.
    pub(crate) fn pools(&self) -> Vec<Arc<Pool>> {
        self.map.load().pools().to_vec()
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        if self.is_closed.load(Ordering::Acquire) { Err(closed()) } else { Ok(()) }
    }

    /// Drops all connections; those in use end with their last user.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.pools().iter().for_each(|pool| pool.close());
    }

    fn publish(&self, map: Map) {
        self.map.store(Arc::new(map));
        self.version.send_modify(|version| *version += 1);
        // A refresh may end after the cache was closed.
        if self.check_open().is_err() {
            self.pools().iter().for_each(|pool| pool.close());
        }
    }
}
