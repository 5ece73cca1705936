//! Connecting, and the checks of a server before it is used.

use std::sync::Arc;

use cache_core::{ErrorKind, Result};
use futures_util::future::BoxFuture;
use redis::{Cmd, ErrorKind as RedisKind, Pipeline, RedisError, ServerErrorKind, Value};
use tokio::time::Instant;

use crate::advice::advised;
use crate::config::RedisConfig;
use crate::engine::RedisEngine;
use crate::error::Fault;
use crate::pool::Pool;
use crate::protocol::scripts::{Call, EXPIRE, FILL, LEASE, STAGED};

/// Keys that are tried until one is in a slot of a node: more than enough for a node with a hundredth of the slots.
const TRIED_KEYS: usize = 2000;

impl RedisEngine {
    /// Connects to a server and checks that this cache can use it.
    pub(crate) fn connect_checked(config: &RedisConfig) -> BoxFuture<'_, Result<Arc<Self>>> {
        // Boxed here: each crate that awaits it would compile the futures within anew.
        Box::pin(async move {
            let engine = match Self::connect(config).await {
                Ok(engine) => Arc::new(engine),
                Err(error) => return Err(advised(config, error).await),
            };
            for pool in engine.servers.pools() {
                engine.check_for_one_server(&pool).await?;
            }
            match engine.probe().await {
                // The other nodes of a cluster can be used.
                Err(error) if engine.servers.is_cluster() && error.kind() != ErrorKind::Configuration => {}
                probed => probed?,
            }
            for pool in engine.servers.pools() {
                engine.check_permissions(&pool).await?;
            }
            Ok(engine)
        })
    }

    /// Refuses an address behind which several servers answer: one would serve what another has invalidated.
    async fn check_for_one_server(&self, pool: &Pool) -> Result<()> {
        let manager = &pool.manager;
        let seen = [manager.connector.connect().await?, manager.connector.connect().await?];
        let is_one = seen.iter().all(|server| server.info.run_id == manager.info.load().run_id);
        // The connections of the pool count as well: each other server would have been a switch.
        let has_switched = !self.servers.is_cluster() && manager.epochs.switches() != 1;
        if manager.connector.config.trust_restart || is_one && !has_switched {
            return Ok(());
        }
        let message = "two connections reached two servers; name one of them, not a proxy that mixes them";
        Err(manager.error(ErrorKind::Configuration, message))
    }

    /// Runs each command that the cache needs once, on a key that nothing else uses.
    ///
    /// # Errors
    /// `Configuration`, naming the command, where one is renamed, disabled or not allowed. Errors of a full or busy server
    /// are none here.
    async fn check_permissions(&self, pool: &Arc<Pool>) -> Result<()> {
        let Some(key) = self.key_of(pool) else { return Ok(()) };
        let trials = trials(&key);
        let mut commands = Pipeline::with_capacity(trials.len());
        for (_, command) in &trials {
            commands.add_command(command.clone());
        }
        let deadline = Instant::now() + self.servers.config.timeout;
        let mut connection = pool.check_out(deadline).await?;
        let replies = connection.ask_all(&commands, deadline).await;
        let replies = replies.map_err(|fault| fault.into_error(&pool.address))?;
        for ((name, _), reply) in trials.iter().zip(replies) {
            let Value::ServerError(error) = reply else { continue };
            let Fault { kind, fate: _, cause } = RedisError::from(error).into();
            // The error of a user that may not run EXEC: the transaction itself is empty.
            let is_exec = cause.kind() == RedisKind::Server(ServerErrorKind::ExecAbort);
            if kind == ErrorKind::Configuration || is_exec {
                let problem = format!("the cache needs {name}, and the server refuses it: {cause}");
                return Err(pool.manager.error(ErrorKind::Configuration, &problem).with_source(cause));
            }
        }
        Ok(())
    }
}

impl RedisEngine {
    /// Returns a key that nothing else uses and whose slot the server of `pool` holds; `None` if none is found.
    fn key_of(&self, pool: &Arc<Pool>) -> Option<String> {
        let keys = (0..TRIED_KEYS).map(|number| self.layout.internal(&format!("check:{number}")));
        let is_its = |key: &String| {
            let map = self.servers.map();
            map.owner(self.servers.slot_of_key(key)).is_some_and(|owner| Arc::ptr_eq(owner, pool))
        };
        keys.into_iter().find(is_its)
    }
}

/// Commands with their names. The last one removes what the others left.
fn trials(key: &str) -> Vec<(&'static str, Cmd)> {
    let command = |name: &'static str, arguments: &[&str]| {
        let mut command = redis::cmd(name);
        command.arg(arguments);
        (name, command)
    };
    let script = |mut call: Cmd, arguments: &[&str]| {
        call.arg(arguments);
        (
            "EVAL and what its scripts call (HGET, HMGET, HSET, HDEL, HLEN, PTTL, PEXPIRE, PERSIST, UNLINK, RENAME)",
            call,
        )
    };
    vec![
        script(LEASE.call(Call::InFull, &[key]), &["1000", "0", "field", "lease"]),
        script(FILL.call(Call::InFull, &[key]), &["0", "field", "other lease", "value", "0"]),
        script(STAGED.call(Call::InFull, &[key, key]), &["first", "1", "field", "lease"]),
        script(STAGED.call(Call::InFull, &[key, key]), &["last", "0", "1", "0"]),
        command("HSET", &[key, "field", "value"]),
        script(EXPIRE.call(Call::InFull, &[key]), &["1000", "0", "field"]),
        ("EVALSHA", FILL.call(Call::ByHash, &[key]).arg("0").to_owned()),
        command("PERSIST", &[key]),
        command("HGET", &[key, "field"]),
        command("HMGET", &[key, "field"]),
        command("HLEN", &[key]),
        command("HSTRLEN", &[key, "field"]),
        command("HSCAN", &[key, "0"]),
        command("SCAN", &["0", "COUNT", "1"]),
        command("HDEL", &[key, "field"]),
        command("ECHO", &["here"]),
        command("MULTI", &[]),
        command("EXEC", &[]),
        command("UNLINK", &[key]),
    ]
}
