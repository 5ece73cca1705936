//! Counters and claims, in a name space of their own.

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::{AtomicBackend, CacheKey, Result};
use redis::{Pipeline, Value};

use crate::backend::RedisBackend;
use crate::engine::Engine;
use crate::error::Fault;
use crate::script;

impl Engine {
    /// Sends commands once, sealed: an answer to another request would be a wrong number, a second try another step.
    async fn once(&self, commands: Pipeline) -> Result<Vec<Value>> {
        let mut tries = self.pool.tries();
        let mut connection = tries.next().await?;
        let replies = connection.ask_sealed(commands, tries.deadline).await;
        let replies = replies.and_then(|replies| {
            let replies = replies.into_iter().map(Value::extract_error);
            connection.noted(replies.collect::<Result<Vec<_>, _>>().map_err(Fault::from))
        });
        replies.map_err(|fault| self.failed(fault))
    }
}

#[async_trait]
impl AtomicBackend for RedisBackend {
    async fn increment(&self, key: &CacheKey, by: i64) -> Result<i64> {
        let mut commands = Pipeline::new();
        let mut call = script::INCREMENT.in_full(&[&self.engine.layout.counter(key)]);
        call.arg(by);
        commands.add_command(call);
        let reply = self.engine.once(commands).await?.pop().unwrap_or(Value::Nil);
        redis::from_redis_value(reply).map_err(|_| self.engine.failed(Fault::mismatch()))
    }

    async fn add(&self, key: &CacheKey, value: Bytes) -> Result<bool> {
        let mut commands = Pipeline::new();
        commands.cmd("SET").arg(self.engine.layout.claim(key)).arg(&value[..]).arg("NX");
        Ok(matches!(self.engine.once(commands).await?.pop(), Some(Value::Okay)))
    }

    async fn reset(&self, key: &CacheKey) -> Result<()> {
        let mut commands = Pipeline::new();
        commands.cmd("UNLINK").arg(self.engine.layout.counter(key)).arg(self.engine.layout.claim(key));
        self.engine.once(commands).await.map(drop)
    }
}
