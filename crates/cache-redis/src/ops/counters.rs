//! Counters and claims, under keys of their own.

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::{AtomicBackend, CacheKey, Result};
use redis::{Cmd, Pipeline, Value};
use tokio::time::Instant;

use crate::attempts::Attempts;
use crate::backend::RedisBackend;
use crate::connection::Connection;
use crate::engine::RedisEngine;
use crate::error::{Fate, Fault};
use crate::protocol::scripts::{Call, INCREMENT};

impl RedisEngine {
    /// Sends a command sealed and never twice: the reply to another request would be a wrong number, and a retry another
    /// step.
    async fn ask_once(&self, key: &str, command: &Cmd) -> Result<Value> {
        let slot = self.servers.slot_of_key(key);
        let mut attempts = Attempts::new(&self.servers, slot, 0);
        let mut commands = Pipeline::with_capacity(2);
        commands.add_command(command.clone());
        loop {
            let mut connection = attempts.connection().await?;
            let reply = ask(&mut connection, commands.clone(), attempts.deadline).await;
            match reply {
                // The node has done nothing.
                Err(fault) if fault.fate == Fate::Moved && attempts.may_retry(&fault) => {}
                Err(fault) if fault.fate == Fate::Moving => {
                    let mut connection = self.servers.asking(slot, &fault, attempts.deadline).await?;
                    let reply = ask(&mut connection, commands, attempts.deadline).await;
                    return reply.map_err(|fault| self.failed(slot, fault));
                }
                reply => return reply.map_err(|fault| self.failed(slot, fault)),
            }
        }
    }
}

async fn ask(connection: &mut Connection, commands: Pipeline, deadline: Instant) -> Result<Value, Fault> {
    let reply = connection.ask_sealed(commands, deadline).await?.pop();
    connection.succeeded(reply.unwrap_or(Value::Nil))
}

#[async_trait]
impl AtomicBackend for RedisBackend {
    async fn increment(&self, key: &CacheKey, by: i64) -> Result<i64> {
        let counter = self.engine.layout.atomic(key, "counter");
        let mut call = INCREMENT.call(Call::InFull, &[&counter]);
        let reply = self.engine.ask_once(&counter, call.arg(by)).await?;
        let slot = self.engine.servers.slot_of_key(&counter);
        redis::from_redis_value(reply).map_err(|_| self.engine.failed(slot, Fault::mismatch()))
    }

    async fn add(&self, key: &CacheKey, value: Bytes) -> Result<bool> {
        let claim = self.engine.layout.atomic(key, "claim");
        let mut set = redis::cmd("SET");
        set.arg(&claim).arg(&value[..]).arg("NX");
        Ok(matches!(self.engine.ask_once(&claim, &set).await?, Value::Okay))
    }

    async fn reset(&self, key: &CacheKey) -> Result<()> {
        for kind in ["counter", "claim"] {
            let name = self.engine.layout.atomic(key, kind);
            self.engine.ask_once(&name, redis::cmd("UNLINK").arg(&name)).await?;
        }
        Ok(())
    }
}
