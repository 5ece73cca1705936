//! [`Placement`]: which slots the nodes of a cluster hold by their own word, to notice that some moved during a clear.

use std::sync::Arc;

use futures_util::future::join_all;
use redis::RedisError;
use tokio::time::Instant;

use super::Servers;
use crate::pool::Pool;
use crate::protocol::slot::Zones;

/// What each node says of itself, and how many slots the map gives to all of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Placement {
    /// The id, role, config epoch and slots of each; nothing where it does not answer.
    nodes: Vec<Vec<String>>,
    expected: usize,
}

impl Placement {
    /// Whether every node is a master, together they hold as many slots as in the map, and none is being moved: such a slot is
    /// in brackets.
    pub(crate) fn is_settled(&self) -> bool {
        let is_master = |fields: &Vec<String>| fields.get(1).is_some_and(|flags| flags.contains("master"));
        let is_moving = self.nodes.iter().flatten().any(|field| field.starts_with('['));
        let held: usize =
            self.nodes.iter().flat_map(|fields| fields.iter().skip(3)).map(|range| count(range)).sum();
        self.nodes.iter().all(is_master) && !is_moving && held == self.expected
    }
}

/// Returns how many slots a range such as `0-5460` or `7` has.
fn count(range: &str) -> usize {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let [first, last] = [first, last].map(|number| number.parse::<usize>().unwrap_or(0));
    last.saturating_sub(first) + 1
}

impl Servers {
    /// Asks nodes which slots they hold.
    pub(crate) async fn placement(&self, servers: &[(Arc<Pool>, Zones)]) -> Placement {
        let map = self.map.load_full();
        let expected = servers.iter().map(|(pool, _)| map.slots_of(pool).len()).sum();
        let asked = servers.iter().map(|(pool, _)| self.own_word(pool));
        let nodes = join_all(asked).await.into_iter().map(Option::unwrap_or_default).collect();
        Placement { nodes, expected }
    }

    async fn own_word(&self, pool: &Pool) -> Option<Vec<String>> {
        let deadline = Instant::now() + self.config.timeout;
        let mut connection = pool.check_out(deadline).await.ok()?;
        let reply = connection.ask(redis::cmd("CLUSTER").arg("NODES"), deadline).await.ok()?;
        let text: String = redis::from_redis_value(reply).map_err(RedisError::from).ok()?;
        let mut nodes = text.lines().map(|line| line.split(' '));
        let own = nodes.find(|fields| fields.clone().nth(2).is_some_and(|flags| flags.contains("myself")))?;
        // Without the address, the primary, the times of pings and the state of the link ("CLUSTER NODES" in the documentation
        // of Redis).
        let is_lasting = |position: &usize| ![1, 3, 4, 5, 7].contains(position);
        let lasting = own.enumerate().filter(|(position, _)| is_lasting(position));
        Some(lasting.map(|(_, field)| field.to_owned()).collect())
    }
}
