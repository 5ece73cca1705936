//! [`Engine`]: which round trips an operation takes, and what their answers mean.

use std::collections::BTreeMap;
use std::slice;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use cache_core::envelope::{self, HEADER_LENGTH, Header, Rejected};
use cache_core::{
    BackendKind, CacheKey, Clock, Entry, Error, ErrorKind, FillToken, Invalidation, Lookup, MissCause,
    Result, Timestamp,
};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::advice::advised;
use crate::batch::Batch;
use crate::config::RedisConfig;
use crate::error::Fault;
use crate::incarnation::{World, Worlds};
use crate::keeper::Condition;
use crate::layout::{Layout, Place};
use crate::manager::{Connection, Manager};
use crate::memory::Memory;
use crate::outlook::Outlook;
use crate::pool::{Pool, Tries};
use crate::settings::Settings;
use crate::stats::{Stats, Tally};
use crate::suspects::{Reads, Suspects};

/// All there is of the cache but its background tasks.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) pool: Pool,
    pub(crate) worlds: Arc<Worlds>,
    pub(crate) layout: Arc<Layout>,
    pub(crate) stats: Stats,
    pub(crate) memory: Memory,
    outlook: Outlook,
    pub(crate) suspects: Suspects,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) reference_limit_bytes: u64,
    pub(crate) settings: Settings,
    pub(crate) condition: Mutex<Condition>,
}

/// What a field holds for a reader.
#[derive(Debug)]
enum Reading {
    Hit(Entry, u128),
    /// Nothing to serve, and the nonce to fill it by.
    Miss(u128, Option<MissCause>),
    /// Nothing that has a nonce.
    Vacant(Option<MissCause>),
}

impl Engine {
    /// Connects, and makes certain that the server is one that this cache can use.
    pub(crate) async fn connect_checked(config: &RedisConfig) -> Result<Self> {
        let engine = match Self::connect(config).await {
            Ok(engine) => engine,
            Err(error) => return Err(advised(config, error).await),
        };
        engine.check_for_one_server(config).await?;
        engine.probe().await?;
        engine.check_permissions().await?;
        Ok(engine)
    }

    async fn connect(config: &RedisConfig) -> Result<Self> {
        config.check()?;
        let layout = Arc::new(Layout::new(&config.namespace));
        let worlds = Arc::new(Worlds::new(config.contact_record.clone(), Arc::clone(&config.clock)));
        let settings = Settings::new(&layout, config.trust_restart, config.heartbeat);
        let manager = Manager::new(config, Arc::clone(&layout), Arc::clone(&worlds))?;
        let pool = Pool::connect(config, manager).await?;
        Ok(Self {
            pool,
            worlds,
            layout,
            stats: Stats::default(),
            memory: Memory::default(),
            outlook: Outlook::default(),
            suspects: Suspects::default(),
            clock: Arc::clone(&config.clock),
            reference_limit_bytes: config.reference_limit_bytes,
            settings,
            condition: Mutex::new(Condition { since: config.clock.now(), cause: None, is_logged: false }),
        })
    }

    /// What is stored under `key`, without a token, a count or a trace.
    pub(crate) async fn peek(&self, key: &CacheKey) -> Result<Option<Entry>> {
        let (connection, found) = self.read(key).await?;
        Ok(match self.understand(&connection, key, found) {
            Reading::Hit(entry, _) => Some(entry),
            Reading::Miss(..) | Reading::Vacant(_) => None,
        })
    }

    pub(crate) async fn get(&self, key: &CacheKey) -> Result<Option<Entry>> {
        let (connection, found) = self.read(key).await?;
        let reading = self.understand(&connection, key, found);
        Ok(self.counted(key, reading).0)
    }

    pub(crate) async fn lookup(&self, key: &CacheKey) -> Result<Lookup> {
        let mut tries = self.pool.tries();
        let reads = self.reads(slice::from_ref(key), &tries);
        loop {
            let mut connection = tries.next().await?;
            match self.lookup_on(&mut connection, key, tries.deadline).await {
                Ok(reading) => {
                    reads.over();
                    return Ok(answer(self.counted(key, reading), &connection.world));
                }
                Err(fault) if tries.again(&fault) => {}
                Err(fault) => return Err(self.failed(fault)),
            }
        }
    }

    pub(crate) async fn get_many(&self, keys: &[CacheKey]) -> Result<Vec<Option<Entry>>> {
        let mut tries = self.pool.tries();
        let reads = self.reads(keys, &tries);
        loop {
            let mut connection = tries.next().await?;
            match self.read_all(&mut connection, keys, tries.deadline).await {
                Ok(readings) => {
                    reads.over();
                    let mut tally = Tally::of(&self.stats);
                    let counted = keys.iter().zip(readings);
                    return Ok(counted
                        .map(|(key, reading)| self.tallied(&mut tally, key, reading).0)
                        .collect());
                }
                Err(fault) if tries.again(&fault) => {}
                Err(fault) => return Err(self.failed(fault)),
            }
        }
    }

    pub(crate) async fn lookup_many(&self, keys: &[CacheKey]) -> Result<Vec<Lookup>> {
        let mut tries = self.pool.tries();
        let reads = self.reads(keys, &tries);
        loop {
            let mut connection = tries.next().await?;
            match self.lookup_all(&mut connection, keys, tries.deadline).await {
                Ok(readings) => {
                    reads.over();
                    let world = &connection.world;
                    let mut tally = Tally::of(&self.stats);
                    let answers = keys.iter().zip(readings);
                    let answer = |(key, reading)| answer(self.tallied(&mut tally, key, reading), world);
                    return Ok(answers.map(answer).collect());
                }
                Err(fault) if tries.again(&fault) => {}
                Err(fault) => return Err(self.failed(fault)),
            }
        }
    }

    /// What was removed shows in the figures, and will miss.
    pub(crate) fn count_removed(&self, what: &[Invalidation], removed: u64) {
        for what in what {
            if let Invalidation::Group(group) = what {
                self.outlook.looked_up(group.as_str(), false);
            }
        }
        let clears = what.iter().filter(|one| **one == Invalidation::Everything).count() as u64;
        self.stats.clears.add(clears);
        self.stats.invalidations.add(what.len() as u64 - clears);
        self.stats.invalidated_entries.add(removed);
        if clears > 0 {
            self.stats.swept(&BTreeMap::new());
        } else if let [one] = what
            && let Some(family) = family(one)
        {
            self.stats.removed(&family, removed);
        }
    }

    /// `fault` as callers see it, counted.
    pub(crate) fn failed(&self, fault: Fault) -> Error {
        self.stats.errors.add(1);
        fault.into_error(&self.pool.address)
    }

    fn reads<'a>(&'a self, keys: &'a [CacheKey], tries: &Tries<'_>) -> Reads<'a> {
        Reads { suspects: &self.suspects, keys, deadline: tries.deadline, timeout: tries.timeout }
    }

    async fn read(&self, key: &CacheKey) -> Result<(Connection, Option<Bytes>)> {
        let mut tries = self.pool.tries();
        let reads = self.reads(slice::from_ref(key), &tries);
        loop {
            let mut connection = tries.next().await?;
            let place = self.layout.place(&connection.world, key);
            let found = match self.clear_the_way(&mut connection, slice::from_ref(key), tries.deadline).await
            {
                Ok(()) => connection.read(&place, tries.deadline).await,
                Err(fault) => Err(fault),
            };
            match found {
                Ok(found) => {
                    reads.over();
                    return Ok((connection, found));
                }
                Err(fault) if tries.again(&fault) => {}
                Err(fault) => return Err(self.failed(fault)),
            }
        }
    }

    async fn lookup_on(
        &self,
        connection: &mut Connection,
        key: &CacheKey,
        deadline: Instant,
    ) -> Result<Reading, Fault> {
        self.clear_the_way(connection, slice::from_ref(key), deadline).await?;
        let place = self.layout.place(&connection.world, key);
        if self.outlook.is_cold(key.group()) {
            return Box::pin(self.lookup_cold(connection, key, place, deadline)).await;
        }
        let found = connection.read(&place, deadline).await?;
        match self.understand(connection, key, found) {
            // In a box of its own: hits do not carry it about.
            Reading::Vacant(cause) => {
                Box::pin(self.settle(connection, key, place, None, cause, deadline)).await
            }
            reading => Ok(reading),
        }
    }

    /// A lookup that is likely to miss: in one round trip, if it does.
    async fn lookup_cold(
        &self,
        connection: &mut Connection,
        key: &CacheKey,
        place: Place<'_>,
        deadline: Instant,
    ) -> Result<Reading, Fault> {
        let (found, slot) = connection.read_or_lease(&place, deadline).await?;
        match self.understand(connection, key, found) {
            Reading::Vacant(cause) => self.settle(connection, key, place, slot, cause, deadline).await,
            reading => Ok(reading),
        }
    }

    /// What a lookup comes to that found nothing: a lease, which `slot` may hold already, or a value that came meanwhile.
    async fn settle(
        &self,
        connection: &mut Connection,
        key: &CacheKey,
        place: Place<'_>,
        slot: Option<Bytes>,
        cause: Option<MissCause>,
        deadline: Instant,
    ) -> Result<Reading, Fault> {
        let slot = if slot.is_some() {
            slot
        } else {
            let groups = [(place.group.clone(), vec![place.field])];
            self.lease(connection, &groups, deadline).await?.into_iter().flatten().next()
        };
        Ok(match slot.as_deref().map(leased) {
            None => Reading::Vacant(cause),
            Some(Some(nonce)) => Reading::Miss(nonce, cause),
            Some(None) => {
                let found = connection.read(&place, deadline).await?;
                self.understand(connection, key, found)
            }
        })
    }

    async fn read_all(
        &self,
        connection: &mut Connection,
        keys: &[CacheKey],
        deadline: Instant,
    ) -> Result<Vec<Reading>, Fault> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        self.clear_the_way(connection, keys, deadline).await?;
        let batch = Batch::of(&self.layout, &connection.world, keys.iter());
        let found = connection.read_many(&batch.groups, deadline).await?;
        let now = self.clock.now();
        let readings = keys.iter().zip(batch.in_order(&found));
        Ok(readings
            .map(|(key, found)| self.understand_at(|| now, connection, key, found.flatten()))
            .collect())
    }

    async fn lookup_all(
        &self,
        connection: &mut Connection,
        keys: &[CacheKey],
        deadline: Instant,
    ) -> Result<Vec<Reading>, Fault> {
        let mut readings = self.read_all(connection, keys, deadline).await?;
        let vacant: Vec<usize> = positions(&readings, |reading| matches!(reading, Reading::Vacant(_)));
        if vacant.is_empty() {
            return Ok(readings);
        }
        let batch = Batch::of(&self.layout, &connection.world, vacant.iter().filter_map(|at| keys.get(*at)));
        let slots = self.lease(connection, &batch.groups, deadline).await?;
        let mut came = Vec::new();
        for (at, slot) in vacant.into_iter().zip(batch.in_order(&slots)) {
            let (Some(reading), Some(slot)) = (readings.get_mut(at), slot) else { continue };
            match (leased(&slot), &*reading) {
                (Some(nonce), Reading::Vacant(cause)) => *reading = Reading::Miss(nonce, *cause),
                _ => came.push(at),
            }
        }
        let late: Vec<CacheKey> = came.iter().filter_map(|at| keys.get(*at)).cloned().collect();
        let late = self.read_all(connection, &late, deadline).await?;
        for (at, late) in came.into_iter().zip(late) {
            if let Some(reading) = readings.get_mut(at) {
                *reading = late;
            }
        }
        Ok(readings)
    }

    /// Leases, or none where the server refuses to write: a full one still serves what it has.
    async fn lease(
        &self,
        connection: &mut Connection,
        groups: &[(String, Vec<&str>)],
        deadline: Instant,
    ) -> Result<Vec<Vec<Bytes>>, Fault> {
        match connection.lease(groups, deadline).await {
            Err(fault) if fault.kind == ErrorKind::WritesRefused => {
                self.stats.errors.add(1);
                Ok(Vec::new())
            }
            slots => slots,
        }
    }

    /// What `found` is to a reader of `key`.
    fn understand(&self, connection: &Connection, key: &CacheKey, found: Option<Bytes>) -> Reading {
        self.understand_at(|| self.clock.now(), connection, key, found)
    }

    fn understand_at(
        &self,
        now: impl FnOnce() -> Timestamp,
        connection: &Connection,
        key: &CacheKey,
        found: Option<Bytes>,
    ) -> Reading {
        let Some(mut found) = found else { return Reading::Vacant(None) };
        let nonce = envelope::nonce(&found);
        let opened = Header::parse(&found).and_then(|header| {
            // The payload is the rest of what was received, in its place.
            found.advance(HEADER_LENGTH);
            header.open(self.layout.hash(key), found, now)
        });
        let cause = match opened {
            Ok(entry) => return Reading::Hit(entry, nonce.unwrap_or_default()),
            Err(Rejected::Lease { nonce }) => return Reading::Miss(nonce, None),
            Err(Rejected::Expired) => MissCause::Expired,
            Err(Rejected::OtherVersion) => MissCause::ShapeChanged,
            Err(Rejected::Corrupt) if nonce.is_some() => MissCause::Corrupt,
            // Nothing that anybody stored here: if replies were lost or added on the way, another request's answer.
            Err(Rejected::Corrupt | Rejected::OtherKey) => {
                connection.lose_step();
                MissCause::Corrupt
            }
        };
        match nonce {
            Some(nonce) => Reading::Miss(nonce, Some(cause)),
            None => Reading::Vacant(Some(cause)),
        }
    }

    fn counted(&self, key: &CacheKey, reading: Reading) -> (Option<Entry>, Option<u128>) {
        self.stats.looked_up(key.family(), matches!(reading, Reading::Hit(..)));
        self.noted(key, reading)
    }

    fn tallied<'a>(
        &self,
        tally: &mut Tally<'a>,
        key: &'a CacheKey,
        reading: Reading,
    ) -> (Option<Entry>, Option<u128>) {
        tally.looked_up(key.family(), matches!(reading, Reading::Hit(..)));
        self.noted(key, reading)
    }

    fn noted(&self, key: &CacheKey, reading: Reading) -> (Option<Entry>, Option<u128>) {
        let (entry, nonce, cause) = match reading {
            Reading::Hit(entry, nonce) => (Some(entry), Some(nonce), None),
            Reading::Miss(nonce, cause) => (None, Some(nonce), cause),
            Reading::Vacant(cause) => (None, None, cause),
        };
        self.outlook.looked_up(key.group(), entry.is_some());
        if entry.is_none() {
            self.memory.missed(key, cause);
        }
        match cause {
            Some(MissCause::Expired) => self.stats.expirations.add(1),
            Some(MissCause::Corrupt) => self.stats.corrupt.add(1),
            _ => {}
        }
        (entry, nonce)
    }
}

fn answer((entry, nonce): (Option<Entry>, Option<u128>), world: &World) -> Lookup {
    let token = nonce.map_or_else(FillToken::never, |nonce| FillToken::new(world.issuer, nonce));
    Lookup { entry, token, backend: BackendKind::Redis }
}

pub(crate) fn positions<T>(all: &[T], is_wanted: impl Fn(&T) -> bool) -> Vec<usize> {
    all.iter().enumerate().filter(|(_, one)| is_wanted(one)).map(|(at, _)| at).collect()
}

/// The nonce of a lease; `None` where a value begins.
fn leased(slot: &[u8]) -> Option<u128> {
    match envelope::Header::parse(slot) {
        Err(Rejected::Lease { nonce }) => Some(nonce),
        _ => None,
    }
}

/// The family that an invalidation lies in, where it is one.
fn family(what: &Invalidation) -> Option<String> {
    let text = match what {
        Invalidation::Key(key) => return Some(key.family().to_owned()),
        Invalidation::Group(group) => group.as_str(),
        Invalidation::Pattern(pattern) => pattern.group()?,
        Invalidation::Everything => return None,
    };
    CacheKey::parse(text).ok().map(|key| key.family().to_owned())
}
