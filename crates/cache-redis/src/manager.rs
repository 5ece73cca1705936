//! [`Manager`]: opens connections to servers that may be used, and enters the epoch of a new one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use cache_core::plants::{Plant, is_planted};
use cache_core::{Error, ErrorKind, Invalidation, Monotonic, Result};
use tokio::time::Instant;

use crate::config::RedisConfig;
use crate::connection::Connection;
use crate::connection::connect::{Candidate, Connector};
use crate::connection::history::History;
use crate::connection::server_epoch::{Admission, ServerEpoch, ServerEpochs, incarnation_of};
use crate::connection::server_info::ServerInfo;
use crate::login::LastLogin;
use crate::namespace_agreement::NamespaceAgreement;
use crate::protocol::layout::Layout;
use crate::protocol::removal::{Removal, group_of};
use crate::protocol::scan::{Elsewhere, STEP_TIMEOUT};
use crate::protocol::slot::{Slot, Zones};

/// The longest time without a check of the server, in heartbeats, for which it is used.
const LEASE_BEATS: u32 = 3;

/// The incarnation of every server where restarts are trusted.
const TRUSTED: u64 = 0;

/// What a manager shares with those of other servers.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) layout: Arc<Layout>,
    pub(crate) history: Arc<History>,
    pub(crate) last_login: Arc<LastLogin>,
    /// The zones in which removals were repeated, and not announced to instances that keep values in memory.
    pub(crate) repeated: Arc<AtomicU64>,
}

#[derive(Debug)]
pub(crate) struct Manager {
    pub(crate) connector: Connector,
    pub(crate) epochs: ServerEpochs,
    shared: Shared,
    pub(crate) agreement: NamespaceAgreement,
    /// The latest `INFO` of the server.
    pub(crate) info: ArcSwap<ServerInfo>,
}

/// A connection to a server that was not admitted yet.
#[derive(Debug)]
pub(crate) struct Greeting {
    candidate: Candidate,
    /// The switches of servers when it began.
    attempts: u64,
    pub(crate) asked: Monotonic,
}

impl Greeting {
    pub(crate) fn info(&self) -> &ServerInfo {
        &self.candidate.info
    }

    /// Whether the node names `id` as a master of its cluster.
    pub(crate) fn knows(&self, id: &str) -> bool {
        self.info().cluster.as_ref().is_some_and(|view| view.shards.iter().any(|shard| shard.master.id == id))
    }
}

impl Manager {
    /// Makes the manager of the server of `config`; `name` is its id in a cluster, and `is_first` is set where this process
    /// begins with it.
    pub(crate) fn new(config: &RedisConfig, shared: &Shared, name: &str, is_first: bool) -> Result<Self> {
        let RedisConfig { heartbeat, connect_timeout, trust_restart, .. } = *config;
        // Long enough for a heartbeat that takes as long as it may.
        let lease = heartbeat.saturating_mul(LEASE_BEATS);
        let lease = lease.max(heartbeat.saturating_add(connect_timeout).saturating_mul(2));
        let (history, clock) = (Arc::clone(&shared.history), Arc::clone(&config.clock));
        Ok(Self {
            connector: Connector::new(config, Arc::clone(&shared.last_login))?,
            epochs: ServerEpochs::new(name, is_first, lease, history, clock),
            agreement: NamespaceAgreement::new(&shared.layout, trust_restart, heartbeat),
            shared: shared.clone(),
            info: ArcSwap::default(),
        })
    }

    /// Connects, checks the server, and enters its epoch if it is another than before.
    pub(crate) async fn open(&self) -> Result<Connection> {
        let greeting = self.greet().await?;
        self.admit(greeting).await
    }

    /// Connects and asks the server what it is.
    pub(crate) async fn greet(&self) -> Result<Greeting> {
        let (attempts, asked) = (self.epochs.attempts(), self.connector.config.clock.monotonic());
        Ok(Greeting { candidate: self.connector.connect().await?, attempts, asked })
    }

    /// Checks the server of `greeting`, and enters its epoch if it is another than before.
    pub(crate) async fn admit(&self, greeting: Greeting) -> Result<Connection> {
        let Greeting { mut candidate, attempts, asked } = greeting;
        let config = &self.connector.config;
        if let Some(problem) = candidate.info.problem(config) {
            // During a failover, Sentinels and nodes may name a server that follows another by now.
            let is_failover =
                candidate.info.is_replica && (candidate.info.cluster.is_some() || config.sentinels.is_some());
            let kind = if is_failover { ErrorKind::Unavailable } else { ErrorKind::Configuration };
            return Err(self.error(kind, problem));
        }
        if candidate.info.cluster.as_ref().is_some_and(|view| view.id != self.name()) {
            let problem = "another node, perhaps of another cluster, answers at this address";
            return Err(self.error(ErrorKind::Unavailable, problem));
        }
        let incarnation = self.incarnation(&candidate.info);
        let mut connection = self.connector.connection(&candidate, Arc::new(ServerEpoch::new(incarnation)));
        // That of the current server is compared once a heartbeat, and not for each connection of a large value.
        if !self.epochs.is_in(incarnation) {
            self.check_agreement(&mut connection, &candidate.info).await?;
        }
        let entering = self.epochs.entering.lock().await;
        // Another connection may have held the lock while it cleared a server: this one has been up for that much longer.
        let waited = config.clock.monotonic().saturating_since(asked);
        candidate.info.uptime = candidate.info.uptime.saturating_add(waited);
        let info = &candidate.info;
        if info.cluster.is_none() {
            self.shared.history.begin(&BTreeMap::from([(String::new(), incarnation)]));
        }
        let mut entered = None;
        let epoch = match self.epochs.admit(incarnation, info, attempts) {
            Admission::Current(epoch) => epoch,
            Admission::Outdated => {
                let message = "this connection reached a server that was replaced meanwhile";
                return Err(self.error(ErrorKind::Unavailable, message));
            }
            Admission::AfterRemoving(missed) => {
                let within: Option<Vec<Slot>> = info.cluster.as_ref().map(|view| {
                    let mut slots: Vec<Slot> = view.own_slots().collect();
                    slots.sort_unstable();
                    slots
                });
                self.remove(&mut connection, &missed, within.as_deref()).await?;
                entered = Some(missed);
                self.epochs.enter(incarnation)?
            }
        };
        // Of a node of a cluster, another node has to say that it holds its slots.
        if info.cluster.is_none() {
            self.epochs.check(info, asked);
        }
        drop(entering);
        if let Some(missed) = entered {
            self.log_entered(incarnation, &missed);
        }
        let connection = self.connector.connection(&candidate, epoch);
        self.info.store(Arc::new(candidate.info));
        Ok(connection)
    }

    /// Makes a connection to a server that is not entered, for removals.
    pub(crate) fn apart(&self, greeting: &Greeting) -> Connection {
        let epoch = ServerEpoch::new(self.incarnation(greeting.info()));
        self.connector.connection(&greeting.candidate, Arc::new(epoch))
    }

    /// The id of the node of a cluster; empty for any other server.
    pub(crate) fn name(&self) -> &str {
        self.epochs.name()
    }

    /// Returns the incarnation of a server: the same for all where restarts are trusted.
    pub(crate) fn incarnation(&self, info: &ServerInfo) -> u64 {
        let is_one = self.connector.config.trust_restart || is_planted(Plant::OneIncarnation);
        if is_one { TRUSTED } else { incarnation_of(info) }
    }

    /// Compares the settings that all instances share, where this server holds them.
    pub(crate) async fn check_agreement(&self, connection: &mut Connection, info: &ServerInfo) -> Result<()> {
        if info.cluster.as_ref().is_some_and(|view| !view.holds(self.agreement.slot())) {
            return Ok(());
        }
        self.agreement.check(connection, &self.connector.config.address()).await
    }

    /// Removes what a server has missed, in these slots or in all, before it is used.
    pub(crate) async fn remove(
        &self,
        connection: &mut Connection,
        missed: &[Invalidation],
        within: Option<&[Slot]>,
    ) -> Result<()> {
        let timeout = self.connector.config.timeout.max(STEP_TIMEOUT);
        connection.is_asking = connection.is_in_cluster;
        let removal = Removal {
            connection,
            layout: &self.shared.layout,
            removed: &|_: &str, _: u64| {},
            timeout,
            // The node that holds them is told what it has missed before it is used.
            elsewhere: Elsewhere::Skip,
            within,
        };
        let removed = removal.run(missed, &[], Instant::now() + timeout).await;
        removed.map_err(|fault| fault.into_error(&self.connector.config.address()))?;
        // Another instance may have read there what was removed just now, and keep it in memory.
        self.shared.repeated.fetch_or(zones_of(&self.shared.layout, missed, within), Ordering::SeqCst);
        Ok(())
    }

    /// Whether requests may be sent on `connection`.
    pub(crate) fn is_usable(&self, connection: &Connection) -> bool {
        !connection.is_broken() && self.epochs.is_current(&connection.epoch) && self.epochs.is_lease_valid()
    }

    pub(crate) fn error(&self, kind: ErrorKind, problem: &str) -> Error {
        Error::new(kind, format!("Redis at {}: {problem}", self.connector.config.address()))
    }

    fn log_entered(&self, incarnation: u64, missed: &[Invalidation]) {
        let address = self.connector.config.address();
        let is_cleared = missed.contains(&Invalidation::Everything);
        cache_core::log::info!(
            limit: (&address, incarnation), server = %address, incarnation = format_args!("{incarnation:016x}"),
            repeated = missed.len(), is_cleared, "new Redis server or restart detected"
        );
    }
}

/// Returns the zones in which `missed` has removed values, from these slots or from a server without slots.
fn zones_of(layout: &Layout, missed: &[Invalidation], within: Option<&[Slot]>) -> Zones {
    let Some(within) = within else {
        return if missed.is_empty() { 0 } else { Slot::default().zones() };
    };
    let all = || within.iter().fold(0, |zones, slot| zones | slot.zones());
    let of = |what| match group_of(what) {
        None => all(),
        Some(group) => {
            let slot = layout.slot(group);
            if within.binary_search(&slot).is_ok() { slot.zones() } else { 0 }
        }
    };
    missed.iter().fold(0, |zones, what| zones | of(what))
}
