//! Measures a hit and a fill beside a plain `HGET` over one shared connection, in one run. Needs a redis-server.
//!
//! `cargo run --release -p cache-redis --example hit_cost`

use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_core::{CacheBackend, CacheKey, NewEntry};
use cache_redis::{RedisBackend, RedisConfig};
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{ConnectionAddr, IntoConnectionInfo};
use testkit::RedisServer;

const ROUNDS: usize = 5;
const LASTS: Duration = Duration::from_millis(700);

/// Runs `operation` in `tasks` tasks and returns the operations a second.
async fn rate<F: Future<Output = ()> + Send>(
    tasks: usize,
    operation: impl Fn() -> F + Send + Sync + 'static,
) -> f64 {
    let (operation, ends) = (Arc::new(operation), Instant::now() + LASTS);
    let mut running = Vec::new();
    for _ in 0..tasks {
        let operation = Arc::clone(&operation);
        running.push(tokio::spawn(async move {
            let mut done = 0_u64;
            while Instant::now() < ends {
                operation().await;
                done += 1;
            }
            done
        }));
    }
    let mut done = 0;
    for task in running {
        done += task.await.unwrap_or_default();
    }
    done as f64 / LASTS.as_secs_f64()
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or_default()
}

async fn raw(server: &RedisServer) -> Result<MultiplexedConnection, Box<dyn std::error::Error>> {
    let info = ConnectionAddr::Tcp("127.0.0.1".to_owned(), server.port())
        .into_connection_info()?
        .set_tcp_settings(TcpSettings::default().set_nodelay(true));
    Ok(redis::Client::open(info)?.get_multiplexed_async_connection().await?)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = RedisServer::start()?;
    let config = RedisConfig::new("127.0.0.1").port(server.port()).timeout(Duration::from_secs(5));
    let cache = Arc::new(RedisBackend::connect(config).await?);
    let shared = raw(&server).await?;
    println!(
        "size      tasks   raw HGET/s      get x   lookup x     fill x   (medians of {ROUNDS} interleaved rounds)"
    );
    for size in [1 << 10, 50 << 10] {
        let key = CacheKey::builder("image", size).part("metadata").build()?;
        let token = cache.lookup(&key).await?.token;
        let _ = cache.fill(&key, token, NewEntry::new(vec![7; size])).await?;
        let group: Vec<String> = redis::cmd("KEYS").arg("app:*").query_async(&mut shared.clone()).await?;
        let group = group.into_iter().find(|group| group.contains(&format!(":{size}:"))).unwrap_or_default();
        for tasks in [1, 16, 64, 256] {
            let (mut plain, mut get, mut lookup, mut fill) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                let (connection, group) = (shared.clone(), group.clone());
                plain.push(
                    rate(tasks, move || {
                        let (mut connection, group) = (connection.clone(), group.clone());
                        async move {
                            let mut command = redis::cmd("HGET");
                            command.arg(&group).arg("metadata");
                            let found: redis::RedisResult<Vec<u8>> =
                                command.query_async(&mut connection).await;
                            assert!(found.is_ok_and(|found| found.len() > size));
                        }
                    })
                    .await,
                );
                let (cache_, key_) = (Arc::clone(&cache), key.clone());
                get.push(
                    rate(tasks, move || {
                        let (cache, key) = (Arc::clone(&cache_), key_.clone());
                        async move { assert!(cache.get(&key).await.is_ok_and(|entry| entry.is_some())) }
                    })
                    .await,
                );
                let (cache_, key_) = (Arc::clone(&cache), key.clone());
                lookup.push(
                    rate(tasks, move || {
                        let (cache, key) = (Arc::clone(&cache_), key_.clone());
                        async move { assert!(cache.lookup(&key).await.is_ok_and(|found| found.entry.is_some())) }
                    })
                    .await,
                );
                // The token of a hit is valid until an invalidation: each fill stores the value again.
                let token = cache.lookup(&key).await?.token;
                let (cache_, key_) = (Arc::clone(&cache), key.clone());
                let entry = NewEntry::new(vec![7; size]);
                fill.push(
                    rate(tasks, move || {
                        let (cache, key, entry) = (Arc::clone(&cache_), key_.clone(), entry.clone());
                        async move { assert!(cache.fill(&key, token, entry).await.is_ok()) }
                    })
                    .await,
                );
            }
            let plain = median(plain);
            let [get, lookup, fill] = [get, lookup, fill].map(|rates| median(rates) / plain);
            println!("{size:>6} {tasks:>8} {plain:>12.0} {get:>10.2} {lookup:>10.2} {fill:>10.3}");
        }
    }
    Ok(())
}
