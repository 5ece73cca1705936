//! Counts about how many entries an invalidation would remove.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::slice;

use cache_core::envelope::LEASE_LENGTH;
use cache_core::{CachePattern, Invalidation, Result};
use redis::Pipeline;
use tokio::time::Instant;

use crate::connection::Connection;
use crate::engine::RedisEngine;
use crate::error::Fault;
use crate::protocol::layout::Layout;
use crate::protocol::removal::{by_name, group_of};
use crate::protocol::scan::{self, Elsewhere, STEP_TIMEOUT, Scan, Throttle};

impl RedisEngine {
    /// Counts about how many entries `what` matches: a whole group counts with its leases, as when it is removed.
    pub(crate) async fn count_matches(&self, what: &Invalidation) -> Result<u64> {
        if let Some(group) = group_of(what) {
            return self
                .run(self.slot(group), 0, |mut connection, deadline| async move {
                    let mut count = Count::new(&mut connection, &self.layout);
                    count.in_group(group, what, deadline).await
                })
                .await;
        }
        let mut total = 0;
        for pool in self.servers.pools() {
            let deadline = Instant::now() + self.servers.config.timeout;
            let mut connection = match pool.least_used() {
                Some(connection) => connection,
                None => pool.check_out(deadline).await?,
            };
            connection.is_asking = self.servers.is_cluster();
            let counted = Count::new(&mut connection, &self.layout).in_all_groups(what).await;
            total += counted.map_err(|fault| fault.into_error(&pool.address))?;
        }
        Ok(total)
    }
}

/// A count over one connection.
struct Count<'a> {
    connection: &'a mut Connection,
    layout: &'a Layout,
    throttle: Throttle,
    /// Hashes of what was counted: a scan may return a key or a field twice.
    counted: HashSet<u64>,
    hasher: RandomState,
}

impl<'a> Count<'a> {
    fn new(connection: &'a mut Connection, layout: &'a Layout) -> Self {
        Self {
            connection,
            layout,
            throttle: Throttle::start(),
            counted: HashSet::new(),
            hasher: RandomState::new(),
        }
    }

    /// Counts `what`, all of which belongs to `group`.
    async fn in_group(&mut self, group: &str, what: &Invalidation, deadline: Instant) -> Result<u64, Fault> {
        let key = self.layout.group(group);
        match (by_name(what), what) {
            (Some((_, Some(field))), _) => {
                let mut command = Pipeline::new();
                command.cmd("HSTRLEN").arg(&key).arg(field);
                let replies = self.connection.ask_sealed(command, deadline).await?;
                let lengths = scan::counts(self.connection, replies, Elsewhere::Fail)?;
                // A lease is no entry.
                Ok(lengths.into_iter().filter(|length| *length > LEASE_LENGTH as u64).count() as u64)
            }
            (None, Invalidation::Pattern(pattern)) => {
                self.fields(&key, group, pattern, Elsewhere::Fail).await
            }
            (Some((_, None)) | None, _) => self.whole(slice::from_ref(&key), Elsewhere::Fail, deadline).await,
        }
    }

    /// Counts `what` in all groups of this server.
    async fn in_all_groups(&mut self, what: &Invalidation) -> Result<u64, Fault> {
        let glob = match what {
            Invalidation::Pattern(pattern) if pattern.is_glob() => Some(pattern),
            _ => None,
        };
        let mut scan = Scan::keys(self.layout.groups_from(what.literal_prefix()));
        let mut total = 0;
        while let Some(keys) = scan.next_keys(self.connection, &mut self.throttle).await? {
            let mut whole = Vec::new();
            for key in keys {
                let Some(group) = self.layout.parse(&key).filter(|_| self.is_new(&key)) else { continue };
                match glob {
                    Some(pattern) => total += self.fields(&key, group, pattern, Elsewhere::Skip).await?,
                    None if what.matches(group) => whole.push(key),
                    None => {}
                }
            }
            total += self.whole(&whole, Elsewhere::Skip, Instant::now() + STEP_TIMEOUT).await?;
        }
        Ok(total)
    }

    /// Counts the fields of the groups at `keys`.
    async fn whole(
        &mut self,
        keys: &[String],
        elsewhere: Elsewhere,
        deadline: Instant,
    ) -> Result<u64, Fault> {
        if keys.is_empty() {
            return Ok(0);
        }
        let mut commands = Pipeline::with_capacity(keys.len());
        for key in keys {
            commands.cmd("HLEN").arg(key);
        }
        let replies = self.connection.ask_sealed(commands, deadline).await?;
        Ok(scan::counts(self.connection, replies, elsewhere)?.into_iter().sum())
    }

    /// Counts the fields of the group `name`, stored at `key`, that `pattern` matches.
    async fn fields(
        &mut self,
        key: &str,
        name: &str,
        pattern: &CachePattern,
        elsewhere: Elsewhere,
    ) -> Result<u64, Fault> {
        let mut scan = Scan::fields(key.to_owned(), scan::field_pattern(name, pattern), elsewhere);
        let mut total = 0;
        while let Some(fields) = scan.next_fields(self.connection, &mut self.throttle, name, pattern).await? {
            total += fields.iter().filter(|field| self.is_new(&(key, field))).count() as u64;
        }
        Ok(total)
    }

    /// Whether this is counted for the first time.
    fn is_new(&mut self, counted: &impl std::hash::Hash) -> bool {
        self.counted.insert(self.hasher.hash_one(counted))
    }
}
