//! Opens Redis: decides whether its values may still be read, which invalidations it has to apply before, and which fallback
//! is used while it is away.

use std::future::ready;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use cache_core::{Error, Invalidated, Invalidation, Result};
use cache_redis::{Diagnosis, LastServerRecord, RedisBackend};

use super::OpenStore;
use super::last_server::LastServer;
use crate::config::{CacheConfig, RedisMode};
use crate::durability::directory::{HeldDirectory, Suspend, locked};
use crate::durability::instance;
use crate::durability::journal::Journal;
use crate::durability::journal::format::Target;
use crate::durability::journal::orphan_journal::OrphanJournal;
use crate::durability::last_run::{LastRun, UsedStore};
use crate::durability::lock::{LockFile, Sharing, retry, retry_blocking};
use crate::durability::zones::{Zone, ZoneSet};
use crate::fallback::{
    Connector, FallbackBackend, NoFallback, OnRecovery, OpenFallback, Parts, Primary, Unacknowledged,
};
use crate::rt;

/// Locked while the record of the last run is read and replaced: several processes on Redis may share a directory.
pub(super) const STATE_LOCK: &str = "state.lock";

/// How long a recovery waits for that lock: other processes hold it while they write a line.
const STATE_LOCK_TIMEOUT: Duration = Duration::from_millis(200);

/// How long a new instance waits to learn whether Redis is in use.
const IN_USE_TIMEOUT: Duration = Duration::from_secs(1);

/// The files of a disk cache.
const DISK_FILES: [&str; 2] = ["cache.redb", "cache.redb.bad"];

/// Opens Redis over the directory `path`, which other processes on Redis may share. Adopts the journals of dead processes, and
/// has Redis apply what it missed before it is read. If Redis is away, that is part of its recovery.
///
/// # Errors
/// As for [`open`](super::open). That Redis is away is no error.
pub(super) async fn open(config: &CacheConfig, path: &Path) -> Result<OpenStore> {
    let directory = HeldDirectory::take(path, Sharing::Shared).await?;
    // Waits for a cache of this process that was just dropped: its journal must be adopted, not taken for a live one.
    retry(|| ready(Ok((!instance::is_held_here(path)).then_some(())))).await?;
    let own = instance::claim(path, Some)?;
    let dead = instance::claim_dead(path)?;
    let dead_paths = dead.iter().map(|instance| instance.directory().to_owned()).collect();
    let orphans: Vec<_> = dead.into_iter().map(OrphanJournal::read).collect();
    let (db, namespace) = (config.redis().db(), config.namespace().to_owned());
    let target = Target::Redis { db, namespace: namespace.clone() };
    let store = UsedStore::Redis { db, namespace };
    let (is_new, is_distrusted) = enter(config, path, &store).await?;

    let last_server = Arc::new(LastServer::read(&directory, dead_paths, target.clone(), config.clock()));
    let journal = Arc::new(Journal::open(OrphanJournal::read(own), &target, &directory)?);
    for orphan in &orphans {
        journal.append_recorded(&orphan.pending_for(&target));
    }
    if is_distrusted {
        journal.append_recorded(&[Invalidation::Everything]);
    }
    let (recorded, redis) = (path.to_owned(), store.clone());
    let on_recovery = Box::new(move || {
        if is_distrusted {
            record_cleared(&recorded, &redis);
        }
        OrphanJournal::settle(orphans, &target);
    });
    let connector = Arc::new(RedisConnector::new(config, Some(Arc::clone(&last_server))));
    let fallback = super::fallback_of(config, &directory);
    let backend = start(config, Arc::clone(&connector), fallback, &journal, on_recovery).await;
    if is_new && !is_distrusted && connector.is_in_use().await {
        cache_core::log::warn!(
            directory = %path.display(),
            advice = "keep CACHE_DIR from one run to the next, or set CACHE_CLEAR_WITHOUT_RECORD=true",
            "Redis is in use, and CACHE_DIR holds no record: invalidations that an earlier run had not sent are lost"
        );
    }
    let path = path.to_owned();
    journal.suspends(Cleared { backend: Arc::downgrade(&backend), last_server, path, store });
    Ok(OpenStore::new(config, Arc::clone(&backend) as _, Some(backend), journal))
}

/// Opens Redis without a directory, because none can be used: invalidations that Redis misses are lost with this process.
pub(super) async fn open_without_directory(config: &CacheConfig) -> OpenStore {
    let journal = Arc::new(Journal::in_memory());
    let connector = Arc::new(RedisConnector::new(config, None));
    let backend = start(config, connector, Arc::new(NoFallback), &journal, Box::new(|| {})).await;
    OpenStore::new(config, Arc::clone(&backend) as _, Some(backend), journal)
}

async fn start(
    config: &CacheConfig,
    connector: Arc<RedisConnector>,
    fallback: Arc<dyn OpenFallback>,
    journal: &Arc<Journal>,
    on_recovery: OnRecovery,
) -> Arc<FallbackBackend> {
    if config.clear_on_start() {
        journal.append_recorded(&[Invalidation::Everything]);
    }
    let (journal, clock, max_age) = (Arc::clone(journal), config.clock(), config.fallback_max_age());
    let parts = Parts { connector, fallback, journal, clock, max_age, on_recovery };
    Arc::new(FallbackBackend::start(parts).await)
}

/// Has Redis cleared after the cache directory was lost: invalidations may have been lost with it.
#[derive(Debug)]
struct Cleared {
    backend: Weak<FallbackBackend>,
    last_server: Arc<LastServer>,
    path: PathBuf,
    store: UsedStore,
}

impl Suspend for Cleared {
    /// Does nothing: this process's changes still go to Redis, so that values read there are no older.
    fn suspend(&self, _cause: &Error) {}

    /// Has Redis cleared at the next contact, which is at once.
    fn resume(&self) -> Result<()> {
        if let Some(backend) = self.backend.upgrade() {
            self.last_server.moved();
            let (path, store) = (self.path.clone(), self.store.clone());
            backend.start_over(Box::new(move || record_cleared(&path, &store)));
        }
        Ok(())
    }
}

/// Reads the record of the last run and replaces it by this run's: `store`, or none while that has to be cleared. Returns
/// whether there was no record, and whether Redis has to be cleared before it is read.
async fn enter(config: &CacheConfig, path: &Path, store: &UsedStore) -> Result<(bool, bool)> {
    let (db, namespace, lock) = (config.redis().db(), config.namespace(), path.join(STATE_LOCK));
    let locking = retry(|| ready(LockFile::try_lock(&lock, Sharing::Exclusive)));
    let _lock = locking.await?.ok_or_else(|| locked(path))?;
    let last_run = LastRun::read(path);
    let is_new = last_run == LastRun::Missing;
    let unknown = (is_new && config.clear_without_record()).then_some("there is no record of the last run");
    let distrust = last_run.distrust_of_redis(db, namespace).or(unknown);
    if let Some(reason) = distrust {
        cache_core::log::info!(reason, "Redis is cleared before it is read");
    }
    let none = UsedStore::none(namespace);
    let recorded = last_run.record(path, if distrust.is_some() { &none } else { store });
    // A directory without a record can do without one: the next run is new, too.
    if !is_new {
        recorded?;
    }
    for name in DISK_FILES {
        // A disk cache left there must not be read any more, and its space counts.
        let _ = std::fs::remove_file(path.join(name));
    }
    Ok((is_new, distrust.is_some()))
}

/// Records that Redis was cleared, and is up to date from now on.
fn record_cleared(path: &Path, store: &UsedStore) {
    let lock = path.join(STATE_LOCK);
    let locking = retry_blocking(STATE_LOCK_TIMEOUT, || LockFile::try_lock(&lock, Sharing::Exclusive));
    let locking = locking.and_then(|lock| lock.ok_or_else(|| locked(path)));
    if let Err(error) = locking.and_then(|_lock| store.write(path)) {
        cache_core::log::warn!(
            %error, "cannot record that Redis was cleared; the next start clears it again"
        );
    }
}

/// Returns the settings of the client. A client with encryption never connects without it.
fn client_settings(config: &CacheConfig) -> cache_redis::RedisConfig {
    let redis = config.redis();
    let mut client = cache_redis::RedisConfig::new(redis.host())
        .port(redis.port())
        .db(redis.db())
        .namespace(config.namespace())
        .pool_size(redis.pool_size())
        .timeout(redis.timeout())
        .connect_timeout(redis.connect_timeout())
        .nodes(redis.nodes().iter().cloned())
        .node_map(redis.node_map().iter().cloned())
        .reference_limit_bytes(config.limit_bytes())
        .clock(config.clock())
        .mode(match redis.mode() {
            RedisMode::Single => cache_redis::RedisMode::Single,
            RedisMode::Cluster => cache_redis::RedisMode::Cluster,
            _ => cache_redis::RedisMode::Auto,
        });
    if let Some(name) = redis.tls_name() {
        client = client.tls_name(name);
    }
    if !redis.sentinels().is_empty() {
        client = client.sentinels(redis.sentinels().iter().cloned());
        if let Some(master) = redis.sentinel_master() {
            client = client.sentinel_master(master);
        }
        if let Some((username, password)) = redis.sentinel_login() {
            client = client.sentinel_login(username.map(str::to_owned), password.expose());
        }
    }
    if let Some(username) = redis.username() {
        client = client.username(username);
    }
    if let Some(password) = redis.password() {
        client = client.password(password.expose());
    }
    if let Some(path) = redis.username_file() {
        client = client.username_file(path);
    }
    if let Some(path) = redis.password_file() {
        client = client.password_file(path);
    }
    if let Some(provider) = redis.credentials() {
        client = client.credentials(provider.clone());
    }
    if redis.encrypted() {
        client = client.tls();
    }
    // Without encryption the client refuses them: a configuration that names an authority relies on it.
    if let Some(path) = redis.ca_file() {
        client = client.ca_file(path);
    }
    if let Some((certificate, key)) = redis.client_certificate() {
        client = client.client_certificate(certificate, key);
    }
    if redis.trust_restart() {
        client = client.trust_restart();
    }
    if let Some(near) = config.near() {
        client = client.near(near);
    }
    client
}

/// Checks the way to the Redis that `config` names, step by step, whether it is enabled or not, and says what to do where a step
/// fails. Changes no cached value, and reports no secret.
///
/// # Cost
/// A few connections and round trips; each step takes at most [`connect_timeout`](crate::RedisConfig::connect_timeout), the
/// start of an instance as long again.
pub(crate) async fn diagnose_redis(config: &CacheConfig) -> Vec<(&'static str, Diagnosis)> {
    cache_redis::diagnose(&client_settings(config)).await
}

/// Connects to the Redis of a configuration.
#[derive(Debug)]
struct RedisConnector {
    settings: cache_redis::RedisConfig,
    last_server: Option<Arc<LastServer>>,
    connected: OnceLock<Arc<RedisBackend>>,
}

impl RedisConnector {
    fn new(config: &CacheConfig, last_server: Option<Arc<LastServer>>) -> Self {
        let mut settings = client_settings(config);
        if let Some(last_server) = &last_server {
            settings = settings.last_server_record(Arc::clone(last_server) as Arc<dyn LastServerRecord>);
        }
        Self { settings, last_server, connected: OnceLock::new() }
    }

    /// Whether Redis answers in time that it holds values.
    async fn is_in_use(&self) -> bool {
        let Some(redis) = self.connected.get() else { return false };
        let asked = rt::before(rt::now() + IN_USE_TIMEOUT, redis.is_in_use()).await;
        matches!(asked, Some(Ok(true)))
    }
}

#[async_trait]
impl Connector for RedisConnector {
    async fn connect(&self) -> Result<Arc<dyn Primary>> {
        let redis = Arc::new(RedisBackend::connect(self.settings.clone()).await?);
        let _ = self.connected.set(Arc::clone(&redis));
        Ok(redis)
    }

    fn ended(&self) {
        if let Some(last_server) = &self.last_server {
            last_server.ended();
        }
    }
}

#[async_trait]
impl Primary for RedisBackend {
    fn zone_of(&self, group: &str) -> Zone {
        Zone::new(Self::zone_of(self, group))
    }

    fn zones(&self) -> ZoneSet {
        ZoneSet::from_bits(Self::zones(self))
    }

    fn away(&self) -> ZoneSet {
        ZoneSet::from_bits(self.zones_away())
    }

    fn nodes(&self) -> Vec<(String, bool)> {
        Self::nodes(self)
    }

    async fn probe(&self, zones: ZoneSet) -> Result<ZoneSet> {
        self.probe_zones(zones.bits()).await.map(ZoneSet::from_bits)
    }

    async fn invalidate_in(
        &self,
        zones: ZoneSet,
        what: &[Invalidation],
    ) -> Result<Invalidated, Unacknowledged> {
        let invalidated = Self::invalidate_in(self, zones.bits(), what).await;
        invalidated.map_err(|cache_redis::Unacknowledged { zones, error }| Unacknowledged {
            zones: ZoneSet::from_bits(zones),
            error,
        })
    }
}
