//! [`Keeper`]: what happens without anybody asking. The heartbeat sees whether the server is still the same; the sweep
//! removes what earlier incarnations left, and counts what there is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cache_core::panics::supervise;
use cache_core::{CacheKey, Error, ErrorKind, Result, Timestamp};
use redis::{Pipeline, Value};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::config::RedisConfig;
use crate::engine::Engine;
use crate::error::Fault;
use crate::manager::Connection;
use crate::permissions;
use crate::scan::{self, Pace, Scan};

/// How often everything is counted again.
const SWEEP_EVERY: Duration = Duration::from_mins(10);
/// How long one step of the count may take.
const STEP: Duration = Duration::from_secs(1);

/// Since when the server has been answering, or not, and why not.
#[derive(Debug)]
pub(crate) struct Condition {
    pub(crate) since: Timestamp,
    pub(crate) cause: Option<String>,
    /// Whether the log says that it does not answer.
    pub(crate) is_logged: bool,
}

/// The background tasks of a cache; they end with it.
#[derive(Debug)]
pub(crate) struct Keeper {
    heartbeat: JoinHandle<()>,
    sweeper: JoinHandle<()>,
}

impl Keeper {
    pub(crate) fn start(engine: &Arc<Engine>, interval: Duration) -> Self {
        let (beating, sweeping) = (Arc::clone(engine), Arc::clone(engine));
        Self {
            heartbeat: tokio::spawn(async move {
                let panicked =
                    |message: &str| beating.note(Some(format!("the heartbeat panicked: {message}")));
                supervise(|| beat_for_ever(&beating, interval), panicked, sleep).await;
            }),
            sweeper: tokio::spawn(async move {
                supervise(|| sweep_for_ever(&sweeping, interval), |_| {}, sleep).await;
            }),
        }
    }

    pub(crate) fn stop(&self) {
        self.heartbeat.abort();
        self.sweeper.abort();
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Engine {
    /// Asks the server who it is, over a connection of its own, and enters it if it is another.
    pub(crate) async fn probe(&self) -> Result<()> {
        let probed = self.look().await;
        let cause = probed.as_ref().err().map(Error::to_string);
        if probed.as_ref().is_err_and(|error| error.kind() == ErrorKind::Configuration) {
            // It answers and may not be used any more: a replica now, or the password or another instance's settings changed.
            self.worlds.leave();
        }
        self.note(cause);
        probed
    }

    /// Notes why the server cannot be used, or that it can, and says so. An outage shortly after another is said later, if
    /// it lasts.
    pub(crate) fn note(&self, cause: Option<String>) {
        let mut condition = self.condition.lock();
        if condition.cause.is_some() != cause.is_some() {
            condition.since = self.clock.now();
        }
        condition.cause = cause;
        let address = &self.pool.address;
        match (&condition.cause, condition.is_logged) {
            (Some(cause), false) => {
                condition.is_logged = cache_core::log::limited(address, |suppressed| {
                    tracing::warn!(suppressed, "Redis: {cause}");
                });
            }
            (None, true) => {
                condition.is_logged = false;
                cache_core::log::emit(|| tracing::info!(server = %address, "Redis: it answers again"));
            }
            (Some(_), true) | (None, false) => {}
        }
    }

    async fn look(&self) -> Result<()> {
        let mut connection = self.pool.manager.open().await?;
        self.settings.agree(&mut connection, &self.pool.address).await
    }

    /// Refuses an address behind which several servers answer: what one acknowledged another would serve.
    pub(crate) async fn check_for_one_server(&self, config: &RedisConfig) -> Result<()> {
        let manager = &self.pool.manager;
        let seen = [manager.identify().await?.run_id, manager.identify().await?.run_id];
        let is_one = seen.iter().all(|run_id| *run_id == manager.info.load().run_id);
        // The pool has connected meanwhile, too; it would have seen a change.
        if config.trust_restart || is_one && self.worlds.switches() == 1 {
            return Ok(());
        }
        let message = format!(
            "Redis at {}: two connections reached two servers; name one of them, not a proxy that mixes them",
            self.pool.address
        );
        Err(Error::new(ErrorKind::Configuration, message))
    }

    /// Refuses a server that does not let this user do what the cache has to do.
    pub(crate) async fn check_permissions(&self) -> Result<()> {
        let mut tries = self.pool.tries();
        let mut connection = tries.next().await?;
        permissions::check(&mut connection, &self.layout, tries.deadline, &self.pool.address).await
    }

    /// Removes the groups of other incarnations, and counts those of this one.
    async fn sweep(&self, connection: &mut Connection) -> Result<(), Fault> {
        let current = connection.world.incarnation;
        let (mut scan, mut pace) = (Scan::keys(self.layout.groups_from("")), Pace::start());
        let mut counted: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        while let Some(found) = scan.next(connection, &mut pace).await? {
            let keys: Vec<String> = found.into_iter().filter_map(scan::text).collect();
            let groups = keys.iter().filter_map(|key| Some((key.as_str(), self.layout.parse(key)?)));
            let (ours, others): (Vec<_>, Vec<_>) =
                groups.partition(|(_, (_, incarnation))| *incarnation == current);
            let others: Vec<&str> = others.into_iter().map(|(key, _)| key).collect();
            scan::unlink(connection, &others).await?;
            let keys: Vec<&str> = ours.iter().map(|(key, _)| *key).collect();
            for ((_, (group, _)), (count, bytes)) in ours.iter().zip(measure(connection, &keys).await?) {
                if let Ok(group) = CacheKey::parse(group) {
                    let family = counted.entry(group.family().to_owned()).or_default();
                    family.0 += count;
                    family.1 += bytes;
                }
            }
        }
        self.stats.swept(&counted);
        Ok(())
    }
}

/// How many fields each group has, and about how many bytes it takes.
async fn measure(connection: &mut Connection, groups: &[&str]) -> Result<Vec<(u64, u64)>, Fault> {
    if groups.is_empty() {
        return Ok(Vec::new());
    }
    let mut commands = Pipeline::with_capacity(2 * groups.len());
    for group in groups {
        commands.cmd("HLEN").arg(group);
        commands.cmd("MEMORY").arg("USAGE").arg(group);
    }
    let replies = connection.ask_all(&commands, Instant::now() + STEP).await?;
    let number = |value: Option<&Value>| match value {
        Some(Value::Int(number)) => u64::try_from(*number).unwrap_or(0),
        // Gone meanwhile, or not for this user to ask: an estimate has holes.
        _ => 0,
    };
    Ok(replies.chunks(2).map(|pair| (number(pair.first()), number(pair.get(1)))).collect())
}

async fn beat_for_ever(engine: &Engine, interval: Duration) {
    loop {
        sleep(interval).await;
        // What is wrong is kept for `health`.
        let _ = engine.probe().await;
    }
}

/// Sweeps at the start, whenever another server takes over, and every ten minutes.
async fn sweep_for_ever(engine: &Engine, interval: Duration) {
    let mut last: Option<(u64, Instant)> = None;
    loop {
        let world = engine.worlds.switches();
        let is_due = last.is_none_or(|(swept, at)| swept != world || at.elapsed() >= SWEEP_EVERY);
        if is_due
            && let Ok(mut connection) = engine.pool.tries().next().await
            && engine.sweep(&mut connection).await.is_ok()
        {
            last = Some((world, Instant::now()));
        }
        sleep(interval).await;
    }
}
