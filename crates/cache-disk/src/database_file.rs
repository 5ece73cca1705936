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
use crate::fs::{Directory, FileSpace, Shortage, SizeLimitedStorage};
use crate::index::UsageOrder;
use crate::store::{CommitMode, GarbageNote, StateRows, Store};

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
        if space.length() > space.most {
            cache_core::log::warn!(
                limit: directory.path(), directory = %path, limit_bytes = config.limit_bytes,
                file_bytes = space.length(), "disk cache is larger than its limit, starting empty"
            );
            return Self::replace(directory, config);
        }
        if space.length() == 0 {
            return Self::replace(directory, config);
        }
        match Self::try_open(file, &space, config) {
            Ok(Some(opened)) => return Ok(opened),
            Ok(None) => cache_core::log::info!(
                namespace = config.namespace,
                "disk cache holds another namespace, starting empty"
            ),
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

    /// Opens the database of `directory` with all the space that its file may have.
    ///
    /// redb itself would double the file, and must not go past the limit. It uses whatever length it finds.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub(crate) fn open_lengthened(directory: &Directory, config: &DiskConfig) -> Result<Self> {
        let file = directory.database()?;
        let space = space(&file, directory, config)?;
        // An empty file is not one of redb's yet.
        if (1..space.most).contains(&space.length()) {
            file.set_len(space.most)
                .map_err(|error| io_error("cannot lengthen the disk cache at", directory.path(), error))?;
        }
        drop(file);
        Self::open(directory, config)
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
        let created = open_store(file, &space, config).and_then(|store| {
            store.write(CommitMode::Durable, |batch| {
                batch.identify(&config.namespace)?;
                counters.iter().try_for_each(|(name, value)| batch.set_counter(name, value))
            })?;
            let state = store.state()?;
            Ok(Self { is_new: true, ..Self::read(store, &state, &space)? })
        });
        let path = directory.path().display();
        created.map_err(|fault| fault.into_error(format_args!("cannot start a disk cache at {path}")))
    }

    /// Opens the database in `file`; `None` if it is of another namespace.
    fn try_open(file: File, space: &Arc<FileSpace>, config: &DiskConfig) -> Result<Option<Self>, Fault> {
        let store = open_store(file, space, config)?;
        let state = store.state()?;
        state.check_format()?;
        if !state.is_of(&config.namespace) {
            return Ok(None);
        }
        Self::read(store, &state, space).map(Some)
    }

    fn read(store: Store, state: &StateRows, space: &Arc<FileSpace>) -> Result<Self, Fault> {
        let garbage = state.garbage();
        // A note may have outlived its rows: if its ids were given again, it would remove the new entries.
        let noted = garbage.iter().flat_map(GarbageNote::rows).map(|rows| rows.id).max().unwrap_or(0);
        let counters = store.counters()?;
        Ok(Self {
            space: Arc::clone(space),
            order: UsageOrder::unpack(&state.usage_order()),
            next_id: store.snapshot()?.last_id()?.max(noted) + 1,
            garbage,
            counter_bytes: counters.iter().map(|(name, value)| budget::counter_cost(name, value)).sum(),
            is_new: false,
            store,
        })
    }
}

fn open_store(file: File, space: &Arc<FileSpace>, config: &DiskConfig) -> Result<Store, Fault> {
    let file = FileBackend::new(file).map_err(|error| Fault::Redb(error.into()))?;
    #[cfg(feature = "testing")]
    let file: Box<dyn StorageBackend> = config.storage.wrap(file);
    #[cfg(not(feature = "testing"))]
    let file: Box<dyn StorageBackend> = Box::new(file);
    Store::open(SizeLimitedStorage::new(file, space.clone()), config.page_cache_bytes)
}

fn space(file: &File, directory: &Directory, config: &DiskConfig) -> Result<Arc<FileSpace>> {
    let most = Budget::new(config.limit_bytes).file_bytes(directory.quarantined_bytes());
    FileSpace::new(file, most)
        .map_err(|error| io_error("cannot examine the disk cache at", directory.path(), error))
}

/// Truncates a quarantined database to a quarter of the limit, which leaves room for a new one.
fn truncate_quarantined(directory: &Directory, config: &DiskConfig) {
    if let Err(error) = directory.shrink_quarantined(config.limit_bytes / 4) {
        cache_core::log::warn!(limit: directory.path(), %error, "cannot shrink the damaged disk cache");
    }
}
