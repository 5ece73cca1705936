//! A cluster of three masters beside redis-rs' own cluster client: hits, and many keys in one call.

use std::hint::black_box;
use std::sync::Arc;

use anyhow::{Context, ensure};
use cache_core::{CacheBackend, CacheKey, NewEntry};
use cache_redis::{RedisBackend, RedisConfig};
use futures_util::future::try_join_all;
use redis::AsyncCommands;
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::io::tcp::TcpSettings;
use testkit::RedisCluster;
use tokio::runtime::Runtime;

use super::PATIENCE;
use super::hits::{KEYS, key};
use crate::Outcome;
use crate::case::{Case, Pace, Spec, Target, Unit, check, pair, timed_async};
use crate::session::Session;
use crate::tasks::{Figure, in_tasks};
use crate::workload::{Values, image_keys};

/// Keys of one call, each in a group of its own.
const AT_ONCE: usize = 100;

const HITS: [(&str, usize, u64); 8] = [
    ("redis cluster hit 1 KB, 1 task", 1024, 1),
    ("redis cluster hit 1 KB, 16 tasks", 1024, 16),
    ("redis cluster hit 1 KB, 64 tasks", 1024, 64),
    ("redis cluster hit 1 KB, 256 tasks", 1024, 256),
    ("redis cluster hit 50 KB, 1 task", 51_200, 1),
    ("redis cluster hit 50 KB, 16 tasks", 51_200, 16),
    ("redis cluster hit 50 KB, 64 tasks", 51_200, 64),
    ("redis cluster hit 50 KB, 256 tasks", 51_200, 256),
];

/// A cluster, and two ways to it.
struct Rig {
    runtime: Arc<Runtime>,
    cache: Arc<RedisBackend>,
    client: ClusterConnection,
    _cluster: RedisCluster,
}

impl Rig {
    fn start(runtime: &Arc<Runtime>) -> Outcome<Arc<Self>> {
        let cluster = RedisCluster::start_with(3, 0, &[])?;
        let config = RedisConfig::new("127.0.0.1").port(cluster.node(0).port()).timeout(PATIENCE);
        let client = ClusterClientBuilder::new(vec![cluster.node(0).url()])
            .response_timeout(PATIENCE)
            .tcp_settings(TcpSettings::default().set_nodelay(true))
            .build()?;
        runtime.block_on(async {
            Ok(Arc::new(Self {
                runtime: Arc::clone(runtime),
                cache: Arc::new(RedisBackend::connect(config).await?),
                client: client.get_async_connection().await?,
                _cluster: cluster,
            }))
        })
    }

    /// Stores entries in the cache and as plain strings.
    async fn store(&self, keys: &[CacheKey], bytes: usize) -> Outcome<()> {
        let (values, mut client) = (Values::new(bytes), self.client.clone());
        for (number, key) in keys.iter().enumerate() {
            self.cache.set(key, NewEntry::new(values.of(number))).await?;
            let () = client.set(key.as_str(), &values.of(number)[..]).await?;
        }
        Ok(())
    }
}

fn hits(rig: &Arc<Rig>, keys: &Arc<[CacheKey]>, bytes: usize, tasks: u64) -> impl Case + use<> {
    let (cache, client) = (Arc::clone(&rig.cache), rig.client.clone());
    let (ours, peer) = (Arc::clone(keys), Arc::clone(keys));
    in_tasks(
        &rig.runtime,
        tasks,
        Figure::Throughput,
        move |number| {
            let (cache, key) = (Arc::clone(&cache), key(&ours, number));
            async move {
                let entry = cache.lookup(&key).await?.entry.context("a hit is not there")?;
                check(Some(black_box(entry.payload).len()), bytes)
            }
        },
        move |number| {
            let (mut client, key) = (client.clone(), key(&peer, number));
            async move {
                let found: Vec<u8> = client.get(key.as_str()).await?;
                check(Some(black_box(found).len()), bytes)
            }
        },
    )
}

/// `get_many` beside one `GET` for each key, all at once: redis-rs refuses a pipeline of several slots.
fn many(rig: &Arc<Rig>, keys: &Arc<[CacheKey]>) -> impl Case + use<> {
    let (ours, peer) = (Arc::clone(rig), Arc::clone(rig));
    let of_ours: Vec<CacheKey> = keys.iter().take(AT_ONCE).cloned().collect();
    let of_peer = of_ours.clone();
    pair(
        move |operations| {
            ours.runtime.block_on(timed_async(0..operations, async |_| {
                let found = black_box(ours.cache.get_many(&of_ours).await?);
                ensure!(found.iter().all(Option::is_some), "a hit is not there");
                Ok(())
            }))
        },
        move |operations| {
            peer.runtime.block_on(timed_async(0..operations, async |_| {
                let gets = of_peer.iter().map(|key| {
                    let mut client = peer.client.clone();
                    async move { client.get::<_, Vec<u8>>(key.as_str()).await }
                });
                black_box(try_join_all(gets).await?);
                Ok(())
            }))
        },
    )
}

/// Measures the rows.
pub fn run(session: &mut Session) -> Outcome<()> {
    let rig = Rig::start(&session.runtime)?;
    let keys: Arc<[CacheKey]> = image_keys(0, KEYS).into();
    let mut stored = 0;
    for (name, bytes, tasks) in HITS {
        if stored != bytes {
            session.runtime.block_on(rig.store(&keys, bytes))?;
            stored = bytes;
        }
        let spec = Spec::new(name, "redis-rs cluster", Unit::PerSecond, Pace::FREE, Target::Ratio(1.0));
        session.measure(&spec, &mut hits(&rig, &keys, bytes, tasks))?;
    }
    session.runtime.block_on(rig.store(&keys, 1 << 10))?;
    let (name, pace) = ("redis cluster get_many of 100 groups", Pace::Slices { most: 4096 });
    let spec =
        Spec::new(name, "redis-rs cluster, 100 gets at once", Unit::PerSecond, pace, Target::Ratio(1.5));
    session.measure(&spec, &mut many(&rig, &keys))?;
    Ok(())
}
