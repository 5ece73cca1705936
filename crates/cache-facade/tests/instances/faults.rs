//! Faults of the servers, of the network of one instance, and of an instance.

use std::time::Duration;

use bytes::Bytes;
use testkit::{FailOver, Mode, RedisCluster, RedisServer, Reply, Restart, Sentinels, TcpProxy};
use tokio::time::sleep;

use super::dice::Dice;
use super::fleet::Fleet;

/// What the instances share.
#[derive(Debug)]
pub(crate) enum Redis {
    Server(RedisServer),
    Cluster(RedisCluster),
    /// A master and a replica, in any order.
    Replicated(Sentinels, [RedisServer; 2]),
}

impl Redis {
    pub(crate) fn server() -> Self {
        Self::Server(RedisServer::start().unwrap())
    }

    pub(crate) fn cluster() -> Self {
        // A busy machine is not taken for a failure.
        Self::Cluster(RedisCluster::start_with(3, 1, &["--cluster-node-timeout", "1500"]).unwrap())
    }

    pub(crate) fn replicated() -> Self {
        let (sentinels, master, replica) = Sentinels::start().unwrap();
        Self::Replicated(sentinels, [master, replica])
    }

    /// The row of the scoreboard.
    pub(crate) fn row(&self, has_memory: bool) -> &'static str {
        match self {
            Self::Server(_) if has_memory => "reads checked for staleness, memory",
            Self::Cluster(_) if has_memory => "reads checked for staleness, memory and cluster",
            Self::Server(_) => "reads checked for staleness, 4 processes",
            Self::Cluster(_) => "reads checked for staleness, cluster",
            Self::Replicated(..) => "reads checked for staleness, Sentinel",
        }
    }

    /// The servers that run.
    fn servers(&self) -> Vec<&RedisServer> {
        let all: Vec<&RedisServer> = match self {
            Self::Server(server) => vec![server],
            Self::Cluster(cluster) => (0..6).map(|node| cluster.node(node)).collect(),
            Self::Replicated(_, servers) => servers.iter().collect(),
        };
        all.into_iter().filter(|server| server.is_running()).collect()
    }

    /// The settings of every instance, but those of its own network.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        let list = |addresses: Vec<(String, u16)>| {
            addresses.iter().map(|(host, port)| format!("{host}:{port}")).collect::<Vec<_>>().join(",")
        };
        match self {
            Self::Server(_) => Vec::new(),
            Self::Cluster(cluster) => {
                let nodes = (0..6).map(|node| ("127.0.0.1".to_owned(), cluster.node(node).port())).collect();
                vec![("REDIS_PORT", cluster.node(0).port().to_string()), ("REDIS_NODES", list(nodes))]
            }
            Self::Replicated(sentinels, _) => vec![("REDIS_SENTINELS", list(sentinels.addresses()))],
        }
    }

    /// Injects a random fault for a while, and returns its description.
    pub(crate) async fn strike(&mut self, dice: &Dice, fleet: &mut Fleet) -> &'static str {
        if fleet.has_memory && dice.below(3) == 0 {
            return strike_memory(dice, self.servers(), fleet).await;
        }
        match self {
            Self::Server(server) => strike(dice, server, fleet).await,
            Self::Cluster(cluster) => strike_cluster(dice, cluster, fleet).await,
            Self::Replicated(sentinels, servers) => strike_replicated(dice, sentinels, servers, fleet).await,
        }
    }
}

/// Faults of what keeps memory fresh: an instance that stands still for longer than a lease, and registries that are lost.
async fn strike_memory(dice: &Dice, servers: Vec<&RedisServer>, fleet: &Fleet) -> &'static str {
    let a_while = Duration::from_millis(50 + dice.below(1450));
    let lose = |pattern: &str| {
        for server in &servers {
            let keys = server.ask(&["KEYS", pattern]).and_then(Reply::texts);
            for key in keys.unwrap_or_default() {
                // Fails at a replica.
                let _ = server.ask(&["UNLINK", key.as_str()]);
            }
        }
    };
    match dice.below(4) {
        0 | 1 => {
            fleet.pause(dice.below(super::INSTANCES as u64) as usize, a_while).await;
            "an instance stood still"
        }
        2 => {
            lose("*:#near:*");
            "the registries were lost"
        }
        _ => {
            lose("*:#near:*:log");
            "the logs of changes were lost"
        }
    }
}

/// Faults after which no deposed master answers: for up to a heartbeat, an instance may read there.
async fn strike_cluster(dice: &Dice, cluster: &mut RedisCluster, fleet: &mut Fleet) -> &'static str {
    let a_while = Duration::from_millis(50 + dice.below(250));
    let masters = cluster.masters().unwrap();
    let master = masters[dice.below(masters.len() as u64) as usize];
    match dice.below(6) {
        0 => {
            cluster.nodes()[master].kill().unwrap();
            sleep(Duration::from_millis(dice.below(2500))).await;
            cluster.nodes()[master].restart(Restart::WithData).unwrap();
            cluster.settle().unwrap();
            "a master was killed"
        }
        1 => {
            cluster.node(master).pause().unwrap();
            sleep(a_while).await;
            cluster.node(master).resume().unwrap();
            "a master stood still"
        }
        2 => {
            if let Some(replica) = cluster.replica_of(master).unwrap() {
                cluster.fail_over(replica, FailOver::Planned).unwrap();
                cluster.wait_for_master(replica).unwrap();
                cluster.settle().unwrap();
            }
            "a replica took over as planned"
        }
        3 => {
            let other = masters.iter().copied().find(|other| *other != master).unwrap();
            for slot in 0..16384 {
                if slot % 50 == dice.below(50) as u16 && cluster.master_of_slot(slot).unwrap() == master {
                    cluster.move_slot(slot, master, other).unwrap();
                    break;
                }
            }
            cluster.settle().unwrap();
            "a slot was moved"
        }
        4 => command(cluster.node(master), "FLUSHALL", "a master was flushed"),
        _ => replace_an_instance(dice, fleet, a_while).await,
    }
}

/// An old master comes back only when all Sentinels name the new one: until then an instance may read there.
async fn strike_replicated(
    dice: &Dice,
    sentinels: &Sentinels,
    servers: &mut [RedisServer; 2],
    fleet: &mut Fleet,
) -> &'static str {
    let a_while = Duration::from_millis(50 + dice.below(250));
    // The Sentinels close the connections of a server whose role they change: that is no answer yet.
    let is_master = |server: &RedisServer| {
        let info = server.ask(&["INFO", "replication"]).ok().and_then(|reply| reply.text().ok());
        info.is_some_and(|info| info.contains("role:master"))
    };
    match dice.below(3) {
        0 => {
            let Some(master) = servers.iter().position(is_master) else { return "nothing" };
            servers[master].kill().unwrap();
            let (old, new) = (master, 1 - master);
            let is_replaced =
                until(|| is_master(&servers[new]) && sentinels.name(&servers[new]).is_ok_and(|named| named))
                    .await;
            sleep(a_while).await;
            servers[old].restart(Restart::Empty).unwrap();
            // The Sentinels have it follow the new master, which then can be lost.
            if !is_replaced || !until(|| !is_master(&servers[old])).await {
                return "the master was killed and came back";
            }
            sleep(Duration::from_secs(2)).await;
            "the master was killed and replaced"
        }
        1 => {
            let Some(master) = servers.iter().position(is_master) else { return "nothing" };
            servers[master].pause().unwrap();
            sleep(a_while).await;
            servers[master].resume().unwrap();
            "the master stood still"
        }
        _ => replace_an_instance(dice, fleet, a_while).await,
    }
}

/// Waits until `is_so`, for the time of a few attempts of the Sentinels; returns whether it is.
async fn until(is_so: impl Fn() -> bool) -> bool {
    let began = std::time::Instant::now();
    while !is_so() {
        if began.elapsed() > Duration::from_secs(15) {
            return false;
        }
        sleep(Duration::from_millis(20)).await;
    }
    true
}

async fn replace_an_instance(dice: &Dice, fleet: &mut Fleet, a_while: Duration) -> &'static str {
    let victim = dice.below(super::INSTANCES as u64) as usize;
    fleet.kill(victim);
    sleep(a_while).await;
    fleet.start(victim);
    "an instance was killed and started again"
}

async fn strike(dice: &Dice, server: &mut RedisServer, fleet: &mut Fleet) -> &'static str {
    let victim = dice.below(fleet.proxies.len() as u64) as usize;
    let a_while = Duration::from_millis(50 + dice.below(700));
    let proxy = &mut fleet.proxies[victim];
    match dice.below(15) {
        0 => {
            server.kill().unwrap();
            sleep(a_while).await;
            server.restart(Restart::Empty).unwrap();
            "the server was killed and came back empty"
        }
        1 => {
            server.command("SAVE").unwrap();
            sleep(a_while).await;
            server.kill().unwrap();
            server.restart(Restart::WithData).unwrap();
            "the server was killed and came back with an old snapshot"
        }
        2 => {
            server.pause().unwrap();
            sleep(a_while).await;
            server.resume().unwrap();
            "the server stood still"
        }
        3 => command(server, "FLUSHALL", "everything was flushed"),
        4 => command(server, "CLIENT KILL TYPE normal", "all connections were killed"),
        5 => command(server, "SCRIPT FLUSH", "the scripts were flushed"),
        6 => {
            command(server, "CONFIG SET min-replicas-to-write 1", "");
            sleep(a_while).await;
            command(server, "CONFIG SET min-replicas-to-write 0", "the server refused writes")
        }
        7 | 8 => {
            fleet.kill(victim);
            sleep(a_while).await;
            fleet.start(victim);
            "an instance was killed and started again"
        }
        9 => during(proxy, Mode::BlackHole, a_while, "the network of an instance swallowed everything").await,
        10 => during(proxy, Mode::SwallowReplies, a_while, "an instance got no replies").await,
        11 => during(proxy, Mode::Reset, a_while, "an instance's connections were reset").await,
        12 => during(proxy, Mode::Refuse, a_while, "an instance could not connect").await,
        13 => {
            // The first is no valid reply; the second is a surplus one, which shifts the answers of a connection.
            let garbage: &[u8] =
                if dice.below(2) == 0 { b"HTTP/1.1 400 Bad Request\r\n\r\n" } else { b"$5\r\nwrong\r\n" };
            let garbage = Mode::Garbage(Bytes::from_static(garbage));
            during(proxy, garbage, a_while, "an instance got garbage").await
        }
        _ => {
            let delay = Mode::Delay(Duration::from_millis(100 + dice.below(400)));
            during(proxy, delay, a_while, "the network of an instance was slow").await
        }
    }
}

fn command(server: &RedisServer, command: &str, what: &'static str) -> &'static str {
    let reply = server.command(command).unwrap();
    assert!(!reply.starts_with('-'), "{command}: {reply}");
    what
}

async fn during(proxy: &mut TcpProxy, mode: Mode, a_while: Duration, what: &'static str) -> &'static str {
    proxy.set(mode).await;
    sleep(a_while).await;
    proxy.set(Mode::Pass).await;
    what
}
