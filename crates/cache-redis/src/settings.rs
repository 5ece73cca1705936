//! Instances that share a namespace must agree on what a restart means: one that trusts restarts keeps its values where
//! the others neither look nor remove.

use std::time::Duration;

use cache_core::{Error, ErrorKind, Result};
use redis::{Pipeline, Value};
use tokio::time::Instant;

use crate::error::Fault;
use crate::layout::Layout;
use crate::manager::Connection;

/// How long the settings of instances that have gone away are remembered, at least.
const REMEMBERED: Duration = Duration::from_secs(10);
/// How long one round trip may take.
const STEP: Duration = Duration::from_secs(1);

/// What all instances of a namespace must have alike.
#[derive(Debug)]
pub(crate) struct Settings {
    key: String,
    ours: &'static str,
    lives: Duration,
}

impl Settings {
    pub(crate) fn new(layout: &Layout, trust_restart: bool, heartbeat: Duration) -> Self {
        let ours = if trust_restart { "trust_restart=true" } else { "trust_restart=false" };
        Self { key: layout.settings(), ours, lives: REMEMBERED.max(heartbeat * 5) }
    }

    /// Says what our settings are, and hears what those of others are.
    ///
    /// # Errors
    /// `Configuration` when an instance that was alive a moment ago has others. A server that refuses to remember them is
    /// none: it is full, and says so elsewhere.
    pub(crate) async fn agree(&self, connection: &mut Connection, address: &str) -> Result<()> {
        let in_force = self.announce(connection).await.map_err(|fault| fault.into_error(address))?;
        match in_force {
            Some(theirs) if theirs != self.ours.as_bytes() => {
                let message = format!(
                    "Redis at {address}: another instance runs in this namespace with other settings than {}; set \
                     REDIS_TRUST_RESTART alike in all of them and start them again after {} s",
                    self.ours,
                    self.lives.as_secs()
                );
                Err(Error::new(ErrorKind::Configuration, message))
            }
            _ => Ok(()),
        }
    }

    async fn announce(&self, connection: &mut Connection) -> Result<Option<Vec<u8>>, Fault> {
        let Self { key, ours, lives } = self;
        let millis = u64::try_from(lives.as_millis()).unwrap_or(u64::MAX);
        let mut commands = Pipeline::new();
        commands.cmd("SET").arg(key).arg(*ours).arg("NX").arg("PX").arg(millis);
        commands.cmd("GET").arg(key);
        let replies = connection.ask_all(&commands, Instant::now() + STEP).await?;
        let Some(Value::BulkString(in_force)) = replies.into_iter().next_back() else { return Ok(None) };
        if in_force == ours.as_bytes() {
            connection.ask(redis::cmd("PEXPIRE").arg(key).arg(millis), Instant::now() + STEP).await?;
        }
        Ok(Some(in_force))
    }
}
