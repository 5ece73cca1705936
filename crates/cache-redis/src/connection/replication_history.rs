//! [`ReplicationHistory`]: how far the server in use had written at each heartbeat, which bounds the age of its successor.
//!
//! A replica that is promoted reports the replication id of its old master and the offset up to which it has followed it
//! (`master_replid2`, `second_repl_offset`; "Replication ID explained" in the documentation of Redis). Where that is more
//! than the master had written at a heartbeat, the replica was still one after that heartbeat.

use std::collections::VecDeque;
use std::time::Duration;

use cache_core::Monotonic;

use super::server_info::ServerInfo;

/// Checks that are kept.
const MOST: usize = 120;
/// The shortest time between two of them.
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);

/// What the server in use said at its checks.
#[derive(Debug, Default)]
pub(crate) struct ReplicationHistory {
    run_id: String,
    id: String,
    /// Offsets of the replication id, each with a time before the server reported it.
    offsets: VecDeque<(Monotonic, i64)>,
}

impl ReplicationHistory {
    /// Adds what the server in use reported to a request that was sent at `asked`.
    pub(crate) fn add(&mut self, server: &ServerInfo, asked: Monotonic) {
        let replication = &server.replication;
        if (&self.run_id, &self.id) != (&server.run_id, &replication.id) {
            self.run_id.clone_from(&server.run_id);
            self.id.clone_from(&replication.id);
            self.offsets.clear();
        }
        // Connections of large values come often; leaving checks out only makes an age longer.
        let is_soon = |(last, _): &(Monotonic, i64)| asked.saturating_since(*last) < SHORTEST_PAUSE;
        if self.offsets.back().is_some_and(is_soon) {
            return;
        }
        if self.offsets.len() >= MOST {
            self.offsets.pop_front();
        }
        self.offsets.push_back((asked, replication.offset));
    }

    /// Returns how long ago at most the incarnation of `successor` began; `None` if no check tells.
    ///
    /// The same run of the server has another replication id since its last check: an id never returns. A promoted replica was
    /// a replica until after the last check that it has followed.
    pub(crate) fn age(&self, successor: &ServerInfo, now: Monotonic) -> Option<Duration> {
        if !self.run_id.is_empty() && self.run_id == successor.run_id {
            return self.offsets.back().map(|(asked, _)| now.saturating_since(*asked));
        }
        let successor = &successor.replication;
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
    use crate::connection::server_info::Replication;

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
        history.add(&at("b", 500), clock.monotonic());
        let mut successor = after("a", 302);
        successor.run_id = "another".to_owned();
        assert_eq!(history.age(&successor, clock.monotonic()), None, "another server is in use");
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
