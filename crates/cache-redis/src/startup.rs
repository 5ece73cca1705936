//! Connecting, and the checks of a server before it is used.

use std::sync::Arc;

use cache_core::{ErrorKind, Result};
use redis::{Cmd, ErrorKind as RedisKind, Pipeline, RedisError, ServerErrorKind, Value};

use crate::advice::advised;
use crate::config::RedisConfig;
use crate::engine::RedisEngine;
use crate::error::Fault;
use crate::protocol::scripts::{Call, EXPIRE, FILL, LEASE, STAGED};

impl RedisEngine {
    /// Connects to a server and checks that this cache can use it.
    pub(crate) async fn connect_checked(config: &RedisConfig) -> Result<Arc<Self>> {
        let engine = match Self::connect(config).await {
            Ok(engine) => engine,
            Err(error) => return Err(advised(config, error).await),
        };
        engine.check_for_one_server().await?;
        engine.probe().await?;
        engine.check_permissions().await?;
        Ok(Arc::new(engine))
    }

    /// Refuses an address behind which several servers answer: one would serve what another has invalidated.
    async fn check_for_one_server(&self) -> Result<()> {
        let manager = &self.pool.manager;
        let seen = [manager.connector.connect().await?, manager.connector.connect().await?];
        let is_one = seen.iter().all(|server| server.info.run_id == manager.info.load().run_id);
        // The connections of the pool count as well: each other server would have been a switch.
        if manager.connector.config.trust_restart || is_one && manager.epochs.switches() == 1 {
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
    async fn check_permissions(&self) -> Result<()> {
        let trials = trials(&self.layout.internal("check"));
        let mut commands = Pipeline::with_capacity(trials.len());
        for (_, command) in &trials {
            commands.add_command(command.clone());
        }
        let commands = &commands;
        let replies = self
            .run(0, |mut connection, deadline| async move { connection.ask_all(commands, deadline).await })
            .await?;
        for ((name, _), reply) in trials.iter().zip(replies) {
            let Value::ServerError(error) = reply else { continue };
            let Fault { kind, fate: _, cause } = RedisError::from(error).into();
            // The error of a user that may not run EXEC: the transaction itself is empty.
            let is_exec = cause.kind() == RedisKind::Server(ServerErrorKind::ExecAbort);
            if kind == ErrorKind::Configuration || is_exec {
                let problem = format!("the cache needs {name}, and the server refuses it: {cause}");
                return Err(self.pool.manager.error(ErrorKind::Configuration, &problem).with_source(cause));
            }
        }
        Ok(())
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
