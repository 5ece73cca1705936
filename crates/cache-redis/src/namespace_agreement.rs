//! [`NamespaceAgreement`]: instances that share a namespace must agree on `trust_restart` and on the layout of keys. One that
//! trusts restarts stores values that the others do not serve; one of another layout stores them under keys that the others
//! neither read nor remove.

use std::time::Duration;

use cache_core::{Error, ErrorKind, Result};
use redis::{Pipeline, Value};
use tokio::time::Instant;

use crate::connection::Connection;
use crate::error::Fault;
use crate::protocol::layout::Layout;
use crate::protocol::scan::STEP_TIMEOUT;
use crate::protocol::slot::{Slot, SlotHasher};

/// The shortest time for which the settings of an instance that has ended are in force.
const SHORTEST_LIFE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct NamespaceAgreement {
    key: String,
    slot: Slot,
    ours: &'static str,
    lives: Duration,
}

impl NamespaceAgreement {
    pub(crate) fn new(layout: &Layout, trust_restart: bool, heartbeat: Duration) -> Self {
        let ours = if trust_restart { "trust_restart=true layout=2" } else { "trust_restart=false layout=2" };
        let key = layout.internal("settings");
        Self {
            slot: SlotHasher::default().with(&key).slot(),
            key,
            ours,
            lives: SHORTEST_LIFE.max(heartbeat * 5),
        }
    }

    /// The slot of the settings in a cluster.
    pub(crate) fn slot(&self) -> Slot {
        self.slot
    }

    /// Announces the settings of this instance and compares them with those in force.
    ///
    /// # Errors
    /// `Configuration` if an instance that ran a moment ago has other settings. A full server, which stores none, is no error
    /// here.
    pub(crate) async fn check(&self, connection: &mut Connection, address: &str) -> Result<()> {
        let Self { key, slot: _, ours, lives } = self;
        let failed = |fault: Fault| fault.into_error(address);
        let millis = u64::try_from(lives.as_millis()).unwrap_or(u64::MAX);
        let deadline = Instant::now() + STEP_TIMEOUT;
        let mut commands = Pipeline::new();
        commands.cmd("SET").arg(key).arg(*ours).arg("NX").arg("PX").arg(millis);
        commands.cmd("GET").arg(key);
        let replies = connection.ask_all(&commands, deadline).await.map_err(failed)?;
        match replies.last() {
            Some(Value::BulkString(in_force)) if in_force == ours.as_bytes() => {
                let prolong = connection.ask(redis::cmd("PEXPIRE").arg(key).arg(millis), deadline).await;
                prolong.map(drop).map_err(failed)
            }
            Some(Value::BulkString(in_force)) => {
                let (is_old, seconds) = (!in_force.ends_with(b" layout=2"), lives.as_secs());
                let advice = if is_old {
                    "an instance of an earlier version runs in this namespace; Redis is used when the last of them has \
                     ended".to_owned()
                } else {
                    format!(
                        "another instance runs in this namespace with other settings than {ours}; set REDIS_TRUST_RESTART \
                         alike in all of them and start them again after {seconds} s"
                    )
                };
                Err(Error::new(ErrorKind::Configuration, format!("Redis at {address}: {advice}")))
            }
            _ => Ok(()),
        }
    }
}
