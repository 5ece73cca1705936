//! [`Manager`]: makes connections, each of which knows which server it leads to, and refuses servers that may not be used.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bb8_redis::bb8::ManageConnection;
use cache_core::plants::{Plant, is_planted};
use cache_core::{Clock, Error, ErrorKind, Timestamp};
use futures_util::FutureExt;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Pipeline, RedisError, Value};
use tokio::time::Instant;

use crate::client::Clients;
use crate::commands::FIRST_LOOK;
use crate::config::RedisConfig;
use crate::error::{Fate, Fault};
use crate::incarnation::{Entry, World, Worlds, incarnation_of};
use crate::layout::Layout;
use crate::removed::Removed;
use crate::scan;
use crate::skew;

/// The incarnation of every server where restarts are trusted.
const TRUSTED: u64 = 0;

/// A connection many tasks share: a clone is a handle on the same socket.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    pub(crate) socket: MultiplexedConnection,
    // In one piece: every operation clones it, on every core.
    pub(crate) about: Arc<About>,
}

/// What all clones of a connection know of it.
#[derive(Debug)]
pub(crate) struct About {
    /// A handle to ask by whether the connection is still there.
    socket: MultiplexedConnection,
    pub(crate) world: Arc<World>,
    /// Whether single fields can expire (Redis from 7.4 on, Valkey from 9.0 on).
    pub(crate) expires_fields: bool,
    is_broken: AtomicBool,
    /// Whether a reply was seen on it that was none to its request.
    is_out_of_step: AtomicBool,
    /// How long an operation has after somebody looked for the first time whether the connection is still there.
    pub(crate) after_first_look: Duration,
    /// How many losses there had been when it was made.
    born: u64,
    /// How often connections were found to be gone, of all connections to this server.
    losses: Arc<AtomicU64>,
}

impl Deref for Connection {
    type Target = About;

    fn deref(&self) -> &About {
        &self.about
    }
}

impl About {
    /// Nothing more is to be sent on this connection, by whomever.
    pub(crate) fn break_off(&self) {
        self.is_broken.store(true, Ordering::Relaxed);
    }

    /// A reply was none to its request: what else is on its way may answer an earlier one, too.
    pub(crate) fn lose_step(&self) {
        self.is_out_of_step.store(true, Ordering::Release);
        self.break_off();
    }

    pub(crate) fn is_out_of_step(&self) -> bool {
        self.is_out_of_step.load(Ordering::Acquire)
    }

    /// Whether nobody answers any more, because the connection has ended.
    pub(crate) fn is_over(&self) -> bool {
        let mut socket = self.socket.clone();
        // Only handed over, or refused because nobody is there to take it.
        let ping = redis::cmd("PING");
        socket.send_packed_command(&ping).now_or_never().is_some_and(|refused| refused.is_err())
    }

    /// The connection was found to be gone: those that were made before it was are likely to be, too.
    pub(crate) fn lose(&self) {
        self.break_off();
        // Whoever finds the next of the same lot has nothing to add.
        let _ = self.losses.compare_exchange(self.born, self.born + 1, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Relaxed) || self.born != self.losses.load(Ordering::Relaxed)
    }
}

/// What a server says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the server")]
pub(crate) struct ServerInfo {
    pub(crate) run_id: String,
    pub(crate) uptime: Duration,
    pub(crate) is_replica: bool,
    pub(crate) is_cluster: bool,
    pub(crate) is_sentinel: bool,
    pub(crate) maxmemory: u64,
    pub(crate) policy: String,
    /// Whether single fields can expire.
    pub(crate) expires_fields: bool,
    /// The time there.
    pub(crate) time: Option<Timestamp>,
    /// How many keys the database holds.
    pub(crate) keys: u64,
    /// What is wrong with the clock of this machine.
    pub(crate) clock_problem: Option<String>,
}

impl ServerInfo {
    /// Reads the answer to `INFO`, of a client that uses the database `db`.
    pub(crate) fn parse(text: &str, db: u32) -> Self {
        let fields: HashMap<&str, &str> = text.lines().filter_map(|line| line.split_once(':')).collect();
        let field = |name: &str| fields.get(name).copied().unwrap_or_default();
        let number = |name: &str| field(name).parse().unwrap_or(0);
        let keys = field(&format!("db{db}")).strip_prefix("keys=").and_then(|text| text.split(',').next());
        let micros: Option<u64> = field("server_time_usec").parse().ok();
        Self {
            time: micros.map(|micros| Timestamp::from_millis(micros / 1000)),
            keys: keys.and_then(|keys| keys.parse().ok()).unwrap_or(0),
            clock_problem: None,
            run_id: field("run_id").to_owned(),
            uptime: Duration::from_secs(number("uptime_in_seconds")),
            is_replica: field("role") == "slave",
            is_cluster: field("redis_mode") == "cluster",
            is_sentinel: field("redis_mode") == "sentinel",
            maxmemory: number("maxmemory"),
            policy: field("maxmemory_policy").to_owned(),
            expires_fields: match field("valkey_version") {
                "" => is_from(field("redis_version"), (7, 4)),
                valkey => is_from(valkey, (9, 0)),
            },
        }
    }

    /// Why the server cannot be used at all.
    pub(crate) fn problem(&self, trust_restart: bool) -> Option<&'static str> {
        if self.is_sentinel {
            Some(
                "is a Sentinel, which holds no data; name the primary that it watches in REDIS_HOST and REDIS_PORT",
            )
        } else if self.is_replica {
            Some("is a replica: it may serve what was removed; name the primary in REDIS_HOST")
        } else if self.is_cluster {
            Some("is part of a cluster, which this version does not support; use a server of its own")
        } else if self.run_id.is_empty() && !trust_restart {
            Some("does not say its run_id, so that a restart cannot be told; allow INFO to this user")
        } else {
            None
        }
    }

    /// What an operator ought to change, with the line to type.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.maxmemory == 0 {
            let advice = "type: CONFIG SET maxmemory 1gb, and CONFIG SET maxmemory-policy allkeys-lru";
            warnings.push(format!("the server has no memory limit and grows until it is killed; {advice}"));
        } else if self.policy == "noeviction" || self.policy.starts_with("volatile-") {
            let advice = "type: CONFIG SET maxmemory-policy allkeys-lru";
            warnings
                .push(format!("with maxmemory-policy {} a full cache stores nothing; {advice}", self.policy));
        }
        warnings
    }
}

/// Whether a version such as `7.4.1` is `least` or later.
fn is_from(version: &str, least: (u64, u64)) -> bool {
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= least
}

/// Makes connections to one address.
#[derive(Debug)]
pub(crate) struct Manager {
    clients: Clients,
    settings: AsyncConnectionConfig,
    db: u32,
    clock: Arc<dyn Clock>,
    /// What connections are called at the server, as far as it allows that.
    name: String,
    is_name_refused: AtomicBool,
    timeout: Duration,
    after_first_look: Duration,
    address: String,
    trust_restart: bool,
    pub(crate) worlds: Arc<Worlds>,
    pub(crate) layout: Arc<Layout>,
    losses: Arc<AtomicU64>,
    /// What the server said when it was asked last.
    pub(crate) info: ArcSwap<ServerInfo>,
}

impl Manager {
    pub(crate) fn new(config: &RedisConfig, layout: Arc<Layout>, worlds: Arc<Worlds>) -> Result<Self, Error> {
        let clients = Clients::new(config)?;
        // Operations have deadlines of their own: one clock for the wait for a connection and for the answer.
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(config.connect_timeout))
            .set_response_timeout(None);
        Ok(Self {
            clients,
            settings,
            db: config.db,
            clock: Arc::clone(&config.clock),
            name: format!("cache:{}:{}", config.namespace, std::process::id()),
            is_name_refused: AtomicBool::new(false),
            timeout: config.connect_timeout,
            after_first_look: config.timeout.saturating_sub(FIRST_LOOK),
            address: config.address(),
            trust_restart: config.trust_restart,
            worlds,
            layout,
            losses: Arc::default(),
            info: ArcSwap::default(),
        })
    }

    /// Connects, asks who is there, and enters its world if that is another than before.
    pub(crate) async fn open(&self) -> Result<Connection, Error> {
        let switches = self.worlds.switches();
        let born = self.losses.load(Ordering::Relaxed);
        let asked = Instant::now();
        let (socket, info) = self.greet().await?;
        if let Some(problem) = info.problem(self.trust_restart) {
            return Err(self.error(ErrorKind::Configuration, problem));
        }
        let is_one = self.trust_restart || is_planted(Plant::OneIncarnation);
        let incarnation = if is_one { TRUSTED } else { incarnation_of(&info.run_id) };
        let expires_fields = info.expires_fields;
        let connection = |world| {
            let losses = Arc::clone(&self.losses);
            let (is_broken, is_out_of_step) = (AtomicBool::new(false), AtomicBool::new(false));
            let about = Arc::new(About {
                socket: socket.clone(),
                world,
                expires_fields,
                is_broken,
                is_out_of_step,
                after_first_look: self.after_first_look,
                born,
                losses,
            });
            Connection { socket: socket.clone(), about }
        };
        let entering = self.worlds.entering.lock().await;
        // Others may have entered, and cleared, for a while: the server has been up for that much longer.
        let uptime = info.uptime + asked.elapsed();
        let world = match self.worlds.approach(incarnation, uptime, switches) {
            Entry::Current(world) => world,
            Entry::Outdated => {
                let message = "a connection came through to a server that another has replaced meanwhile";
                return Err(self.error(ErrorKind::Unavailable, message));
            }
            Entry::AtOnce => self.enter(incarnation)?,
            Entry::AfterClearing => {
                let world = Arc::new(World::of(incarnation));
                let mut connection = connection(world);
                let pattern = self.layout.groups_of(incarnation);
                let is_ours = |_: &str, found: u64| found == incarnation;
                scan::unlink_all(&mut connection, &self.layout, &pattern, &mut Removed::default(), is_ours)
                    .await
                    .map_err(|fault| fault.into_error(&self.address))?;
                self.enter(incarnation)?
            }
        };
        drop(entering);
        self.info.store(Arc::new(info));
        Ok(connection(world))
    }

    /// Who is there, over a connection of its own.
    pub(crate) async fn identify(&self) -> Result<ServerInfo, Error> {
        self.greet().await.map(|(_, info)| info)
    }

    fn enter(&self, incarnation: u64) -> Result<Arc<World>, Error> {
        let world = self.worlds.enter(incarnation)?;
        cache_core::log::limited(
            (&self.address, incarnation),
            |suppressed| tracing::info!(server = %self.address, incarnation = format_args!("{incarnation:016x}"), suppressed, "Redis: entered"),
        );
        Ok(world)
    }

    async fn greet(&self) -> Result<(MultiplexedConnection, ServerInfo), Error> {
        let greeting = async {
            let client = self.clients.client().await?;
            let socket = client.get_multiplexed_async_connection_with_config(&self.settings).await;
            let failed = |cause: RedisError| Fault::from(cause).into_error(&self.address);
            let mut socket = socket.map_err(failed)?;
            match self.ask_for_info(&mut socket).await {
                Ok(info) => Ok((socket, info)),
                // One that has too many clients says so and hangs up; one that does not know INFO stays.
                Err(refused) => match redis::cmd("PING").exec_async(&mut socket).await.map_err(Fault::from) {
                    Err(fault) if fault.fate == Fate::Gone => Err(fault.into_error(&self.address)),
                    _ => Err(failed(refused)),
                },
            }
        };
        let late = |_| Err(Fault::timeout().into_error(&self.address));
        tokio::time::timeout(self.timeout, greeting).await.unwrap_or_else(late)
    }

    /// Gives a connection its name, and asks the server who it is, in one go.
    async fn ask_for_info(&self, socket: &mut MultiplexedConnection) -> Result<ServerInfo, RedisError> {
        let mut commands = Pipeline::with_capacity(2);
        // A server that refuses it once is not asked again: its log of refusals is for what somebody ought to look at.
        if !self.is_name_refused.load(Ordering::Relaxed) {
            commands.cmd("CLIENT").arg("SETNAME").arg(&self.name);
        }
        commands.cmd("INFO");
        let asked = self.clock.now();
        let mut replies = socket.send_packed_commands(&commands, 0, commands.len()).await?;
        let answered = self.clock.now();
        let info = replies.pop().unwrap_or(Value::Nil).extract_error()?;
        if matches!(replies.pop(), Some(Value::ServerError(_))) {
            self.is_name_refused.store(true, Ordering::Relaxed);
        }
        let text: String = redis::from_redis_value(info)?;
        let info = ServerInfo::parse(&text, self.db);
        let clock_problem = info.time.and_then(|time| skew::problem(asked, time, answered));
        Ok(ServerInfo { clock_problem, ..info })
    }

    fn error(&self, kind: ErrorKind, problem: &str) -> Error {
        Error::new(kind, format!("Redis at {}: {problem}", self.address))
    }
}

impl ManageConnection for Manager {
    type Connection = Connection;
    type Error = Error;

    async fn connect(&self) -> Result<Connection, Error> {
        self.open().await
    }

    async fn is_valid(&self, connection: &mut Connection) -> Result<(), Error> {
        // No PING: it would double every round trip and proves nothing about the next one.
        if self.has_broken(connection) {
            return Err(self.error(ErrorKind::Unavailable, "the connection is broken"));
        }
        Ok(())
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        connection.is_broken() || !self.worlds.is_current(&connection.world)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_known_by_its_info() {
        let text = "# Server\r\nredis_mode:standalone\r\nrun_id:abc\r\nuptime_in_seconds:12\r\n\
                    # Memory\r\nmaxmemory:1048576\r\nmaxmemory_policy:noeviction\r\n# Replication\r\nrole:slave\r\n\
                    # Keyspace\r\ndb0:keys=1,expires=0\r\ndb3:keys=42,expires=0,avg_ttl=0\r\n";
        let info = ServerInfo::parse(text, 3);
        assert_eq!((info.run_id.as_str(), info.uptime), ("abc", Duration::from_secs(12)));
        assert!(info.is_replica && !info.is_cluster);
        assert_eq!((info.keys, ServerInfo::parse(text, 1).keys), (42, 0));
        assert_eq!(info.warnings().len(), 1);
    }

    #[test]
    fn fields_expire_where_the_version_says_so() {
        let can = |text: &str| ServerInfo::parse(text, 0).expires_fields;
        for old in
            ["", "redis_version:6.2.5", "redis_version:7.2.4", "redis_version:7.2.4\r\nvalkey_version:8.1.0"]
        {
            assert!(!can(old), "{old}");
        }
        for new in
            ["redis_version:7.4.0", "redis_version:8.2.2", "redis_version:7.2.4\r\nvalkey_version:9.1.0"]
        {
            assert!(can(new), "{new}");
        }
    }

    #[test]
    fn an_operator_is_told_what_to_type() {
        let warns = |maxmemory: u64, policy: &str| {
            ServerInfo { maxmemory, policy: policy.to_owned(), ..ServerInfo::default() }.warnings().concat()
        };
        assert!(warns(0, "noeviction").contains("CONFIG SET maxmemory 1gb"));
        assert!(warns(1, "noeviction").contains("CONFIG SET maxmemory-policy allkeys-lru"));
        assert!(warns(1, "volatile-lru").contains("allkeys-lru"));
        assert!(warns(1, "allkeys-lfu").is_empty());
    }
}
