//! [`ClusterView`]: how a node of a Redis Cluster describes the cluster.

use redis::Value;

use crate::protocol::slot::{SLOTS, Slot};

/// A cluster, as one of its nodes sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ClusterView {
    /// The id of the node itself.
    pub(crate) id: String,
    /// Its config epoch, which rises whenever the node takes over slots that were moved away from it before ("Configuration
    /// epoch" in the Redis Cluster specification).
    pub(crate) epoch: u64,
    /// The highest epoch that the node has heard of.
    pub(crate) current_epoch: u64,
    /// Whether the node serves requests: not while it sees less than a majority, or uncovered slots.
    pub(crate) is_ok: bool,
    pub(crate) shards: Vec<Shard>,
}

/// A master and its replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shard {
    pub(crate) master: Node,
    pub(crate) replicas: Vec<Node>,
    /// The first and the last slot of each range.
    pub(crate) slots: Vec<(u16, u16)>,
}

/// A node, as it is announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl ClusterView {
    /// Parses the replies of the node at `host` to `CLUSTER INFO`, `CLUSTER MYID` and `CLUSTER SLOTS`; `None` if they are not
    /// understood.
    pub(crate) fn parse(host: &str, info: &str, id: String, slots: Value) -> Option<Self> {
        let field = |name: &str| {
            let mut fields = info.lines().filter_map(|line| line.split_once(':'));
            fields.find(|(found, _)| *found == name).map(|(_, value)| value.trim())
        };
        let Value::Array(ranges) = slots else { return None };
        let mut shards: Vec<Shard> = Vec::new();
        for range in ranges {
            let (slots, shard) = parse_range(host, range)?;
            match shards.iter_mut().find(|known| known.master.id == shard.master.id) {
                Some(known) => known.slots.push(slots),
                None => shards.push(Shard { slots: vec![slots], ..shard }),
            }
        }
        Some(Self {
            id,
            epoch: field("cluster_my_epoch")?.parse().ok()?,
            current_epoch: field("cluster_current_epoch")?.parse().ok()?,
            is_ok: field("cluster_state")? == "ok",
            shards,
        })
    }

    /// Whether the node says that `slot` is its own.
    pub(crate) fn holds(&self, slot: Slot) -> bool {
        self.own()
            .is_some_and(|shard| shard.slots.iter().any(|(first, last)| (*first..=*last).contains(&slot.0)))
    }

    /// Returns the slots of which the node says that they are its own.
    pub(crate) fn own_slots(&self) -> impl Iterator<Item = Slot> {
        let ranges = self.own().into_iter().flat_map(|shard| &shard.slots);
        ranges.flat_map(|(first, last)| *first..=*last).map(Slot)
    }

    fn own(&self) -> Option<&Shard> {
        self.shards.iter().find(|shard| shard.master.id == self.id)
    }
}

/// Parses `[first, last, master, replicas...]`.
fn parse_range(host: &str, range: Value) -> Option<((u16, u16), Shard)> {
    let Value::Array(parts) = range else { return None };
    let mut parts = parts.into_iter();
    let slots = (number(parts.next()?)?, number(parts.next()?)?);
    if slots.1 >= SLOTS {
        return None;
    }
    let master = parse_node(host, parts.next()?)?;
    let replicas = parts.map(|node| parse_node(host, node)).collect::<Option<_>>()?;
    Some((slots, Shard { master, replicas, slots: Vec::new() }))
}

/// Parses `[endpoint, port, id, ...]`.
fn parse_node(asked: &str, node: Value) -> Option<Node> {
    let Value::Array(parts) = node else { return None };
    let mut parts = parts.into_iter();
    let (endpoint, port, id) = (parts.next()?, number(parts.next()?)?, parts.next()?);
    // NULL and an empty text stand for the host that was asked ("CLUSTER SLOTS" in the documentation of Redis).
    let host = text(endpoint).filter(|host| !host.is_empty());
    Some(Node { id: text(id)?, host: host.unwrap_or_else(|| asked.to_owned()), port })
}

fn number(value: Value) -> Option<u16> {
    redis::from_redis_value::<i64>(value).ok()?.try_into().ok()
}

fn text(value: Value) -> Option<String> {
    redis::from_redis_value::<Option<String>>(value).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "cluster_state:ok\r\ncluster_current_epoch:8\r\ncluster_my_epoch:3\r\n";

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn node(host: Value, port: i64, id: &str) -> Value {
        Value::Array(vec![host, Value::Int(port), bulk(id), Value::Array(Vec::new())])
    }

    fn range(first: i64, last: i64, nodes: Vec<Value>) -> Value {
        Value::Array([vec![Value::Int(first), Value::Int(last)], nodes].concat())
    }

    #[test]
    fn the_ranges_of_a_master_are_one_shard() {
        let slots = Value::Array(vec![
            range(0, 10, vec![node(bulk("10.0.0.1"), 7000, "a"), node(bulk("10.0.0.2"), 7001, "b")]),
            range(11, 11, vec![node(Value::Nil, 7002, "c")]),
            range(12, 16_383, vec![node(bulk("10.0.0.1"), 7000, "a"), node(bulk("10.0.0.2"), 7001, "b")]),
        ]);
        let view = ClusterView::parse("asked", INFO, "a".to_owned(), slots).unwrap();
        assert_eq!((view.epoch, view.current_epoch, view.is_ok), (3, 8, true));
        let [a, c] = &view.shards[..] else { panic!("{view:?}") };
        assert_eq!((&a.slots[..], a.replicas.len()), (&[(0, 10), (12, 16_383)][..], 1));
        assert_eq!(c.master, Node { id: "c".to_owned(), host: "asked".to_owned(), port: 7002 });
        assert!(view.holds(Slot(10)) && !view.holds(Slot(11)) && view.holds(Slot(16_383)));
    }

    #[test]
    fn replies_that_are_not_understood_are_no_view() {
        let parse = |info: &str, slots| ClusterView::parse("asked", info, "a".to_owned(), slots);
        assert_eq!(parse("cluster_state:ok", Value::Array(Vec::new())), None, "no epochs");
        for slots in [
            Value::Nil,
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![range(0, 70_000, vec![node(bulk("h"), 1, "a")])]),
            Value::Array(vec![range(0, 16_384, vec![node(bulk("h"), 1, "a")])]),
            Value::Array(vec![range(0, 1, Vec::new())]),
            Value::Array(vec![range(0, 1, vec![node(bulk("h"), 100_000, "a")])]),
        ] {
            assert_eq!(parse(INFO, slots.clone()), None, "{slots:?}");
        }
    }
}
