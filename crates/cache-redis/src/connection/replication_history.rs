//! [`ReplicationHistory`]: how far the server in use had written at each heartbeat, which bounds the age of its successor.
//!
//! A replica that is promoted reports the replication id of its old master and the offset up to which it has followed it
//! (`master_replid2`, `second_repl_offset`; "Replication ID explained" in the documentation of Redis). Where that is more
//! than the master had written at a heartbeat, the replica was still one after that heartbeat.

use std::collections::VecDeque;
use std::time::Duration;

use cache_core::Monotonic;

use super::server_info::Replication;

/// Heartbeats that are kept.
const MOST: usize = 120;

/// Offsets of one replication id, with a time before the server reported each.
#[derive(Debug, Default)]
pub(crate) struct ReplicationHistory {
    id: String,
    offsets: VecDeque<(Monotonic, i64)>,
}

impl ReplicationHistory {
    /// Adds what the server in use reported to a request that was sent at `asked`.
    pub(crate) fn add(&mut self, server: &Replication, asked: Monotonic) {
        if self.id != server.id {
            self.id.clone_from(&server.id);
            self.offsets.clear();
        }
        if self.offsets.len() >= MOST {
            self.offsets.pop_front();
        }
        self.offsets.push_back((asked, server.offset));
    }

    /// Returns how long ago `successor` took over, at most; `None` if it did not follow the server in use, or no heartbeat
    /// tells.
    pub(crate) fn age(&self, successor: &Replication, now: Monotonic) -> Option<Duration> {
        if self.id.is_empty() || self.id != successor.previous_id {
            return None;
        }
        // The offset is that of the first byte of its own.
        let followed_to = successor.previous_end - 1;
        let followed = self.offsets.iter().rev().find(|(_, offset)| *offset < followed_to);
        followed.map(|(asked, _)| now.saturating_since(*asked))
    }
}

#[cfg(test)]
mod tests {
    use cache_core::{Clock, ManualClock};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(id: &str, offset: i64) -> Replication {
        Replication { id: id.to_owned(), offset, ..Replication::default() }
    }

    #[test]
    fn a_successor_is_younger_than_the_last_heartbeat_that_it_has_followed() {
        let (clock, mut history) = (ManualClock::new(), ReplicationHistory::default());
        for offset in [100, 200, 300, 300] {
            history.add(&at("a", offset), clock.monotonic());
            clock.advance(SECOND);
        }
        let age = |previous_id: &str, previous_end| {
            let previous_id = previous_id.to_owned();
            let successor = Replication { previous_id, previous_end, ..at("b", 400) };
            history.age(&successor, clock.monotonic())
        };
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
        let successor = Replication { previous_id: "a".to_owned(), previous_end: 302, ..at("c", 400) };
        assert_eq!(history.age(&successor, clock.monotonic()), None, "another server is in use");
    }

    #[test]
    fn a_server_without_replication_has_no_age() {
        let (clock, mut history) = (ManualClock::new(), ReplicationHistory::default());
        history.add(&at("", 0), clock.monotonic());
        assert_eq!(history.age(&Replication { previous_end: 5, ..at("", 0) }, clock.monotonic()), None);
    }
}
