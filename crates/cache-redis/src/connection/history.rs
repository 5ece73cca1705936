//! [`History`]: what this process has removed and which servers it has used. All servers of one cache share it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use cache_core::plants::{Plant, is_planted};
use cache_core::{Clock, Invalidation, Monotonic, Result, Timestamp};
use parking_lot::Mutex;
use twox_hash::XxHash3_64;

use super::recent_removals::RecentRemovals;
use super::replication_history::ReplicationHistory;
use super::server_info::ServerInfo;
use crate::last_server::LastServerRecord;

#[derive(Debug)]
pub(crate) struct History {
    facts: Mutex<Facts>,
    servers: Mutex<Servers>,
    record: Option<Arc<dyn LastServerRecord>>,
}

#[derive(Debug)]
struct Facts {
    /// What servers have acknowledged.
    removals: RecentRemovals,
    replication: ReplicationHistory,
}

/// The servers in use.
#[derive(Debug, Default)]
struct Servers {
    /// The incarnation of each, by name.
    incarnations: BTreeMap<String, u64>,
    has_begun: bool,
    /// When an earlier process used other servers than this one at its start.
    earlier: Option<Timestamp>,
    recorded: Option<u64>,
}

impl History {
    pub(crate) fn new(record: Option<Arc<dyn LastServerRecord>>, clock: &dyn Clock) -> Self {
        let removals = RecentRemovals::since(clock.monotonic());
        let facts = Facts { removals, replication: ReplicationHistory::default() };
        Self { facts: Mutex::new(facts), servers: Mutex::default(), record }
    }

    /// Compares the servers that this process begins with, with those that an earlier one used last. Later calls do nothing.
    pub(crate) fn begin(&self, incarnations: &BTreeMap<String, u64>) {
        let mut servers = self.servers.lock();
        if !std::mem::replace(&mut servers.has_begun, true) {
            let last = self.record.as_ref().and_then(|record| record.last());
            let other = last.filter(|last| last.incarnation != combined(incarnations));
            servers.earlier = other.map(|last| last.at);
        }
    }

    /// When an earlier process used other servers than this one at its start; `None` if it did not.
    pub(crate) fn earlier(&self) -> Option<Timestamp> {
        self.servers.lock().earlier
    }

    /// Records that the server `name` is used in `incarnation`, before it is.
    ///
    /// # Errors
    /// Those of the record.
    pub(crate) fn enter(&self, name: &str, incarnation: u64) -> Result<()> {
        let mut servers = self.servers.lock();
        servers.incarnations.insert(name.to_owned(), incarnation);
        self.write(&mut servers)
    }

    /// Records that of the servers only those are used that `is_used` names.
    ///
    /// # Errors
    /// Those of the record.
    pub(crate) fn keep(&self, is_used: impl Fn(&str) -> bool) -> Result<()> {
        let mut servers = self.servers.lock();
        servers.incarnations.retain(|name, _| is_used(name));
        self.write(&mut servers)
    }

    fn write(&self, servers: &mut Servers) -> Result<()> {
        let incarnation = combined(&servers.incarnations);
        if let Some(record) = &self.record
            && servers.recorded != Some(incarnation)
        {
            record.entered(incarnation)?;
        }
        servers.recorded = Some(incarnation);
        Ok(())
    }

    /// Adds `what`, which was acknowledged at `now` at the latest.
    pub(crate) fn removed(&self, what: &[Invalidation], now: Monotonic) {
        self.facts.lock().removals.add(what, now);
    }

    /// Returns the removals of the last `age` before `now`; `None` if they are not all known.
    pub(crate) fn removals(&self, age: Duration, now: Monotonic) -> Option<Vec<Invalidation>> {
        if is_planted(Plant::NoReplay) {
            return Some(Vec::new());
        }
        self.facts.lock().removals.of_the_last(age, now)
    }

    /// Adds what a server in use said in reply to a request that was sent at `asked`.
    pub(crate) fn checked(&self, info: &ServerInfo, asked: Monotonic) {
        self.facts.lock().replication.add(info, asked);
    }

    /// Returns how long ago at most the incarnation of a server began, if checks of others tell.
    pub(crate) fn age(&self, info: &ServerInfo, now: Monotonic) -> Option<Duration> {
        self.facts.lock().replication.age(info, now)
    }
}

/// Returns one number for all incarnations: the incarnation itself for one server.
fn combined(incarnations: &BTreeMap<String, u64>) -> u64 {
    if let (1, Some(incarnation)) = (incarnations.len(), incarnations.values().next()) {
        return *incarnation;
    }
    let mut text = String::new();
    for (name, incarnation) in incarnations {
        // Writing to memory does not fail.
        let _ = write!(text, "{name} {incarnation:016x} ");
    }
    XxHash3_64::oneshot(text.as_bytes())
}
