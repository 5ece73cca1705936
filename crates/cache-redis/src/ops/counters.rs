//! Counters and claims, under keys of their own.

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::{AtomicBackend, CacheKey, Result};
use redis::{Cmd, Pipeline, Value};

use crate::backend::RedisBackend;
use crate::engine::RedisEngine;
use crate::error::Fault;
use crate::protocol::scripts::{Call, INCREMENT};

impl RedisEngine {
    /// Sends a command sealed and never twice: the reply to another request would be a wrong number, and a retry another
    /// step.
    async fn ask_once(&self, command: &Cmd) -> Result<Value> {
        let mut attempts = self.pool.attempts(0);
        let mut connection = attempts.connection().await?;
        let mut commands = Pipeline::with_capacity(2);
        commands.add_command(command.clone());
        let replies = connection.ask_sealed(commands, attempts.deadline).await;
        let reply = replies.and_then(|mut replies| connection.succeeded(replies.pop().unwrap_or(Value::Nil)));
        reply.map_err(|fault| self.failed(fault))
    }
}

#[async_trait]
impl AtomicBackend for RedisBackend {
    async fn increment(&self, key: &CacheKey, by: i64) -> Result<i64> {
        let mut call = INCREMENT.call(Call::InFull, &[&self.engine.layout.atomic(key, "counter")]);
        let reply = self.engine.ask_once(call.arg(by)).await?;
        redis::from_redis_value(reply).map_err(|_| self.engine.failed(Fault::mismatch()))
    }

    async fn add(&self, key: &CacheKey, value: Bytes) -> Result<bool> {
        let mut set = redis::cmd("SET");
        set.arg(self.engine.layout.atomic(key, "claim")).arg(&value[..]).arg("NX");
        Ok(matches!(self.engine.ask_once(&set).await?, Value::Okay))
    }

    async fn reset(&self, key: &CacheKey) -> Result<()> {
        let layout = &self.engine.layout;
        let mut unlink = redis::cmd("UNLINK");
        unlink.arg(layout.atomic(key, "counter")).arg(layout.atomic(key, "claim"));
        self.engine.ask_once(&unlink).await.map(drop)
    }
}
