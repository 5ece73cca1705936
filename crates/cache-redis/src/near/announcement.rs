//! [`Announcement`]: tells all sessions what an invalidation has removed, and waits until none of them serves it.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cache_core::plants::{Plant, is_planted};
use futures_util::future::join;
use redis::{Cmd, Value};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::{Change, Near, WAIT, has_lost_nothing};
use crate::connection::Connection;
use crate::connection::server_info::ServerInfo;
use crate::connection::watchdog::FIRST_LOOK;
use crate::error::{Fate, Fault};
use crate::protocol::registry::{Announced, Registry, Sessions, acknowledged};
use crate::protocol::scripts::Call;

/// How many times the registry is asked without a pause for acknowledgements; most come within two round trips.
const POLLS_WITHOUT_PAUSE: u32 = 10;
/// The pause before the next poll; each is longer by this, up to 16 ms.
const PAUSE: Duration = Duration::from_millis(1);
/// How long a `set` waits for acknowledgements. It is no part of freshness, and has 250 ms.
const SET_WAIT: Duration = Duration::from_millis(150);

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

    /// Waits until no instance serves from memory what was removed before `announcement`: until all have acknowledged it, or
    /// for [`WAIT`]. In a cluster, `ring` wakes them.
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
        let Change { zone, scopes, is_set } = &announcement.change;
        let announced = match self.announced(announcement, reply, connection, deadline).await {
            Ok(announced) => announced,
            Err(fault) if fault.fate == Fate::Keep => {
                return self.give_up_registry(announcement, &fault, connection, deadline).await;
            }
            Err(fault) => return Err(fault),
        };
        let at = Instant::now();
        let Some(Announced { number, registry: name, sessions: mut pending }) = announced else {
            let relied_on = self.known(*zone, |known| known.saw_none(at)).unwrap_or(at);
            if !has_lost_nothing(info) && !is_set {
                ticking(sleep_until(relied_on)).await;
            }
            return Ok(());
        };
        self.has_seen.store(true, Ordering::Relaxed);
        if let Some(own) = self.session(*zone) {
            own.near.forget_each(scopes.iter());
            pending.remove(own.id.as_bytes());
        }
        let relied_on = self.known(*zone, |known| known.saw(name.clone(), at)).unwrap_or(at + WAIT);
        pending.retain(|_, value| acknowledged(value) < number);
        let end = at + if *is_set { SET_WAIT } else { WAIT };
        let relied_on = if *is_set { at } else { relied_on.min(end) };
        if pending.is_empty() && Instant::now() >= relied_on || is_planted(Plant::NearNoWait) {
            return Ok(());
        }
        let mut wait = Wait { registry: announcement.registry.clone(), name, number, pending, end };
        let (near, ring, is_set) = (Arc::clone(self), ring.cloned(), *is_set);
        let (mut ringing, mut connection) = (connection.clone(), connection.clone());
        let (waited, has_waited) = oneshot::channel();
        // In a task: where the caller gives up, the sessions that are silent are removed all the same.
        tokio::spawn(async move {
            let ring = async {
                if let Some(ring) = ring {
                    // Where that fails, they hear of the change when they are renewed.
                    let _ = ringing.ask(&ring, deadline).await;
                }
            };
            join(ring, wait.run(&mut connection)).await;
            sleep_until(relied_on).await;
            near.waited(at.elapsed());
            // Fails where the caller has given up.
            let _ = waited.send(());
            if !is_set {
                wait.remove_silent(&near, &mut connection).await;
            }
        });
        // Dropped by the end of the runtime only.
        ticking(has_waited).await.map_err(|_| Fault::timeout())
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
            "Redis refuses to announce a change; instances forget what they keep in memory"
        );
        let deadline = deadline.max(Instant::now() + WAIT);
        connection.end_sessions(registry, deadline).await?;
        self.forget(change);
        if !change.is_set {
            // Also where there was none: another instance may have removed it a moment ago.
            ticking(sleep(WAIT)).await;
        }
        Ok(())
    }
}

/// Waits for `work`, and is polled often enough for the promise of `polled_within`.
async fn ticking<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    loop {
        if let Ok(done) = timeout(FIRST_LOOK, work.as_mut()).await {
            return done;
        }
    }
}

/// The wait for the acknowledgements of one change.
struct Wait {
    registry: Registry,
    /// The name of the registry.
    name: String,
    number: u64,
    /// The sessions that have not acknowledged it.
    pending: Sessions,
    end: Instant,
}

impl Wait {
    /// Asks for acknowledgements until all have come or the time is over.
    async fn run(&mut self, connection: &mut Connection) {
        let mut polls = 0;
        while !self.pending.is_empty() && Instant::now() < self.end {
            polls += 1;
            if polls > POLLS_WITHOUT_PAUSE {
                // Sessions that are so late are probably silent.
                sleep_until(self.end.min(Instant::now() + PAUSE * (polls - POLLS_WITHOUT_PAUSE).min(16)))
                    .await;
            }
            // A poll that is cut off by the end is no fault of the connection.
            let asking = timeout_at(self.end, self.ask(connection));
            if asking.await.is_err() {
                return;
            }
        }
    }

    /// Asks once.
    async fn ask(&mut self, connection: &mut Connection) {
        let sessions: Vec<Vec<u8>> = self.pending.keys().cloned().collect();
        let asked = connection.values(&self.registry, &sessions, self.end + WAIT).await;
        let Ok((current, values)) = asked else {
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

    /// Removes the sessions that were silent: their leases have ended, unless their values have changed. The next invalidation
    /// does not wait for them.
    async fn remove_silent(&self, near: &Near, connection: &mut Connection) {
        if self.pending.is_empty() {
            return;
        }
        let deadline = Instant::now() + WAIT;
        let removed = connection.remove_silent(&self.registry, &self.pending, deadline).await;
        near.count(|counts| counts.removed_sessions += removed.unwrap_or(0));
    }
}
