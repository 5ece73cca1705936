//! [`Removal`]: removes keys, groups and patterns from a server.

use std::time::Duration;

use cache_core::envelope::LEASE_LENGTH;
use cache_core::{CachePattern, Invalidation};
use redis::{Cmd, Pipeline, Value};
use tokio::time::Instant;

use super::layout::Layout;
use super::scan::{self, Elsewhere, Scan, Throttle};
use super::slot::Slot;
use crate::connection::Connection;
use crate::error::Fault;

/// How many keys and groups are removed in one round trip.
const PER_ROUND_TRIP: usize = 500;

/// Removes values over one connection.
pub(crate) struct Removal<'a, R> {
    pub(crate) connection: &'a mut Connection,
    pub(crate) layout: &'a Layout,
    /// Called with the name of each group and about how many entries were removed from it.
    pub(crate) removed: &'a R,
    /// The longest time for a round trip.
    pub(crate) timeout: Duration,
    /// What happens to keys that the node does not hold. Scans leave them out.
    pub(crate) elsewhere: Elsewhere,
    /// Only groups in these slots, in ascending order, are removed; all where there are none.
    pub(crate) within: Option<&'a [Slot]>,
}

impl<R: Fn(&str, u64) + Sync> Removal<'_, R> {
    /// Removes all of `what`, the keys and groups by `deadline`, and then sends `last`. Returns the replies to that.
    pub(crate) async fn run(
        mut self,
        what: &[Invalidation],
        last: &[&Cmd],
        mut deadline: Instant,
    ) -> Result<Vec<Value>, Fault> {
        let has_scans = what.iter().any(|what| by_name(what).is_none());
        let mut chunks = what.chunks(PER_ROUND_TRIP).peekable();
        let mut replies = Vec::new();
        while let Some(chunk) = chunks.next() {
            // In the round trip of the removals, if it is behind all of them.
            let is_last = !has_scans && chunks.peek().is_none();
            let last = if is_last { last } else { &[] };
            replies = self.by_name(chunk, last, deadline).await?;
            // Each round trip has the time of one operation.
            deadline = Instant::now() + self.timeout;
        }
        if !has_scans {
            return Ok(replies);
        }
        for what in what.iter().filter(|what| by_name(what).is_none()) {
            if let Invalidation::Pattern(pattern) = what {
                self.pattern(pattern).await?;
            } else {
                let (all, layout, within) = (self.layout.groups_from(""), self.layout, self.within);
                let is_covered = |group: &str| is_within(layout, within, group);
                scan::unlink_groups(self.connection, layout, all, self.removed, is_covered).await?;
            }
        }
        self.by_name(&[], last, Instant::now() + self.timeout).await
    }

    /// Removes those of `what` that are keys and whole groups, and then sends `last`. Returns the replies to that.
    async fn by_name(
        &mut self,
        what: &[Invalidation],
        last: &[&Cmd],
        deadline: Instant,
    ) -> Result<Vec<Value>, Fault> {
        let mut commands = Pipeline::new();
        let what: Vec<_> = what.iter().filter_map(by_name).collect();
        let is_covered = |(group, _): &&(&str, _)| is_within(self.layout, self.within, group);
        let what: Vec<_> = what.iter().filter(is_covered).copied().collect();
        for (group, field) in &what {
            let key = self.layout.group(group);
            match field {
                Some(field) => commands.cmd("HSTRLEN").arg(&key).arg(field).cmd("HDEL").arg(&key).arg(field),
                None => commands.cmd("HLEN").arg(&key).cmd("UNLINK").arg(&key),
            };
        }
        for last in last {
            commands.add_command(Cmd::clone(last));
        }
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let mut replies = self.connection.ask_sealed(commands, deadline).await?;
        let last = replies.split_off(replies.len().saturating_sub(last.len()));
        let counts = scan::counts(self.connection, replies, self.elsewhere)?;
        for ((group, field), counts) in what.into_iter().zip(counts.chunks(2)) {
            let entries = match (field, counts) {
                // A lease is no entry.
                (Some(_), [length, 1]) => u64::from(*length > LEASE_LENGTH as u64),
                (None, [fields, _]) => *fields,
                _ => 0,
            };
            (self.removed)(group, entries);
        }
        Ok(last)
    }

    async fn pattern(&mut self, pattern: &CachePattern) -> Result<(), Fault> {
        let Self { connection, layout, removed, timeout: _, elsewhere, within } = self;
        let (layout, removed, elsewhere, within) = (*layout, *removed, *elsewhere, *within);
        let mut throttle = Throttle::start();
        if let Some(group) = pattern.group() {
            if !is_within(layout, within, group) {
                return Ok(());
            }
            let key = layout.group(group);
            return scan::prune(connection, &key, group, pattern, removed, elsewhere, &mut throttle).await;
        }
        let groups = layout.groups_from(pattern.literal_prefix());
        if !pattern.is_glob() {
            let is_covered = |group: &str| pattern.matches(group) && is_within(layout, within, group);
            return scan::unlink_groups(connection, layout, groups, removed, is_covered).await;
        }
        let mut scan = Scan::keys(groups);
        while let Some(keys) = scan.next_keys(connection, &mut throttle).await? {
            for key in keys {
                if let Some(group) = layout.parse(&key).filter(|group| is_within(layout, within, group)) {
                    let skip = Elsewhere::Skip;
                    scan::prune(connection, &key, group, pattern, removed, skip, &mut throttle).await?;
                }
            }
        }
        Ok(())
    }
}

fn is_within(layout: &Layout, within: Option<&[Slot]>, group: &str) -> bool {
    within.is_none_or(|slots| slots.binary_search(&layout.slot(group)).is_ok())
}

/// Returns the group to which all of `what` belongs; `None` if it takes a scan of the whole server.
pub(crate) fn group_of(what: &Invalidation) -> Option<&str> {
    match what {
        Invalidation::Key(key) => Some(key.group()),
        Invalidation::Group(group) => Some(group.as_str()),
        Invalidation::Pattern(pattern) => pattern.group(),
        Invalidation::Everything => None,
    }
}

/// Returns the group that `what` removes, and the field if it is not the whole group; `None` if it takes a scan to remove.
pub(crate) fn by_name(what: &Invalidation) -> Option<(&str, Option<&str>)> {
    match what {
        Invalidation::Key(key) => Some((key.group(), Some(key.rest()))),
        Invalidation::Group(group) => Some((group.as_str(), None)),
        Invalidation::Pattern(pattern) if !pattern.is_glob() => {
            pattern.group().filter(|group| *group == pattern.as_str()).map(|group| (group, None))
        }
        Invalidation::Pattern(_) | Invalidation::Everything => None,
    }
}
