//! One round of the sessions at a server: they are renewed, changes are waited for, and what these concern is forgotten.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::{join, join_all};
use tokio::time::{Instant, sleep};

use super::LEASE;
use super::node::{Node, ROUND};
use crate::connection::Connection;
use crate::engine::RedisEngine;
use crate::error::{Fate, Fault};
use crate::protocol::registry::{Registry, Scopes, bell};

/// How long one round waits for a change. A server that is idle looks at such limits ten times a second only, so that this takes
/// up to 200 ms.
const BLOCK: Duration = Duration::from_millis(50);

/// Changes of one zone, each with its number.
type Changes = Vec<(u64, Scopes)>;

/// Where the sessions at a server wait for changes.
enum Source {
    /// The log of the only session, after this change.
    Log(Registry, u64),
    /// The stream that wakes the sessions at a node of a cluster, each of which then reads its log.
    Bell(String),
}

impl RedisEngine {
    /// Renews the sessions that are due, waits for changes and forgets what they concern.
    ///
    /// # Errors
    /// Those that concern the connection or the server. A zone whose registry is lost, or goes to another server, loses its session.
    pub(super) async fn round(&self, node: &mut Node) -> Result<(), Fault> {
        let Some(source) = self.source(node) else {
            sleep(BLOCK).await;
            return Ok(());
        };
        let deadline = Instant::now() + ROUND;
        // Before the request: the lease begins when it is sent, at the latest.
        let until = self.clock.boot().saturating_add(LEASE);
        let (mut waiting, epochs) = (node.connection.clone(), &node.pool.manager.epochs);
        let pause = if self.servers.is_cluster() { BLOCK } else { Duration::ZERO };
        let due = node.held.iter_mut().filter(|held| held.is_due(pause));
        let renewing = due.map(|held| {
            let mut connection = node.connection.clone();
            async move {
                let was_serving = held.session.near.is_serving(&*self.clock);
                let renewed = held.renew(&mut connection, epochs, &*self.clock, until, deadline).await;
                (held.zone, was_serving, renewed)
            }
        });
        // Sent together, in this order; the replies to the renewals do not wait for a change.
        let hearing = hear(&mut waiting, &source, &mut node.rung, deadline);
        let (renewed, heard) = join(join_all(renewing), hearing).await;
        let (mut announced, mut lost) = (HashMap::new(), Vec::new());
        for (zone, was_serving, renewed) in renewed {
            match renewed {
                Ok(renewed) => {
                    self.near.registered.store(renewed.sessions, Ordering::Relaxed);
                    self.near.count(|counts| counts.lapses += u64::from(!was_serving));
                    announced.insert(zone, renewed.announced);
                }
                Err(fault) if concerns_zone(&fault) => lost.push((zone, fault)),
                Err(fault) => return Err(fault),
            }
        }
        for (zone, fault) in lost {
            node.held.retain(|held| held.zone != zone);
            self.near.note(Some(fault.cause.to_string()));
        }
        let mut changes = match (source, heard?) {
            (Source::Log(..), (_, changes)) => {
                node.held.iter().map(|held| (held.zone, changes.clone())).collect()
            }
            (Source::Bell(_), (mut zones, _)) => {
                let is_behind =
                    |zone: &u8, processed| announced.get(zone).is_some_and(|all| processed < *all);
                let behind = node.held.iter().filter(|held| is_behind(&held.zone, held.processed));
                zones.extend(behind.map(|held| held.zone));
                read_logs(node, &zones, deadline).await?
            }
        };
        let epochs = &node.pool.manager.epochs;
        for held in &mut node.held {
            let (before, announced) = (held.processed, announced.get(&held.zone).copied().unwrap_or(0));
            held.process(changes.remove(&held.zone).unwrap_or_default(), announced);
            if before < announced {
                // What was announced before this renewal is forgotten now.
                held.extend(epochs, until)?;
            }
        }
        Ok(())
    }

    fn source(&self, node: &Node) -> Option<Source> {
        let first = node.held.first()?;
        Some(if self.servers.is_cluster() {
            // That which is rung.
            Source::Bell(bell(&self.layout, self.zones_of(&node.pool).into_iter().next()?))
        } else {
            Source::Log(first.session.registry.clone(), first.processed)
        })
    }

    /// Removes sessions that are silent, so that no invalidation has to wait for them.
    pub(super) async fn take_census(&self, node: &mut Node) -> Result<(), Fault> {
        let (since, deadline) = (node.census.elapsed(), Instant::now() + ROUND);
        if let Some(Source::Bell(bell)) = self.source(node) {
            node.connection.keep_bell(&bell, deadline).await?;
        }
        let looking = node.held.iter_mut().map(|held| {
            let mut connection = node.connection.clone();
            async move { held.remove_silent(&mut connection, since, deadline).await }
        });
        for removed in join_all(looking).await {
            match removed {
                Ok(removed) => self.near.count(|counts| counts.removed_sessions += removed),
                Err(fault) if concerns_zone(&fault) => {}
                Err(fault) => return Err(fault),
            }
        }
        // From the replies on: how long the next requests take on their way says nothing about the sessions.
        node.census = Instant::now();
        Ok(())
    }
}

/// Waits for changes. Returns the zones in which there are some, or the changes themselves.
async fn hear(
    connection: &mut Connection,
    source: &Source,
    rung: &mut String,
    deadline: Instant,
) -> Result<(Vec<u8>, Changes), Fault> {
    match source {
        Source::Log(registry, processed) => {
            let changes = connection.read_log(registry, *processed, Some(BLOCK), deadline).await?;
            Ok((Vec::new(), changes))
        }
        Source::Bell(bell) => match connection.wait_for_bell(bell, rung, BLOCK, deadline).await {
            // Its slot is being moved: changes are found by the renewals.
            Err(fault) if concerns_zone(&fault) => {
                sleep(BLOCK).await;
                Ok((Vec::new(), Vec::new()))
            }
            zones => Ok((zones?, Vec::new())),
        },
    }
}

/// Reads the logs of `zones` where sessions are held there.
async fn read_logs(node: &Node, zones: &[u8], deadline: Instant) -> Result<HashMap<u8, Changes>, Fault> {
    let reading = node.held.iter().filter(|held| zones.contains(&held.zone)).map(|held| {
        let mut connection = node.connection.clone();
        async move {
            match connection.read_log(&held.session.registry, held.processed, None, deadline).await {
                // Everything is forgotten instead.
                Err(fault) if concerns_zone(&fault) => Ok((held.zone, Vec::new())),
                changes => changes.map(|changes| (held.zone, changes)),
            }
        }
    });
    join_all(reading).await.into_iter().collect()
}

/// Whether a fault concerns one zone, and not the connection.
fn concerns_zone(fault: &Fault) -> bool {
    matches!(fault.fate, Fate::Keep | Fate::Moved | Fate::Moving)
}
