//! Opening the database, whatever state its file is in: a cache that cannot be read starts empty, and says so.

use std::fmt::Display;
use std::fs::File;
use std::io;
use std::sync::Arc;

use cache_core::{Error, ErrorKind, Result};
use redb::backends::FileBackend;

use crate::budget::{self, Budget};
use crate::config::DiskConfig;
use crate::error::Fault;
use crate::files::Directory;
use crate::guard::{Guard, Space};
use crate::recency::Order;
use crate::store::{Commit, Remains, Store};

/// What an empty database of redb takes, and as much to begin with, in bytes.
const SMALLEST_FILE: u64 = 3 << 20;

/// The version of everything in the file, rows and envelope included.
const FORMAT: &[u8] = b"1";

/// Names in the state table.
mod state {
    pub(super) const FORMAT: &str = "format";
    pub(super) const NAMESPACE: &str = "namespace";
    pub(super) const ORDER: &str = "order:";
}

/// A database that is ready to be used.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) store: Store,
    pub(crate) space: Arc<Space>,
    /// The saved order of use.
    pub(crate) order: Order,
    /// An id above all in use.
    pub(crate) next_id: u64,
    /// The rows whose keys are gone.
    pub(crate) remains: Vec<Remains>,
    /// What its counters and claims cost, in bytes.
    pub(crate) counter_bytes: u64,
    /// Whether it was started empty.
    pub(crate) is_new: bool,
}

/// Opens the database of `directory` with all the space its file may have. redb itself would double the file, and must
/// not go past the end: it takes as its space whatever length it finds.
///
/// # Errors
/// As for [`open`].
pub(crate) fn open_lengthened(directory: &Directory, config: &DiskConfig) -> Result<Opened> {
    let file = directory.database()?;
    let space = space(&file, directory, config)?;
    // An empty file is not one of redb's yet.
    if (1..space.most()).contains(&space.length()) {
        file.set_len(space.most()).map_err(|error| {
            let message =
                format!("cannot lengthen the disk cache at {}: {error}", directory.path().display());
            Error::new(ErrorKind::Io, message).with_source(error)
        })?;
    }
    drop(file);
    open(directory, config)
}

/// Opens the database of `directory`; one that cannot be read is set aside and replaced by an empty one.
///
/// # Errors
/// `Locked` when another process has it open, `Io` when its file cannot be used at all.
pub(crate) fn open(directory: &Directory, config: &DiskConfig) -> Result<Opened> {
    let file = directory.database()?;
    make_way(&file, directory, config);
    let space = space(&file, directory, config)?;
    if space.length() > space.most() {
        cache_core::log::limited(directory.path(), |suppressed| {
            tracing::warn!(
                directory = %directory.path().display(), limit_bytes = config.limit_bytes, file_bytes = space.length(),
                suppressed, "disk cache is larger than its limit, starting empty"
            );
        });
        return start_anew(directory, config);
    }
    if space.length() == 0 {
        return start_anew(directory, config);
    }
    match try_open(file, &space, config) {
        Ok(opened) => Ok(opened),
        Err(Unusable::Locked(fault)) => Err(fault
            .into_error(format_args!("the disk cache at {} is open elsewhere", directory.path().display()))),
        Err(Unusable::Refused(error)) => {
            let path = directory.path().display();
            Err(Error::new(ErrorKind::Io, format!("cannot open the disk cache at {path}: {error}"))
                .with_source(error))
        }
        Err(Unusable::Namespace) => {
            cache_core::log::emit(|| {
                tracing::info!(
                    namespace = config.namespace,
                    "disk cache holds another namespace, starting empty"
                );
            });
            start_anew(directory, config)
        }
        Err(Unusable::Damaged(cause)) if space.is_disk_full() => {
            // Opening it takes room that it may fill itself: kept, it could keep the cache from opening for ever.
            cache_core::log::limited(directory.path(), |suppressed| {
                tracing::warn!(
                    directory = %directory.path().display(), cause, suppressed,
                    "disk cache cannot be opened on a full disk, starting empty"
                );
            });
            // Others may have the file open, which would keep its blocks from being freed by the removal alone.
            directory.empty_database()?;
            start_anew(directory, config)
        }
        Err(Unusable::Damaged(cause)) => {
            set_aside(directory, &cause);
            start_anew(directory, config)
        }
    }
}

/// Sets aside a database that turned out to be damaged while it was in use, and starts an empty one.
pub(crate) fn replace_damaged(directory: &Directory, config: &DiskConfig) -> Result<Opened> {
    set_aside(directory, &"it is damaged");
    start_anew(directory, config)
}

/// Removes the database and starts an empty one.
pub(crate) fn start_anew(directory: &Directory, config: &DiskConfig) -> Result<Opened> {
    directory.remove_database()?;
    let opened = start_beside(directory, config)?;
    directory.install()?;
    Ok(opened)
}

/// Starts an empty database beside the current one; [`Directory::install`] puts it in its place.
///
/// A database never has its name before it is whole: what could not be created, as on a full disk, is not taken for a damaged
/// one.
pub(crate) fn start_beside(directory: &Directory, config: &DiskConfig) -> Result<Opened> {
    let created = create(directory, directory.replacement()?, config);
    if created.is_err() {
        // It takes room, and is of no use; should it stay, the next one replaces it.
        let _ = directory.discard_replacement();
    }
    created
}

/// Writes the order of use in rows that fit pages; part of a transaction of the writer.
pub(crate) fn order_rows(packed: &[u8]) -> impl Iterator<Item = (String, &[u8])> {
    packed
        .chunks(crate::record::ROW_BYTES - 64)
        .enumerate()
        .map(|(at, part)| (format!("{}{at:08}", state::ORDER), part))
}

/// The beginning of the names of those rows.
pub(crate) const ORDER_ROWS: &str = state::ORDER;

enum Unusable {
    Locked(Fault),
    /// The operating system refuses the file.
    Refused(io::Error),
    Namespace,
    Damaged(String),
}

impl From<Fault> for Unusable {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Redb(redb::Error::DatabaseAlreadyOpen) => Self::Locked(fault),
            // A short or foreign file reads as invalid data or an early end: damage, as everything else is.
            Fault::Redb(redb::Error::Io(error))
                if !matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
            {
                Self::Refused(error)
            }
            fault => Self::Damaged(fault.to_string()),
        }
    }
}

fn try_open(file: File, space: &Arc<Space>, config: &DiskConfig) -> Result<Opened, Unusable> {
    let store = open_store(file, space, config)?;
    match store.state(state::FORMAT)? {
        Some(format) if format == FORMAT => {}
        other => return Err(Unusable::Damaged(format!("its format is {}", format_name(other.as_deref())))),
    }
    if store.state(state::NAMESPACE)?.as_deref() != Some(config.namespace.as_bytes()) {
        return Err(Unusable::Namespace);
    }
    let remains = store.remains()?;
    // A note may have outlived its rows: were its ids given again, it would take the new entries along.
    let noted = remains.iter().flat_map(Remains::rows).map(|rows| rows.id).max().unwrap_or(0);
    let next_id = store.snapshot()?.last_id()?.max(noted) + 1;
    let order = Order::unpack(&saved_order(&store)?);
    let counters = store.counters()?;
    let counter_bytes = counters.iter().map(|(name, value)| budget::counter_cost(name, value)).sum();
    let space = Arc::clone(space);
    Ok(Opened { store, space, order, next_id, remains, counter_bytes, is_new: false })
}

fn create(directory: &Directory, file: File, config: &DiskConfig) -> Result<Opened> {
    make_way(&file, directory, config);
    let space = space(&file, directory, config)?;
    let created = open_store(file, &space, config).and_then(|store| mark(&store, config).map(|()| store));
    let what = format_args!("cannot start a disk cache at {}", directory.path().display()).to_string();
    let store = created.map_err(|fault| fault.into_error(what))?;
    Ok(Opened {
        store,
        space,
        order: Order::default(),
        next_id: 1,
        remains: Vec::new(),
        counter_bytes: 0,
        is_new: true,
    })
}

fn open_store(file: File, space: &Arc<Space>, config: &DiskConfig) -> Result<Store, Fault> {
    let storage = FileBackend::new(file).map_err(|error| Fault::Redb(error.into()))?;
    #[cfg(feature = "testing")]
    let storage = config.storage.wrap(storage);
    Store::open(Guard::new(storage, space.clone()), config.page_cache_bytes)
}

/// Makes a new database recognisable, and creates its tables.
fn mark(store: &Store, config: &DiskConfig) -> Result<(), Fault> {
    store.write(Commit::Durable, |batch| {
        batch.set_state(state::FORMAT, FORMAT)?;
        batch.set_state(state::NAMESPACE, config.namespace.as_bytes())?;
        Ok(((), Commit::Durable))
    })
}

fn saved_order(store: &Store) -> Result<Vec<u8>, Fault> {
    let mut packed = Vec::new();
    for at in 0.. {
        let Some(part) = store.state(&format!("{}{at:08}", state::ORDER))? else { break };
        packed.extend_from_slice(&part);
    }
    Ok(packed)
}

fn space(file: &File, directory: &Directory, config: &DiskConfig) -> Result<Arc<Space>> {
    let most = Budget::new(config.limit_bytes).file_bytes(directory.quarantined_bytes());
    Space::new(file, most).map_err(|error| {
        let path = directory.path().display();
        Error::new(ErrorKind::Io, format!("cannot examine the disk cache at {path}: {error}"))
            .with_source(error)
    })
}

/// Cuts a damaged database that stands beside `file` to what the limit leaves for it, so that `file` has its place, or
/// room to begin.
fn make_way(file: &File, directory: &Directory, config: &DiskConfig) {
    let quarantined = directory.quarantined_bytes();
    if quarantined == 0 {
        return;
    }
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let whole = Budget::new(config.limit_bytes).file_bytes(0);
    let most = whole.saturating_sub(length.max(SMALLEST_FILE)).min(config.limit_bytes / 4);
    if quarantined > most
        && let Err(error) = directory.shrink_quarantined(most)
    {
        cache_core::log::limited(
            directory.path(),
            |suppressed| tracing::warn!(%error, suppressed, "cannot shrink the damaged disk cache"),
        );
    }
}

/// Sets the database aside; the start that follows cuts it to what it may take, and removes what is left in its place.
fn set_aside(directory: &Directory, cause: &dyn Display) {
    match directory.quarantine() {
        Ok(kept) => {
            let kept = kept.display();
            cache_core::log::limited(
                directory.path(),
                |suppressed| tracing::warn!(%kept, %cause, suppressed, "disk cache cannot be read, set aside, starting empty"),
            );
        }
        Err(error) => {
            cache_core::log::limited(
                directory.path(),
                |suppressed| tracing::warn!(%error, %cause, suppressed, "disk cache can neither be read nor be kept, starting empty"),
            );
        }
    }
}

fn format_name(format: Option<&[u8]>) -> String {
    format.map_or_else(|| "unknown".to_owned(), |format| String::from_utf8_lossy(format).into_owned())
}
