//! Opening Redis: what of it may still be read, what it has to hear of first, and what stands in while it is away.

use std::future::ready;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use cache_core::{CacheBackend, Invalidation, NullBackend, Result};
use cache_redis::{ContactRecord, Finding, RedisBackend};

use crate::config::CacheConfig;
use crate::fallback::contact::Contacts;
use crate::fallback::{Connector, FallbackBackend, FirstReturn, Parts, Primary, Standin};
use crate::outage::instance::{self, Instance};
use crate::outage::journal::Journal;
use crate::outage::leftover::{FALLBACK, Leftover};
use crate::outage::lock::{LockFile, Sharing, locked, patiently};
use crate::outage::slots::Owner;
use crate::outage::trust::State;

/// Held while the trust record is read and replaced: several processes on Redis may run in one directory.
const STATE_LOCK: &str = "state.lock";

/// What a disk cache leaves in the directory.
const DISK_FILES: [&str; 2] = ["cache.redb", "cache.redb.bad"];

/// A store over Redis, with what keeps its directory.
pub(super) struct Opened {
    pub(super) backend: Arc<FallbackBackend>,
    pub(super) journal: Arc<Journal>,
    pub(super) lock: Option<LockFile>,
}

/// Opens Redis over `directory`: shares it with other processes on Redis, makes up for those that are gone, and tells
/// Redis what it missed before anything is read from it. Where Redis is away, that is part of its coming back.
///
/// # Errors
/// As for [`connect`](super::connect). That Redis is away is none.
pub(super) async fn open(config: &CacheConfig, directory: &Path) -> Result<Opened> {
    let client = client(config);
    let lock = LockFile::lock_directory(directory, Sharing::Shared).await?;
    // What a cache of this process owes that was dropped a moment ago must be adopted, and not be passed over as alive.
    patiently(|| ready(Ok((!instance::is_held_here(directory)).then_some(())))).await?;
    let own = Instance::claim(directory)?;
    let dead = Instance::of_the_dead(directory)?;
    let own_path = own.path().to_owned();
    let dead_paths: Vec<PathBuf> = dead.iter().map(|instance| instance.path().to_owned()).collect();
    let dead: Vec<_> = dead.into_iter().map(Leftover::read).collect();
    let (db, namespace) = (config.redis().db(), config.namespace().to_owned());
    let owner = Owner::Redis { db, namespace: namespace.clone() };
    let is_distrusted = enter(config, directory).await?;

    let contacts = Contacts::read(directory, own_path.clone(), dead_paths, owner.clone(), config.clock());
    let journal = Arc::new(Journal::open(Leftover::read(own), &owner, directory));
    let owed: Vec<_> = dead.iter().flat_map(|leftover| leftover.owed_to(&owner)).collect();
    journal.owe_for_others(&owed);
    if is_distrusted || config.clear_on_start() {
        journal.owe_for_others(&[Invalidation::Everything]);
    }
    let kept = directory.to_owned();
    let first_return = FirstReturn::new(move || {
        if is_distrusted && let Err(error) = record_cleared(&kept, db, &namespace) {
            cache_core::log::emit(
                || tracing::warn!(%error, "cannot record that Redis was cleared; the next start clears it again"),
            );
        }
        settle(dead, &owner);
    });
    let parts = Parts {
        connector: Arc::new(RedisConnector::new(client, Some(contacts))),
        standin: super::standin(config, &own_path.join(FALLBACK)),
        journal: Arc::clone(&journal),
        clock: config.clock(),
        max_age: config.fallback_max_age(),
        first_return,
    };
    Ok(Opened { backend: Arc::new(FallbackBackend::start(parts).await), journal, lock: Some(lock) })
}

/// Opens Redis without a directory, because none can be used: what Redis misses is lost with this process.
pub(super) async fn open_without_directory(config: &CacheConfig) -> Opened {
    let journal = Arc::new(Journal::in_memory());
    if config.clear_on_start() {
        journal.owe_for_others(&[Invalidation::Everything]);
    }
    let parts = Parts {
        connector: Arc::new(RedisConnector::new(client(config), None)),
        standin: Arc::new(Nothing),
        journal: Arc::clone(&journal),
        clock: config.clock(),
        max_age: config.fallback_max_age(),
        first_return: FirstReturn::new(|| {}),
    };
    Opened { backend: Arc::new(FallbackBackend::start(parts).await), journal, lock: None }
}

/// Reads the trust record and replaces it by what holds from now on; whether Redis has to be cleared before it is read.
async fn enter(config: &CacheConfig, directory: &Path) -> Result<bool> {
    let (db, namespace) = (config.redis().db(), config.namespace());
    let path = directory.join(STATE_LOCK);
    // Several processes on Redis may start at once.
    let alone = patiently(|| ready(LockFile::try_lock(&path, Sharing::Exclusive))).await?;
    let _alone = alone.ok_or_else(|| locked(directory))?;
    let state = State::read(directory);
    let distrust = state.distrust_of_redis(db, namespace);
    if let Some(reason) = distrust {
        cache_core::log::emit(|| tracing::info!(reason, "Redis is cleared before it is read"));
    }
    if let Err(error) = state.enter_redis(directory, db, namespace) {
        if state != State::Missing {
            return Err(error);
        }
        cache_core::log::emit(
            || tracing::warn!(%error, "cannot record which cache is in use; the next run starts empty"),
        );
    }
    for name in DISK_FILES {
        // What a disk cache left may not be read any more, and its space counts.
        let _ = std::fs::remove_file(directory.join(name));
    }
    Ok(distrust.is_some())
}

fn record_cleared(directory: &Path, db: u32, namespace: &str) -> Result<()> {
    let path = directory.join(STATE_LOCK);
    // Held only as long as it takes to write a line.
    for _ in 0..200 {
        if let Some(_alone) = LockFile::try_lock(&path, Sharing::Exclusive)? {
            return State::cleared_redis(directory, db, namespace);
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    Err(locked(directory))
}

/// Erases what processes that are gone owed, now that it was told.
fn settle(dead: Vec<Leftover>, owner: &Owner) {
    for mut leftover in dead {
        if let Err(error) = leftover.erase(owner) {
            cache_core::log::emit(
                || tracing::warn!(%error, "cannot erase a journal; the next start invalidates it again"),
            );
        } else if let Err(error) = leftover.discard() {
            cache_core::log::emit(
                || tracing::warn!(%error, "cannot remove the journal of a process that is gone"),
            );
        }
    }
}

/// The settings as the client takes them: encrypted if they ask for it, and then never plain.
fn client(config: &CacheConfig) -> cache_redis::RedisConfig {
    let redis = config.redis();
    let mut client = cache_redis::RedisConfig::new(redis.host())
        .port(redis.port())
        .db(redis.db())
        .namespace(config.namespace())
        .pool_size(redis.pool_size())
        .timeout(redis.timeout())
        .connect_timeout(redis.connect_timeout())
        .reference_limit_bytes(config.limit_bytes())
        .clock(config.clock());
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
    // Without encryption they are a contradiction, which the client refuses: who names an authority wants to be sure.
    if let Some(path) = redis.ca_file() {
        client = client.ca_file(path);
    }
    if let Some((certificate, key)) = redis.client_certificate() {
        client = client.client_certificate(certificate, key);
    }
    if redis.trust_restart() {
        client = client.trust_restart();
    }
    client
}

/// Walks the way to the Redis that `config` names, step by step, whether it is enabled or not, and says what to do where it
/// ends. Nothing that is cached is changed, and no finding holds a secret.
///
/// # Cost
/// A few connections and round trips; each step takes [`connect_timeout`](crate::RedisConfig::connect_timeout) at most, an
/// instance's start as long again.
pub async fn examine_redis(config: &CacheConfig) -> Vec<(&'static str, Finding)> {
    cache_redis::examine(&client(config)).await
}

/// Reaches Redis by its settings.
#[derive(Debug)]
struct RedisConnector {
    client: cache_redis::RedisConfig,
    contacts: Option<Arc<Contacts>>,
}

impl RedisConnector {
    fn new(client: cache_redis::RedisConfig, contacts: Option<Contacts>) -> Self {
        let contacts = contacts.map(Arc::new);
        let client = match &contacts {
            Some(contacts) => client.contact_record(Arc::clone(contacts) as Arc<dyn ContactRecord>),
            None => client,
        };
        Self { client, contacts }
    }
}

#[async_trait]
impl Connector for RedisConnector {
    async fn connect(&self) -> Result<Arc<dyn Primary>> {
        Ok(Arc::new(RedisBackend::connect(self.client.clone()).await?))
    }

    fn ended(&self) {
        if let Some(contacts) = &self.contacts {
            contacts.ended();
        }
    }
}

#[async_trait]
impl Primary for RedisBackend {
    async fn probe(&self) -> Result<()> {
        Self::probe(self).await
    }
}

/// No store: everything is loaded.
#[derive(Debug)]
pub(super) struct Nothing;

#[async_trait]
impl Standin for Nothing {
    async fn open(&self) -> Arc<dyn CacheBackend> {
        Arc::new(NullBackend::new())
    }

    fn tidy(&self) {}
}
