//! Removing: acknowledged by the server of the current world, or not done.

use std::sync::Arc;

use cache_core::envelope::LEASE_LENGTH;
use cache_core::{CachePattern, Error, ErrorKind, Invalidation, Result};
use redis::Pipeline;
use tokio::time::Instant;

use crate::engine::Engine;
use crate::error::Fault;
use crate::manager::Connection;
use crate::pool::Tries;
use crate::removed::Removed;
use crate::scan::{self, Pace, Scan};

/// How many groups and keys are removed in one go.
const AT_ONCE: usize = 500;
/// How often an invalidation begins anew because another server took over meanwhile.
const WORLDS: usize = 3;

impl Engine {
    /// Removes all of `what`, and counts what it removes.
    pub(crate) async fn remove(&self, what: &[Invalidation], removed: &mut Removed) -> Result<()> {
        for _ in 0..WORLDS {
            let mut tries = self.pool.tries();
            let world = loop {
                let mut connection = tries.next().await?;
                match self.remove_on(&mut connection, what, removed, &tries).await {
                    Ok(()) => break Arc::clone(&connection.world),
                    Err(fault) if tries.again(&fault) => {}
                    Err(fault) => return Err(self.failed(fault)),
                }
            };
            self.worlds.touched();
            // What another server acknowledged before this one took over is still here.
            if self.worlds.is_current(&world) {
                return Ok(());
            }
        }
        let message = format!("Redis at {} changes from one server to another", self.pool.address);
        Err(Error::new(ErrorKind::Unavailable, message))
    }

    async fn remove_on(
        &self,
        connection: &mut Connection,
        what: &[Invalidation],
        removed: &mut Removed,
        tries: &Tries<'_>,
    ) -> Result<(), Fault> {
        let mut deadline = tries.deadline;
        for what in what.chunks(AT_ONCE) {
            self.remove_by_name(connection, what, removed, deadline).await?;
            // Each go has the time of one operation.
            deadline = Instant::now() + tries.timeout;
        }
        for what in what {
            match what {
                Invalidation::Everything => {
                    let pattern = self.layout.groups_from("");
                    scan::unlink_all(connection, &self.layout, &pattern, removed, |_, _| true).await?;
                }
                Invalidation::Pattern(pattern) if whole_group(what).is_none() => {
                    self.remove_pattern(connection, pattern, removed).await?;
                }
                Invalidation::Key(_) | Invalidation::Group(_) | Invalidation::Pattern(_) => {}
            }
        }
        Ok(())
    }

    /// Removes those of `what` that are keys and whole groups.
    async fn remove_by_name(
        &self,
        connection: &mut Connection,
        what: &[Invalidation],
        removed: &mut Removed,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let mut commands = Pipeline::new();
        // The groups, and whether a key of it is removed or all of it.
        let mut groups = Vec::new();
        for what in what {
            if let Some(group) = whole_group(what) {
                let key = self.layout.group(&connection.world, group);
                commands.cmd("HLEN").arg(&key);
                commands.cmd("UNLINK").arg(&key);
                groups.push((group, false));
            } else if let Invalidation::Key(key) = what {
                let place = self.layout.place(&connection.world, key);
                commands.cmd("HSTRLEN").arg(&place.group).arg(place.field);
                commands.cmd("HDEL").arg(&place.group).arg(place.field);
                groups.push((key.group(), true));
            }
        }
        if commands.is_empty() {
            return Ok(());
        }
        let said = scan::acknowledged(connection, commands, deadline).await?;
        for ((group, is_key), said) in groups.into_iter().zip(said.chunks(2)) {
            let entries = match said {
                // A lease is no entry.
                [length, 1] if is_key => u64::from(*length > LEASE_LENGTH as u64),
                [fields, _] if !is_key => *fields,
                _ => 0,
            };
            removed.add(group, entries);
        }
        Ok(())
    }

    async fn remove_pattern(
        &self,
        connection: &mut Connection,
        pattern: &CachePattern,
        removed: &mut Removed,
    ) -> Result<(), Fault> {
        let mut pace = Pace::start();
        if let Some(group) = pattern.group() {
            let key = self.layout.group(&connection.world, group);
            return scan::prune(connection, &key, group, pattern, removed, &mut pace).await;
        }
        let groups = self.layout.groups_from(pattern.literal_prefix());
        if !pattern.is_glob() {
            let is_covered = |group: &str, _| pattern.matches(group);
            return scan::unlink_all(connection, &self.layout, &groups, removed, is_covered).await;
        }
        let mut scan = Scan::keys(groups);
        while let Some(found) = scan.next(connection, &mut pace).await? {
            for key in found.into_iter().filter_map(scan::text) {
                if let Some((group, _)) = self.layout.parse(&key) {
                    scan::prune(connection, &key, group, pattern, removed, &mut pace).await?;
                }
            }
        }
        Ok(())
    }
}

/// The group that is removed as a whole, if `what` is one.
fn whole_group(what: &Invalidation) -> Option<&str> {
    match what {
        Invalidation::Group(group) => Some(group.as_str()),
        Invalidation::Pattern(pattern) if !pattern.is_glob() => {
            pattern.group().filter(|group| *group == pattern.as_str())
        }
        Invalidation::Key(_) | Invalidation::Pattern(_) | Invalidation::Everything => None,
    }
}
