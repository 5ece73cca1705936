//! [`diagnose`]: checks the way to the server step by step, for an operator.

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use cache_core::{Diagnosis, MEGABYTE};
use futures_util::future::BoxFuture;
use redis::aio::MultiplexedConnection;
use redis::{ErrorKind as RedisKind, RedisError, ServerErrorKind};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::advice::{about_login, advice};
use crate::config::RedisConfig;
use crate::connection::client::{connect, server};
use crate::connection::clock_skew;
use crate::connection::cluster::{ClusterView, Node, Shard};
use crate::connection::connect::cluster_view;
use crate::connection::sentinel::Sentinels;
use crate::connection::server_info::ServerInfo;
use crate::engine::RedisEngine;
use crate::error::Fault;
use crate::protocol::slot::SLOTS;

/// The name of a check and its result.
pub type Check = (&'static str, Diagnosis);

/// Checks the way to the server of `config`: settings, name, connection, TLS, login, server, clock, cluster, commands, memory
/// and persistence, up to the first check that fails.
///
/// It changes nothing that is cached: commands are tried on a key of their own, which is removed. The settings that instances
/// must share are announced as at a start; they expire within some seconds.
///
/// # Cost
/// A few connections and round trips; each check takes [`RedisConfig::connect_timeout`] at most, the commands twice that.
pub async fn diagnose(config: &RedisConfig) -> Vec<Check> {
    let mut checks = Checks { config: config.clone(), done: Vec::new() };
    // `None` where a check failed, which is the last one then.
    let _: Option<()> = checks.run().await;
    checks.done
}

struct Checks {
    config: RedisConfig,
    done: Vec<Check>,
}

/// What a check gives to the next ones and found itself, or the problem and what to do about it.
type Outcome<T> = Result<(T, String), (String, String)>;

impl Checks {
    fn run(&mut self) -> BoxFuture<'_, Option<()>> {
        // Boxed here: each crate that awaits it would compile the futures within anew.
        Box::pin(async move {
            let config = self.config.clone();
            let checked = config.check().map(|()| ((), "understood".to_owned()));
            self.record(
                "settings",
                checked.map_err(|error| problem(error, "correct the setting that is named")),
            )?;
            if config.sentinels.is_some() {
                let (host, port) = self.record("sentinels", ask_sentinels(&config).await)?;
                self.config = RedisConfig { host, port, sentinels: None, ..config };
            }
            let config = &self.config.clone();
            let addresses = self.record("name", resolve(config).await)?;
            self.record("connection", reach(config, &addresses).await)?;
            self.record("TLS", encrypt(config).await)?;
            let mut socket = self.record("login", log_in(config).await)?;
            let (text, info) = self.record("server", identify(config, &mut socket).await)?;
            self.done.push(("clock", clock(&info)));
            if let Some(view) = &info.cluster {
                self.record("cluster", describe(config, view).await)?;
            }
            let allowed = RedisEngine::connect_checked(config).await;
            let allowed = allowed.map(|_| ((), "all that the cache needs are allowed".to_owned()));
            let advice = "do what the message names; the smallest access list is in docs/reference.md";
            self.record("commands", allowed.map_err(|error| problem(error, advice)))?;
            self.done.push(("memory", memory(&text, &info)));
            self.done.push(("persistence", persistence(config, &mut socket, &text).await));
            Some(())
        })
    }

    fn record<T>(&mut self, name: &'static str, outcome: Outcome<T>) -> Option<T> {
        let (value, diagnosis) = match outcome {
            Ok((value, found)) => (Some(value), Diagnosis::Fine(found)),
            Err((found, advice)) => (None, Diagnosis::Wrong { found, advice }),
        };
        self.done.push((name, diagnosis));
        value
    }
}

fn problem(found: impl Display, advice: &str) -> (String, String) {
    (found.to_string(), advice.to_owned())
}

fn doubtful(found: String, advice: &str) -> Diagnosis {
    Diagnosis::Doubtful { found, advice: advice.to_owned() }
}

async fn ask_sentinels(config: &RedisConfig) -> Outcome<(String, u16)> {
    let advice = "start the Sentinels, or correct what the message names";
    let failed = |error| problem(error, advice);
    let sentinels = server(config).map(|server| Sentinels::new(config, &server)).map_err(failed)?;
    let Some(sentinels) = sentinels else { return Err(problem("no Sentinel is named", advice)) };
    let (host, port) = sentinels.master().await.map_err(failed)?;
    let found = format!("the master is {host}:{port}");
    Ok(((host, port), found))
}

async fn resolve(config: &RedisConfig) -> Outcome<Vec<SocketAddr>> {
    let RedisConfig { host, port, connect_timeout, .. } = config;
    let error = match timeout(*connect_timeout, lookup_host((host.as_str(), *port))).await {
        Ok(Ok(addresses)) => {
            let addresses: Vec<_> = addresses.collect();
            let shown: Vec<_> = addresses.iter().map(|address| address.ip().to_string()).collect();
            if !addresses.is_empty() {
                return Ok((addresses, format!("{host} is {}", shown.join(", "))));
            }
            "it has no address".to_owned()
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} ms", connect_timeout.as_millis()),
    };
    let advice = format!("correct REDIS_HOST, or see why this machine's DNS does not know {host}");
    Err((format!("{host} cannot be resolved: {error}"), advice))
}

async fn reach(config: &RedisConfig, addresses: &[SocketAddr]) -> Outcome<()> {
    let RedisConfig { port, connect_timeout, .. } = config;
    let mut failures = Vec::new();
    for address in addresses {
        match timeout(*connect_timeout, TcpStream::connect(address)).await {
            Ok(Ok(_)) => return Ok(((), format!("{address} accepts connections"))),
            Ok(Err(error)) => failures.push(format!("{address}: {error}")),
            Err(_) => {
                failures.push(format!("{address}: no answer within {} ms", connect_timeout.as_millis()));
            }
        }
    }
    let advice = format!(
        "start the server, correct REDIS_HOST and REDIS_PORT, or let firewalls and security groups pass port {port}"
    );
    Err((failures.join("; "), advice))
}

async fn encrypt(config: &RedisConfig) -> Outcome<()> {
    if !config.tls {
        return Ok(((), "off: everything is sent unencrypted".to_owned()));
    }
    match connect(&config.without_login()).await {
        Ok(_) => Ok(((), "the server's certificate is trusted".to_owned())),
        Err(error) => {
            let advice = advice(config, &error).await;
            Err(problem(error, advice.unwrap_or("see that the server speaks TLS 1.3, and look at its log")))
        }
    }
}

async fn log_in(config: &RedisConfig) -> Outcome<MultiplexedConnection> {
    let login = format!("{}, database {}", config.login.description(), config.db);
    let connected = match connect(config).await {
        Ok(mut socket) => {
            let asked = timeout(config.connect_timeout, redis::cmd("PING").exec_async(&mut socket)).await;
            match asked.map_err(|_| Fault::timeout()).and_then(|asked| asked.map_err(Fault::from)) {
                // The check of the commands reports a PING that is not allowed.
                Err(fault) if !is_denied(&fault.cause) => Err(fault.into_error(&config.address())),
                _ => Ok(socket),
            }
        }
        Err(error) => Err(error),
    };
    match connected {
        Ok(socket) => Ok((socket, login)),
        Err(error) => {
            let advice = advice(config, &error).await.unwrap_or_else(|| about_login(&error));
            Err(problem(format!("{login}: {error}"), advice))
        }
    }
}

/// Reads the server's `INFO`: its text and what this cache needs of it.
async fn identify(config: &RedisConfig, socket: &mut MultiplexedConnection) -> Outcome<(String, ServerInfo)> {
    let asked_at = config.clock.now();
    let command = redis::cmd("INFO");
    let answer = timeout(config.connect_timeout, command.query_async::<String>(socket)).await;
    let answer = answer.map_err(|_| Fault::timeout()).and_then(|answer| answer.map_err(Fault::from));
    let text = answer.map_err(|fault| {
        problem(fault.into_error(&config.address()), "let this user run INFO: ACL SETUSER ... +info")
    })?;
    let mut info = ServerInfo::parse(&text, config.db);
    info.clock_problem = info.time.and_then(|time| clock_skew::problem(asked_at, time, config.clock.now()));
    if info.is_cluster {
        info.cluster = cluster_view(&config.host, socket).await.ok().flatten();
    }
    let found = if info.is_cluster { info.problem_of_kind(config) } else { info.problem(config) };
    if let Some(found) = found {
        return Err(problem(found, "name another server in REDIS_HOST and REDIS_PORT"));
    }
    let (name, version) = match field(&text, "valkey_version") {
        "" => ("Redis", field(&text, "redis_version")),
        version => ("Valkey", version),
    };
    let found = format!("{name} {version}, {}, up for {} s", field(&text, "role"), info.uptime.as_secs());
    Ok(((text, info), found))
}

/// Checks that every master of the cluster can be reached, and that all slots are covered.
async fn describe(config: &RedisConfig, view: &ClusterView) -> Outcome<()> {
    for Shard { master: Node { host, port, .. }, .. } in &view.shards {
        let node = config.of_node(host, *port);
        if let Err(error) = connect(&node).await {
            let advice = format!(
                "open the port of {host}:{port} to this machine, set REDIS_NODE_MAP, or REDIS_TLS_NAME for a certificate of \
                 another name"
            );
            return Err((format!("the cluster announces {host}:{port}: {error}"), advice));
        }
    }
    let ranges = view.shards.iter().flat_map(|shard| &shard.slots);
    let covered: usize = ranges.map(|(first, last)| usize::from(last.saturating_sub(*first)) + 1).sum();
    let replicas: usize = view.shards.iter().map(|shard| shard.replicas.len()).sum();
    let found = format!(
        "{} masters that can be reached, {replicas} replicas, {covered} of {SLOTS} slots",
        view.shards.len()
    );
    if view.is_ok && covered == usize::from(SLOTS) {
        return Ok(((), found));
    }
    let advice = "see CLUSTER INFO and CLUSTER NODES there: bring back the masters that are missing, or assign their slots";
    Err((found, advice.to_owned()))
}

fn clock(info: &ServerInfo) -> Diagnosis {
    match (info.time, &info.clock_problem) {
        (None, _) => Diagnosis::Fine("this server does not report its time".to_owned()),
        (Some(_), None) => Diagnosis::Fine("the clock of this machine agrees with the server's".to_owned()),
        (Some(_), Some(found)) => doubtful(found.clone(), clock_skew::ADVICE),
    }
}

fn memory(text: &str, info: &ServerInfo) -> Diagnosis {
    let used = field(text, "used_memory").parse().unwrap_or(0) / MEGABYTE;
    match info.warning() {
        None => {
            let (limit, policy) = (info.maxmemory / MEGABYTE, &info.policy);
            Diagnosis::Fine(format!("{used} of {limit} MB in use, {policy}"))
        }
        Some(warning) => {
            let (found, advice) = warning.split_once("; ").unwrap_or((&warning, "see docs/reference.md"));
            doubtful(format!("{used} MB in use: {found}"), advice)
        }
    }
}

async fn persistence(config: &RedisConfig, socket: &mut MultiplexedConnection, text: &str) -> Diagnosis {
    let [save, appendfsync] = [setting(socket, "save").await, setting(socket, "appendfsync").await];
    let appends = field(text, "aof_enabled") == "1";
    let file = match save.as_deref() {
        _ if appends => "an append-only file",
        Some("") => "none",
        Some(_) => "snapshots",
        None => "no append-only file, perhaps snapshots (CONFIG is not allowed)",
    };
    if !config.trust_restart {
        let meaning = "after a restart of the server the cache begins empty, whatever its files bring back";
        return Diagnosis::Fine(format!("{file}; {meaning}"));
    }
    if appends && appendfsync.as_deref() == Some("always") {
        let found = "written always; REDIS_TRUST_RESTART serves what a restart brings back";
        return Diagnosis::Fine(format!("{file}, {found}"));
    }
    doubtful(
        format!("{file}; REDIS_TRUST_RESTART serves what a restart brings back, stale values too"),
        "set REDIS_TRUST_RESTART=false, or appendonly yes and appendfsync always on the server",
    )
}

/// Reads a setting of the server; `None` where `CONFIG` is not allowed.
async fn setting(socket: &mut MultiplexedConnection, name: &str) -> Option<String> {
    let mut command = redis::cmd("CONFIG");
    let asked = command.arg("GET").arg(name).query_async::<(String, String)>(socket);
    let (_, value) = timeout(Duration::from_secs(1), asked).await.ok()?.ok()?;
    Some(value)
}

/// Whether the server knows this user, and does not let it run a command.
fn is_denied(cause: &RedisError) -> bool {
    matches!(cause.kind(), RedisKind::Server(ServerErrorKind::NoPerm | ServerErrorKind::ResponseError))
}

/// Returns a field of the reply to `INFO`; empty if it is missing.
fn field<'a>(info: &'a str, name: &str) -> &'a str {
    let mut fields = info.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(found, _)| *found == name).map(|(_, value)| value.trim()).unwrap_or_default()
}
