//! [`Connector`]: connects to the server and asks it for its `INFO`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cache_core::Result;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ConnectionInfo, Pipeline, RedisError, Value};
use twox_hash::XxHash3_64;

use super::cluster::ClusterView;
use super::sentinel::Sentinels;
use super::server_epoch::ServerEpoch;
use super::server_info::ServerInfo;
use super::watchdog::FIRST_LOOK;
use super::{Connection, Status, client, clock_skew};
use crate::config::{RedisConfig, RedisMode};
use crate::error::{Fate, Fault};
use crate::login::LastLogin;

/// Makes sockets to one address, and connections from them.
#[derive(Debug)]
pub(crate) struct Connector {
    pub(crate) config: RedisConfig,
    server: ConnectionInfo,
    settings: AsyncConnectionConfig,
    /// Whether the server does not allow `CLIENT SETNAME`.
    is_name_refused: AtomicBool,
    losses: Arc<AtomicU64>,
    last_login: Arc<LastLogin>,
    /// Where they are named, they tell the address of each connection.
    sentinels: Option<Sentinels>,
}

/// A socket to a server that has not been admitted yet.
#[derive(Debug)]
pub(crate) struct Candidate {
    socket: MultiplexedConnection,
    pub(crate) info: ServerInfo,
    born: u64,
}

impl Connector {
    /// Prepares connections to the server of `config`.
    ///
    /// # Errors
    /// `Configuration` for certificates that cannot be read.
    pub(crate) fn new(config: &RedisConfig, last_login: Arc<LastLogin>) -> Result<Self> {
        // Operations have deadlines of their own, for the wait for a connection and the reply together.
        let settings = client::settings(config, None);
        let (config, server) = (config.clone(), client::server(config)?);
        let (is_name_refused, losses) = (AtomicBool::default(), Arc::default());
        let sentinels = Sentinels::new(&config, &server);
        Ok(Self { config, server, settings, is_name_refused, losses, last_login, sentinels })
    }

    /// Connects, logs in and reads the server's `INFO`.
    pub(crate) async fn connect(&self) -> Result<Candidate> {
        let born = self.losses.load(Ordering::Relaxed);
        let failed = |fault: Fault| fault.into_error(&self.config.address());
        let connecting = async {
            let mut socket =
                client::connect_to(&self.address().await?, &self.config, &self.settings, &self.last_login)
                    .await?;
            match self.info(&mut socket).await {
                Ok(info) => Ok(Candidate { socket, info, born }),
                // A server with too many clients closes the connection; one that does not know INFO keeps it.
                Err(refused) => match redis::cmd("PING").exec_async(&mut socket).await.map_err(Fault::from) {
                    Err(fault) if fault.fate == Fate::Gone => Err(failed(fault)),
                    _ => Err(failed(refused.into())),
                },
            }
        };
        tokio::time::timeout(self.config.connect_timeout, connecting)
            .await
            .unwrap_or_else(|_| Err(failed(Fault::timeout())))
    }

    /// Returns the address of the server: that of the settings, or the one that the Sentinels name.
    async fn address(&self) -> Result<ConnectionInfo> {
        let Some(sentinels) = &self.sentinels else { return Ok(self.server.clone()) };
        let (host, port) = sentinels.master().await?;
        Ok(client::at(&self.server, &host, port))
    }

    /// Makes a connection of `epoch` from `candidate`.
    pub(crate) fn connection(&self, candidate: &Candidate, epoch: Arc<ServerEpoch>) -> Connection {
        let Candidate { socket, info, born } = candidate;
        let status = Status {
            socket: socket.clone(),
            epoch,
            run: XxHash3_64::oneshot(info.run_id.as_bytes()),
            expires_fields: info.expires_fields,
            is_in_cluster: info.cluster.is_some(),
            is_broken: AtomicBool::new(false),
            is_out_of_step: AtomicBool::new(false),
            after_first_look: self.config.timeout.saturating_sub(FIRST_LOOK),
            born: *born,
            losses: Arc::clone(&self.losses),
        };
        Connection { socket: socket.clone(), status: Arc::new(status), is_asking: false }
    }

    /// Names the connection and asks for the server's `INFO`, in one round trip.
    async fn info(&self, socket: &mut MultiplexedConnection) -> Result<ServerInfo, RedisError> {
        let mut commands = Pipeline::with_capacity(2);
        // Not sent again after a refusal, which the server logs each time.
        if !self.is_name_refused.load(Ordering::Relaxed) {
            let name = format!("cache:{}:{}", self.config.namespace, std::process::id());
            commands.cmd("CLIENT").arg("SETNAME").arg(name);
        }
        commands.cmd("INFO");
        let asked = self.config.clock.now();
        let mut replies = socket.send_packed_commands(&commands, 0, commands.len()).await?;
        let answered = self.config.clock.now();
        let info = replies.pop().unwrap_or(Value::Nil).extract_error()?;
        if matches!(replies.pop(), Some(Value::ServerError(_))) {
            self.is_name_refused.store(true, Ordering::Relaxed);
        }
        let text: String = redis::from_redis_value(info)?;
        let info = ServerInfo::parse(&text, self.config.db);
        let clock_problem = info.time.and_then(|time| clock_skew::problem(asked, time, answered));
        let is_wanted = info.is_cluster && self.config.mode != RedisMode::Single;
        let cluster = if is_wanted { cluster_view(&self.config.host, socket).await? } else { None };
        Ok(ServerInfo { cluster, clock_problem, ..info })
    }
}

/// Asks the node at `host` how it sees its cluster, in one round trip; `None` if it answers something else.
pub(crate) async fn cluster_view(
    host: &str,
    socket: &mut MultiplexedConnection,
) -> Result<Option<ClusterView>, RedisError> {
    let mut commands = Pipeline::with_capacity(3);
    // An epoch is never older than the slots beside it.
    for question in ["SLOTS", "MYID", "INFO"] {
        commands.cmd("CLUSTER").arg(question);
    }
    let replies = socket.send_packed_commands(&commands, 0, commands.len()).await?;
    let replies: Vec<Value> = replies.into_iter().map(Value::extract_error).collect::<Result<_, _>>()?;
    let Ok([slots, id, info]) = <[Value; 3]>::try_from(replies) else { return Ok(None) };
    let (info, id): (String, String) = (redis::from_redis_value(info)?, redis::from_redis_value(id)?);
    Ok(ClusterView::parse(host, &info, id, slots))
}
