//! [`Session`]: one registration of this instance in the registry of a zone.

use std::sync::Arc;
use std::time::Duration;

use cache_core::plants::{Plant, is_planted};
use cache_core::{Clock, EpochScope, Error, ErrorKind, Monotonic, NearSession};
use futures_util::FutureExt;
use tokio::time::{Instant, sleep};

use super::{LEASE, WAIT};
use crate::connection::Connection;
use crate::connection::server_epoch::{ServerEpoch, ServerEpochs};
use crate::error::{Fate, Fault};
use crate::protocol::registry::{Registry, Renewed, Scopes, Sessions, unique};

/// A registration, as those see it that read values under it and invalidate them.
#[derive(Debug)]
pub(crate) struct Session {
    /// A name that no other registration has.
    pub(super) id: String,
    pub(super) registry: Registry,
    /// The run of the server at which it is registered.
    pub(super) epoch: Arc<ServerEpoch>,
    pub(super) near: NearSession,
}

/// A session as the task holds it; it ends when this is dropped.
pub(super) struct Held {
    pub(super) zone: u8,
    pub(super) session: Arc<Session>,
    /// The last change that was forgotten.
    pub(super) processed: u64,
    /// How many renewals were sent.
    renewals: u64,
    /// When the last one was sent.
    renewed: Instant,
    /// Whether a change was forgotten and not acknowledged yet.
    pub(super) owes: bool,
    /// The end of the lease.
    until: Monotonic,
    /// Other sessions that were seen last.
    others: Sessions,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.session.near.end();
    }
}

impl Held {
    /// Registers a session in `registry`, in place of the one called `before`. Returns it with the name of the registry.
    pub(super) async fn register(
        zone: u8,
        registry: Registry,
        before: &str,
        connection: &mut Connection,
        epochs: &ServerEpochs,
        clock: &dyn Clock,
        deadline: Instant,
    ) -> Result<(Self, String), Fault> {
        let (id, until) = (unique(), clock.boot().saturating_add(LEASE));
        let (processed, name) = connection.register(&registry, &id, before, deadline).await?;
        // Made after the reply: a value that was read until now carries a token of another session, and is never served.
        let epoch = Arc::clone(&connection.epoch);
        let session = Arc::new(Session { id, registry, epoch, near: NearSession::new() });
        let (renewed, others) = (Instant::now(), Sessions::new());
        let mut held = Self { zone, session, processed, renewals: 0, renewed, owes: false, until, others };
        held.extend(epochs, until)?;
        Ok((held, name))
    }

    /// Whether the session has something to acknowledge, or was not renewed for `pause`.
    pub(super) fn is_due(&self, pause: Duration) -> bool {
        self.owes || self.renewed.elapsed() >= pause
    }

    /// Renews the session, which acknowledges what was forgotten, and extends its lease to `until` if it has heard of every
    /// change. Returns how many changes were announced, and how many sessions there are.
    pub(super) async fn renew(
        &mut self,
        connection: &mut Connection,
        epochs: &ServerEpochs,
        clock: &dyn Clock,
        until: Monotonic,
        deadline: Instant,
    ) -> Result<Renewed, Fault> {
        self.renewals += 1;
        self.renewed = Instant::now();
        let Session { id, registry, .. } = &*self.session;
        let value = format!("{} {}", self.processed, self.renewals);
        let over = |message| Err(Fault::after(&Error::new(ErrorKind::Unavailable, message)));
        // The server may have been another one for a while, which this session has not heard of, and have the registry of before.
        if clock.boot().saturating_since(self.until) > WAIT {
            return over("the lease of this instance ended long ago");
        }
        let Some(renewed) = connection.renew(registry, id, &value, deadline).await? else {
            return over("this instance is not registered any more");
        };
        if renewed.announced < self.processed {
            return over("the registry of instances has lost changes");
        }
        self.owes = false;
        if self.processed >= renewed.announced {
            let from_reply = is_planted(Plant::NearLeaseFromReply);
            let until = if from_reply { clock.boot().saturating_add(LEASE) } else { until };
            self.extend(epochs, until)?;
        }
        Ok(renewed)
    }

    /// Extends the lease.
    ///
    /// # Errors
    /// Another server is in use by now, or this one was not checked for too long.
    pub(super) fn extend(&mut self, epochs: &ServerEpochs, until: Monotonic) -> Result<(), Fault> {
        if epochs.is_current(&self.session.epoch) && epochs.is_lease_valid() {
            self.until = self.until.max(until);
            self.session.near.serve_until(until);
            return Ok(());
        }
        let replaced = Fault::after(&Error::new(
            ErrorKind::Unavailable,
            "the server was not confirmed, or another one is in use",
        ));
        Err(Fault { fate: Fate::Drop, ..replaced })
    }

    /// Forgets what `changes` concern, which follow the last one, or everything where some of the `announced` are missing.
    pub(super) fn process(&mut self, changes: Vec<(u64, Scopes)>, announced: u64) {
        let heard = changes.iter().zip(self.processed + 1..).take_while(|((number, _), next)| number == next);
        let heard = heard.count();
        let last = self.processed + heard as u64;
        let is_complete = heard == changes.len() && last >= announced;
        let session = Arc::clone(&self.session);
        let forget = move || {
            if is_complete {
                session.near.forget_each(changes.iter().flat_map(|(_, scopes)| scopes.iter()));
            } else {
                session.near.forget(EpochScope::All);
            }
        };
        if is_planted(Plant::NearAckFirst) {
            tokio::spawn(sleep(Duration::from_millis(5)).map(move |()| forget()));
        } else {
            forget();
        }
        let last = last.max(announced);
        self.owes |= last > self.processed;
        self.processed = last;
    }

    /// Removes other sessions that were not renewed since the last call, which was longer ago than a lease lasts. Returns how
    /// many that were.
    pub(super) async fn remove_silent(
        &mut self,
        connection: &mut Connection,
        since: Duration,
        deadline: Instant,
    ) -> Result<u64, Fault> {
        let registry = &self.session.registry;
        let mut others = connection.sessions(registry, deadline).await?;
        others.remove(self.session.id.as_bytes());
        let before = std::mem::replace(&mut self.others, others.clone());
        others.retain(|session, value| since >= WAIT && before.get(session) == Some(value));
        if others.is_empty() {
            return Ok(0);
        }
        connection.remove_silent(registry, &others, deadline).await
    }
}
