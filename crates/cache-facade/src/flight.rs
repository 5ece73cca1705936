//! Single flight: one load for all who ask for the same value of the same age.
//!
//! A flight belongs to a key, to the types of value and error, and to the fill token of its leader's lookup. Every
//! caller looks up first and joins a flight only if the two hold equal tokens: whoever asks after an invalidation, here
//! or in another instance, holds another token and starts a flight of his own. (Joining by key alone serves values that
//! were loaded before the invalidation.) A caller without a token joins only a flight whose load has not begun; while
//! one runs, later ones gather behind one next load.

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
use xxhash_rust::xxh3::xxh3_64;

use crate::load::LoadError;
use crate::rt::{self, Instant};
use crate::waits::{Node, Waits};

const SHARDS: usize = 64;

/// A load timeout over this is cut, so that no deadline overflows.
const LONGEST_TIMEOUT: Duration = Duration::from_hours(24 * 365);

/// What a flight belongs to, its token aside.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct FlightId {
    cache: u64,
    key: CacheKey,
    types: TypeId,
    codec: CodecId,
}

/// What came of a load, for those who waited for it.
pub(crate) enum Outcome<E> {
    /// The encoded value and its shape.
    Value(Bytes, u64),
    /// The value cannot be encoded: everybody loads for himself.
    Unshared,
    /// A load of many has nothing for this key.
    Absent,
    /// The loader's error or panic.
    Failed(LoadError<E>),
}

impl<E> Clone for Outcome<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Value(payload, shape) => Self::Value(payload.clone(), *shape),
            Self::Unshared => Self::Unshared,
            Self::Absent => Self::Absent,
            Self::Failed(error) => Self::Failed(error.clone()),
        }
    }
}

/// What a caller who missed is to do.
pub(crate) enum Boarding<E> {
    /// Wait for another's load.
    Joined(Ticket<E>),
    /// Load.
    Leads(Lead<E>),
}

/// A place on another's flight.
pub(crate) struct Ticket<E> {
    outcome: watch::Receiver<Option<Outcome<E>>>,
    until: Instant,
    node: Arc<Node>,
}

impl<E> Ticket<E> {
    /// The flight, for a load that is about to wait for it.
    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// What came of the flight; `None` when its leader went away before the load began, or its deadline is over: the
    /// caller looks up again.
    pub(crate) async fn outcome(mut self) -> Option<Outcome<E>> {
        let outcome = self.outcome.wait_for(Option::is_some);
        rt::before(self.until, outcome).await?.ok()?.clone()
    }

    /// Waits until the flight's load is over, or may not be waited for any longer.
    async fn over(mut self) {
        let _ = self.is_over_before(self.until).await;
    }

    /// Whether the flight's load is over before `deadline`, or may not be waited for any longer by then.
    async fn is_over_before(&mut self, deadline: Instant) -> bool {
        let until = self.until.min(deadline);
        rt::before(until, self.outcome.wait_for(Option::is_some)).await.is_some() || self.until <= deadline
    }
}

/// All flights of one cache.
pub(crate) struct Flights {
    cache: u64,
    load_timeout: Duration,
    shards: Box<[Shard]>,
    waits: Waits,
}

#[derive(Default)]
struct Shard {
    /// How many flights of this shard have ended; read without the lock by every lookup.
    ended: AtomicU64,
    aloft: Mutex<Aloft>,
}

#[derive(Default)]
struct Aloft {
    flights: HashMap<FlightId, Vec<Flight>>,
    last_number: u64,
}

struct Flight {
    number: u64,
    token: FillToken,
    begun: bool,
    until: Instant,
    node: Arc<Node>,
    /// A `watch::Receiver<Option<Outcome<E>>>`; the error's type is part of the flight's id.
    outcome: Box<dyn Any + Send + Sync>,
}

impl Flight {
    fn ticket<E: Send + Sync + 'static>(&self) -> Option<Ticket<E>> {
        let outcome = self.outcome.downcast_ref::<watch::Receiver<Option<Outcome<E>>>>()?;
        Some(Ticket { outcome: outcome.clone(), until: self.until, node: Arc::clone(&self.node) })
    }
}

impl Flights {
    /// No flights; a load may be joined for `load_timeout` from when it is announced.
    pub(crate) fn new(load_timeout: Duration) -> Arc<Self> {
        static CACHES: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let cache = CACHES.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let load_timeout = load_timeout.min(LONGEST_TIMEOUT);
        let shards = (0..SHARDS).map(|_| Shard::default()).collect();
        Arc::new(Self { cache, load_timeout, shards, waits: Waits::default() })
    }

    /// The id of flights for `key` with values `T` in `codec` and errors `E`.
    pub(crate) fn id<T: 'static, E: 'static>(&self, key: &CacheKey, codec: CodecId) -> FlightId {
        FlightId { cache: self.cache, key: key.clone(), types: TypeId::of::<(T, E)>(), codec }
    }

    /// A number that no other cache of this process has.
    pub(crate) fn number(&self) -> u64 {
        self.cache
    }

    /// A mark to take before a lookup of `key`: it moves when a flight of the key ends.
    pub(crate) fn mark(&self, key: &CacheKey) -> u64 {
        self.shard(key).ended.load(Ordering::Acquire)
    }

    /// Joins the flight that a caller with `token` may join, or announces a new one.
    ///
    /// `mark` was taken before the lookup that gave the token.
    pub(crate) fn board<E: Send + Sync + 'static>(
        self: &Arc<Self>,
        id: &FlightId,
        token: FillToken,
        mark: u64,
    ) -> Boarding<E> {
        let now = rt::now();
        let shard = self.shard(&id.key);
        let mut aloft = shard.aloft.lock();
        aloft.last_number += 1;
        let number = aloft.last_number;
        let flights = aloft.flights.entry(id.clone()).or_default();
        let joinable = flights.iter().find(|flight| flight.until > now && may_join(flight, token));
        if let Some(ticket) = joinable.and_then(Flight::ticket) {
            return Boarding::Joined(ticket);
        }
        let behind = flights
            .iter()
            .find(|flight| token.is_never() && flight.token.is_never() && flight.until > now)
            .and_then(Flight::ticket);
        let starts = behind.as_ref().map_or(now, |before| before.until);
        let node = Arc::new(Node::default());
        if let Some(before) = &behind {
            node.waits_for(&before.node);
        }
        let (publish, outcome) = watch::channel(None);
        flights.push(Flight {
            number,
            token,
            begun: false,
            until: starts + self.load_timeout,
            node: Arc::clone(&node),
            outcome: Box::new(outcome),
        });
        Boarding::Leads(Lead {
            looks_again: shard.ended.load(Ordering::Acquire) != mark,
            behind,
            node,
            publish,
            place: Place { flights: Arc::clone(self), id: id.clone(), number },
        })
    }

    /// Whether a load for `token` is on its way, also one that takes too long to be waited for.
    pub(crate) fn is_aloft(&self, id: &FlightId, token: FillToken) -> bool {
        let aloft = self.shard(&id.key).aloft.lock();
        aloft.flights.get(id).is_some_and(|flights| flights.iter().any(|flight| flight.token == token))
    }

    /// Until when a load that begins now may be waited for.
    pub(crate) fn deadline(&self) -> Instant {
        rt::now() + self.load_timeout
    }

    /// Who waits for whom.
    pub(crate) fn waits(&self) -> &Waits {
        &self.waits
    }

    #[expect(clippy::indexing_slicing, reason = "the hash is reduced to the number of shards")]
    #[expect(clippy::cast_possible_truncation, reason = "reduced to 6 bits first")]
    fn shard(&self, key: &CacheKey) -> &Shard {
        &self.shards[(xxh3_64(key.as_str().as_bytes()) % SHARDS as u64) as usize]
    }
}

fn may_join(flight: &Flight, token: FillToken) -> bool {
    if is_planted(Plant::JoinByKey) {
        return true;
    }
    if token.is_never() { !flight.begun } else { flight.token == token }
}

impl fmt::Debug for Flights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights").field("cache", &self.cache).finish_non_exhaustive()
    }
}

/// The leader's side of a flight. Dropping it ends the flight; who still waits then looks up again.
pub(crate) struct Lead<E> {
    looks_again: bool,
    behind: Option<Ticket<E>>,
    node: Arc<Node>,
    publish: watch::Sender<Option<Outcome<E>>>,
    // Last, so that the flight is gone only after its outcome is: nobody joins what can no longer answer.
    place: Place,
}

impl<E> Lead<E> {
    /// Whether a flight of this key ended since the leader's own lookup began: its value may be there by now.
    pub(crate) fn looks_again(&self) -> bool {
        self.looks_again
    }

    /// The flight, for a load that is about to wait for it, and for those inside it.
    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// The leader looked up again and holds `token` now.
    pub(crate) fn retoken(&self, token: FillToken) {
        self.place.change(|flight| flight.token = token);
    }

    /// Whether its turn comes within `duration`: no other load is before it then.
    pub(crate) async fn has_its_turn_within(&mut self, duration: Duration) -> bool {
        match &mut self.behind {
            Some(before) => before.is_over_before(rt::now() + duration).await,
            None => true,
        }
    }

    /// Waits for its turn, and from then on is closed to callers without a token.
    pub(crate) async fn begin(&mut self) {
        if let Some(before) = self.behind.take() {
            let node = Arc::clone(before.node());
            before.over().await;
            // Otherwise each would keep all that ever were in front of it.
            self.node.waits_no_more_for(&node);
        }
        let until = self.place.flights.deadline();
        self.place.change(|flight| {
            flight.begun = true;
            flight.until = until;
        });
    }

    /// Answers all who wait, now and until the flight ends.
    pub(crate) fn publish(&self, outcome: Outcome<E>) {
        self.publish.send_replace(Some(outcome));
    }
}

/// The entry of a flight in the table, removed on drop.
struct Place {
    flights: Arc<Flights>,
    id: FlightId,
    number: u64,
}

impl Place {
    fn change(&self, change: impl FnOnce(&mut Flight)) {
        let mut aloft = self.flights.shard(&self.id.key).aloft.lock();
        let flights = aloft.flights.get_mut(&self.id);
        if let Some(flight) =
            flights.and_then(|all| all.iter_mut().find(|flight| flight.number == self.number))
        {
            change(flight);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let shard = self.flights.shard(&self.id.key);
        let mut aloft = shard.aloft.lock();
        // Under the lock: who no longer finds the flight sees that it ended, and looks up again before loading.
        shard.ended.fetch_add(1, Ordering::Release);
        if let Entry::Occupied(mut flights) = aloft.flights.entry(self.id.clone()) {
            flights.get_mut().retain(|flight| flight.number != self.number);
            if flights.get().is_empty() {
                flights.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    type Boards = Boarding<&'static str>;

    fn key() -> CacheKey {
        CacheKey::builder("image", 5).build().unwrap()
    }

    fn token(value: u128) -> FillToken {
        FillToken::new(NonZeroU64::MIN, value)
    }

    fn board(flights: &Arc<Flights>, token: FillToken) -> Boards {
        flights.board(&flights.id::<u32, &'static str>(&key(), CodecId::Bincode), token, flights.mark(&key()))
    }

    fn lead(boarding: Boards) -> Lead<&'static str> {
        match boarding {
            Boarding::Leads(lead) => lead,
            Boarding::Joined(_) => panic!("joined"),
        }
    }

    fn joins(boarding: &Boards) -> bool {
        matches!(boarding, Boarding::Joined(_))
    }

    #[test]
    fn only_an_equal_token_joins_and_none_after_the_end() {
        let flights = Flights::new(Duration::MAX);
        let first = lead(board(&flights, token(1)));
        assert!(joins(&board(&flights, token(1))));
        let second = lead(board(&flights, token(2)));
        drop(first);
        assert!(!joins(&board(&flights, token(1))) && joins(&board(&flights, token(2))));
        drop(second);
        assert!(flights.shards.iter().all(|shard| shard.aloft.lock().flights.is_empty()));
    }

    #[test]
    fn who_leads_after_a_flight_ended_since_his_lookup_looks_again() {
        let flights = Flights::new(Duration::from_secs(30));
        let id = flights.id::<u32, &'static str>(&key(), CodecId::Bincode);
        let mark = flights.mark(&key());
        assert!(!lead(flights.board(&id, token(1), mark)).looks_again());
        assert!(lead(flights.board(&id, token(1), mark)).looks_again());
    }

    #[tokio::test(start_paused = true)]
    async fn after_its_deadline_a_flight_is_not_joined_and_those_aboard_leave() {
        let flights = Flights::new(Duration::from_secs(30));
        let _lead = lead(board(&flights, token(1)));
        let Boarding::Joined(ticket) = board(&flights, token(1)) else { panic!("leads") };
        assert!(ticket.outcome().await.is_none());
        assert!(!joins(&board(&flights, token(1))));
    }

    #[tokio::test]
    async fn an_outcome_is_there_for_those_who_board_after_it() {
        let flights = Flights::new(Duration::from_secs(30));
        let lead = lead(board(&flights, token(1)));
        lead.publish(Outcome::Value(Bytes::from_static(b"x"), 7));
        let Boarding::Joined(ticket) = board(&flights, token(1)) else { panic!("leads") };
        assert!(matches!(ticket.outcome().await, Some(Outcome::Value(payload, 7)) if payload == "x"));
    }

    #[tokio::test]
    async fn of_flights_in_a_row_none_keeps_those_that_are_over() {
        let flights = Flights::new(Duration::from_secs(30));
        let mut running = lead(board(&flights, FillToken::never()));
        running.begin().await;
        let first = Arc::downgrade(running.node());
        for _ in 0..100_000 {
            let mut next = lead(board(&flights, FillToken::never()));
            drop(running);
            next.begin().await;
            running = next;
        }
        assert_eq!(first.strong_count(), 0);
    }

    #[tokio::test]
    async fn without_a_token_one_boards_what_has_not_begun_whatever_its_token() {
        let flights = Flights::new(Duration::from_secs(30));
        let mut running = lead(board(&flights, token(1)));
        assert!(joins(&board(&flights, FillToken::never())));
        running.begin().await;
        let mut next = lead(board(&flights, FillToken::never()));
        assert!(joins(&board(&flights, FillToken::never())) && !joins(&board(&flights, token(2))));
        next.begin().await;
        assert!(!joins(&board(&flights, FillToken::never())));
    }
}
