//! The vacuum: counts the groups, and removes those of the layout of earlier versions.

use std::collections::BTreeMap;
use std::time::Duration;

use cache_core::{CacheKey, Result};
use redis::{Pipeline, Value};
use tokio::time::{Instant, sleep};

use crate::connection::Connection;
use crate::engine::RedisEngine;
use crate::error::Fault;
use crate::protocol::scan::{self, STEP_TIMEOUT, Scan, Throttle};

/// How often everything is counted again.
const INTERVAL: Duration = Duration::from_secs(10 * 60);
/// The shortest pause between two runs: in heartbeats, and in durations of the last run.
const REST: u32 = 10;

/// The last run.
struct LastVacuum {
    /// How many epochs had been entered.
    switches: u64,
    at: Instant,
    took: Duration,
    /// The highest number of keys that the server reported since.
    most_keys: u64,
}

impl LastVacuum {
    /// Whether the counts of this run do not hold any more in a server that holds `keys` now.
    fn is_outdated(&mut self, switches: u64, keys: u64, have_drifted: bool, heartbeat: Duration) -> bool {
        self.most_keys = self.most_keys.max(keys);
        let age = self.at.elapsed();
        // Another instance has cleared it, or the server has evicted keys.
        let have_shrunk = keys < self.most_keys - self.most_keys / 10;
        let has_rested = age >= REST * self.took.max(heartbeat);
        switches != self.switches || age >= INTERVAL || has_rested && (have_drifted || have_shrunk)
    }
}

impl RedisEngine {
    /// Runs at the start, after each change of servers, every ten minutes, and when the counts have probably drifted.
    pub(super) async fn vacuum_forever(&self, heartbeat: Duration) {
        let mut last: Option<LastVacuum> = None;
        loop {
            let (switches, most_keys) = (self.servers.switches(), self.servers.keys());
            let have_drifted = self.stats.have_drifted();
            let is_due =
                |last: &mut LastVacuum| last.is_outdated(switches, most_keys, have_drifted, heartbeat);
            let began = Instant::now();
            if last.as_mut().is_none_or(is_due) && self.vacuum().await.is_ok() {
                last = Some(LastVacuum { switches, at: Instant::now(), took: began.elapsed(), most_keys });
            }
            sleep(heartbeat).await;
        }
    }

    async fn vacuum(&self) -> Result<()> {
        let mut counted = BTreeMap::new();
        let mut servers = Vec::new();
        // Where one of them is away, the others are not counted in vain.
        for pool in self.servers.pools() {
            let deadline = Instant::now() + self.servers.config.timeout;
            servers.push((pool.check_out(deadline).await?, pool));
        }
        for (mut connection, pool) in servers {
            let vacuumed = self.vacuum_server(&mut connection, &mut counted).await;
            vacuumed.map_err(|fault| fault.into_error(&pool.address))?;
        }
        self.stats.counted(&counted);
        Ok(())
    }

    /// Counts the entries and bytes of one server by family.
    async fn vacuum_server(
        &self,
        connection: &mut Connection,
        counted: &mut BTreeMap<String, (u64, u64)>,
    ) -> Result<(), Fault> {
        let (mut scan, mut throttle) = (Scan::keys(self.layout.groups_of_any_layout()), Throttle::start());
        while let Some(keys) = scan.next_keys(connection, &mut throttle).await? {
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            let old: Vec<&str> = keys.iter().copied().filter(|key| self.layout.is_of_layout_1(key)).collect();
            scan::unlink(connection, &old).await?;
            let (keys, groups): (Vec<&str>, Vec<&str>) =
                keys.iter().filter_map(|key| Some((*key, self.layout.parse(key)?))).unzip();
            for (group, (count, bytes)) in groups.into_iter().zip(measure(connection, &keys).await?) {
                if let Ok(group) = CacheKey::parse(group) {
                    let family = counted.entry(group.family().to_owned()).or_default();
                    family.0 += count;
                    family.1 += bytes;
                }
            }
        }
        Ok(())
    }
}

/// Returns how many fields each group has, and about how many bytes it takes.
async fn measure(connection: &mut Connection, groups: &[&str]) -> Result<Vec<(u64, u64)>, Fault> {
    if groups.is_empty() {
        return Ok(Vec::new());
    }
    let mut commands = Pipeline::with_capacity(2 * groups.len());
    for group in groups {
        commands.cmd("HLEN").arg(group);
        commands.cmd("MEMORY").arg("USAGE").arg(group);
    }
    let replies = connection.ask_all(&commands, Instant::now() + STEP_TIMEOUT).await?;
    let number = |value: Option<&Value>| match value {
        Some(Value::Int(number)) => u64::try_from(*number).unwrap_or(0),
        // The group was removed meanwhile, or this user may not ask: the counts are estimates.
        _ => 0,
    };
    Ok(replies.chunks(2).map(|pair| (number(pair.first()), number(pair.get(1)))).collect())
}
