//! What an entry takes in the server beside a plain string, counted.

use anyhow::Context;
use cache_core::{CacheBackend, CacheKey, NewEntry};
use redis::aio::MultiplexedConnection;

use super::Rig;
use crate::Outcome;
use crate::case::{Target, Unit};
use crate::row::Row;
use crate::session::Session;
use crate::workload::{Values, listing_keys};

const ENTRIES: usize = 20_000;
const BYTES: usize = 200;
const AT_ONCE: usize = 1000;

async fn used(shared: &mut MultiplexedConnection) -> Outcome<f64> {
    let info: String = redis::cmd("INFO").arg("memory").query_async(shared).await?;
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
    Ok(line.context("INFO does not say used_memory")?.parse()?)
}

/// Measures the rows.
pub fn run(session: &mut Session) -> Outcome<()> {
    for (name, group, target) in [
        ("redis memory an entry, 100 a group", 100, 1.05),
        ("redis memory an entry, 10 a group", 10, 1.05),
        ("redis memory an entry, 1 a group", 1, 1.4),
    ] {
        let rig = Rig::start(&session.runtime)?;
        let keys = listing_keys(ENTRIES / group, group)?;
        let values = Values::new(BYTES);
        let mut shared = rig.shared.clone();
        let (ours, peer) = session.runtime.block_on(async {
            // Buffers that grow with the first commands do not count.
            plain(&mut shared, &keys, &values).await?;
            let () = redis::cmd("FLUSHALL").exec_async(&mut shared).await?;
            let empty = used(&mut shared).await?;
            plain(&mut shared, &keys, &values).await?;
            let peer = used(&mut shared).await? - empty;
            let () = redis::cmd("FLUSHALL").exec_async(&mut shared).await?;
            let empty = used(&mut shared).await?;
            for some in keys.chunks(AT_ONCE) {
                let entries = some.iter().enumerate();
                let entries = entries.map(|(at, key)| (key.clone(), NewEntry::new(values.of(at)))).collect();
                rig.cache.set_many(entries).await?;
            }
            Outcome::Ok((used(&mut shared).await? - empty, peer))
        })?;
        let each = |bytes: f64| bytes / ENTRIES as f64;
        let peer = ("string key", each(peer));
        session.keep(Row::beside(name, Unit::BYTES, Target::Ratio(target), each(ours), peer));
    }
    Ok(())
}

async fn plain(shared: &mut MultiplexedConnection, keys: &[CacheKey], values: &Values) -> Outcome<()> {
    for some in keys.chunks(AT_ONCE) {
        let mut commands = redis::pipe();
        for (at, key) in some.iter().enumerate() {
            commands.set(format!("app:{key}"), &values.of(at)[..]).ignore();
        }
        let () = commands.query_async(shared).await?;
    }
    Ok(())
}
