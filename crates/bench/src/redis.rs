//! The rows of the Redis backend beside raw redis-rs over one shared connection with the same socket settings, and beside
//! bb8-redis as its documentation shows it.

pub mod batches;
pub mod cluster;
pub mod fills;
pub mod hits;
pub mod memory;
pub mod near;
pub mod removals;

use std::sync::Arc;
use std::time::Duration;

use bb8_redis::RedisConnectionManager;
use bb8_redis::bb8::Pool;
use cache_core::{CacheBackend, CacheKey, NewEntry};
use cache_redis::{RedisBackend, RedisConfig};
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo};
use testkit::RedisServer;
use tokio::runtime::Runtime;

use crate::Outcome;
use crate::interleave::Plan;
use crate::session::Session;
use crate::workload::Values;

/// A slice of many tasks: each has to get its turn many times.
const SLICE: Duration = Duration::from_millis(25);
/// How long either side waits for an answer, on a crowded machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server, and three ways to it.
#[derive(Debug)]
pub struct Rig {
    /// Where everything runs.
    pub runtime: Arc<Runtime>,
    /// Ours.
    pub cache: Arc<RedisBackend>,
    /// One connection that all tasks share.
    pub shared: MultiplexedConnection,
    /// A pool as the documentation of bb8-redis shows it.
    pub documented: Pool<RedisConnectionManager>,
    /// Where the server listens.
    pub url: String,
    /// The port of that.
    pub port: u16,
    _server: RedisServer,
}

impl Rig {
    /// A server of its own, empty.
    pub fn start(runtime: &Arc<Runtime>) -> Outcome<Arc<Self>> {
        let server = RedisServer::start()?;
        let (url, port) = (server.url(), server.port());
        let config = RedisConfig::new("127.0.0.1").port(server.port()).timeout(PATIENCE);
        let settings = AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
        runtime.block_on(async {
            let client = redis::Client::open(address(&server)?)?;
            Ok(Arc::new(Self {
                runtime: Arc::clone(runtime),
                cache: Arc::new(RedisBackend::connect(config).await?),
                shared: client.get_multiplexed_async_connection_with_config(&settings).await?,
                documented: Pool::builder().build(RedisConnectionManager::new(address(&server)?)?).await?,
                url,
                port,
                _server: server,
            }))
        })
    }

    /// Stores entries in the cache and as plain strings: the `number`th key gets the `number`th value.
    pub(crate) async fn store(&self, keys: &[CacheKey], values: &Values) -> Outcome<()> {
        for (first, some) in keys.chunks(AT_ONCE).enumerate().map(|(chunk, some)| (chunk * AT_ONCE, some)) {
            let entries = || (first..).zip(some);
            let ours = entries().map(|(number, key)| (key.clone(), NewEntry::new(values.of(number))));
            self.cache.set_many(ours.collect()).await?;
            let mut plain = redis::pipe();
            for (number, key) in entries() {
                plain.set(key.as_str(), &values.of(number)[..]).ignore();
            }
            let () = plain.query_async(&mut self.shared.clone()).await?;
        }
        Ok(())
    }
}

/// Entries that are stored in one go.
const AT_ONCE: usize = 1000;

fn address(server: &RedisServer) -> Outcome<ConnectionInfo> {
    let address = ConnectionAddr::Tcp("127.0.0.1".to_owned(), server.port()).into_connection_info()?;
    Ok(address.set_tcp_settings(TcpSettings::default().set_nodelay(true)))
}

/// Measures every row.
pub fn run(session: &mut Session) -> Outcome<()> {
    // What is not on this machine is said and left out.
    if let Err(why) = RedisServer::start() {
        session.leave_out("Redis", &why.to_string());
        return Ok(());
    }
    let rows = [hits::run, fills::run, batches::run, removals::run, memory::run, near::run, cluster::run];
    of_tasks(session, |session| rows.iter().try_for_each(|run| run(session)))
}

/// Runs what has many tasks: fewer and longer slices.
pub fn of_tasks(session: &mut Session, run: impl FnOnce(&mut Session) -> Outcome<()>) -> Outcome<()> {
    let plan = session.plan;
    session.plan = Plan { slice: SLICE, slices: plan.slices.div_ceil(15), ..plan };
    let done = run(session);
    session.plan = plan;
    done
}
