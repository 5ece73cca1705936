//! Storing: fills by token, and sets.

use cache_core::envelope::{self, Header};
use cache_core::plants::{Plant, is_planted};
use cache_core::{CacheKey, Error, ErrorKind, Fill, FillOutcome, FillToken, NewEntry, Result};
use tokio::time::Instant;

use crate::engine::{Engine, positions};
use crate::error::Fault;
use crate::incarnation::World;
use crate::layout::fresh_nonce;
use crate::manager::Connection;
use crate::store::{Sealed, Store, Stored};

/// How much longer than its entries a group lives: tokens and explanations outlast what they are about.
const GRACE_MILLIS: u64 = 60_000;
/// What lives longer lives for ever: the server refuses numbers that overflow.
const LONGEST_MILLIS: u64 = 100 * 365 * 86_400_000;

impl Engine {
    /// Fills each key by its own token; the outcomes are in the order of `fills`.
    pub(crate) async fn fill(&self, fills: &[Fill]) -> Result<Vec<FillOutcome>> {
        for fill in fills {
            check_size(fill)?;
        }
        let mut tries = self.pool.tries_to_send(bytes_of(fills.iter().map(|fill| &fill.entry)));
        loop {
            let mut connection = tries.next().await?;
            match self.fill_on(&mut connection, fills, tries.deadline).await {
                Ok(outcomes) => return Ok(outcomes),
                // Sent twice, a fill may find its own value: then it is refused, and is stored all the same.
                Err(fault) if tries.again(&fault) => {}
                Err(fault) => return Err(self.failed(fault)),
            }
        }
    }

    pub(crate) async fn set(&self, entries: &[(CacheKey, NewEntry)]) -> Result<()> {
        let mut tries = self.pool.tries_to_send(bytes_of(entries.iter().map(|(_, entry)| entry)));
        loop {
            let mut connection = tries.next().await?;
            match self.set_on(&mut connection, entries, tries.deadline).await {
                Ok(()) => return Ok(()),
                Err(fault) if tries.again(&fault) => {}
                Err(fault) => return Err(self.failed(fault)),
            }
        }
    }

    async fn fill_on(
        &self,
        connection: &mut Connection,
        fills: &[Fill],
        deadline: Instant,
    ) -> Result<Vec<FillOutcome>, Fault> {
        let issuer = Some(connection.world.issuer);
        // A token of another world stands for nothing that this server holds.
        let good: Vec<usize> = positions(fills, |fill| fill.token.issuer() == issuer);
        let stores: Vec<Store> = good
            .iter()
            .filter_map(|at| fills.get(*at))
            .map(|fill| self.store(&connection.world, &fill.key, &fill.entry, fill.token))
            .collect();
        let outcomes = match self.send_fills(connection, &stores, deadline).await {
            // What is under the key is no hash, so it holds no nonce.
            Err(fault) if fault.is_wrong_type() => vec![Stored::Refused; stores.len()],
            outcomes => outcomes?,
        };
        let mut all = vec![Stored::Refused; fills.len()];
        for (at, outcome) in good.iter().zip(outcomes) {
            if let Some(place) = all.get_mut(*at) {
                *place = outcome;
            }
        }
        Ok(fills.iter().zip(all).map(|(fill, outcome)| self.count_fill(fill, outcome)).collect())
    }

    async fn send_fills(
        &self,
        connection: &mut Connection,
        stores: &[Store],
        deadline: Instant,
    ) -> Result<Vec<Stored>, Fault> {
        if stores.is_empty() {
            return Ok(Vec::new());
        }
        if is_planted(Plant::NoRedisFence) {
            connection.set(stores, deadline).await?;
            return Ok(vec![Stored::New; stores.len()]);
        }
        connection.fill(&self.layout, stores, deadline).await
    }

    async fn set_on(
        &self,
        connection: &mut Connection,
        entries: &[(CacheKey, NewEntry)],
        deadline: Instant,
    ) -> Result<(), Fault> {
        if entries.is_empty() {
            return Ok(());
        }
        let nobody = FillToken::never();
        let stores: Vec<Store> =
            entries.iter().map(|(key, entry)| self.store(&connection.world, key, entry, nobody)).collect();
        let replaced = match connection.set(&stores, deadline).await {
            Err(fault) if fault.is_wrong_type() => {
                let groups: Vec<&str> = stores.iter().map(|store| store.group.as_str()).collect();
                connection.unlink(&groups, deadline).await?;
                connection.set(&stores, deadline).await?
            }
            done => done?,
        };
        for (((key, _), store), replaced) in entries.iter().zip(stores).zip(replaced) {
            self.memory.stored(key);
            self.count_stored(key, store.envelope.len(), replaced);
        }
        Ok(())
    }

    fn store(&self, world: &World, key: &CacheKey, entry: &NewEntry, token: FillToken) -> Store {
        let place = self.layout.place(world, key);
        let millis = entry.expires_in.map_or(0, |ttl| {
            let millis = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).saturating_add(GRACE_MILLIS);
            if millis > LONGEST_MILLIS { 0 } else { millis }
        });
        let entry = entry.clone().stored_at(self.clock.now());
        let header = Header::seal(&entry, self.layout.hash(key), fresh_nonce());
        let envelope = Sealed { header, payload: entry.payload };
        let field = place.field.to_owned();
        Store { group: place.group, field, token: token.value(), envelope, millis }
    }

    fn count_fill(&self, fill: &Fill, stored: Stored) -> FillOutcome {
        match stored {
            Stored::Refused => {
                self.stats.fills_refused.add(1);
                self.memory.refused(&fill.key);
                FillOutcome::Refused
            }
            Stored::New | Stored::Over(_) => {
                self.stats.fills.add(1);
                self.memory.stored(&fill.key);
                self.count_stored(&fill.key, envelope::HEADER_LENGTH + fill.entry.payload.len(), stored);
                FillOutcome::Stored
            }
        }
    }

    fn count_stored(&self, key: &CacheKey, bytes: usize, stored: Stored) {
        match stored {
            Stored::Refused => {}
            Stored::New => self.stats.stored(key.family(), bytes as u64, None),
            Stored::Over(replaced) => self.stats.stored(key.family(), bytes as u64, Some(replaced)),
        }
    }
}

fn bytes_of<'a>(entries: impl Iterator<Item = &'a NewEntry>) -> usize {
    entries.map(|entry| entry.payload.len()).sum()
}

fn check_size(fill: &Fill) -> Result<()> {
    let length = fill.entry.payload.len();
    if length <= envelope::LARGEST_PAYLOAD {
        return Ok(());
    }
    let message =
        format!("{} has {length} bytes; the largest value is {} bytes", fill.key, envelope::LARGEST_PAYLOAD);
    Err(Error::new(ErrorKind::TooLarge, message))
}
