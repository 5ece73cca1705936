//! [`OpenDatabase`]: opening the database file in whatever state it is. A cache that cannot be read starts empty, and
//! logs why.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::File;
use std::sync::Arc;

use cache_core::Result;
use cache_core::files::io_error;
use redb::StorageBackend;
use redb::backends::FileBackend;

use crate::budget::{self, Budget};
use crate::config::DiskConfig;
use crate::error::Fault;
use crate::fs::{Directory, FileSpace, Shortage, SizeLimitedStorage, sparse};
use crate::index::UsageOrder;
use crate::store::{CommitMode, GarbageNote, StateRows, Store};
use crate::values::{SectionBits, Values};

/// A database that is ready to be used.
#[derive(Debug)]
pub(crate) struct OpenDatabase {
    pub(crate) store: Store,
    pub(crate) space: Arc<FileSpace>,
    /// The saved order of use.
    pub(crate) order: UsageOrder,
    /// An id above all in use.
    pub(crate) next_id: u64,
    pub(crate) garbage: Vec<GarbageNote>,
    /// The cost of its counters and claims, in bytes.
    pub(crate) counter_bytes: u64,
    /// Whether it was started empty.
    pub(crate) is_new: bool,
}

impl OpenDatabase {
    /// Opens the database of `directory`; one that cannot be read is set aside and replaced by an empty one.
    ///
    /// # Errors
    /// `Locked` when another process has it open, `Io` when its file cannot be used at all.
    pub(crate) fn open(directory: &Directory, config: &DiskConfig) -> Result<Self> {
        let path = directory.path().display();
        let file = directory.database()?;
        truncate_quarantined(directory, config);
        let space = space(&file, directory, config)?;
        if space.written_bytes() == 0 {
            return Self::replace(directory, config);
        }
        match Self::try_open(file, directory, &space, config) {
            Ok(Some(opened)) if space.written_bytes() + opened.store.values.taken_bytes() <= space.most() => {
                return Ok(opened);
            }
            Ok(Some(opened)) => {
                cache_core::log::warn!(
                    limit: directory.path(), directory = %path, limit_bytes = config.limit_bytes,
                    file_bytes = space.written_bytes() + opened.store.values.taken_bytes(),
                    "disk cache is larger than its limit, starting empty"
                );
            }
            Ok(None) => {
                cache_core::log::info!(
                    namespace = config.namespace,
                    "disk cache holds another namespace, starting empty"
                );
            }
            // Opening it takes space that it may take itself: kept, it could keep the cache from opening for ever.
            Err(cause) if space.shortage() == Some(Shortage::Disk) => {
                cache_core::log::warn!(
                    limit: directory.path(), directory = %path, %cause,
                    "disk cache cannot be opened on a full disk, starting empty"
                );
            }
            Err(cause) if cause.is_damage() => return Self::set_aside(directory, config, &cause),
            Err(fault) => {
                return Err(fault.into_error(format_args!("cannot open the disk cache at {path}")));
            }
        }
        Self::replace(directory, config)
    }

    /// Sets a damaged database aside and starts an empty one.
    pub(crate) fn set_aside(directory: &Directory, config: &DiskConfig, cause: &dyn Display) -> Result<Self> {
        match directory.quarantine() {
            Ok(kept) => cache_core::log::warn!(
                limit: directory.path(), kept = %kept.display(), %cause,
                "disk cache cannot be read, set aside, starting empty"
            ),
            Err(error) => cache_core::log::warn!(
                limit: directory.path(), %error, %cause,
                "disk cache can neither be read nor be kept, starting empty"
            ),
        };
        Self::replace(directory, config)
    }

    /// Removes the database and starts an empty one.
    pub(crate) fn replace(directory: &Directory, config: &DiskConfig) -> Result<Self> {
        directory.remove_database()?;
        Values::remove_others(directory, None)?;
        let opened = Self::start_beside(directory, config, &BTreeMap::new())?;
        directory.install()?;
        Ok(opened)
    }

    /// Starts a database that is empty but for `counters` beside the current one; [`Directory::install`] puts it in its place.
    ///
    /// A database gets its name when it is complete: one that could not be created, as on a full disk, is not taken for a
    /// damaged one.
    pub(crate) fn start_beside(
        directory: &Directory,
        config: &DiskConfig,
        counters: &BTreeMap<String, Vec<u8>>,
    ) -> Result<Self> {
        let created = Self::create(directory, config, counters);
        if created.is_err() {
            // It takes space and is of no use; if it stays, the next one replaces it.
            let _ = directory.discard_replacement();
        }
        created
    }

    fn create(
        directory: &Directory,
        config: &DiskConfig,
        counters: &BTreeMap<String, Vec<u8>>,
    ) -> Result<Self> {
        let file = directory.replacement()?;
        truncate_quarantined(directory, config);
        let space = space(&file, directory, config)?;
        let generation = cache_core::random_nonzero().get();
        let bits = if config.may_have_holes() {
            SectionBits::probe(directory)
        } else {
            SectionBits::without_holes()
        };
        let created = open_store(file, &space, config, |_| {
            Ok(Some(Values::open(directory, generation, bits, &space, config)?))
        });
        let created = created.and_then(|store| {
            let store = store.ok_or(Fault::Unavailable)?;
            store.write(CommitMode::Durable, |batch| {
                batch.identify(&config.namespace, generation, bits)?;
                counters.iter().try_for_each(|(name, value)| batch.set_counter(name, value))
            })?;
            Ok(Self { is_new: true, ..Self::read(store, &space)? })
        });
        let path = directory.path().display();
        created.map_err(|fault| fault.into_error(format_args!("cannot start a disk cache at {path}")))
    }

    /// Opens the database in `file`; `None` if it is of another namespace, or this process may not write its files.
    fn try_open(
        file: File,
        directory: &Directory,
        space: &Arc<FileSpace>,
        config: &DiskConfig,
    ) -> Result<Option<Self>, Fault> {
        let store = open_store(file, space, config, |state| {
            state.check_format()?;
            let values = state.values().filter(|_| state.is_of(&config.namespace));
            let Some((generation, bits)) = values else { return Ok(None) };
            Values::remove_others(directory, Some((generation, bits)))?;
            Ok(Some(Values::open(directory, generation, bits, space, config)?))
        })?;
        store.map(|store| Self::read(store, space)).transpose()
    }

    fn read(store: Store, space: &Arc<FileSpace>) -> Result<Self, Fault> {
        // Damage of the tables is found here, where the file can still be set aside.
        drop(store.snapshot()?);
        let (state, counters) = (store.state()?, store.counters()?);
        let garbage = state.garbage();
        // A note may have outlived its rows: if its ids were given again, it would remove the new entries. Blocks behind all
        // that are noted were written by a process that ended before it noted them.
        let noted = garbage.iter().flat_map(GarbageNote::rows).map(|at| at.end()).max().unwrap_or(0);
        let written = store.values.end().map_err(|error| Fault::Redb(error.into()))?;
        Ok(Self {
            space: Arc::clone(space),
            order: UsageOrder::unpack(&state.usage_order()),
            next_id: state.next_id().max(noted).max(written).max(1),
            garbage,
            counter_bytes: counters.iter().map(|(name, value)| budget::counter_cost(name, value)).sum(),
            is_new: false,
            store,
        })
    }
}

fn open_store(
    file: File,
    space: &Arc<FileSpace>,
    config: &DiskConfig,
    values: impl FnOnce(&StateRows) -> Result<Option<Values>, Fault>,
) -> Result<Option<Store>, Fault> {
    let file = FileBackend::new(file).map_err(|error| Fault::Redb(error.into()))?;
    #[cfg(feature = "testing")]
    let file: Box<dyn StorageBackend> = config.storage.wrap(file);
    #[cfg(not(feature = "testing"))]
    let file: Box<dyn StorageBackend> = Box::new(file);
    let storage = SizeLimitedStorage::new(file, space.clone());
    Store::open(storage, config.page_cache_bytes, values)
}

fn space(file: &File, directory: &Directory, config: &DiskConfig) -> Result<Arc<FileSpace>> {
    let is_sparse = config.may_have_holes() && sparse::is_supported(directory);
    let most = Budget::new(config.limit_bytes).whole(directory.quarantined_bytes());
    FileSpace::new(file, is_sparse, most)
        .map_err(|error| io_error("cannot examine the disk cache at", directory.path(), error))
}

/// Truncates a quarantined database to a quarter of the limit, which leaves room for a new one.
fn truncate_quarantined(directory: &Directory, config: &DiskConfig) {
    if let Err(error) = directory.shrink_quarantined(config.limit_bytes / 4) {
        cache_core::log::warn!(limit: directory.path(), %error, "cannot shrink the damaged disk cache");
    }
}
