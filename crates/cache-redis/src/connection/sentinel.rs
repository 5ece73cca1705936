//! [`Sentinels`]: which server is the master of a group that Redis Sentinel watches.
//!
//! All Sentinels are asked at once, before each connection to the server. Of the answers the one with the highest
//! `config-epoch` counts: a failover raises it ("Configuration epochs" in the documentation of Redis Sentinel). Half of the
//! Sentinels or more must answer: those of a minority may not know of a failover.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use cache_core::{Error, ErrorKind, Result};
use futures_util::future::join_all;
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, RedisConnectionInfo};
use tokio::time::timeout;

use super::client;
use crate::config::{RedisConfig, SentinelConfig};
use crate::error::Fault;

/// The Sentinels of one group.
#[derive(Debug)]
pub(crate) struct Sentinels {
    config: SentinelConfig,
    all: Vec<Sentinel>,
    /// How long one may take to answer.
    limit: Duration,
}

/// One Sentinel, and the connection to it.
#[derive(Debug)]
struct Sentinel {
    address: String,
    server: ConnectionInfo,
    connection: Mutex<Option<MultiplexedConnection>>,
}

/// A master, as a Sentinel describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Master {
    name: String,
    host: String,
    port: u16,
    epoch: u64,
}

impl Sentinels {
    /// Prepares connections to the Sentinels of `config`, which are reached as `server` is.
    pub(crate) fn new(config: &RedisConfig, server: &ConnectionInfo) -> Option<Self> {
        let sentinels = config.sentinels.clone()?;
        let mut login = RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Some(username) = &sentinels.username {
            login = login.set_username(username);
        }
        if let Some(password) = &sentinels.password {
            login = login.set_password(password);
        }
        let sentinel = |(host, port): &(String, u16)| Sentinel {
            address: format!("{host}:{port}"),
            server: client::at(server, host, *port).set_redis_settings(login.clone()),
            connection: Mutex::new(None),
        };
        let all = sentinels.addresses.iter().map(sentinel).collect();
        Some(Self { all, config: sentinels, limit: config.connect_timeout / 2 })
    }

    /// Returns the address of the master.
    ///
    /// # Errors
    /// `Unavailable` where fewer than half of the Sentinels answer; `Configuration` where they do not know the master, or
    /// watch several and none is named.
    pub(crate) async fn master(&self) -> Result<(String, u16)> {
        let answers = join_all(self.all.iter().map(|sentinel| sentinel.masters(self.limit))).await;
        let (answers, failures): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        let (answered, of) = (answers.len(), self.all.len());
        if answered == 0 || 2 * answered < of {
            let why = failures.into_iter().find_map(Result::err).map(|error| error.to_string());
            let message = format!("{answered} of {of} Sentinels answer: {}", why.unwrap_or_default());
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        let masters: Vec<Master> = answers.into_iter().flatten().flatten().collect();
        let names: BTreeSet<&str> = masters.iter().map(|master| master.name.as_str()).collect();
        let name = match (&self.config.master, names.len()) {
            (Some(name), _) => name.as_str(),
            (None, 1) => names.first().copied().unwrap_or_default(),
            (None, _) => {
                let message = format!(
                    "set REDIS_SENTINEL_MASTER to one of the masters that they watch: {}",
                    list(&names)
                );
                return Err(self.error(&message));
            }
        };
        let newest = masters.iter().filter(|master| master.name == name).max_by_key(|master| master.epoch);
        match newest {
            Some(Master { host, port, .. }) => Ok((host.clone(), *port)),
            None => Err(self.error(&format!(
                "they watch no master {name:?}; set REDIS_SENTINEL_MASTER to one that they watch: {}",
                list(&names)
            ))),
        }
    }

    fn error(&self, problem: &str) -> Error {
        let addresses: Vec<&str> = self.all.iter().map(|sentinel| sentinel.address.as_str()).collect();
        let message = format!("Redis: the Sentinels {}: {problem}", addresses.join(", "));
        Error::new(ErrorKind::Configuration, message)
    }
}

fn list(names: &BTreeSet<&str>) -> String {
    if names.is_empty() { "none".to_owned() } else { names.iter().copied().collect::<Vec<_>>().join(", ") }
}

impl Sentinel {
    /// Asks for the masters that this Sentinel watches, over a connection that is kept.
    async fn masters(&self, limit: Duration) -> Result<Vec<Master>> {
        let asked = timeout(limit, self.ask(limit)).await;
        let answer = asked.unwrap_or_else(|_| Err(Fault::timeout()));
        answer.map_err(|fault| {
            *self.connection.lock() = None;
            fault.into_error(&self.address)
        })
    }

    async fn ask(&self, limit: Duration) -> Result<Vec<Master>, Fault> {
        let kept = self.connection.lock().clone();
        let mut connection = if let Some(connection) = kept {
            connection
        } else {
            let settings = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(limit))
                .set_response_timeout(Some(limit));
            let client = Client::open(self.server.clone())?;
            let connection = client.get_multiplexed_async_connection_with_config(&settings).await?;
            *self.connection.lock() = Some(connection.clone());
            connection
        };
        let masters: Vec<HashMap<String, String>> =
            redis::cmd("SENTINEL").arg("MASTERS").query_async(&mut connection).await?;
        Ok(masters.iter().filter_map(parse).collect())
    }
}

/// Reads the description of a master; `None` for one without an address.
fn parse(fields: &HashMap<String, String>) -> Option<Master> {
    Some(Master {
        name: fields.get("name")?.clone(),
        host: fields.get("ip")?.clone(),
        port: fields.get("port")?.parse().ok()?,
        epoch: fields.get("config-epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or(0),
    })
}
