//! Reads and lookups. A lookup that finds no value takes out a lease, whose nonce is the fill token.

use bytes::{Buf, Bytes};
use cache_core::envelope::{self, HEADER_LENGTH, Header, Rejected};
use cache_core::miss_log::MissLog;
use cache_core::plants::{Plant, is_planted};
use cache_core::{BackendKind, CacheKey, Entry, ErrorKind, FillToken, Lookup, MissCause, Result, Timestamp};
use tokio::time::Instant;

use crate::connection::Connection;
use crate::connection::server_epoch::ServerEpoch;
use crate::engine::RedisEngine;
use crate::error::Fault;
use crate::protocol::commands::Leased;
use crate::protocol::layout::{GroupFields, HashField};
use crate::protocol::slot::Slot;

/// What the field of a key holds for a reader.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    pub(crate) entry: Option<Entry>,
    /// The nonce by which the field can be filled.
    nonce: Option<u128>,
    /// Whether the nonce is that of a lease which an earlier lookup created.
    is_shared: bool,
    /// Why the content of the field is not served, where it has content.
    cause: Option<MissCause>,
}

impl Found {
    fn lookup(self, epoch: &ServerEpoch) -> Lookup {
        let token = self.nonce.map_or_else(FillToken::never, |nonce| FillToken::new(epoch.issuer, nonce));
        let token = if self.is_shared { token.shared() } else { token };
        Lookup { entry: self.entry, token, backend: BackendKind::Redis }
    }
}

impl RedisEngine {
    pub(crate) async fn get(&self, key: &CacheKey) -> Result<Option<Entry>> {
        let slot = self.slot(key.group());
        let zone = slot.zone();
        self.run(slot, 0, |mut connection, deadline| async move {
            let token = self.near.token(key, zone);
            let content = connection.read(&self.layout.field(key), deadline).await?;
            let found = self.interpret(|| self.clock.now(), &connection, key, content);
            self.count([(key, &found)]);
            Ok(self.kept(key, token, found, &connection).entry)
        })
        .await
    }

    pub(crate) async fn lookup(&self, key: &CacheKey) -> Result<Lookup> {
        let slot = self.slot(key.group());
        let zone = slot.zone();
        self.run(slot, 0, |mut connection, deadline| async move {
            let token = self.near.token(key, zone);
            let found = self.find(&mut connection, key, deadline).await?;
            self.count([(key, &found)]);
            Ok(self.kept(key, token, found, &connection))
        })
        .await
    }

    pub(crate) async fn get_many(&self, keys: &[CacheKey]) -> Result<Vec<Option<Entry>>> {
        let slot_of = |at: usize| keys.get(at).map_or(Slot::default(), |key| self.slot(key.group()));
        self.spread(keys.len(), slot_of, async |slot, positions| {
            let keys: Vec<&CacheKey> = positions.iter().filter_map(|at| keys.get(*at)).collect();
            let keys = &keys[..];
            self.run(slot, 0, |mut connection, deadline| async move {
                let tokens = self.tokens(keys);
                let found = self.read_all(&mut connection, keys, deadline).await?;
                self.count(keys.iter().copied().zip(&found));
                let found = self.all_kept(keys, tokens, found, &connection);
                Ok(found.map(|found| found.entry).collect())
            })
            .await
        })
        .await
    }

    pub(crate) async fn lookup_many(&self, keys: &[CacheKey]) -> Result<Vec<Lookup>> {
        let slot_of = |at: usize| keys.get(at).map_or(Slot::default(), |key| self.slot(key.group()));
        self.spread(keys.len(), slot_of, async |slot, positions| {
            let keys: Vec<&CacheKey> = positions.iter().filter_map(|at| keys.get(*at)).collect();
            let keys = &keys[..];
            self.run(slot, 0, |mut connection, deadline| async move {
                let tokens = self.tokens(keys);
                let found = self.find_all(&mut connection, keys, deadline).await?;
                self.count(keys.iter().copied().zip(&found));
                Ok(self.all_kept(keys, tokens, found, &connection).collect())
            })
            .await
        })
        .await
    }

    /// Takes the tokens under which `keys` are about to be read.
    fn tokens(&self, keys: &[&CacheKey]) -> Vec<Option<FillToken>> {
        // Without memory no slot is computed.
        let token = |key: &&CacheKey| self.near.token(key, self.slot(key.group()).zone());
        keys.iter().map(|key| self.near.cache.as_ref().and_then(|_| token(key))).collect()
    }

    /// Keeps what a read under `token` has found in memory, and returns it.
    fn kept(
        &self,
        key: &CacheKey,
        token: Option<FillToken>,
        found: Found,
        connection: &Connection,
    ) -> Lookup {
        let lookup = found.lookup(&connection.epoch);
        let late = is_planted(Plant::NearTokenLate);
        let late = late.then(|| self.near.token(key, self.slot(key.group()).zone()));
        self.near.keep(key, late.unwrap_or(token), &lookup);
        lookup
    }

    /// Keeps what reads under `tokens` have found.
    fn all_kept<'a>(
        &'a self,
        keys: &'a [&CacheKey],
        tokens: Vec<Option<FillToken>>,
        found: Vec<Found>,
        connection: &'a Connection,
    ) -> impl Iterator<Item = Lookup> + 'a {
        let read = keys.iter().zip(tokens).zip(found);
        read.map(|((key, token), found)| self.kept(key, token, found, connection))
    }

    /// Reads `key` without counting it.
    pub(crate) async fn peek(&self, key: &CacheKey) -> Result<Found> {
        self.run(self.slot(key.group()), 0, |mut connection, deadline| async move {
            let at = self.layout.field(key);
            let content = connection.read(&at, deadline).await?;
            Ok(self.interpret(|| self.clock.now(), &connection, key, content))
        })
        .await
    }

    /// Reads `key`, and takes out a lease if its field holds nothing that has a nonce.
    async fn find(
        &self,
        connection: &mut Connection,
        key: &CacheKey,
        deadline: Instant,
    ) -> Result<Found, Fault> {
        let at = self.layout.field(key);
        // Boxed to keep the future of a hit small.
        if self.predictor.expects_miss(key.group()) {
            return Box::pin(async {
                let (content, leased) = connection.read_or_lease(&at, deadline).await?;
                let found = self.interpret(|| self.clock.now(), connection, key, content);
                self.with_lease(connection, key, at, found, leased, deadline).await
            })
            .await;
        }
        let content = connection.read(&at, deadline).await?;
        let found = self.interpret(|| self.clock.now(), connection, key, content);
        if found.nonce.is_some() {
            return Ok(found);
        }
        Box::pin(self.with_lease(connection, key, at, found, None, deadline)).await
    }

    /// Gets a nonce for a miss: creates a lease, uses the one that is there, or reads a value that was stored meanwhile.
    async fn with_lease(
        &self,
        connection: &mut Connection,
        key: &CacheKey,
        at: HashField<'_>,
        found: Found,
        leased: Option<Leased>,
        deadline: Instant,
    ) -> Result<Found, Fault> {
        if found.nonce.is_some() {
            return Ok(found);
        }
        let leased = if leased.is_some() {
            leased
        } else {
            let group = self.layout.by_group(&[key], [0]);
            self.lease(connection, &group, deadline).await?.into_iter().flatten().next()
        };
        Ok(match leased {
            None | Some(Leased::Nothing) => found,
            Some(Leased::Lease { nonce, is_shared }) => Found { nonce: Some(nonce), is_shared, ..found },
            Some(Leased::Value) => {
                let content = connection.read(&at, deadline).await?;
                self.interpret(|| self.clock.now(), connection, key, content)
            }
        })
    }

    async fn read_all(
        &self,
        connection: &mut Connection,
        keys: &[&CacheKey],
        deadline: Instant,
    ) -> Result<Vec<Found>, Fault> {
        let mut all = vec![Found::default(); keys.len()];
        self.read_into(&mut all, connection, keys, 0..keys.len(), deadline).await?;
        Ok(all)
    }

    /// Reads the keys at `positions` into `all`.
    async fn read_into(
        &self,
        all: &mut [Found],
        connection: &mut Connection,
        keys: &[&CacheKey],
        positions: impl IntoIterator<Item = usize>,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let groups = self.layout.by_group(keys, positions);
        if groups.is_empty() {
            return Ok(());
        }
        let contents = connection.read_many(&groups, deadline).await?;
        let now = self.clock.now();
        let positions = groups.iter().flat_map(|group| &group.positions);
        for (&position, content) in positions.zip(contents.into_iter().flatten()) {
            if let (Some(found), Some(key)) = (all.get_mut(position), keys.get(position)) {
                *found = self.interpret(|| now, connection, key, content);
            }
        }
        Ok(())
    }

    /// Reads `keys`, and takes out leases where the fields hold nothing that has a nonce.
    async fn find_all(
        &self,
        connection: &mut Connection,
        keys: &[&CacheKey],
        deadline: Instant,
    ) -> Result<Vec<Found>, Fault> {
        let mut all = self.read_all(connection, keys, deadline).await?;
        let vacant = (0..keys.len()).filter(|at| all.get(*at).is_some_and(|found| found.nonce.is_none()));
        let groups = self.layout.by_group(keys, vacant);
        if groups.is_empty() {
            return Ok(all);
        }
        let leased = self.lease(connection, &groups, deadline).await?;
        let mut came_meanwhile = Vec::new();
        let positions = groups.iter().flat_map(|group| &group.positions);
        for (&position, leased) in positions.zip(leased.into_iter().flatten()) {
            match (leased, all.get_mut(position)) {
                (Leased::Lease { nonce, is_shared }, Some(found)) => {
                    (found.nonce, found.is_shared) = (Some(nonce), is_shared);
                }
                (Leased::Nothing, _) => {}
                _ => came_meanwhile.push(position),
            }
        }
        self.read_into(&mut all, connection, keys, came_meanwhile, deadline).await?;
        Ok(all)
    }

    /// Takes out leases; none where the server refuses to write: a full one still serves what it holds.
    async fn lease(
        &self,
        connection: &mut Connection,
        groups: &[GroupFields<'_>],
        deadline: Instant,
    ) -> Result<Vec<Vec<Leased>>, Fault> {
        match connection.lease(groups, deadline).await {
            Err(fault) if fault.kind == ErrorKind::WritesRefused => {
                self.stats.add(|stats| stats.errors += 1);
                Ok(Vec::new())
            }
            leased => leased,
        }
    }

    /// Decodes the content of the field of `key`.
    fn interpret(
        &self,
        now: impl FnOnce() -> Timestamp,
        connection: &Connection,
        key: &CacheKey,
        content: Option<Bytes>,
    ) -> Found {
        let Some(mut content) = content else { return Found::default() };
        let nonce = envelope::nonce(&content);
        let opened = Header::parse(&content).and_then(|header| {
            // The payload is the rest of the received bytes; it is not copied.
            content.advance(HEADER_LENGTH);
            header.open(self.layout.hash(key), content, now)
        });
        let cause = match opened {
            // An earlier incarnation of the server, or another server, had this value: it may have been removed there. It
            // can be replaced by its nonce.
            Ok(_) if !nonce.is_some_and(|nonce| connection.epoch.has_made(nonce)) => {
                return Found { nonce, ..Found::default() };
            }
            Ok(entry) => return Found { entry: Some(entry), nonce, ..Found::default() },
            Err(Rejected::Lease { nonce }) => {
                return Found { nonce: Some(nonce), is_shared: true, ..Found::default() };
            }
            Err(Rejected::Expired) => MissCause::Expired,
            Err(Rejected::OtherVersion) => MissCause::ShapeChanged,
            Err(Rejected::Corrupt) if nonce.is_some() => MissCause::Corrupt,
            // This cache stores no such bytes here: they may be the reply to another request.
            Err(Rejected::Corrupt | Rejected::OtherKey) => {
                connection.lose_step();
                MissCause::Corrupt
            }
        };
        Found { nonce, cause: Some(cause), ..Found::default() }
    }

    fn count<'a>(&self, lookups: impl IntoIterator<Item = (&'a CacheKey, &'a Found)> + Clone) {
        let families = lookups.clone().into_iter();
        self.stats.looked_up(families.map(|(key, found)| (key.family(), found.entry.is_some())));
        for (key, found) in lookups {
            self.predictor.record(key.group(), found.entry.is_some());
            if found.entry.is_none() {
                self.miss_log.lock().missed(MissLog::hash(key), key, found.cause);
            }
            match found.cause {
                Some(MissCause::Expired) => self.stats.add(|stats| stats.expirations += 1),
                Some(MissCause::Corrupt) => self.stats.add(|stats| stats.corrupt += 1),
                _ => {}
            }
        }
    }
}
