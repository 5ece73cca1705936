//! The refresh: asks the nodes of a cluster which of them holds which slots, and checks that they may be used.

use std::sync::Arc;
use std::time::Duration;

use cache_core::{Error, ErrorKind, Monotonic, Result};
use futures_util::FutureExt;
use futures_util::future::{join, join_all};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::views::{holders, is_named, masters};
use super::{Refreshed, Servers};
use crate::config::RedisConfig;
use crate::connection::Connection;
use crate::connection::clock_skew;
use crate::connection::cluster::{ClusterView, Node, Shard};
use crate::connection::server_info::ServerInfo;
use crate::manager::{Greeting, Manager, Shared};
use crate::pool::{Pool, UNCONFIRMED};
use crate::protocol::slot::{SLOTS, Slot};

/// The shortest time between two refreshes.
const PAUSE: Duration = Duration::from_millis(50);

/// A node that was asked, and its answer.
pub(super) struct Met {
    pub(super) manager: Arc<Manager>,
    pub(super) greeting: Result<Greeting>,
}

impl Met {
    /// How the node sees the cluster; `None` where another one answers at its address: that may be in another cluster.
    fn view(&self) -> Option<&ClusterView> {
        let view = self.greeting.as_ref().ok()?.info().cluster.as_ref()?;
        let name = self.manager.name();
        (name.is_empty() || view.id == name).then_some(view)
    }
}

/// A master by the newest view.
struct Member {
    /// `None` for a node that is not in the map yet.
    pool: Option<Arc<Pool>>,
    /// How many of its epochs this process had entered before.
    switches: u64,
    met: Met,
}

/// A node that may be used.
pub(super) struct Admitted {
    pub(super) pool: Arc<Pool>,
    pub(super) connection: Connection,
    pub(super) info: ServerInfo,
    asked: Monotonic,
    /// Whether its epoch is new, so that it was told what it has missed for all of its slots.
    is_new: bool,
}

impl Servers {
    /// Checks all servers, and learns which of them holds which slots. Calls at the same time share one refresh of a cluster.
    ///
    /// # Errors
    /// Why one of the servers cannot be used; the others can. `Unavailable` where slots are not covered.
    ///
    /// # Cancellation
    /// The refresh of a cluster runs on.
    pub(crate) async fn refresh(self: &Arc<Self>) -> Result<()> {
        if !self.is_cluster {
            // Boxed to keep the futures of operations small.
            return self.check_one().boxed().await;
        }
        let (servers, asked) = (Arc::clone(self), Instant::now());
        let refresh = tokio::spawn(async move {
            let mut last = servers.refreshed.lock().await;
            if let Some(Refreshed { began, failure }) = &*last {
                if *began >= asked {
                    return failure.clone().map_or(Ok(()), |(kind, message)| Err(Error::new(kind, message)));
                }
                sleep_until(*began + PAUSE).await;
            }
            servers.check_open()?;
            let began = Instant::now();
            let outcome = servers.refresh_now().await;
            let failure = outcome.as_ref().err().map(|error| (error.kind(), error.to_string()));
            *last = Some(Refreshed { began, failure });
            outcome
        });
        let failed = |_| Err(Error::new(ErrorKind::Unavailable, "the runtime was shut down"));
        refresh.await.unwrap_or_else(failed)
    }

    /// Checks the only server. Calls at the same time do not wait for each other: one of them may hang.
    async fn check_one(&self) -> Result<()> {
        self.check_open()?;
        let pools = self.pools();
        let Some(pool) = pools.first() else { return Ok(()) };
        let checked = check(&pool.manager).await;
        pool.note(checked.as_ref().err());
        let connection = checked.inspect_err(|error| leave(&pool.manager, error))?;
        pool.share(connection);
        Ok(())
    }

    async fn refresh_now(&self) -> Result<()> {
        let pools = self.pools();
        let mut met = join_all(pools.iter().map(|pool| Self::meet_again(pool))).await;
        if met.iter().all(|met| met.view().is_none()) {
            met.extend(self.greet_known().await);
        }
        self.refresh_from(met).await
    }

    /// Greets the nodes of the settings, and all that the last view has named: a replica may be a master by now.
    async fn greet_known(&self) -> Vec<Met> {
        let known = self.known.lock().clone();
        let greet = async |Node { id, host, port }: Node| {
            let config = self.config.of_node(&host, port);
            let manager = Arc::new(Manager::new(&config, &self.shared, &id, false).ok()?);
            let greeting = manager.greet().await;
            Some(Met { manager, greeting }).filter(|met| met.view().is_some())
        };
        let known = join_all(known.into_iter().map(greet));
        let (any, known) = join(greet_any(&self.config, &self.shared), known).await;
        known.into_iter().flatten().chain(any).collect()
    }

    /// Greets a known node.
    async fn meet_again(pool: &Pool) -> Met {
        let greeting = timeout(pool.patience(), pool.manager.greet()).await;
        let late = |_| Err(pool.manager.error(ErrorKind::Timeout, "no answer in time"));
        Met { manager: Arc::clone(&pool.manager), greeting: greeting.unwrap_or_else(late) }
    }

    /// Waits for `work`, which may clear a node, and renews the leases of the others meanwhile.
    pub(super) async fn while_renewing<T>(&self, work: impl Future<Output = T>) -> T {
        let renewing = async {
            loop {
                sleep(self.config.heartbeat).await;
                renew(&join_all(self.pools().iter().map(|pool| Self::meet_again(pool))).await);
            }
        };
        tokio::select! {
            biased;
            done = work => done,
            never = renewing => never,
        }
    }

    /// Learns from what some nodes have answered; asks the others that they name.
    pub(super) async fn refresh_from(&self, met: Vec<Met>) -> Result<()> {
        let (clock, began) = (&self.config.clock, self.config.clock.monotonic());
        let is_first = self.map.load().pools().is_empty();
        // The next steps may take longer than a lease.
        renew(&met);
        let mut views: Vec<ClusterView> = met.iter().filter_map(Met::view).cloned().collect();
        let named = masters(&views);
        if named.is_empty() {
            return Err(self.lost(met));
        }
        let nodes = named.iter().flat_map(|shard| std::iter::once(&shard.master).chain(&shard.replicas));
        *self.known.lock() = nodes.cloned().collect();
        let members = self.meet(&named, met, is_first).await?;
        views.extend(members.iter().filter_map(|member| member.met.view()).cloned());
        // Where no other master confirms one, its replicas may.
        let is_unnamed = |shard: &&Shard| !is_named(&shard.master.id, &views);
        let unnamed = named.iter().filter(is_unnamed).map(|shard| self.ask_replicas(shard));
        let of_replicas = join_all(unnamed).await;
        views.extend(of_replicas.into_iter().flatten());
        if is_first {
            self.begin(&members);
        }
        let mut problems = Vec::new();
        let mut fit = Vec::new();
        for outcome in self.while_renewing(join_all(members.into_iter().map(admit))).await {
            match outcome {
                Ok(node) => match unfit(&node, &views, named.len() == 1) {
                    None => {
                        node.pool.manager.epochs.check(&node.info, node.asked);
                        node.pool.note(None);
                        fit.push(node);
                    }
                    Some(problem) => {
                        let error = node.pool.manager.error(ErrorKind::Unavailable, problem);
                        node.pool.note(Some(&error));
                        problems.push(error);
                    }
                },
                Err(error) => problems.push(error),
            }
        }
        for (node, gained) in fit.iter().zip(self.gained(&fit)) {
            let age = node.is_new.then(|| clock.monotonic().saturating_since(began));
            if is_first {
                self.publish(self.map.load().with(&gained, Some(&node.pool)));
            } else if !gained.is_empty()
                && let Err(error) = self.take_over(node, &gained, age).await
            {
                problems.push(error);
            }
        }
        if let Some(map) = self.map.load().pruned() {
            let is_used = |name: &str| map.pools().iter().any(|pool| pool.manager.name() == name);
            self.shared.history.keep(is_used)?;
            self.publish(map);
        }
        let map = self.map.load();
        for pool in map.pools() {
            if !named.iter().any(|shard| shard.master.id == pool.manager.name()) {
                // It may answer still, and is deposed.
                pool.manager.epochs.end_lease();
                let problem = "the cluster names another node for its slots, which cannot be used";
                let error = pool.manager.error(ErrorKind::Unavailable, problem);
                pool.note(Some(&error));
                problems.push(error);
            }
        }
        let uncovered = map.uncovered();
        if uncovered > 0 && problems.is_empty() {
            let message =
                format!("Redis cluster: {uncovered} of 16384 slots are held by no node that can be reached");
            problems.push(Error::new(ErrorKind::Unavailable, message));
        }
        problems.into_iter().next().map_or(Ok(()), Err)
    }

    /// Returns the slots that each of `nodes` holds and that the map does not give to it.
    fn gained(&self, nodes: &[Admitted]) -> Vec<Vec<Slot>> {
        let (map, mut gained) = (self.map.load(), vec![Vec::new(); nodes.len()]);
        let holders = holders(nodes.iter().map(|node| node.info.cluster.as_ref()));
        for (slot, holder) in (0..SLOTS).map(Slot).zip(holders) {
            let Some((node, gained)) = holder.and_then(|at| nodes.get(at).zip(gained.get_mut(at))) else {
                continue;
            };
            if !map.owner(slot).is_some_and(|owner| Arc::ptr_eq(owner, &node.pool)) {
                gained.push(slot);
            }
        }
        gained
    }

    /// Notes that no node answers, and returns why.
    fn lost(&self, met: Vec<Met>) -> Error {
        let unknown = || Error::new(ErrorKind::Unavailable, "Redis cluster: no node answers");
        let error = met.into_iter().find_map(|met| met.greeting.err()).unwrap_or_else(unknown);
        self.pools().iter().for_each(|pool| pool.note(Some(&error)));
        error
    }

    /// Greets the masters of `shards` that are not among those of `met`.
    async fn meet(&self, shards: &[Shard], mut met: Vec<Met>, is_first: bool) -> Result<Vec<Member>> {
        let (pools, map) = (self.pools(), self.map.load_full());
        let mut members = Vec::with_capacity(shards.len());
        for Shard { master: Node { id, host, port }, slots, .. } in shards {
            // No other node has acknowledged anything to this process that this one may have missed.
            let mut slots = slots.iter().flat_map(|(first, last)| *first..=*last).map(Slot);
            let is_first = is_first || slots.all(|slot| map.owner(slot).is_none() && !map.is_moving(slot));
            let config = self.config.of_node(host, *port);
            let is_it = |pool: &&Arc<Pool>| pool.manager.name() == id && pool.address == config.address();
            let pool = pools.iter().find(is_it).cloned();
            let manager = match &pool {
                Some(pool) => Arc::clone(&pool.manager),
                None => Arc::new(Manager::new(&config, &self.shared, id, is_first)?),
            };
            let known = met.iter().position(|met| Arc::ptr_eq(&met.manager, &manager));
            members.push((manager, pool, known.map(|at| met.swap_remove(at))));
        }
        let greeted = members.into_iter().map(async |(manager, pool, known)| {
            let switches = manager.epochs.switches();
            let met = match known {
                Some(met) => met,
                None => Met { greeting: manager.greet().await, manager },
            };
            Member { pool, switches, met }
        });
        Ok(join_all(greeted).await)
    }

    /// Compares the nodes with those that an earlier process used.
    fn begin(&self, members: &[Member]) {
        let incarnation = |Member { met: Met { manager, greeting }, .. }: &Member| {
            let info = greeting.as_ref().ok()?.info();
            Some((manager.name().to_owned(), manager.incarnation(info)))
        };
        self.shared.history.begin(&members.iter().filter_map(incarnation).collect());
    }

    /// Asks the replicas of a master how they see the cluster.
    async fn ask_replicas(&self, shard: &Shard) -> Vec<ClusterView> {
        let ask = async |node: &Node| {
            let config = self.config.of_node(&node.host, node.port);
            let greeting = Manager::new(&config, &self.shared, &node.id, false).ok()?.greet().await.ok()?;
            greeting.info().cluster.clone()
        };
        join_all(shard.replicas.iter().map(ask)).await.into_iter().flatten().collect()
    }
}

/// Checks the only server over a new connection.
async fn check(manager: &Manager) -> Result<Connection> {
    let mut connection = manager.open().await?;
    let info = manager.info.load_full();
    manager.check_agreement(&mut connection, &info).await?;
    warn_of_clock(manager, &info);
    Ok(connection)
}

/// Admits a node, and makes its pool if there is none.
async fn admit(member: Member) -> Result<Admitted> {
    let Member { pool, switches, met: Met { manager, greeting } } = member;
    let admitting = async {
        let greeting = greeting?;
        let (info, asked) = (greeting.info().clone(), greeting.asked);
        let mut connection = manager.admit(greeting).await?;
        manager.check_agreement(&mut connection, &info).await?;
        Ok((connection, info, asked))
    };
    let (connection, info, asked) = match admitting.await {
        Ok(admitted) => admitted,
        Err(error) => {
            leave(&manager, &error);
            let Some(pool) = pool else {
                let advice =
                    "the cluster announces this node: open its port to this machine, or set REDIS_NODE_MAP";
                return Err(Error::new(error.kind(), format!("{error}; {advice}")));
            };
            pool.note(Some(&error));
            return Err(error);
        }
    };
    warn_of_clock(&manager, &info);
    let is_new = manager.epochs.switches() != switches;
    let pool = match pool {
        Some(pool) => {
            pool.share(connection.clone());
            pool
        }
        None => Arc::new(Pool::new(Arc::clone(&manager), connection.clone())),
    };
    Ok(Admitted { pool, connection, info, asked, is_new })
}

/// Returns why a node that was admitted is not used. Another node has to name it as a master, unless it is the only one and
/// no replica answers.
fn unfit(node: &Admitted, views: &[ClusterView], is_only: bool) -> Option<&'static str> {
    let (id, view) = (node.pool.manager.name(), node.info.cluster.as_ref()?);
    if !view.is_ok {
        return Some("CLUSTERDOWN: this node of the cluster serves nothing now; see CLUSTER INFO there");
    }
    let is_alone = is_only && views.iter().all(|view| view.id == id);
    (!is_alone && !is_named(id, views)).then_some(UNCONFIRMED)
}

/// Renews the leases of the nodes that are in the epoch in which they are used, and that others name as masters.
fn renew(met: &[Met]) {
    let views: Vec<ClusterView> = met.iter().filter_map(Met::view).cloned().collect();
    let newest = masters(&views);
    for Met { manager, greeting } in met {
        let Ok(greeting) = greeting else { continue };
        let info = greeting.info();
        let is_same = info.cluster.as_ref().is_some_and(|view| view.id == manager.name() && view.is_ok);
        let is_newest = newest.iter().any(|shard| shard.master.id == manager.name());
        let is_fit = info.problem(&manager.connector.config).is_none() && is_named(manager.name(), &views);
        if is_same && is_newest && is_fit && manager.epochs.is_in(manager.incarnation(info)) {
            manager.epochs.check(info, greeting.asked);
        }
    }
}

/// Ends the use of a server that answers and may not be used any more: it became a replica, or the password or the settings
/// of another instance changed.
fn leave(manager: &Manager, error: &Error) {
    if error.kind() == ErrorKind::Configuration {
        manager.epochs.leave();
    }
}

fn warn_of_clock(manager: &Manager, info: &ServerInfo) {
    if let Some(problem) = &info.clock_problem {
        let address = manager.connector.config.address();
        cache_core::log::warn!(limit: &address, server = %address, "Redis: {problem}; {}", clock_skew::ADVICE);
    }
}

/// Greets the first node of the settings that answers.
pub(super) async fn greet_any(config: &RedisConfig, shared: &Shared) -> Option<Met> {
    let seeds = std::iter::once((config.host.clone(), config.port)).chain(config.nodes.iter().cloned());
    let greet = async |(host, port)| {
        let config = RedisConfig { host, port, ..config.clone() };
        let manager = Arc::new(Manager::new(&config, shared, "", false).ok()?);
        let greeting = manager.greet().await;
        Some(Met { manager, greeting }).filter(|met| met.view().is_some())
    };
    join_all(seeds.map(greet)).await.into_iter().flatten().next()
}
