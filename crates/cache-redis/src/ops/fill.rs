//! Fills by token, and sets.

use std::sync::Arc;

use cache_core::envelope::{self, Header};
use cache_core::miss_log::MissLog;
use cache_core::plants::{Plant, is_planted};
use cache_core::{
    CacheKey, Error, ErrorKind, Fill, FillOutcome, FillToken, Invalidation, MissCause, NewEntry, Result,
};
use redis::{Cmd, Pipeline};
use tokio::time::Instant;

use crate::connection::Connection;
use crate::connection::server_epoch::ServerEpoch;
use crate::engine::RedisEngine;
use crate::error::{Fate, Fault};
use crate::protocol::slot::{ALL_ZONES, Slot};
use crate::protocol::write::{Envelope, FieldWrite, Written};

/// How much longer than its entries a group lives, so that tokens and explanations outlast them.
const GRACE_MILLIS: u64 = 60_000;
/// A longer lifetime counts as none: the server refuses numbers that overflow.
const LONGEST_MILLIS: u64 = 100 * 365 * 86_400_000;

impl RedisEngine {
    /// Fills each key by its own token. The outcomes are in the order of `fills`.
    pub(crate) async fn fill(self: &Arc<Self>, fills: &[Fill]) -> Result<Vec<FillOutcome>> {
        fills.iter().try_for_each(check_size)?;
        let slot_of = |at: usize| fills.get(at).map_or(Slot::default(), |fill| self.slot(fill.key.group()));
        let written = self
            .spread(fills.len(), slot_of, async |slot, positions| {
                let fills: Vec<&Fill> = positions.iter().filter_map(|at| fills.get(*at)).collect();
                let (fills, bytes) = (&fills[..], fills.iter().map(|fill| fill.entry.payload.len()).sum());
                // After a retry a fill may find its own value: it is refused then, although it was stored.
                self.run(slot, bytes, |connection, deadline| self.fill_on(connection, fills, deadline)).await
            })
            .await?;
        let replaced =
            fills.iter().zip(&written).filter(|(_, written)| written.is_some_and(|bytes| bytes > 0));
        let refused = fills.iter().zip(&written).filter(|(_, written)| written.is_none());
        // A value in memory with a token that is refused would be refreshed in vain again.
        self.forget(&refused.map(|(fill, _)| Invalidation::Key(fill.key.clone())).collect::<Vec<_>>());
        let replaced: Vec<_> = replaced.map(|(fill, _)| Invalidation::Key(fill.key.clone())).collect();
        self.announce_refreshed(&replaced);
        Ok(fills.iter().zip(written).map(|(fill, written)| self.count_fill(fill, written)).collect())
    }

    pub(crate) async fn set(self: &Arc<Self>, entries: &[(CacheKey, NewEntry)]) -> Result<()> {
        let slot_of = |at: usize| entries.get(at).map_or(Slot::default(), |(key, _)| self.slot(key.group()));
        let set = self.spread(entries.len(), slot_of, async |slot, positions| {
            let entries: Vec<_> = positions.iter().filter_map(|at| entries.get(*at)).collect();
            self.set_in(slot, &entries).await.map(|()| vec![(); positions.len()])
        });
        set.await.map(drop)
    }

    /// Sets values of which one server holds the slots, among them `slot`.
    async fn set_in(self: &Arc<Self>, slot: Slot, entries: &[&(CacheKey, NewEntry)]) -> Result<()> {
        let bytes = entries.iter().map(|(_, entry)| entry.payload.len()).sum();
        // A server that takes over may hold values that are older than these.
        let keys: Vec<_> = entries.iter().map(|(key, _)| Invalidation::Key(key.clone())).collect();
        let set = self.run_recorded(slot, bytes, &keys, async |connection, deadline| {
            match self.set_on(connection, entries, deadline).await {
                // Where they would be stored is not decided yet: older values are removed instead.
                Err(fault) if fault.fate == Fate::Moving => Ok(false),
                set => set.map(|()| true),
            }
        });
        if set.await? {
            return Ok(());
        }
        let removed = self.remove(&keys, ALL_ZONES, &|_, _| {}).await;
        removed.map_err(|unacknowledged| unacknowledged.error)
    }

    async fn fill_on(
        &self,
        mut connection: Connection,
        fills: &[&Fill],
        deadline: Instant,
    ) -> Result<Vec<Written>, Fault> {
        // Tokens of other epochs are refused here: the server cannot tell them apart.
        let issuer = Some(connection.epoch.issuer);
        let valid = fills.iter().enumerate().filter(|(_, fill)| fill.token.issuer() == issuer);
        let writes: Vec<FieldWrite> = valid
            .map(|(position, fill)| {
                self.field_write(&connection.epoch, position, &fill.key, &fill.entry, fill.token)
            })
            .collect();
        let mut outcomes = vec![None; fills.len()];
        if is_planted(Plant::NoRedisFence) && !writes.is_empty() {
            connection.set(&writes, &[], deadline).await?;
            for write in &writes {
                if let Some(outcome) = outcomes.get_mut(write.position) {
                    *outcome = Some(0);
                }
            }
            return Ok(outcomes);
        }
        match connection.fill(&self.layout, &writes, &mut outcomes, deadline).await {
            // A group is no hash, so it holds no nonce: its fills are refused.
            Err(fault) if fault.is_wrong_type() => Ok(outcomes),
            filled => filled.map(|()| outcomes),
        }
    }

    async fn set_on(
        self: &Arc<Self>,
        mut connection: Connection,
        entries: &[&(CacheKey, NewEntry)],
        deadline: Instant,
    ) -> Result<(), Fault> {
        if entries.is_empty() {
            return Ok(());
        }
        let (epoch, no_token) = (&connection.epoch, FillToken::never());
        let write = |(key, entry): &&(CacheKey, NewEntry)| self.field_write(epoch, 0, key, entry, no_token);
        let writes: Vec<FieldWrite> = entries.iter().map(write).collect();
        let keys: Vec<_> = entries.iter().map(|(key, _)| Invalidation::Key(key.clone())).collect();
        let announcements = self.announcements(&keys, true, &connection);
        let last: Vec<&Cmd> = announcements.commands().collect();
        let (replaced, replies) = match connection.set(&writes, &last, deadline).await {
            Err(fault) if fault.is_wrong_type() => {
                let mut unlinks = Pipeline::with_capacity(writes.len());
                for write in &writes {
                    unlinks.cmd("UNLINK").arg(&write.group);
                }
                for reply in connection.ask_all(&unlinks, deadline).await? {
                    connection.succeeded(reply)?;
                }
                connection.set(&writes, &last, deadline).await?
            }
            replaced => replaced?,
        };
        for ((key, entry), replaced) in entries.iter().zip(replaced) {
            self.count_stored(key, entry, replaced);
        }
        self.settle_all(announcements, replies, &connection, deadline).await
    }

    fn field_write(
        &self,
        epoch: &ServerEpoch,
        position: usize,
        key: &CacheKey,
        entry: &NewEntry,
        token: FillToken,
    ) -> FieldWrite {
        let at = self.layout.field(key);
        let millis = entry.expires_in.map_or(0, |ttl| {
            let millis = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).saturating_add(GRACE_MILLIS);
            if millis > LONGEST_MILLIS { 0 } else { millis }
        });
        let entry = entry.clone().stored_at(self.clock.now());
        let header = Header::seal(&entry, self.layout.hash(key), epoch.fresh_nonce());
        let envelope = Envelope { header, payload: entry.payload };
        let field = at.field.to_owned();
        FieldWrite { position, group: at.group, field, token: token.value(), envelope, millis }
    }

    fn count_fill(&self, Fill { key, entry, .. }: &Fill, written: Written) -> FillOutcome {
        let Some(replaced) = written else {
            self.stats.add(|stats| stats.fills_refused += 1);
            self.miss_log.lock().removed(MissLog::hash(key), MissCause::Refused);
            return FillOutcome::Refused;
        };
        self.stats.add(|stats| stats.fills += 1);
        self.count_stored(key, entry, replaced);
        FillOutcome::Stored
    }

    fn count_stored(&self, key: &CacheKey, entry: &NewEntry, replaced: u64) {
        self.miss_log.lock().stored(MissLog::hash(key));
        let bytes = envelope::HEADER_LENGTH + entry.payload.len();
        self.stats.stored(key.family(), bytes as u64, replaced);
    }
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
