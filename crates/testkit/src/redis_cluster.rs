//! [`RedisCluster`]: a real Redis Cluster for one test.

mod moves;
mod view;

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use self::view::Seen;
use crate::{RedisServer, Reply};

/// The longest time until a cluster is of one mind.
const SETTLES_WITHIN: Duration = Duration::from_secs(20);
/// Arguments of every node: replaced when it is away for a second; replicas sync at once.
const ARGUMENTS: [&str; 10] = [
    "--cluster-enabled",
    "yes",
    "--cluster-node-timeout",
    "1000",
    "--cluster-announce-ip",
    "127.0.0.1",
    "--repl-diskless-sync",
    "yes",
    "--repl-diskless-sync-delay",
    "0",
];
/// A failover that has not happened after this time does not.
const FAILS_WITHIN: Duration = Duration::from_secs(6);
const SLOTS: usize = 16384;

/// How a replica takes the place of its master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailOver {
    /// The master waits until the replica has everything: no write is lost.
    Planned,
    /// The other masters agree; the master need not answer.
    Force,
    /// No node is asked.
    TakeOver,
}

/// Nodes of a cluster on 127.0.0.1, named by their index: first the masters, then their replicas, as they were at the
/// start.
///
/// A node that was killed joins again by `restart(Restart::WithData)`, which keeps its name in the cluster; with
/// [`Restart::Empty`](crate::Restart::Empty) it would be a node that no other knows. A master refuses requests during the
/// first two seconds of its process, whatever its timeout.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
    /// How long a node keeps the votes of its last election. A failover within this time counts them again, for an epoch that
    /// is over, and the other nodes overrule it.
    votes_count_for: Duration,
    elected: Mutex<HashMap<usize, Instant>>,
}

impl RedisCluster {
    /// Starts three masters with a replica each.
    ///
    /// # Errors
    /// As for [`start_with`](Self::start_with).
    pub fn start() -> io::Result<Self> {
        Self::start_with(3, 1, &[])
    }

    /// Starts this many masters, which share the slots evenly, with this many replicas each, and with more arguments, such as
    /// `["--cluster-require-full-coverage", "no"]`. With fewer than three masters none is replaced on its own.
    ///
    /// # Errors
    /// As for [`RedisServer::start`]; `TimedOut` where the nodes do not agree.
    pub fn start_with(masters: usize, replicas_each: usize, arguments: &[&str]) -> io::Result<Self> {
        let arguments = [&ARGUMENTS, arguments].concat();
        let nodes = (0..masters * (1 + replicas_each)).map(|_| RedisServer::start_on(free_port, &arguments));
        let cluster = Self {
            nodes: nodes.collect::<io::Result<_>>()?,
            votes_count_for: Duration::from_millis(500 + (4 * node_timeout(&arguments)).max(4000)),
            elected: Mutex::default(),
        };
        cluster.join(masters)?;
        cluster.settle()?;
        Ok(cluster)
    }

    fn join(&self, masters: usize) -> io::Result<()> {
        // Epochs of their own, as nodes that find theirs taken draw new ones for a while.
        for index in 0..self.nodes.len() {
            self.tell(index, &["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()])?;
        }
        for master in 0..masters {
            let slots = SLOTS * master / masters..SLOTS * (master + 1) / masters;
            let slots: Vec<String> = slots.map(|slot| slot.to_string()).collect();
            let slots = slots.iter().map(String::as_str);
            self.tell(master, &["CLUSTER", "ADDSLOTS"].into_iter().chain(slots).collect::<Vec<_>>())?;
        }
        for node in self.nodes.iter().skip(1) {
            self.tell(0, &["CLUSTER", "MEET", "127.0.0.1", &node.port().to_string()])?;
        }
        for replica in masters..self.nodes.len() {
            let master = self.id(replica % masters)?;
            retry(|| self.tell(replica, &["CLUSTER", "REPLICATE", &master]))?;
        }
        Ok(())
    }

    /// The nodes, to be killed, paused and restarted.
    pub fn nodes(&mut self) -> &mut [RedisServer] {
        &mut self.nodes
    }

    /// One node.
    ///
    /// # Panics
    /// If there is no node of this index.
    pub fn node(&self, index: usize) -> &RedisServer {
        self.nodes.get(index).expect("the cluster has a node of this index")
    }

    /// Sends one command to a node and returns the whole reply, which may be an error.
    ///
    /// # Errors
    /// As for [`RedisServer::ask`].
    pub fn ask<A: AsRef<[u8]>>(&self, index: usize, arguments: &[A]) -> io::Result<Reply> {
        self.node(index).ask(arguments)
    }

    /// Sends one command that must not fail, and returns the text of its reply.
    fn tell(&self, index: usize, arguments: &[&str]) -> io::Result<String> {
        self.ask(index, arguments)?.text().map_err(|error| {
            let command: Vec<&str> = arguments.iter().take(4).copied().collect();
            io::Error::new(error.kind(), format!("node {index}: {}: {error}", command.join(" ")))
        })
    }

    /// The name of a node in the cluster, by its own word, or while it does not run by that of the others.
    ///
    /// # Errors
    /// When no node knows it.
    pub fn id(&self, index: usize) -> io::Result<String> {
        if self.node(index).is_running() {
            return self.tell(index, &["CLUSTER", "MYID"]);
        }
        let witness = self.running().next().ok_or_else(|| missing("no node runs"))?;
        let seen = self.seen_by(witness)?.into_iter().find(|seen| seen.index == Some(index));
        Ok(seen.ok_or_else(|| missing(&format!("node {witness} does not know node {index}")))?.id)
    }

    /// The nodes that own slots, in order.
    ///
    /// # Errors
    /// When a running node does not answer.
    pub fn masters(&self) -> io::Result<Vec<usize>> {
        let all = self.own_words()?;
        let owns = |index: usize| (0..SLOTS).any(|slot| owner(&all, slot) == Some(index));
        Ok((0..self.nodes.len()).filter(|index| owns(*index)).collect())
    }

    /// The node that owns a slot: each running node is asked for its own, and the later claim wins.
    ///
    /// # Errors
    /// When a running node does not answer; `NotFound` when none owns the slot.
    pub fn master_of_slot(&self, slot: u16) -> io::Result<usize> {
        owner(&self.own_words()?, slot.into())
            .ok_or_else(|| missing(&format!("no running node owns slot {slot}")))
    }

    /// The first running node that follows `master`, which may be down.
    ///
    /// # Errors
    /// When a running node does not answer.
    pub fn replica_of(&self, master: usize) -> io::Result<Option<usize>> {
        let id = self.id(master)?;
        Ok(self.own_words()?.into_iter().find(|seen| seen.master == id).and_then(|seen| seen.index))
    }

    /// The slot of a key.
    ///
    /// # Errors
    /// When no node runs, or the first that does cannot be reached.
    pub fn slot_of(&self, key: &str) -> io::Result<u16> {
        let node = self.running().next().ok_or_else(|| missing("no node runs"))?;
        self.tell(node, &["CLUSTER", "KEYSLOT", key])?.parse().map_err(io::Error::other)
    }

    /// Begins to put `replica` in the place of its master; [`wait_for_master`](Self::wait_for_master) tells when it is.
    ///
    /// Waits first if the node was elected less than 4.5 seconds before (with the default node timeout).
    ///
    /// # Errors
    /// When the replica cannot be reached, or refuses.
    pub fn fail_over(&self, replica: usize, how: FailOver) -> io::Result<()> {
        if how != FailOver::TakeOver {
            let elected = self.elected().get(&replica).map_or(self.votes_count_for, Instant::elapsed);
            thread::sleep(self.votes_count_for.saturating_sub(elected));
            self.elected().insert(replica, Instant::now());
        }
        let command: &[&str] = match how {
            FailOver::Planned => &["CLUSTER", "FAILOVER"],
            FailOver::Force => &["CLUSTER", "FAILOVER", "FORCE"],
            FailOver::TakeOver => &["CLUSTER", "FAILOVER", "TAKEOVER"],
        };
        self.tell(replica, command).map(drop)
    }

    /// Waits until a node says that it owns slots; the others may hear of it later.
    ///
    /// # Errors
    /// `TimedOut` when it does not.
    pub fn wait_for_master(&self, index: usize) -> io::Result<()> {
        let asked = Cell::new(Instant::now());
        retry(|| match self.own_word(index)? {
            seen if seen.slots.is_empty() => {
                // Redis 6.2 may let a planned failover time out, after five seconds.
                if asked.get().elapsed() > FAILS_WITHIN && self.elected().contains_key(&index) {
                    asked.set(Instant::now());
                    self.tell(index, &["CLUSTER", "FAILOVER"])?;
                }
                Err(io::Error::other(format!("node {index} owns no slots")))
            }
            _ => Ok(()),
        })?;
        self.elected().insert(index, Instant::now());
        Ok(())
    }

    fn elected(&self) -> MutexGuard<'_, HashMap<usize, Instant>> {
        self.elected.lock().expect("no thread panics while it holds the lock")
    }

    /// Waits until the running nodes know each other, agree on the slots and on which nodes are down, and serve, and their
    /// replicas follow.
    ///
    /// # Errors
    /// `TimedOut`, with what is lacking.
    pub fn settle(&self) -> io::Result<()> {
        retry(|| self.is_settled())
    }

    fn is_settled(&self) -> io::Result<()> {
        let mut agreed = None;
        for index in self.running() {
            let view = self.seen_by(index)?;
            let lacks = |what: &str| Err(io::Error::other(format!("node {index} {what}: {view:?}")));
            if !view.iter().all(|seen| self.is_right(seen)) {
                return lacks("does not know which nodes run");
            }
            if !self.tell(index, &["CLUSTER", "INFO"])?.contains("cluster_state:ok") {
                return lacks("does not serve");
            }
            let replication = self.tell(index, &["INFO", "replication"])?;
            if replication.contains("role:slave") && !replication.contains("master_link_status:up") {
                return lacks("does not follow its master");
            }
            if agreed.as_ref().is_some_and(|others| *others != view) {
                return lacks("disagrees with the nodes before it");
            }
            agreed = Some(view);
        }
        Ok(())
    }

    fn is_right(&self, seen: &Seen) -> bool {
        let runs = seen.index.is_some_and(|index| self.node(index).is_running());
        seen.is_down() != runs && (seen.is_linked || !runs) && !seen.is_in_doubt()
    }

    fn running(&self) -> impl Iterator<Item = usize> {
        (0..).zip(&self.nodes).filter(|(_, node)| node.is_running()).map(|(index, _)| index)
    }

    fn own_words(&self) -> io::Result<Vec<Seen>> {
        self.running().map(|index| self.own_word(index)).collect()
    }

    fn own_word(&self, index: usize) -> io::Result<Seen> {
        let itself = self.seen_by(index)?.into_iter().find(|seen| seen.index == Some(index));
        itself.ok_or_else(|| missing(&format!("node {index} does not know its own port")))
    }

    fn seen_by(&self, index: usize) -> io::Result<Vec<Seen>> {
        let ports: Vec<u16> = self.nodes.iter().map(RedisServer::port).collect();
        view::parse(&self.tell(index, &["CLUSTER", "NODES"])?, &ports)
    }
}

/// The node timeout in milliseconds.
fn node_timeout(arguments: &[&str]) -> u64 {
    let set = arguments.iter().rposition(|name| *name == "--cluster-node-timeout");
    set.and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or_default()
}

fn owner(own_words: &[Seen], slot: usize) -> Option<usize> {
    let claims = own_words.iter().filter(|seen| seen.slots.iter().any(|range| range.contains(&slot)));
    claims.max_by_key(|seen| seen.epoch).and_then(|seen| seen.index)
}

/// Calls `attempt` until it succeeds, and returns its last error if it does not for too long.
fn retry<T>(attempt: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let began = Instant::now();
    loop {
        match attempt() {
            Err(error) if began.elapsed() > SETTLES_WITHIN => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, error.to_string()));
            }
            Err(_) => thread::sleep(Duration::from_millis(20)),
            done => return done,
        }
    }
}

/// Returns a port that is free together with that of the cluster's bus, 10000 above it.
///
/// Both are below the ports that the system gives to connections (from 32768), so that no connection takes the port of a
/// node while it is down.
fn free_port() -> io::Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes that run at the same time begin far from each other.
    let first = process::id().wrapping_mul(97) % 10_000;
    let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let tried = (0..10_000).map(|_| {
        let next = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        10_000 + u16::try_from((first + next) % 10_000).unwrap_or_default()
    });
    tried
        .into_iter()
        .find(|port| is_free(*port) && is_free(port + 10_000))
        .ok_or_else(|| missing("no port is free"))
}

fn missing(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Restart;

    #[test]
    fn every_node_of_a_new_cluster_knows_the_owners_of_the_slots() {
        let cluster = RedisCluster::start().unwrap();
        assert_eq!(cluster.masters().unwrap(), [0, 1, 2]);
        assert_eq!([0, 5461, 16383].map(|slot| cluster.master_of_slot(slot).unwrap()), [0, 1, 2]);
        assert_eq!([0, 1, 2].map(|master| cluster.replica_of(master).unwrap()), [Some(3), Some(4), Some(5)]);
        for node in 0..6 {
            let Reply::List(ranges) = cluster.ask(node, &["CLUSTER", "SLOTS"]).unwrap() else { panic!() };
            assert_eq!(ranges.len(), 3);
        }
    }

    #[test]
    fn a_killed_or_paused_master_is_replaced_and_follows_its_successor_when_it_comes_back() {
        let mut cluster = RedisCluster::start().unwrap();
        let (killed, id) = (Instant::now(), cluster.id(0).unwrap());
        cluster.nodes()[0].kill().unwrap();
        assert_eq!(cluster.replica_of(0).unwrap(), Some(3));
        cluster.wait_for_master(3).unwrap();
        assert!(killed.elapsed() < Duration::from_secs(5), "{:?}", killed.elapsed());
        cluster.settle().unwrap();
        assert_eq!(cluster.masters().unwrap(), [1, 2, 3]);
        cluster.nodes()[0].restart(Restart::WithData).unwrap();
        cluster.settle().unwrap();
        assert_eq!(cluster.id(0).unwrap(), id);
        assert_eq!(cluster.replica_of(3).unwrap(), Some(0));

        cluster.node(3).pause().unwrap();
        cluster.wait_for_master(0).unwrap();
        cluster.settle().unwrap();
        cluster.node(3).resume().unwrap();
        cluster.settle().unwrap();
        assert_eq!(cluster.masters().unwrap(), [0, 1, 2]);
        assert_eq!(cluster.replica_of(0).unwrap(), Some(3));
    }

    #[test]
    fn a_master_is_replaced_on_request_and_back_again() {
        let cluster = RedisCluster::start().unwrap();
        for (next, how) in
            [(3, FailOver::Planned), (0, FailOver::Planned), (3, FailOver::TakeOver), (0, FailOver::Force)]
        {
            let before = cluster.master_of_slot(0).unwrap();
            cluster.fail_over(next, how).unwrap();
            cluster.wait_for_master(next).unwrap();
            cluster.settle().unwrap();
            assert_eq!(cluster.master_of_slot(0).unwrap(), next);
            assert_eq!(cluster.replica_of(next).unwrap(), Some(before));
        }
    }

    #[test]
    fn a_master_that_is_restarted_sooner_than_it_is_missed_keeps_its_place_and_what_it_saved() {
        let mut cluster = RedisCluster::start_with(3, 1, &["--cluster-node-timeout", "10000"]).unwrap();
        let master = cluster.master_of_slot(cluster.slot_of("key").unwrap()).unwrap();
        let tell = |cluster: &RedisCluster, command: &[&str]| cluster.tell(master, command).unwrap();
        tell(&cluster, &["SET", "key", "saved"]);
        tell(&cluster, &["SAVE"]);
        tell(&cluster, &["SET", "key", "later"]);
        cluster.nodes()[master].restart(Restart::WithData).unwrap();
        cluster.settle().unwrap();
        assert_eq!(cluster.masters().unwrap(), [0, 1, 2]);
        assert_eq!(tell(&cluster, &["GET", "key"]), "saved");
    }

    #[test]
    fn a_cluster_without_replicas_serves_the_slots_that_it_still_has_if_it_may() {
        let mut cluster = RedisCluster::start_with(3, 0, &["--cluster-require-full-coverage", "no"]).unwrap();
        cluster.nodes()[2].kill().unwrap();
        cluster.settle().unwrap();
        assert_eq!(cluster.masters().unwrap(), [0, 1]);
        assert!(cluster.master_of_slot(16383).is_err());
    }
}
