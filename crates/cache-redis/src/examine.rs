//! [`examine`]: the way to the server, step by step, for an operator who wants to know where it ends.

use std::net::SocketAddr;
use std::time::Duration;

use cache_core::MEGABYTE;
use redis::aio::MultiplexedConnection;
use redis::{ErrorKind as RedisKind, RedisError, ServerErrorKind};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::advice::{about_login, advice};
use crate::client::connect;
use crate::config::RedisConfig;
use crate::engine::Engine;
use crate::error::Fault;
use crate::manager::ServerInfo;
use crate::skew;

/// What a step found; all but `Fine` say what to do. None holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Nothing is in the way here.
    Fine(String),
    /// It works, and something ought to be changed.
    Doubtful {
        /// What is so.
        found: String,
        /// What to do.
        advice: String,
    },
    /// The cache cannot use this server: the way ends here.
    Wrong {
        /// What is so.
        found: String,
        /// What to do.
        advice: String,
    },
}

/// A step of the way, by its name.
pub type Step = (&'static str, Finding);

/// Walks the way to the server that `config` names: name, connection, encryption, login, server, clock, commands,
/// memory, persistence. It ends at the first step that is wrong.
///
/// It changes nothing that is cached: what it tries, it tries on a key of its own that it removes. What instances agree on
/// at their start it announces as they do; that goes by itself within some seconds.
///
/// # Cost
/// A few connections and round trips; each step takes [`RedisConfig::connect_timeout`] at most, an instance's start as
/// long again.
pub async fn examine(config: &RedisConfig) -> Vec<Step> {
    let mut steps = Vec::new();
    // A wrong step is the last one: it has said so already.
    let _ = Walk { config, steps: &mut steps }.walk().await;
    steps
}

/// The way cannot be walked any further.
struct DeadEnd;

struct Walk<'a> {
    config: &'a RedisConfig,
    steps: &'a mut Vec<Step>,
}

impl Walk<'_> {
    async fn walk(&mut self) -> Result<(), DeadEnd> {
        let config = self.config;
        let checked = config.check().map(|()| "understood".to_owned());
        self.step("settings", checked, |_| "correct the setting that is named".to_owned())?;
        let addresses = self.resolve().await?;
        self.reach(&addresses).await?;
        self.encrypt().await?;
        let mut socket = self.log_in().await?;
        let info = self.meet(&mut socket).await?;
        let checked = Engine::connect_checked(config).await;
        let allowed = checked.map(|_| "all that the cache needs are allowed".to_owned());
        let advice = "do what the message names; the smallest access list is in docs/reference.md";
        self.step("commands", allowed, |_| advice.to_owned())?;
        self.remember(&info);
        self.persist(&mut socket, &info).await;
        Ok(())
    }

    async fn resolve(&mut self) -> Result<Vec<SocketAddr>, DeadEnd> {
        let RedisConfig { host, port, connect_timeout, .. } = self.config;
        let found = match timeout(*connect_timeout, lookup_host((host.as_str(), *port))).await {
            Ok(Ok(addresses)) => Ok(addresses.collect::<Vec<_>>()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} ms", connect_timeout.as_millis())),
        };
        let advice = format!("correct REDIS_HOST, or see why this machine's DNS does not know {host}");
        match found {
            Ok(addresses) if !addresses.is_empty() => {
                let shown: Vec<_> = addresses.iter().map(|address| address.ip().to_string()).collect();
                self.fine("name", format!("{host} is {}", shown.join(", ")));
                Ok(addresses)
            }
            Ok(_) => self.wrong("name", format!("{host} has no address"), advice),
            Err(error) => self.wrong("name", format!("{host} cannot be resolved: {error}"), advice),
        }
    }

    async fn reach(&mut self, addresses: &[SocketAddr]) -> Result<(), DeadEnd> {
        let RedisConfig { port, connect_timeout, .. } = self.config;
        let mut failures = Vec::new();
        for address in addresses {
            match timeout(*connect_timeout, TcpStream::connect(address)).await {
                Ok(Ok(_)) => {
                    self.fine("connection", format!("{address} accepts connections"));
                    return Ok(());
                }
                Ok(Err(error)) => failures.push(format!("{address}: {error}")),
                Err(_) => {
                    failures.push(format!("{address}: no answer within {} ms", connect_timeout.as_millis()));
                }
            }
        }
        let advice = format!(
            "start the server, correct REDIS_HOST and REDIS_PORT, or let firewalls and security groups pass port {port}"
        );
        self.wrong("connection", failures.join("; "), advice)
    }

    async fn encrypt(&mut self) -> Result<(), DeadEnd> {
        if !self.config.tls {
            self.fine("TLS", "off: everything is sent readable".to_owned());
            return Ok(());
        }
        let shaken = connect(&self.config.without_login()).await;
        let advice = match &shaken {
            Ok(_) => None,
            Err(error) => advice(self.config, error).await,
        };
        let advice = advice.unwrap_or("see that the server speaks TLS 1.3, and look at its log");
        self.step("TLS", shaken.map(|_| "the server's certificate is trusted".to_owned()), |_| {
            advice.to_owned()
        })
    }

    async fn log_in(&mut self) -> Result<MultiplexedConnection, DeadEnd> {
        let RedisConfig { login, db, connect_timeout, .. } = self.config;
        let who = login.description();
        let connected = match connect(self.config).await {
            Ok(mut socket) => {
                let asked = timeout(*connect_timeout, redis::cmd("PING").exec_async(&mut socket)).await;
                match asked.map_err(|_| Fault::timeout()).and_then(|asked| asked.map_err(Fault::from)) {
                    Ok(()) => Ok(socket),
                    // That this user may not say PING is for the commands.
                    Err(fault) if is_denied(&fault.cause) => Ok(socket),
                    Err(fault) => Err(fault.into_error(&self.config.address())),
                }
            }
            Err(error) => Err(error),
        };
        match connected {
            Ok(socket) => {
                self.fine("login", format!("{who}, database {db}"));
                Ok(socket)
            }
            Err(error) => {
                let advice = advice(self.config, &error).await.unwrap_or_else(|| about_login(&error));
                self.wrong("login", format!("{who}, database {db}: {error}"), advice.to_owned())
            }
        }
    }

    async fn meet(&mut self, socket: &mut MultiplexedConnection) -> Result<String, DeadEnd> {
        let command = redis::cmd("INFO");
        let (clock, before) = (&self.config.clock, self.config.clock.now());
        let asked = command.query_async::<String>(socket);
        let answer = match timeout(self.config.connect_timeout, asked).await {
            Ok(answer) => answer.map_err(Fault::from),
            Err(_) => Err(Fault::timeout()),
        };
        match answer.map_err(|fault| fault.into_error(&self.config.address())) {
            Ok(text) => {
                let (info, field) = (ServerInfo::parse(&text, self.config.db), |name| field(&text, name));
                let (name, version) = match field("valkey_version") {
                    "" => ("Redis", field("redis_version")),
                    version => ("Valkey", version),
                };
                self.step(
                    "server",
                    info.problem(self.config.trust_restart).map_or(Ok(()), Err).map(|()| {
                        format!("{name} {version}, {}, up for {} s", field("role"), info.uptime.as_secs())
                    }),
                    |_| "name another server in REDIS_HOST and REDIS_PORT".to_owned(),
                )?;
                match info.time.map(|time| skew::problem(before, time, clock.now())) {
                    None => self.fine("clock", "this server does not say what time it has".to_owned()),
                    Some(None) => {
                        self.fine("clock", "that of this machine agrees with the server's".to_owned());
                    }
                    Some(Some(found)) => self.doubtful("clock", found, skew::ADVICE.to_owned()),
                }
                Ok(text)
            }
            Err(error) => self.wrong(
                "server",
                error.to_string(),
                "let this user run INFO: ACL SETUSER ... +info".to_owned(),
            ),
        }
    }

    fn remember(&mut self, info: &str) {
        let server = ServerInfo::parse(info, self.config.db);
        let used = field(info, "used_memory").parse().unwrap_or(0) / MEGABYTE;
        match server.warnings().into_iter().next() {
            None => {
                let (limit, policy) = (server.maxmemory / MEGABYTE, server.policy);
                self.fine("memory", format!("{used} of {limit} MB in use, {policy}"));
            }
            Some(warning) => {
                let (found, advice) = warning.split_once("; ").unwrap_or((&warning, "see docs/reference.md"));
                self.doubtful("memory", format!("{used} MB in use: {found}"), advice.to_owned());
            }
        }
    }

    async fn persist(&mut self, socket: &mut MultiplexedConnection, info: &str) {
        let mut settings = Vec::new();
        for name in ["save", "appendfsync"] {
            let mut command = redis::cmd("CONFIG");
            let asked = command.arg("GET").arg(name).query_async::<(String, String)>(socket);
            // Many servers do not let anybody ask: then it stays unknown.
            let answer = timeout(Duration::from_secs(1), asked).await.ok().and_then(Result::ok);
            settings.push(answer.map(|(_, value)| value));
        }
        let appends = field(info, "aof_enabled") == "1";
        let saves = settings.first().is_some_and(|save| save.as_ref().is_none_or(|save| !save.is_empty()));
        let file = if appends {
            "an append-only file"
        } else if saves && settings.first().is_some_and(Option::is_some) {
            "snapshots"
        } else if saves {
            "no append-only file, perhaps snapshots (CONFIG is not allowed)"
        } else {
            "none"
        };
        if !self.config.trust_restart {
            let meaning =
                "after a restart of the server the cache begins empty, whatever its files bring back";
            self.fine("persistence", format!("{file}; {meaning}"));
        } else if appends && settings.get(1).and_then(Option::as_deref) == Some("always") {
            let found =
                format!("{file}, written always; REDIS_TRUST_RESTART serves what a restart brings back");
            self.fine("persistence", found);
        } else {
            let found =
                format!("{file}; REDIS_TRUST_RESTART serves what a restart brings back, old values too");
            let advice =
                "set REDIS_TRUST_RESTART=false, or appendonly yes and appendfsync always on the server";
            self.doubtful("persistence", found, advice.to_owned());
        }
    }

    /// Records a step, and ends the way where it failed.
    fn step<E: std::fmt::Display>(
        &mut self,
        name: &'static str,
        found: Result<String, E>,
        advice: impl FnOnce(&E) -> String,
    ) -> Result<(), DeadEnd> {
        match found {
            Ok(found) => {
                self.fine(name, found);
                Ok(())
            }
            Err(error) => self.wrong(name, error.to_string(), advice(&error)),
        }
    }

    fn fine(&mut self, name: &'static str, found: String) {
        self.steps.push((name, Finding::Fine(found)));
    }

    fn doubtful(&mut self, name: &'static str, found: String, advice: String) {
        self.steps.push((name, Finding::Doubtful { found, advice }));
    }

    fn wrong<T>(&mut self, name: &'static str, found: String, advice: String) -> Result<T, DeadEnd> {
        self.steps.push((name, Finding::Wrong { found, advice }));
        Err(DeadEnd)
    }
}

/// Whether the server knows this user, and does not let it run a command.
fn is_denied(cause: &RedisError) -> bool {
    matches!(cause.kind(), RedisKind::Server(ServerErrorKind::NoPerm | ServerErrorKind::ResponseError))
}

/// A field of the answer to `INFO`; empty where it is not there.
fn field<'a>(info: &'a str, name: &str) -> &'a str {
    let lines = info.lines().filter_map(|line| line.split_once(':'));
    lines.filter(|(found, _)| *found == name).map(|(_, value)| value.trim()).next().unwrap_or_default()
}
