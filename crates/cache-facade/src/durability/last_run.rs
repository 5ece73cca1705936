//! The record `CACHE_DIR/state` of the store that was used last. A store is read only if it saw every invalidation since its
//! last use.
//!
//! ```text
//! cache state 1
//! primary disk
//! namespace app
//! reads on
//! checksum 0123456789abcdef
//! ```
//!
//! With Redis the second line is `primary redis`, and the line `db 0` replaces `reads`. The checksum is the xxh3-64 of all
//! lines above it.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use cache_core::Result;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use twox_hash::XxHash3_64;

use super::files;

const NAME: &str = "state";

const HEADING: &str = "cache state 1\n";
const LONGEST: u64 = 1024;

/// The store that a run sends its invalidations to, reachable or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UsedStore {
    /// The disk cache in this directory.
    Disk {
        /// Entries of another namespace see no invalidation.
        namespace: String,
        /// Whether it is open: a run that does not open it does not invalidate in it either.
        reads: bool,
    },
    /// A Redis database.
    Redis {
        /// The number of the database.
        db: u32,
        /// The prefix of all keys.
        namespace: String,
    },
}

/// What is recorded about the last run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LastRun {
    /// No record: the directory is new, or the record was removed.
    Missing,
    /// A record that cannot be read.
    Unreadable,
    /// The store that the run used.
    Known(UsedStore),
}

impl LastRun {
    /// Reads the record in `directory`.
    pub(crate) fn read(directory: &Path) -> Self {
        let mut text = String::new();
        let read = files::open_to_read(&directory.join(NAME))
            .and_then(|file| file.take(LONGEST).read_to_string(&mut text));
        match read {
            Ok(_) => parse(&text).map_or(Self::Unreadable, Self::Known),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::Missing,
            Err(_) => Self::Unreadable,
        }
    }

    /// Why the disk cache for `namespace` may have missed invalidations; `None` if it has not.
    pub(crate) fn distrust_of_disk(&self, namespace: &str) -> Option<&'static str> {
        match self {
            Self::Missing => Some("there is no record of the last run"),
            Self::Unreadable => Some("the record of the last run cannot be read"),
            Self::Known(UsedStore::Redis { .. }) => Some("the last run was on Redis"),
            Self::Known(UsedStore::Disk { reads: false, .. }) => {
                Some("the last run did not keep it up to date")
            }
            Self::Known(UsedStore::Disk { namespace: last, .. }) if last != namespace => {
                Some("the last run had another namespace")
            }
            Self::Known(UsedStore::Disk { .. }) => None,
        }
    }

    /// Why Redis may have missed invalidations since it was last used from here; `None` if it has not.
    ///
    /// A new instance has missed none: earlier users of the Redis have sent it all of theirs.
    pub(crate) fn distrust_of_redis(&self, db: u32, namespace: &str) -> Option<&'static str> {
        match self {
            Self::Unreadable => Some("the record of the last run cannot be read"),
            Self::Known(UsedStore::Disk { .. }) => Some("the last run was not on Redis"),
            Self::Known(UsedStore::Redis { db: last_db, namespace: last })
                if *last_db != db || last != namespace =>
            {
                Some("the last run was in another database or namespace")
            }
            Self::Missing | Self::Known(UsedStore::Redis { .. }) => None,
        }
    }

    /// Records `store` durably, unless it is what is recorded already.
    ///
    /// If there is no room for a new record, the old one is emptied: the next run then trusts no store.
    ///
    /// # Errors
    /// `Io` when neither is possible: the next run would trust a store that missed this run's invalidations.
    pub(crate) fn record(&self, directory: &Path, store: &UsedStore) -> Result<()> {
        if *self == Self::Known(store.clone()) {
            return Ok(());
        }
        let Err(error) = store.write(directory) else { return Ok(()) };
        cache_core::log::warn!(%error, "cannot record which cache is in use; the next run starts empty");
        if *self == Self::Unreadable { Ok(()) } else { distrust(directory) }
    }
}

impl UsedStore {
    /// No store: one that has to be cleared before it is read, or that is not opened, is not up to date.
    pub(crate) fn none(namespace: &str) -> Self {
        Self::Disk { namespace: namespace.to_owned(), reads: false }
    }

    /// Records this store durably.
    ///
    /// # Errors
    /// `Io` when the system refuses.
    pub(crate) fn write(&self, directory: &Path) -> Result<()> {
        files::replace_durably(directory, NAME, format(self).as_bytes())
    }
}

/// Makes the next run trust no store, by a record that cannot be read: an empty file, which needs no space.
///
/// # Errors
/// `Io` when the system refuses.
pub(crate) fn distrust(directory: &Path) -> Result<()> {
    files::replace_durably(directory, NAME, b"").or_else(|error| {
        let emptied = File::open(directory).and_then(|root| empty_record(&root));
        if emptied.is_ok_and(|existed| existed) { Ok(()) } else { Err(error) }
    })
}

/// Empties the record in the directory `root`, wherever it is now: a directory that was moved may come back. Returns whether
/// there is a record.
///
/// # Errors
/// The operating system's.
pub(super) fn empty_record(root: &File) -> io::Result<bool> {
    let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(root, NAME, flags, Mode::empty()) {
        Ok(record) => File::from(record).sync_all().map(|()| true),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Makes the next run trust no store, because invalidations may be lost with this process; logs a warning when it cannot.
pub(crate) fn distrust_or_warn(directory: &Path) {
    if let Err(error) = distrust(directory) {
        cache_core::log::warn!(
            limit: directory, %error,
            "cannot make the next run start empty; after a crash it may serve old values"
        );
    }
}

fn format(store: &UsedStore) -> String {
    let mut text = HEADING.to_owned();
    let written = match store {
        UsedStore::Disk { namespace, reads } => {
            let reads = if *reads { "on" } else { "off" };
            write!(text, "primary disk\nnamespace {namespace}\nreads {reads}\n")
        }
        UsedStore::Redis { db, namespace } => {
            write!(text, "primary redis\nnamespace {namespace}\ndb {db}\n")
        }
    };
    written.expect("writing to a String cannot fail");
    let checksum = XxHash3_64::oneshot(text.as_bytes());
    writeln!(text, "checksum {checksum:016x}").expect("writing to a String cannot fail");
    text
}

fn parse(text: &str) -> Option<UsedStore> {
    let mut fields = text.strip_prefix(HEADING)?.lines().map(|line| line.split_once(' '));
    let mut field = |name: &str| fields.next()?.filter(|(found, _)| *found == name).map(|(_, value)| value);
    let store = match field("primary")? {
        "disk" => {
            UsedStore::Disk { namespace: field("namespace")?.to_owned(), reads: field("reads")? == "on" }
        }
        "redis" => {
            UsedStore::Redis { namespace: field("namespace")?.to_owned(), db: field("db")?.parse().ok()? }
        }
        _ => return None,
    };
    // A text that differs in a byte from the one that would be written is no record; that covers the checksum too.
    (format(&store) == text).then_some(store)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stores() -> Vec<UsedStore> {
        let namespace = || "app".to_owned();
        vec![
            UsedStore::Disk { namespace: namespace(), reads: true },
            UsedStore::Disk { namespace: namespace(), reads: false },
            UsedStore::Redis { db: 3, namespace: namespace() },
            UsedStore::Redis { db: u32::MAX, namespace: namespace() },
        ]
    }

    #[test]
    fn records_are_written_and_read_as_the_golden_file_says() {
        let golden = include_str!("../../tests/golden/state.txt");
        let namespace = || "app".to_owned();
        let records = [
            UsedStore::Disk { namespace: namespace(), reads: true },
            UsedStore::Disk { namespace: namespace(), reads: false },
            UsedStore::Redis { namespace: namespace(), db: 3 },
        ];
        assert_eq!(records.each_ref().map(format).concat(), golden);
        let texts =
            golden.split_inclusive(HEADING).skip(1).map(|text| text.strip_suffix(HEADING).unwrap_or(text));
        let read: Vec<_> = texts.map(|text| parse(&format!("{HEADING}{text}")).unwrap()).collect();
        assert_eq!(read, records);
    }

    #[test]
    fn a_record_is_read_back() {
        let root = tempfile::tempdir().unwrap();
        let mut last = LastRun::read(root.path());
        assert_eq!(last, LastRun::Missing);
        for store in stores() {
            last.record(root.path(), &store).unwrap();
            last = LastRun::read(root.path());
            assert_eq!(last, LastRun::Known(store));
        }
    }

    #[test]
    fn a_record_with_a_flipped_bit_or_a_missing_end_is_rejected() {
        for store in stores() {
            let text = format(&store);
            assert_eq!(parse(&text), Some(store));
            for at in 0..text.len() {
                for bit in 0..8 {
                    let mut changed = text.clone().into_bytes();
                    changed[at] ^= 1 << bit;
                    assert_eq!(
                        std::str::from_utf8(&changed).ok().and_then(parse),
                        None,
                        "byte {at} bit {bit}"
                    );
                }
                assert_eq!(parse(&text[..at]), None, "cut at {at}");
            }
            assert_eq!(parse(&format!("{text}\n")), None);
        }
    }

    #[test]
    fn a_damaged_record_is_unreadable_and_not_missing() {
        let root = tempfile::tempdir().unwrap();
        for bytes in [&b""[..], b"hello", b"\xff\xfe"] {
            std::fs::write(root.path().join(NAME), bytes).unwrap();
            assert_eq!(LastRun::read(root.path()), LastRun::Unreadable);
        }
        std::fs::remove_file(root.path().join(NAME)).unwrap();
        std::fs::create_dir(root.path().join(NAME)).unwrap();
        assert_eq!(LastRun::read(root.path()), LastRun::Unreadable);
    }

    #[test]
    fn the_disk_cache_is_trusted_only_if_the_last_run_had_it_open() {
        let disk = |namespace: &str, reads| {
            LastRun::Known(UsedStore::Disk { namespace: namespace.to_owned(), reads })
        };
        assert_eq!(disk("app", true).distrust_of_disk("app"), None);
        for state in [LastRun::Missing, LastRun::Unreadable, disk("app", false), disk("other", true)] {
            assert!(state.distrust_of_disk("app").is_some(), "{state:?}");
        }
        assert!(
            stores().into_iter().skip(2).all(|redis| LastRun::Known(redis).distrust_of_disk("app").is_some())
        );
    }

    #[test]
    fn redis_is_trusted_by_new_instances_and_by_those_that_used_it_last() {
        let distrusts = |last: &LastRun| last.distrust_of_redis(3, "app").is_some();
        assert!(!distrusts(&LastRun::Missing) && distrusts(&LastRun::Unreadable));
        let trusted: Vec<bool> = stores().into_iter().map(|last| !distrusts(&LastRun::Known(last))).collect();
        assert_eq!(trusted, [false, false, true, false]);
        let other = LastRun::Known(UsedStore::Redis { db: 3, namespace: "other".to_owned() });
        assert!(distrusts(&other));
    }

    #[test]
    fn a_run_without_an_up_to_date_store_leaves_none_that_is_trusted() {
        for last in stores() {
            let root = tempfile::tempdir().unwrap();
            last.write(root.path()).unwrap();
            LastRun::read(root.path()).record(root.path(), &UsedStore::none("app")).unwrap();
            let entered = LastRun::read(root.path());
            assert!(
                entered.distrust_of_disk("app").is_some() && entered.distrust_of_redis(3, "app").is_some()
            );
            UsedStore::Redis { db: 3, namespace: "app".to_owned() }.write(root.path()).unwrap();
            assert_eq!(LastRun::read(root.path()).distrust_of_redis(3, "app"), None);
        }
    }

    #[test]
    fn a_record_that_cannot_be_replaced_is_emptied_and_then_no_store_is_trusted() {
        for last in stores() {
            let root = tempfile::tempdir().unwrap();
            LastRun::Missing.record(root.path(), &last).unwrap();
            // A directory at the path of the new record keeps it from being written.
            std::fs::create_dir_all(root.path().join("state.new/x")).unwrap();
            let other = UsedStore::Disk { namespace: "other".to_owned(), reads: true };
            let state = LastRun::read(root.path());
            state.record(root.path(), &other).unwrap();
            assert_eq!(LastRun::read(root.path()), LastRun::Unreadable);
            LastRun::Unreadable.record(root.path(), &other).unwrap();
        }
    }
}
