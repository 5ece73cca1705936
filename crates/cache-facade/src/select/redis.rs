//! Opening Redis: what of it may still be read, what it has to hear of first, and what stands in while it is away.

use std::future::ready;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use cache_core::{CacheBackend, Error, Invalidation, NullBackend, Result};
use cache_redis::{ContactRecord, Finding, RedisBackend};

use crate::config::CacheConfig;
use crate::fallback::contact::Contacts;
use crate::fallback::{Connector, FallbackBackend, FirstReturn, Parts, Primary, Standin};
use crate::outage::hold::{Hold, Tenant};
use crate::outage::instance::{self, Instance};
use crate::outage::journal::Journal;
use crate::outage::leftover::Leftover;
use crate::outage::lock::{LockFile, Sharing, locked, patiently};
use crate::outage::slots::Owner;
use crate::outage::trust::{self, State};

/// Held while the trust record is read and replaced: several processes on Redis may run in one directory.
const STATE_LOCK: &str = "state.lock";

/// How long a new instance waits at most to learn whether others have used Redis before.
const IN_USE_TIMEOUT: Duration = Duration::from_secs(1);

/// What a disk cache leaves in the directory.
const DISK_FILES: [&str; 2] = ["cache.redb", "cache.redb.bad"];

/// A store over Redis, with what keeps its directory.
pub(super) struct Opened {
    pub(super) backend: Arc<FallbackBackend>,
    pub(super) journal: Arc<Journal>,
}

/// Opens Redis over `directory`: shares it with other processes on Redis, makes up for those that are gone, and tells
/// Redis what it missed before anything is read from it. Where Redis is away, that is part of its coming back.
///
/// # Errors
/// As for [`connect`](super::connect). That Redis is away is none.
pub(super) async fn open(config: &CacheConfig, directory: &Path) -> Result<Opened> {
    let client = client(config);
    let hold = Hold::take(directory, Sharing::Shared).await?;
    // What a cache of this process owes that was dropped a moment ago must be adopted, and not be passed over as alive.
    patiently(|| ready(Ok((!instance::is_held_here(directory)).then_some(())))).await?;
    let own = Instance::claim(directory)?;
    let dead = Instance::of_the_dead(directory)?;
    let dead_paths: Vec<PathBuf> = dead.iter().map(|instance| instance.path().to_owned()).collect();
    let dead: Vec<_> = dead.into_iter().map(Leftover::read).collect();
    let (db, namespace) = (config.redis().db(), config.namespace().to_owned());
    let owner = Owner::Redis { db, namespace: namespace.clone() };
    let Entered { is_new, is_distrusted } = enter(config, directory).await?;

    let contacts = Contacts::read(directory, &hold, dead_paths, owner.clone(), config.clock());
    let contacts = Arc::new(contacts);
    let journal = Arc::new(Journal::open(Leftover::read(own), &owner, &hold)?);
    let owed: Vec<_> = dead.iter().flat_map(|leftover| leftover.owed_to(&owner)).collect();
    journal.owe_for_others(&owed);
    if is_distrusted || config.clear_on_start() {
        journal.owe_for_others(&[Invalidation::Everything]);
    }
    let record = Record { directory: directory.to_owned(), db, namespace };
    let recorded = record.clone();
    let first_return = FirstReturn::new(move || {
        if is_distrusted {
            recorded.cleared();
        }
        settle(dead, &owner);
    });
    let parts = Parts {
        connector: Arc::new(RedisConnector::new(client, Some(Arc::clone(&contacts)))),
        standin: super::standin(config, &hold),
        journal: Arc::clone(&journal),
        clock: config.clock(),
        max_age: config.fallback_max_age(),
        first_return,
    };
    let backend = Arc::new(FallbackBackend::start(parts).await);
    if is_new && !is_distrusted && backend.is_primary_in_use(IN_USE_TIMEOUT).await {
        cache_core::log::emit(|| {
            tracing::warn!(
                directory = %directory.display(),
                advice = "keep CACHE_DIR from one run to the next, or set CACHE_CLEAR_WITHOUT_RECORD=true",
                "Redis is in use, and CACHE_DIR holds no record: what an earlier run had not told Redis is lost"
            );
        });
    }
    let told = Arc::downgrade(&journal);
    journal.tell(Redis { backend: Arc::downgrade(&backend), journal: told, contacts, record });
    Ok(Opened { backend, journal })
}

/// Redis as what goes by the cache directory: what it was not told may have been lost with it.
#[derive(Debug)]
struct Redis {
    backend: Weak<FallbackBackend>,
    journal: Weak<Journal>,
    contacts: Arc<Contacts>,
    record: Record,
}

impl Tenant for Redis {
    /// What this process changes goes to Redis as before, so that what is read there is no older than that.
    fn suspend(&self, _cause: &Error) {}

    /// Has Redis cleared at the next contact, which is at once, for what others may have noted in the lost directory.
    fn resume(&self) -> Result<()> {
        if let (Some(backend), Some(journal)) = (self.backend.upgrade(), self.journal.upgrade()) {
            self.contacts.moved();
            journal.owe_for_others(&[Invalidation::Everything]);
            let record = self.record.clone();
            backend.come_back_anew(move || record.cleared());
        }
        Ok(())
    }
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
    Opened { backend: Arc::new(FallbackBackend::start(parts).await), journal }
}

/// What is known of the last run.
struct Entered {
    /// Nothing.
    is_new: bool,
    /// Redis has to be cleared before it is read.
    is_distrusted: bool,
}

/// Reads the trust record and replaces it by what holds from now on.
async fn enter(config: &CacheConfig, directory: &Path) -> Result<Entered> {
    let (db, namespace) = (config.redis().db(), config.namespace());
    let path = directory.join(STATE_LOCK);
    // Several processes on Redis may start at once.
    let alone = patiently(|| ready(LockFile::try_lock(&path, Sharing::Exclusive))).await?;
    let _alone = alone.ok_or_else(|| locked(directory))?;
    let state = State::read(directory);
    let is_new = state == State::Missing;
    let unknown = (is_new && config.clear_without_record()).then_some("there is no record of the last run");
    let distrust = state.distrust_of_redis(db, namespace).or(unknown);
    if let Some(reason) = distrust {
        cache_core::log::emit(|| tracing::info!(reason, "Redis is cleared before it is read"));
    }
    let recorded = if unknown.is_some() {
        trust::distrust(directory)
    } else {
        state.enter_redis(directory, db, namespace)
    };
    match recorded {
        Err(error) if !is_new => return Err(error),
        Err(error) => {
            cache_core::log::emit(
                || tracing::warn!(%error, "cannot record which cache is in use; the next run starts empty"),
            );
        }
        Ok(()) => {}
    }
    for name in DISK_FILES {
        // What a disk cache left may not be read any more, and its space counts.
        let _ = std::fs::remove_file(directory.join(name));
    }
    Ok(Entered { is_new, is_distrusted: distrust.is_some() })
}

/// Where it is recorded that a Redis was cleared.
#[derive(Debug, Clone)]
struct Record {
    directory: PathBuf,
    db: u32,
    namespace: String,
}

impl Record {
    fn cleared(&self) {
        if let Err(error) = self.write() {
            cache_core::log::emit(
                || tracing::warn!(%error, "cannot record that Redis was cleared; the next start clears it again"),
            );
        }
    }

    fn write(&self) -> Result<()> {
        let Self { directory, db, namespace } = self;
        let path = directory.join(STATE_LOCK);
        // Held only as long as it takes to write a line.
        for _ in 0..200 {
            if let Some(_alone) = LockFile::try_lock(&path, Sharing::Exclusive)? {
                return State::cleared_redis(directory, *db, namespace);
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        Err(locked(directory))
    }
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
    fn new(client: cache_redis::RedisConfig, contacts: Option<Arc<Contacts>>) -> Self {
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

    async fn is_in_use(&self) -> Result<bool> {
        Self::is_in_use(self).await
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
