//! [`ReplicationHistory`]: how far the servers in use had written at each heartbeat, which bounds the age of their successors.
//!
//! A replica that is promoted reports the replication id of its old master and the offset up to which it has followed it
//! (`master_replid2`, `second_repl_offset`; "Replication ID explained" in the documentation of Redis). Where that is more
//! than the master had written at a heartbeat, the replica was still one after that heartbeat.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use cache_core::Monotonic;

use super::server_info::{Replication, ServerInfo};

/// Checks that are kept.
const MOST: usize = 120;
/// The shortest time between two of them.
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);
/// How long the checks of a server that is not used any more are kept.
const KEPT: Duration = Duration::from_secs(2 * 60);

/// What the servers in use said at their checks, by `run_id`.
#[derive(Debug, Default)]
pub(crate) struct ReplicationHistory(HashMap<String, Run>);

/// One run of a server.
#[derive(Debug, Default)]
struct Run {
    id: String,
    /// Offsets of the replication id, each with a time before the server reported it.
    offsets: VecDeque<(Monotonic, i64)>,
}

impl ReplicationHistory {
    /// Adds what a server in use reported to a request that was sent at `asked`. Forgets servers that are not used any more.
    pub(crate) fn add(&mut self, server: &ServerInfo, asked: Monotonic) {
        if server.run_id.is_empty() {
            return;
        }
        self.0.retain(|_, run| run.last().is_some_and(|last| asked.saturating_since(last) < KEPT));
        self.0.entry(server.run_id.clone()).or_default().add(&server.replication, asked);
    }

    /// Returns how long ago at most the incarnation of `successor` began; `None` if no check tells.
    pub(crate) fn age(&self, successor: &ServerInfo, now: Monotonic) -> Option<Duration> {
        let same_run = self.0.get(&successor.run_id).and_then(|run| run.age_of_itself(now));
        let followed = self.0.values().filter_map(|run| run.age_of_successor(&successor.replication, now));
        followed.chain(same_run).min()
    }
}

impl Run {
    /// When the last check was sent.
    fn last(&self) -> Option<Monotonic> {
        self.offsets.back().map(|(asked, _)| *asked)
    }

    fn add(&mut self, replication: &Replication, asked: Monotonic) {
        if self.id != replication.id {
            self.id.clone_from(&replication.id);
            self.offsets.clear();
        }
        // Connections of large values come often; leaving checks out only makes an age longer.
        if self.last().is_some_and(|last| asked.saturating_since(last) < SHORTEST_PAUSE) {
            return;
        }
        if self.offsets.len() >= MOST {
            self.offsets.pop_front();
        }
        self.offsets.push_back((asked, replication.offset));
    }

    /// The same run of the server is in another incarnation since its last check, and no incarnation returns.
    fn age_of_itself(&self, now: Monotonic) -> Option<Duration> {
        self.last().map(|last| now.saturating_since(last))
    }

    /// A promoted replica was a replica until after the last check that it has followed.
    fn age_of_successor(&self, successor: &Replication, now: Monotonic) -> Option<Duration> {
        if self.id.is_empty() || self.id != successor.previous_id {
            return None;
        }
        // The offset is that of the first byte of its own.
        let followed_to = successor.previous_end.saturating_sub(1);
        let followed = self.offsets.iter().rev().find(|(_, offset)| *offset < followed_to);
        followed.map(|(asked, _)| now.saturating_since(*asked))
    }
}

#[cfg(test)]
mod tests {
    use cache_core::{Clock, ManualClock};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(id: &str, offset: i64) -> ServerInfo {
        let replication = Replication { id: id.to_owned(), offset, ..Replication::default() };
        ServerInfo { run_id: format!("run of {id}"), replication, ..ServerInfo::default() }
    }

    fn after(previous_id: &str, previous_end: i64) -> ServerInfo {
        let mut successor = at("b", 400);
        (successor.replication.previous_id, successor.replication.previous_end) =
            (previous_id.to_owned(), previous_end);
        successor
    }

    #[test]
    fn a_successor_is_younger_than_the_last_heartbeat_that_it_has_followed() {
        let (clock, mut history) = (ManualClock::new(), ReplicationHistory::default());
        for offset in [100, 200, 300, 300] {
            history.add(&at("a", offset), clock.monotonic());
            clock.advance(SECOND);
        }
        let age = |previous_id: &str, end| history.age(&after(previous_id, end), clock.monotonic());
        assert_eq!(age("a", 302), Some(SECOND));
        assert_eq!(
            age("a", 301),
            Some(3 * SECOND),
            "nothing says whether it followed the last two heartbeats"
        );
        assert_eq!(age("a", 201), Some(4 * SECOND));
        assert_eq!(age("a", 101), None);
        assert_eq!(age("x", 302), None, "it followed another server");
        clock.advance(KEPT);
        history.add(&at("x", 500), clock.monotonic());
        let unused = history.age(&after("a", 302), clock.monotonic());
        assert_eq!(unused, None, "it is not used any more");
    }

    #[test]
    fn the_same_run_of_a_server_began_another_incarnation_after_its_last_check() {
        let (clock, mut history) = (ManualClock::new(), ReplicationHistory::default());
        history.add(&at("a", 100), clock.monotonic());
        clock.advance(SECOND);
        history.add(&at("b", 100), clock.monotonic());
        clock.advance(SECOND);
        assert_eq!(history.age(&at("a", 100), clock.monotonic()), Some(2 * SECOND));
        assert_eq!(history.age(&at("b", 100), clock.monotonic()), Some(SECOND));
        assert_eq!(history.age(&at("c", 100), clock.monotonic()), None);
    }

    #[test]
    fn a_server_without_replication_has_no_age() {
        let (clock, mut history) = (ManualClock::new(), ReplicationHistory::default());
        let unknown = ServerInfo::default();
        history.add(&unknown, clock.monotonic());
        assert_eq!(history.age(&unknown, clock.monotonic()), None);
        assert_eq!(history.age(&after("", 5), clock.monotonic()), None);
    }
}
