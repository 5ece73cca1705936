//! Removing: acknowledged by the server of the current world, or not done.

use std::sync::Arc;

use cache_core::{CachePattern, Error, ErrorKind, Invalidation, Result};
use redis::Pipeline;
use tokio::time::Instant;

use crate::engine::Engine;
use crate::error::Fault;
use crate::manager::Connection;
use crate::scan::{self, Pace, Scan};

/// How many commands are sent in one go.
const AT_ONCE: usize = 1000;
/// How often an invalidation begins anew because another server took over meanwhile.
const WORLDS: usize = 3;

impl Engine {
    /// Removes all of `what`, and says about how many entries that were.
    pub(crate) async fn remove(&self, what: &[Invalidation]) -> Result<u64> {
        for _ in 0..WORLDS {
            let mut tries = self.pool.tries();
            let (removed, world) = loop {
                let mut connection = tries.next().await?;
                match self.remove_on(&mut connection, what, tries.deadline).await {
                    Ok(removed) => break (removed, Arc::clone(&connection.world)),
                    Err(fault) if tries.again(&fault) => {}
                    Err(fault) => return Err(self.failed(fault)),
                }
            };
            self.worlds.touched();
            // What another server acknowledged before this one took over is still here.
            if self.worlds.is_current(&world) {
                return Ok(removed);
            }
        }
        let message = format!("Redis at {} changes from one server to another", self.pool.address);
        Err(Error::new(ErrorKind::Unavailable, message))
    }

    async fn remove_on(
        &self,
        connection: &mut Connection,
        what: &[Invalidation],
        deadline: Instant,
    ) -> Result<u64, Fault> {
        let mut commands = Pipeline::new();
        let mut removed = 0;
        for what in what {
            match whole_group(what) {
                Some(group) => {
                    let key = self.layout.group(&connection.world, group);
                    commands.cmd("HLEN").arg(&key);
                    commands.cmd("UNLINK").arg(&key);
                }
                None => {
                    if let Invalidation::Key(key) = what {
                        let place = self.layout.place(&connection.world, key);
                        commands.cmd("HDEL").arg(&place.group).arg(place.field);
                    }
                }
            }
            if commands.len() >= AT_ONCE {
                removed += scan::acknowledged(connection, std::mem::take(&mut commands), deadline).await?;
            }
        }
        if !commands.is_empty() {
            removed += scan::acknowledged(connection, commands, deadline).await?;
        }
        for what in what {
            match what {
                Invalidation::Everything => removed += self.remove_everything(connection).await?,
                Invalidation::Pattern(pattern) if whole_group(what).is_none() => {
                    removed += self.remove_pattern(connection, pattern).await?;
                }
                Invalidation::Key(_) | Invalidation::Group(_) | Invalidation::Pattern(_) => {}
            }
        }
        Ok(removed)
    }

    async fn remove_everything(&self, connection: &mut Connection) -> Result<u64, Fault> {
        let pattern = self.layout.groups_from("");
        scan::unlink_all(connection, &self.layout, &pattern, |_, _| true).await
    }

    async fn remove_pattern(
        &self,
        connection: &mut Connection,
        pattern: &CachePattern,
    ) -> Result<u64, Fault> {
        let mut pace = Pace::start();
        if let Some(group) = pattern.group() {
            let key = self.layout.group(&connection.world, group);
            return scan::prune(connection, &key, group, pattern, &mut pace).await;
        }
        let groups = self.layout.groups_from(pattern.literal_prefix());
        if !pattern.is_glob() {
            let is_covered = |group: &str, _| pattern.matches(group);
            return scan::unlink_all(connection, &self.layout, &groups, is_covered).await;
        }
        let mut scan = Scan::keys(groups);
        let mut removed = 0;
        while let Some(found) = scan.next(connection, &mut pace).await? {
            for key in found.into_iter().filter_map(scan::text) {
                if let Some((group, _)) = self.layout.parse(&key) {
                    removed += scan::prune(connection, &key, group, pattern, &mut pace).await?;
                }
            }
        }
        Ok(removed)
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
