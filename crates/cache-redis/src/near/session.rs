//! The task that holds a session: it registers, renews, reads the log of changes and forgets what they concern.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cache_core::plants::{Plant, is_planted};
use cache_core::{EpochScope, ErrorKind, NearCache, NearSession, NearState, Result};
use futures_util::future::join;
use tokio::time::{Instant, sleep, sleep_until};

use super::{LEASE, Session, WAIT};
use crate::connection::Connection;
use crate::engine::RedisEngine;
use crate::error::Fault;
use crate::pool::Pool;
use crate::protocol::registry::{Registry, Scopes, unique};

/// How long one round waits for a change. A server that is idle looks at such limits ten times a second only, so that this takes
/// up to 200 ms.
const BLOCK: Duration = Duration::from_millis(50);
/// How long the replies of one round may take.
const ROUND: Duration = Duration::from_secs(1);
/// How much of the server's time all sessions may take together: on average, each makes a round in this time for each session
/// that there is.
const PAUSE_BY_SESSION: Duration = Duration::from_micros(100);
/// How far ahead of that average a session may be before it pauses, so that a change after a quiet time is heard of at once.
const BURST: Duration = Duration::from_millis(10);
/// How often each session looks for others that are silent.
const CENSUS: Duration = Duration::from_secs(1);
/// The pause before a session is registered again.
const RETRY: Duration = Duration::from_millis(100);

/// What a session keeps between two rounds.
struct Progress {
    /// The last change that was forgotten.
    processed: u64,
    /// How many renewals were sent.
    renewals: u64,
    /// How many sessions there were at the last one.
    sessions: u64,
    /// When the next round would be due if all were made at the average pace.
    due: Instant,
    /// When sessions were looked at last, and their values.
    census: (Instant, HashMap<String, String>),
}

impl RedisEngine {
    /// Holds a session at the server for as long as this runs; registers again where it is lost.
    pub(crate) async fn hold_sessions_forever(&self) {
        let Some(cache) = &self.near.cache else { return };
        let (mut before, mut pause) = (String::new(), RETRY);
        loop {
            let held = self.hold_session(cache, &mut before).await;
            let Err(error) = held;
            if self.near.note(NearState::Lapsed, Some(error.to_string())) {
                cache_core::log::debug!(cause = %error, "values in memory are not served until Redis answers");
                pause = RETRY;
            }
            sleep(pause).await;
            pause = (2 * pause).min(self.servers.config.heartbeat);
        }
    }

    /// Registers a session in place of `before`, and holds it until it is lost.
    async fn hold_session(&self, cache: &NearCache, before: &mut String) -> Result<Infallible> {
        let pool = self.servers.owner(crate::protocol::slot::Slot::default()).await?;
        let mut connection = pool.open_apart(Instant::now() + ROUND).await?;
        let failed = |fault: Fault| fault.into_error(&pool.address);
        let (id, asked) = (unique(), self.clock.boot());
        let registry = Registry::new(&self.layout, connection.epoch.incarnation);
        let deadline = Instant::now() + ROUND;
        let processed = connection.register(&registry, &id, before, deadline).await.map_err(failed)?;
        // Made after the reply: a value that was read until now carries a token of another session, and is never served.
        let epoch = Arc::clone(&connection.epoch);
        let session = Arc::new(Session { id: id.clone(), registry, epoch, near: NearSession::new() });
        *before = id;
        cache.clear();
        self.near.session.store(Some(Arc::clone(&session)));
        let _ended = Ended(&session);
        self.near.count(|counts| counts.sessions += 1);
        session.near.serve_until(asked.saturating_add(LEASE));
        let (due, census) = (Instant::now(), (Instant::now(), HashMap::new()));
        let mut progress = Progress { processed, renewals: 0, sessions: 1, due, census };
        loop {
            let began = Instant::now();
            let round = self.round(&pool, &session, &mut connection, &mut progress).await;
            round.map_err(failed)?;
            self.near.note(NearState::Serving, None);
            let sessions = u32::try_from(progress.sessions).unwrap_or(u32::MAX);
            progress.due = progress.due.max(began) + PAUSE_BY_SESSION.saturating_mul(sessions);
            if progress.due > Instant::now() + BURST {
                sleep_until(progress.due).await;
            }
            if progress.census.0.elapsed() >= CENSUS {
                self.take_census(&session, &mut connection, &mut progress).await.map_err(failed)?;
            }
        }
    }

    /// Renews the session and waits for changes.
    async fn round(
        &self,
        pool: &Pool,
        session: &Arc<Session>,
        connection: &mut Connection,
        progress: &mut Progress,
    ) -> Result<(), Fault> {
        let deadline = Instant::now() + ROUND;
        progress.renewals += 1;
        let processed = progress.processed;
        let value = format!("{processed} {}", progress.renewals);
        // Before the request: the lease begins when it is sent, at the latest.
        let until = self.clock.boot().saturating_add(LEASE);
        let extend = || {
            let until = if is_planted(Plant::NearLeaseFromReply) {
                self.clock.boot().saturating_add(LEASE)
            } else {
                until
            };
            if pool.manager.epochs.is_current(&session.epoch) {
                if !session.near.is_serving(&*self.clock) {
                    self.near.count(|counts| counts.lapses += 1);
                }
                session.near.serve_until(until);
                Ok(())
            } else {
                let replaced = cache_core::Error::new(ErrorKind::Unavailable, "another server is in use");
                Err(Fault::after(&replaced))
            }
        };
        let (mut renewing, mut reading) = (connection.clone(), connection.clone());
        // Sent together, in this order; the reply to the first does not wait for the second.
        let renewed = async {
            let renewed = renewing.renew(&session.registry, &session.id, &value, deadline).await?;
            let Some(renewed) = renewed else {
                let removed = cache_core::Error::new(
                    ErrorKind::Unavailable,
                    "this instance is not registered any more",
                );
                return Err(Fault::after(&removed));
            };
            if processed >= renewed.announced {
                extend()?;
            }
            Ok(renewed)
        };
        let changes = reading.read_log(&session.registry, processed, BLOCK, deadline);
        let (renewed, changes) = join(renewed, changes).await;
        let (renewed, changes) = (renewed?, changes?);
        self.near.sessions.store(renewed.sessions, Ordering::Relaxed);
        progress.sessions = renewed.sessions;
        progress.processed = if is_planted(Plant::NearAckFirst) && !changes.is_empty() {
            forget_late(Arc::clone(session), changes);
            renewed.announced.max(processed + 1)
        } else {
            process(&session.near, processed, &changes, renewed.announced)
        };
        if processed < renewed.announced {
            // What was announced before this renewal is forgotten now.
            extend()?;
        }
        Ok(())
    }

    /// Removes other sessions that were not renewed for longer than a lease lasts, so that no invalidation has to wait for them.
    async fn take_census(
        &self,
        session: &Session,
        connection: &mut Connection,
        progress: &mut Progress,
    ) -> Result<(), Fault> {
        let deadline = Instant::now() + ROUND;
        let mut sessions = connection.sessions(&session.registry, deadline).await?;
        sessions.remove(&session.id);
        let (at, before) = std::mem::replace(&mut progress.census, (Instant::now(), HashMap::new()));
        progress.census.1.clone_from(&sessions);
        if at.elapsed() < WAIT {
            return Ok(());
        }
        sessions.retain(|session, value| before.get(session) == Some(value));
        if !sessions.is_empty() {
            let removed = connection.remove_silent(&session.registry, &sessions, deadline).await?;
            self.near.count(|counts| counts.removed_sessions += removed);
        }
        Ok(())
    }

    /// Ends the session: nothing is served from memory any more, and no invalidation waits for this instance.
    pub(crate) async fn end_session(&self) {
        self.near.note(NearState::Off, Some("the cache was closed".to_owned()));
        let Some(session) = self.near.session.swap(None) else { return };
        session.near.end();
        let deadline = Instant::now() + self.servers.config.timeout;
        for pool in self.servers.pools() {
            // Where that fails, the next invalidation waits for this session once.
            if let Some(mut connection) = pool.least_used() {
                let _ = connection.leave(&session.registry, &session.id, deadline).await;
            }
        }
    }
}

/// Ends a session when it is dropped, also where its task is aborted.
struct Ended<'a>(&'a Session);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.near.end();
    }
}

/// Forgets what `changes` concern, which follow the one numbered `processed`, or everything where some of the `announced` are
/// missing. Returns the number of the last one that is forgotten.
fn process(near: &NearSession, processed: u64, changes: &[(u64, Scopes)], announced: u64) -> u64 {
    let mut last = processed;
    for (number, scopes) in changes {
        if *number != last + 1 {
            near.forget(EpochScope::All);
        }
        near.forget_each(scopes.iter());
        last = last.max(*number);
    }
    if last < announced {
        near.forget(EpochScope::All);
        last = announced;
    }
    last
}

/// The planted bug [`Plant::NearAckFirst`].
fn forget_late(session: Arc<Session>, changes: Vec<(u64, Scopes)>) {
    tokio::spawn(async move {
        sleep(Duration::from_millis(5)).await;
        session.near.forget_each(changes.iter().flat_map(|(_, scopes)| scopes.iter()));
    });
}
