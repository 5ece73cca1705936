//! [`Manager`]: opens connections to servers that may be used, and enters the epoch of a new one.

use std::sync::Arc;

use arc_swap::ArcSwap;
use cache_core::plants::{Plant, is_planted};
use cache_core::{Error, ErrorKind, Invalidation, Result};
use tokio::time::Instant;

use crate::config::RedisConfig;
use crate::connection::Connection;
use crate::connection::connect::Connector;
use crate::connection::server_epoch::{Admission, ServerEpoch, ServerEpochs, incarnation_of};
use crate::connection::server_info::ServerInfo;
use crate::namespace_agreement::NamespaceAgreement;
use crate::protocol::layout::Layout;
use crate::protocol::removal::Removal;
use crate::protocol::scan::STEP_TIMEOUT;

/// The longest time without a check of the server, in heartbeats, for which it is used.
const LEASE_BEATS: u32 = 3;

/// The incarnation of every server where restarts are trusted.
const TRUSTED: u64 = 0;

#[derive(Debug)]
pub(crate) struct Manager {
    pub(crate) connector: Connector,
    pub(crate) epochs: ServerEpochs,
    layout: Arc<Layout>,
    pub(crate) agreement: NamespaceAgreement,
    /// The latest `INFO` of the server.
    pub(crate) info: ArcSwap<ServerInfo>,
}

impl Manager {
    pub(crate) fn new(config: &RedisConfig, layout: Arc<Layout>) -> Result<Self> {
        let RedisConfig { heartbeat, connect_timeout, trust_restart, .. } = *config;
        let (record, clock) = (config.last_server_record.clone(), Arc::clone(&config.clock));
        // Long enough for a heartbeat that takes as long as it may.
        let lease = heartbeat.saturating_mul(LEASE_BEATS);
        let lease = lease.max(heartbeat.saturating_add(connect_timeout).saturating_mul(2));
        Ok(Self {
            connector: Connector::new(config)?,
            epochs: ServerEpochs::new(lease, record, clock),
            agreement: NamespaceAgreement::new(&layout, trust_restart, heartbeat),
            layout,
            info: ArcSwap::default(),
        })
    }

    /// Connects, checks the server, and enters its epoch if it is another than before.
    pub(crate) async fn open(&self) -> Result<Connection> {
        let clock = &self.connector.config.clock;
        let (attempts, asked) = (self.epochs.attempts(), clock.monotonic());
        let mut candidate = self.connector.connect().await?;
        let trust_restart = self.connector.config.trust_restart;
        if let Some(problem) = candidate.info.problem(trust_restart) {
            // During a failover, Sentinels may name a server that follows another by now.
            let is_failover = candidate.info.is_replica && self.connector.config.sentinels.is_some();
            let kind = if is_failover { ErrorKind::Unavailable } else { ErrorKind::Configuration };
            return Err(self.error(kind, problem));
        }
        let is_one = trust_restart || is_planted(Plant::OneIncarnation);
        let info = &candidate.info;
        let incarnation = if is_one { TRUSTED } else { incarnation_of(&info.run_id, &info.replication.id) };
        let address = self.connector.config.address();
        let mut connection = self.connector.connection(&candidate, Arc::new(ServerEpoch::new(incarnation)));
        // That of the current server is compared once a heartbeat, and not for each connection of a large value.
        if !self.epochs.is_in(incarnation) {
            self.agreement.check(&mut connection, &address).await?;
        }
        let entering = self.epochs.entering.lock().await;
        // Another connection may have held the lock while it cleared a server: this one has been up for that much longer.
        let waited = clock.monotonic().saturating_since(asked);
        candidate.info.uptime = candidate.info.uptime.saturating_add(waited);
        let info = &candidate.info;
        let mut entered = None;
        let epoch = match self.epochs.admit(incarnation, info, attempts) {
            Admission::Current(epoch) => epoch,
            Admission::Outdated => {
                let message = "this connection reached a server that was replaced meanwhile";
                return Err(self.error(ErrorKind::Unavailable, message));
            }
            Admission::AfterRemoving(missed) => {
                self.remove(&mut connection, &missed).await?;
                entered = Some(missed);
                self.epochs.enter(incarnation)?
            }
        };
        self.epochs.check(info, asked);
        drop(entering);
        if let Some(missed) = entered {
            self.log_entered(incarnation, &missed);
        }
        let connection = self.connector.connection(&candidate, epoch);
        self.info.store(Arc::new(candidate.info));
        Ok(connection)
    }

    /// Removes what a server has missed before it is used.
    async fn remove(&self, connection: &mut Connection, missed: &[Invalidation]) -> Result<()> {
        let timeout = self.connector.config.timeout.max(STEP_TIMEOUT);
        let removal = Removal { connection, layout: &self.layout, removed: &|_: &str, _: u64| {}, timeout };
        let removed = removal.run(missed, Instant::now() + timeout).await;
        removed.map_err(|fault| fault.into_error(&self.connector.config.address()))
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
