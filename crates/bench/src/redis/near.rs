//! Values in memory in front of Redis: what an invalidation costs while instances keep values, and reads beside those of an
//! instance that keeps none.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use cache_core::{CacheBackend, CacheKey, Invalidation, NearConfig, NearState};
use cache_redis::{RedisBackend, RedisConfig};
use redis::Value;
use testkit::RedisServer;
use tokio::runtime::Runtime;

use super::{PATIENCE, Rig};
use crate::Outcome;
use crate::case::{Pace, Spec, Target, Unit, check, pair, timed_async};
use crate::session::Session;
use crate::tasks::{Figure, in_tasks};
use crate::workload::{Access, Sequence, Values, image_keys};

/// Entries that are read, of which most do not fit into memory.
const KEYS: usize = 100_000;
const BYTES: usize = 1024;
const MEMORY: u64 = 64 << 20;
/// Reads that are drawn ahead for all tasks.
const DRAWN: u64 = 1 << 18;
/// Tasks that read at once.
const TASKS: u64 = 64;

/// How many instances keep values in memory; the microseconds that an invalidation may take, or its ratio to the peer.
const INVALIDATIONS: [(&str, usize, Target); 4] = [
    ("redis invalidation, no instance with memory", 0, Target::Ratio(1.5)),
    ("redis invalidation, 1 instance with memory", 1, Target::Ours(600.0)),
    ("redis invalidation, 2 instances with memory", 2, Target::Ours(600.0)),
    ("redis invalidation, 8 instances with memory", 8, Target::Ours(1000.0)),
];

async fn connect(port: u16, near: Option<NearConfig>) -> Outcome<RedisBackend> {
    let config = RedisConfig::new("127.0.0.1").port(port).timeout(PATIENCE);
    let backend = RedisBackend::connect(near.iter().cloned().fold(config, RedisConfig::near)).await?;
    for _ in 0..1000 {
        let health = backend.health().await;
        if health.near.is_none_or(|near| near.state == NearState::Serving) {
            return Ok(backend);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bail!("values in memory are not served")
}

/// One invalidation of an instance without memory, beside the commands that it sends to the group.
fn invalidation(session: &mut Session, name: &'static str, instances: usize, target: Target) -> Outcome<()> {
    session.doing("starting instances");
    let (runtime, theirs) = (Arc::clone(&session.runtime), Runtime::new()?);
    let server = RedisServer::start()?;
    let port = server.port();
    let others = (0..instances).map(|_| theirs.block_on(connect(port, Some(NearConfig::new(1 << 20)))));
    let others = others.collect::<Outcome<Vec<_>>>()?;
    let cache = runtime.block_on(connect(port, None))?;
    // A server that was up for less than two seconds, or an instance for less than half a second, makes invalidations wait.
    std::thread::sleep(Duration::from_secs(3));
    let client = redis::Client::open(server.url())?;
    let raw = runtime.block_on(client.get_multiplexed_async_connection())?;
    let groups: Vec<_> = image_keys(0, 1000).iter().map(CacheKey::to_group).collect();
    let names: Vec<String> = groups.iter().map(|group| format!("app:{}:@", group.as_str())).collect();
    let mut case = pair(
        |operations| {
            runtime.block_on(timed_async(0..operations, async |number| {
                let group = groups.get(number as usize % groups.len()).context("no group")?;
                let _ = black_box(cache.invalidate(&[Invalidation::Group(group.clone())]).await?);
                Ok(())
            }))
        },
        |operations| {
            runtime.block_on(timed_async(0..operations, async |number| {
                let name = names.get(number as usize % names.len()).context("no group")?;
                let mut commands = redis::pipe();
                commands.cmd("HLEN").arg(name).cmd("UNLINK").arg(name).cmd("ECHO").arg("0123456789abcdef");
                let _: Value = commands.query_async(&mut raw.clone()).await?;
                Ok(())
            }))
        },
    );
    let pace = Pace::FewSlices { most: 1000 };
    session.measure(&Spec::new(name, "HLEN, UNLINK and ECHO", Unit::Micros, pace, target), &mut case)?;
    drop(others);
    Ok(())
}

/// Reads by Zipf's law of an instance with memory, beside one without it.
fn reads(session: &mut Session) -> Outcome<()> {
    session.doing("storing entries");
    let rig = Rig::start(&session.runtime)?;
    let keys = image_keys(0, KEYS);
    session.runtime.block_on(rig.store(&keys, &Values::new(BYTES)))?;
    let port = rig.port;
    let near = Arc::new(session.runtime.block_on(connect(port, Some(NearConfig::new(MEMORY))))?);
    let mut order = Sequence::new(keys, Access::Zipf, 7);
    let order: Arc<[CacheKey]> = order.take(DRAWN).into_iter().cloned().collect();
    let (ours, peer, plain) = (Arc::clone(&order), order, Arc::clone(&rig.cache));
    let key = |keys: &[CacheKey], number: u64| keys.get(number as usize % keys.len()).cloned();
    let mut case = in_tasks(
        &session.runtime,
        TASKS,
        Figure::Throughput,
        move |number| {
            let (near, key) = (Arc::clone(&near), key(&ours, number));
            async move {
                let key = key.context("no key")?;
                let found = match near.at_hand(&key) {
                    Some(found) => found,
                    None => near.lookup(&key).await?,
                };
                check(found.entry.map(|entry| black_box(entry.payload).len()), BYTES)
            }
        },
        move |number| {
            let (plain, key) = (Arc::clone(&plain), key(&peer, number));
            async move {
                let found = plain.lookup(&key.context("no key")?).await?;
                check(found.entry.map(|entry| black_box(entry.payload).len()), BYTES)
            }
        },
    );
    let name = "redis Zipf hits of 100,000 x 1 KB, 64 MB in memory, 64 tasks";
    let spec = Spec::new(name, "without memory", Unit::PerSecond, Pace::FREE, Target::Ratio(3.0));
    session.measure(&spec, &mut case)?;
    Ok(())
}

/// Measures the rows.
pub fn run(session: &mut Session) -> Outcome<()> {
    for (name, instances, target) in INVALIDATIONS {
        invalidation(session, name, instances, target)?;
    }
    reads(session)
}
