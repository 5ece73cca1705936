//! [`Announcement`]: tells all sessions what an invalidation has removed, and waits until none of them serves it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cache_core::plants::{Plant, is_planted};
use cache_core::{Error, ErrorKind};
use futures_util::future::join;
use redis::{Cmd, Value};
use tokio::time::{Instant, sleep, sleep_until};

use super::{Change, Near, WAIT, has_lost_nothing};
use crate::connection::Connection;
use crate::connection::server_info::ServerInfo;
use crate::error::{Fate, Fault};
use crate::protocol::registry::{Announced, Registry, acknowledged};
use crate::protocol::scripts::Call;

/// How many times the registry is asked without a pause for acknowledgements; most come within two round trips.
const POLLS_WITHOUT_PAUSE: u32 = 20;
/// The pause between later polls.
const PAUSE: Duration = Duration::from_millis(1);

/// A change that is announced behind the removals of an invalidation, in the same round trip.
#[derive(Debug)]
pub(crate) struct Announcement {
    change: Change,
    registry: Registry,
    /// Whether the command announces; otherwise it only asks whether there is a registry.
    is_strict: bool,
    command: Cmd,
}

impl Announcement {
    /// The command to send behind the removals. Its reply goes to [`Near::settle`].
    pub(crate) fn command(&self) -> &Cmd {
        &self.command
    }

    pub(crate) fn zone(&self) -> u8 {
        self.change.zone
    }

    /// Gives the change back, to announce it elsewhere.
    pub(crate) fn into_change(self) -> Change {
        self.change
    }
}

impl Near {
    /// Prepares to announce `change` in `registry`.
    pub(crate) fn announcement(&self, change: Change, registry: Registry) -> Announcement {
        let is_strict = self.is_strict();
        // A backend that never heard of a registry spares the server a script.
        let command =
            if is_strict { registry.announce(Call::ByHash, &change.scopes) } else { registry.look() };
        Announcement { change, registry, is_strict, command }
    }

    /// Waits until no instance serves from memory what the invalidation of `announcement` has removed: until all have
    /// acknowledged that, or for [`WAIT`]. In a cluster, `ring` wakes them.
    ///
    /// # Errors
    /// Those of the server, which then may not have announced it.
    pub(crate) async fn settle(
        self: &Arc<Self>,
        announcement: &Announcement,
        reply: Value,
        ring: Option<&Cmd>,
        connection: &mut Connection,
        info: &ServerInfo,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let announced = match self.announced(announcement, reply, connection, deadline).await {
            Ok(announced) => announced,
            Err(fault) if fault.fate == Fate::Keep => {
                return self.give_up_registry(announcement, &fault, connection, deadline).await;
            }
            Err(fault) => return Err(fault),
        };
        let at = Instant::now();
        let Some(Announced { number, registry, sessions: mut pending }) = announced else {
            let relied_on = self.known(announcement.change.zone, |known| known.saw_none(at));
            if !has_lost_nothing(info) {
                sleep_until(relied_on.unwrap_or(at)).await;
            }
            return Ok(());
        };
        self.has_seen.store(true, Ordering::Relaxed);
        if let Some(own) = self.session(announcement.change.zone) {
            own.near.forget_each(announcement.change.scopes.iter());
            pending.remove(&own.id);
        }
        let Some(registry) = registry else {
            let damaged = Fault::after(&Error::new(ErrorKind::Io, "it has no name"));
            return self.give_up_registry(announcement, &damaged, connection, deadline).await;
        };
        let reliable = self.known(announcement.change.zone, |known| known.saw(registry.clone(), at));
        let reliable = reliable.unwrap_or(at + WAIT);
        pending.retain(|_, value| acknowledged(value) < number);
        if pending.is_empty() && Instant::now() >= reliable || is_planted(Plant::NearNoWait) {
            return Ok(());
        }
        let wait =
            Wait { registry: announcement.registry.clone(), name: registry, number, pending, end: at + WAIT };
        let (near, ring) = (Arc::clone(self), ring.cloned());
        let (mut ringing, mut connection) = (connection.clone(), connection.clone());
        // In a task: where the caller gives up, the sessions that are silent are removed all the same.
        let waiting = tokio::spawn(async move {
            let ring = async {
                if let Some(ring) = ring {
                    // Where that fails, they hear of the change when they are renewed.
                    let _ = ringing.ask(&ring, deadline).await;
                }
            };
            join(ring, wait.run(&near, &mut connection)).await;
            sleep_until(reliable.min(at + WAIT)).await;
            near.waited(at.elapsed());
        });
        // Cut short, it is the end of the runtime.
        waiting.await.map_err(|_| Fault::timeout())
    }

    /// Interprets the reply to the announcement, and announces where the reply says that there is a registry; `None` if there is
    /// none.
    async fn announced(
        &self,
        announcement: &Announcement,
        mut reply: Value,
        connection: &mut Connection,
        deadline: Instant,
    ) -> Result<Option<Announced>, Fault> {
        let Announcement { change: Change { scopes, .. }, registry, is_strict, command: _ } = announcement;
        if !is_strict {
            match reply {
                Value::Int(0) => return Ok(None),
                Value::Int(_) => {}
                // Damaged: not a hash.
                Value::ServerError(_) => connection.succeeded(reply).map(drop)?,
                _ => return connection.noted(Err(Fault::mismatch())),
            }
            reply = connection.ask_sealed_one(&registry.announce(Call::ByHash, scopes), deadline).await?;
        }
        match connection.announced(reply) {
            Err(fault) if fault.is_no_script() => {
                let in_full = registry.announce(Call::InFull, scopes);
                let reply = connection.ask_sealed_one(&in_full, deadline).await?;
                connection.announced(reply).map(Some)
            }
            announced => announced.map(Some),
        }
    }

    fn waited(&self, waited: Duration) {
        self.count(|counts| {
            counts.waits += 1;
            counts.waited_ms += u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
        });
    }

    /// Removes a registry that cannot be used, with which all sessions end, and waits until their leases have.
    async fn give_up_registry(
        &self,
        announcement: &Announcement,
        cause: &Fault,
        connection: &mut Connection,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let Announcement { registry, change, .. } = announcement;
        cache_core::log::warn!(
            limit: &registry.key, cause = %cause.cause,
            "Redis refuses to announce an invalidation; all instances forget what they keep in memory"
        );
        let mut unlink = redis::cmd("UNLINK");
        unlink.arg(&registry.key);
        connection
            .ask_sealed_one(&unlink, deadline.max(Instant::now() + WAIT))
            .await
            .and_then(|reply| connection.succeeded(reply))?;
        self.forget(change);
        sleep(WAIT).await;
        Ok(())
    }
}

/// The wait for the acknowledgements of one change.
struct Wait {
    registry: Registry,
    /// The name of the registry.
    name: String,
    number: u64,
    /// The sessions that have not acknowledged it, with the values that they had.
    pending: HashMap<String, String>,
    end: Instant,
}

impl Wait {
    /// Asks for acknowledgements until all have come or the time is over, and then removes the sessions that were silent.
    async fn run(mut self, near: &Near, connection: &mut Connection) {
        let mut polls = 0;
        while !self.pending.is_empty() && Instant::now() < self.end {
            polls += 1;
            if polls > POLLS_WITHOUT_PAUSE {
                sleep(PAUSE).await;
            }
            self.ask(connection).await;
        }
        if self.pending.is_empty() {
            return;
        }
        // Their leases have ended, unless their values have changed. The next invalidation does not wait for them.
        let deadline = Instant::now() + WAIT;
        let removed = connection.remove_silent(&self.registry, &self.pending, deadline).await;
        near.count(|counts| counts.removed_sessions += removed.unwrap_or(0));
    }

    /// Asks once.
    async fn ask(&mut self, connection: &mut Connection) {
        let sessions: Vec<String> = self.pending.keys().cloned().collect();
        let Ok((current, values)) = connection.values(&self.registry, &sessions, self.end).await else {
            // The connection is lost, or the server hangs.
            return sleep(PAUSE).await;
        };
        if current.as_ref() != Some(&self.name) {
            // The registry was lost, and that a session is not in another one says nothing.
            return sleep_until(self.end).await;
        }
        for (session, value) in sessions.iter().zip(values) {
            // A session that is gone has stopped serving before.
            if value.is_none_or(|value| acknowledged(&value) >= self.number) {
                self.pending.remove(session);
            }
        }
    }
}
