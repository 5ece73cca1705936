//! [`Manager`]: opens connections to servers that may be used, and enters the epoch of a new one.

use std::sync::Arc;

use arc_swap::ArcSwap;
use cache_core::plants::{Plant, is_planted};
use cache_core::{Error, ErrorKind, Result};
use tokio::time::Instant;

use crate::config::RedisConfig;
use crate::connection::Connection;
use crate::connection::connect::Connector;
use crate::connection::server_epoch::{Admission, ServerEpoch, ServerEpochs, incarnation_of};
use crate::connection::server_info::ServerInfo;
use crate::protocol::layout::Layout;
use crate::protocol::scan;

/// The incarnation of every server where restarts are trusted.
const TRUSTED: u64 = 0;

#[derive(Debug)]
pub(crate) struct Manager {
    pub(crate) connector: Connector,
    pub(crate) epochs: ServerEpochs,
    layout: Arc<Layout>,
    /// The latest `INFO` of the server.
    pub(crate) info: ArcSwap<ServerInfo>,
}

impl Manager {
    pub(crate) fn new(config: &RedisConfig, layout: Arc<Layout>) -> Result<Self> {
        Ok(Self {
            connector: Connector::new(config)?,
            epochs: ServerEpochs::new(config.last_server_record.clone(), Arc::clone(&config.clock)),
            layout,
            info: ArcSwap::default(),
        })
    }

    /// Connects, checks the server, and enters its epoch if it is another than before.
    pub(crate) async fn open(&self) -> Result<Connection> {
        let switches = self.epochs.switches();
        let asked = Instant::now();
        let candidate = self.connector.connect().await?;
        let (info, trust_restart) = (&candidate.info, self.connector.config.trust_restart);
        if let Some(problem) = info.problem(trust_restart) {
            return Err(self.error(ErrorKind::Configuration, problem));
        }
        let is_one = trust_restart || is_planted(Plant::OneIncarnation);
        let incarnation = if is_one { TRUSTED } else { incarnation_of(&info.run_id) };
        let entering = self.epochs.entering.lock().await;
        // Another connection may have held the lock while it cleared a server: this one has been up for that much longer.
        let uptime = info.uptime + asked.elapsed();
        let epoch = match self.epochs.admit(incarnation, uptime, switches) {
            Admission::Current(epoch) => epoch,
            Admission::Outdated => {
                let message = "this connection reached a server that was replaced meanwhile";
                return Err(self.error(ErrorKind::Unavailable, message));
            }
            Admission::AtOnce => self.enter(incarnation)?,
            Admission::AfterClearing => {
                let epoch = Arc::new(ServerEpoch::new(incarnation));
                let mut connection = self.connector.connection(&candidate, epoch);
                let pattern = self.layout.groups_of(incarnation);
                let is_ours = |_: &str, found: u64| found == incarnation;
                scan::unlink_groups(&mut connection, &self.layout, pattern, &|_, _| {}, is_ours)
                    .await
                    .map_err(|fault| fault.into_error(&self.connector.config.address()))?;
                self.enter(incarnation)?
            }
        };
        drop(entering);
        let connection = self.connector.connection(&candidate, epoch);
        self.info.store(Arc::new(candidate.info));
        Ok(connection)
    }

    /// Whether requests may be sent on `connection`.
    pub(crate) fn is_usable(&self, connection: &Connection) -> bool {
        !connection.is_broken() && self.epochs.is_current(&connection.epoch)
    }

    pub(crate) fn error(&self, kind: ErrorKind, problem: &str) -> Error {
        Error::new(kind, format!("Redis at {}: {problem}", self.connector.config.address()))
    }

    fn enter(&self, incarnation: u64) -> Result<Arc<ServerEpoch>> {
        let (epoch, address) = (self.epochs.enter(incarnation)?, self.connector.config.address());
        cache_core::log::info!(
            limit: (&address, incarnation), server = %address,
            incarnation = format_args!("{incarnation:016x}"), "new Redis server or restart detected"
        );
        Ok(epoch)
    }
}
