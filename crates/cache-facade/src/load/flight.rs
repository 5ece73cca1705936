//! [`Flights`]: the loads in flight of a cache (single flight: one load for all callers that miss a key).
//!
//! A load in flight belongs to a key, to the types of value and error, and to the fill token of its leader's lookup. Every
//! caller looks up first, and joins only a load whose token equals its own. Joining by key alone would serve stale values:
//!
//! 1. A looks up a key, misses, and begins to load it.
//! 2. A reads the old row from the database.
//! 3. B changes the row, and its invalidation of the key completes. The token of the key changes.
//! 4. C looks up the key and misses. Joining A's load would give it the old row; its token differs, so that it loads.
//!
//! A caller without a token joins only a load that has not begun; while one runs, later ones gather behind one next load.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cache_core::plants::{Plant, is_planted};
use cache_core::sync::Mutex;
use cache_core::sync::atomic::{AtomicU64, Ordering};
use cache_core::{CacheKey, CodecId, FillToken};
use tokio::sync::watch;

use super::context::{self, Circle, LoadId};
use super::waits_for_graph::{Node, Wait, WaitsForGraph};
use super::{LoadError, hash_of};
use crate::rt::{self, Instant};

const SHARDS: usize = 64;

/// Upper bound of the load timeout, so that no deadline overflows.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(3600 * 24 * 365);

/// Outcome of a load, for the callers that joined it.
pub(crate) enum Outcome<E> {
    /// The encoded value and its shape.
    Value(Bytes, u64),
    /// The value cannot be encoded: each caller loads for itself.
    Unshared,
    /// A load of many has nothing for this key.
    Absent,
    /// The loader's error or panic.
    Failed(LoadError<E>),
}

/// Part of a caller that missed.
pub(crate) enum Join<E> {
    /// Waits for another caller's load.
    Waiter(Waiter<E>),
    /// Loads for all.
    Leader(Leader<E>),
    /// Loads without joining, because waiting would close a circle of loads.
    Circle,
}

/// A caller that waits for another caller's load.
pub(crate) struct Waiter<E> {
    outcome: watch::Receiver<Option<Arc<Outcome<E>>>>,
    deadline: Instant,
    node: Arc<Node>,
    /// The edge from the load that requested this one.
    edge: Option<Wait>,
}

impl<E> Waiter<E> {
    /// Waits for the outcome; `None` when the leader went away before the load began, or the deadline passed: the caller
    /// looks up again.
    pub(crate) async fn outcome(mut self) -> Option<Arc<Outcome<E>>> {
        let outcome = self.outcome.wait_for(Option::is_some);
        rt::before(self.deadline, outcome).await?.ok()?.clone()
    }

    /// Whether the load ends before `deadline`, or its own deadline passes by then.
    async fn ends_before(&mut self, deadline: Instant) -> bool {
        let first = self.deadline.min(deadline);
        rt::before(first, self.outcome.wait_for(Option::is_some)).await.is_some() || self.deadline <= deadline
    }
}

/// The loads in flight of a cache.
pub(crate) struct Flights {
    cache: u64,
    load_timeout: Duration,
    shards: Box<[Shard]>,
    waits_for: WaitsForGraph,
}

#[derive(Default)]
struct Shard {
    /// Number of loads of this shard that have ended; read without the lock by every lookup.
    ended: AtomicU64,
    in_flight: Mutex<HashMap<LoadId, Vec<Flight>>>,
}

/// A load in flight, identified by its node.
struct Flight {
    token: FillToken,
    has_begun: bool,
    deadline: Instant,
    node: Arc<Node>,
    /// A `watch::Receiver<Option<Arc<Outcome<E>>>>`; the error's type is part of the load's id.
    outcome: Box<dyn Any + Send + Sync>,
}

impl Flight {
    fn waiter<E: Send + Sync + 'static>(&self) -> Option<Waiter<E>> {
        let outcome = self.outcome.downcast_ref::<watch::Receiver<Option<Arc<Outcome<E>>>>>()?.clone();
        Some(Waiter { outcome, deadline: self.deadline, node: Arc::clone(&self.node), edge: None })
    }

    fn may_be_joined_by(&self, token: FillToken) -> bool {
        if is_planted(Plant::JoinByKey) {
            return true;
        }
        if token.is_never() { !self.has_begun } else { self.token == token }
    }
}

impl Flights {
    /// Creates an empty set of flights. A flight can be joined for `load_timeout`.
    pub(crate) fn new(load_timeout: Duration) -> Arc<Self> {
        static CACHES: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let cache = CACHES.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let load_timeout = load_timeout.min(LONGEST_TIMEOUT);
        let shards = (0..SHARDS).map(|_| Shard::default()).collect();
        Arc::new(Self { cache, load_timeout, shards, waits_for: WaitsForGraph::default() })
    }

    /// The id of loads of `key` with values `T` in `codec` and errors `E`.
    pub(crate) fn id<T: 'static, E: 'static>(&self, key: &CacheKey, codec: CodecId) -> LoadId {
        LoadId { cache: self.cache, key: key.clone(), types: TypeId::of::<(T, E)>(), codec }
    }

    /// A number that no other cache of this process has.
    pub(crate) fn number(&self) -> u64 {
        self.cache
    }

    /// A mark to take before a lookup of `key`: it changes when a load of the key ends.
    pub(crate) fn mark(&self, key: &CacheKey) -> u64 {
        self.shard(key).ended.load(Ordering::Acquire)
    }

    /// Joins the load in flight that a caller with `token` may join, or announces a new one.
    ///
    /// `mark` was taken before the lookup that gave the token.
    pub(crate) fn join<E: Send + Sync + 'static>(
        self: &Arc<Self>,
        id: &LoadId,
        token: FillToken,
        mark: u64,
    ) -> Join<E> {
        match self.join_or_announce(id, token, mark) {
            Join::Waiter(mut waiter) => match self.wait_for(&waiter.node) {
                Ok(edge) => {
                    waiter.edge = edge;
                    Join::Waiter(waiter)
                }
                Err(Circle) => Join::Circle,
            },
            // Dropping the leader ends the flight, which no caller is to wait for.
            Join::Leader(mut leader) => match self.wait_for(&leader.node) {
                Ok(edge) => {
                    leader.edge = edge;
                    Join::Leader(leader)
                }
                Err(Circle) => Join::Circle,
            },
            Join::Circle => Join::Circle,
        }
    }

    /// Adds an edge from the load that the running task is part of to `node`.
    pub(crate) fn wait_for(&self, node: &Arc<Node>) -> Result<Option<Wait>, Circle> {
        context::wait_for(&self.waits_for, node)
    }

    fn join_or_announce<E: Send + Sync + 'static>(
        self: &Arc<Self>,
        id: &LoadId,
        token: FillToken,
        mark: u64,
    ) -> Join<E> {
        let now = rt::now();
        let shard = self.shard(&id.key);
        let mut in_flight = shard.in_flight.lock();
        let flights = in_flight.entry(id.clone()).or_default();
        let waited_for = || flights.iter().filter(|flight| flight.deadline > now);
        let joinable = waited_for().find(|flight| flight.may_be_joined_by(token));
        if let Some(waiter) = joinable.and_then(Flight::waiter) {
            return Join::Waiter(waiter);
        }
        let behind =
            waited_for().find(|flight| token.is_never() && flight.token.is_never()).and_then(Flight::waiter);
        let begins = behind.as_ref().map_or(now, |before| before.deadline);
        let node = Arc::new(Node::default());
        if let Some(before) = &behind {
            node.waits_for(&before.node);
        }
        let (publish, outcome) = watch::channel(None);
        flights.push(Flight {
            token,
            has_begun: false,
            deadline: begins + self.load_timeout,
            node: Arc::clone(&node),
            outcome: Box::new(outcome),
        });
        let looks_again = shard.ended.load(Ordering::Acquire) != mark;
        let (flights, id) = (Arc::clone(self), id.clone());
        Join::Leader(Leader { looks_again, behind, node, edge: None, publish, flights, id })
    }

    /// Whether a load for `token` is in flight, also one whose deadline has passed.
    pub(crate) fn is_in_flight(&self, id: &LoadId, token: FillToken) -> bool {
        let in_flight = self.shard(&id.key).in_flight.lock();
        in_flight.get(id).is_some_and(|flights| flights.iter().any(|flight| flight.token == token))
    }

    /// Deadline for joining a load that begins now.
    pub(crate) fn deadline(&self) -> Instant {
        rt::now() + self.load_timeout
    }

    #[expect(clippy::indexing_slicing, reason = "the hash is reduced to the number of shards")]
    #[expect(clippy::cast_possible_truncation, reason = "reduced to 6 bits first")]
    fn shard(&self, key: &CacheKey) -> &Shard {
        &self.shards[(hash_of(key) % SHARDS as u64) as usize]
    }
}

impl fmt::Debug for Flights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights").field("cache", &self.cache).finish_non_exhaustive()
    }
}

/// The caller that loads for all. Dropping it ends the flight; callers that still wait then look up again.
pub(crate) struct Leader<E> {
    looks_again: bool,
    behind: Option<Waiter<E>>,
    node: Arc<Node>,
    /// The edge from the load that requested this one, until this one begins.
    edge: Option<Wait>,
    publish: watch::Sender<Option<Arc<Outcome<E>>>>,
    flights: Arc<Flights>,
    id: LoadId,
}

impl<E> Leader<E> {
    /// Whether a load of this key ended since the leader's lookup began: its value may be stored by now.
    pub(crate) fn looks_again(&self) -> bool {
        self.looks_again
    }

    /// The node of the load in flight.
    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Replaces the token, after the leader looked up again.
    pub(crate) fn retoken(&self, token: FillToken) {
        self.update(|flight| flight.token = token);
    }

    /// Whether the load may begin within `duration`, because no other load is in front of it then.
    pub(crate) async fn has_its_turn_within(&mut self, duration: Duration) -> bool {
        match &mut self.behind {
            Some(before) => before.ends_before(rt::now() + duration).await,
            None => true,
        }
    }

    /// Waits for the load's turn; from then on callers without a token do not join it.
    pub(crate) async fn begin(&mut self) {
        self.edge = None;
        if let Some(before) = self.behind.take() {
            let node = Arc::clone(&before.node);
            before.outcome().await;
            // Otherwise each load would keep all that ever were in front of it.
            self.node.waits_no_more_for(&node);
        }
        let deadline = self.flights.deadline();
        self.update(|flight| {
            flight.has_begun = true;
            flight.deadline = deadline;
        });
    }

    /// Puts off the deadline of the load, which does not begin before `wait` is over.
    pub(crate) fn postpone(&self, wait: Duration) {
        let deadline = self.flights.deadline() + wait;
        self.update(|flight| flight.deadline = deadline);
    }

    /// Gives the outcome to all callers that wait, now and until the flight ends.
    pub(crate) fn publish(&self, outcome: Outcome<E>) {
        self.publish.send_replace(Some(Arc::new(outcome)));
    }

    fn update(&self, update: impl FnOnce(&mut Flight)) {
        let mut in_flight = self.flights.shard(&self.id.key).in_flight.lock();
        let mut flights = in_flight.get_mut(&self.id).into_iter().flatten();
        if let Some(flight) = flights.find(|flight| Arc::ptr_eq(&flight.node, &self.node)) {
            update(flight);
        }
    }
}

impl<E> Drop for Leader<E> {
    fn drop(&mut self) {
        let shard = self.flights.shard(&self.id.key);
        let mut in_flight = shard.in_flight.lock();
        // Under the lock: a caller that no longer finds the flight sees that it ended, and looks up again before it loads.
        shard.ended.fetch_add(1, Ordering::Release);
        if let Entry::Occupied(mut flights) = in_flight.entry(self.id.clone()) {
            flights.get_mut().retain(|flight| !Arc::ptr_eq(&flight.node, &self.node));
            if flights.get().is_empty() {
                flights.remove();
            }
        }
    }
}

#[cfg(test)]
#[cfg(not(feature = "shuttle"))]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    type Joined = Join<&'static str>;

    fn key() -> CacheKey {
        CacheKey::builder("image", 5).build().unwrap()
    }

    fn token(value: u128) -> FillToken {
        FillToken::new(NonZeroU64::MIN, value)
    }

    fn join(flights: &Arc<Flights>, token: FillToken) -> Joined {
        flights.join(&flights.id::<u32, &'static str>(&key(), CodecId::Bincode), token, flights.mark(&key()))
    }

    fn lead(join: Joined) -> Leader<&'static str> {
        match join {
            Join::Leader(leader) => leader,
            Join::Waiter(_) | Join::Circle => panic!("joined"),
        }
    }

    fn joins(join: &Joined) -> bool {
        matches!(join, Join::Waiter(_))
    }

    #[test]
    fn a_load_is_joined_by_equal_tokens_until_it_ends() {
        let flights = Flights::new(Duration::MAX);
        let first = lead(join(&flights, token(1)));
        assert!(joins(&join(&flights, token(1))));
        let second = lead(join(&flights, token(2)));
        drop(first);
        assert!(!joins(&join(&flights, token(1))) && joins(&join(&flights, token(2))));
        drop(second);
        assert!(flights.shards.iter().all(|shard| shard.in_flight.lock().is_empty()));
    }

    #[test]
    fn a_leader_looks_again_if_a_load_ended_since_its_lookup() {
        let flights = Flights::new(Duration::from_secs(30));
        let id = flights.id::<u32, &'static str>(&key(), CodecId::Bincode);
        let mark = flights.mark(&key());
        assert!(!lead(flights.join(&id, token(1), mark)).looks_again());
        assert!(lead(flights.join(&id, token(1), mark)).looks_again());
    }

    #[tokio::test(start_paused = true)]
    async fn after_its_deadline_a_load_is_neither_joined_nor_waited_for() {
        let flights = Flights::new(Duration::from_secs(30));
        let _lead = lead(join(&flights, token(1)));
        let Join::Waiter(waiter) = join(&flights, token(1)) else { panic!("leads") };
        assert!(waiter.outcome().await.is_none());
        assert!(!joins(&join(&flights, token(1))));
    }

    #[tokio::test]
    async fn an_outcome_reaches_callers_that_join_after_it() {
        let flights = Flights::new(Duration::from_secs(30));
        let lead = lead(join(&flights, token(1)));
        lead.publish(Outcome::Value(Bytes::from_static(b"x"), 7));
        let Join::Waiter(waiter) = join(&flights, token(1)) else { panic!("leads") };
        let outcome = waiter.outcome().await.unwrap();
        assert!(matches!(&*outcome, Outcome::Value(payload, 7) if payload == "x"));
    }

    #[tokio::test]
    async fn a_load_does_not_keep_those_that_were_in_front_of_it() {
        let flights = Flights::new(Duration::from_secs(30));
        let mut running = lead(join(&flights, FillToken::never()));
        running.begin().await;
        let first = Arc::downgrade(running.node());
        for _ in 0..100_000 {
            let mut next = lead(join(&flights, FillToken::never()));
            drop(running);
            next.begin().await;
            running = next;
        }
        assert_eq!(first.strong_count(), 0);
    }

    #[tokio::test]
    async fn a_caller_without_a_token_joins_any_load_that_has_not_begun() {
        let flights = Flights::new(Duration::from_secs(30));
        let mut running = lead(join(&flights, token(1)));
        assert!(joins(&join(&flights, FillToken::never())));
        running.begin().await;
        let mut next = lead(join(&flights, FillToken::never()));
        assert!(joins(&join(&flights, FillToken::never())) && !joins(&join(&flights, token(2))));
        next.begin().await;
        assert!(!joins(&join(&flights, FillToken::never())));
    }
}
