//! The trust record `CACHE_DIR/state`: which store was the primary last, so that a store is read only if it saw every
//! invalidation since its last use.
//!
//! ```text
//! cache state 1
//! primary disk
//! namespace app
//! reads on
//! checksum 0123456789abcdef
//! ```
//!
//! With Redis the second line is `primary redis` and the line `db 0` stands in place of `reads`. The checksum is the xxh3-64 of all lines above its own.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use cache_core::{Error, Result};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use xxhash_rust::xxh3::xxh3_64;

use super::files;

const NAME: &str = "state";

const HEADING: &str = "cache state 1\n";
const LONGEST: u64 = 1024;

/// The store that a run took its invalidations to, reachable or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Primary {
    /// The disk cache in this directory.
    Disk {
        /// Entries of another namespace saw no invalidation.
        namespace: String,
        /// Whether it was open: a run that does not open it does not invalidate in it either.
        reads: bool,
    },
    /// A Redis.
    Redis {
        /// The number of the database.
        db: u32,
        /// The prefix of all keys.
        namespace: String,
    },
}

/// What is recorded about the last run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing: the directory is new, or somebody removed the record.
    Missing,
    /// There is a record that nobody can read.
    Unreadable,
    /// This.
    Known(Primary),
}

impl State {
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

    /// Why the disk cache for `namespace` may not have seen every invalidation; `None` if it has.
    pub(crate) fn distrust_of_disk(&self, namespace: &str) -> Option<&'static str> {
        match self {
            Self::Missing => Some("there is no record of the last run"),
            Self::Unreadable => Some("the record of the last run cannot be read"),
            Self::Known(Primary::Redis { .. }) => Some("the last run was on Redis"),
            Self::Known(Primary::Disk { reads: false, .. }) => {
                Some("the last run did not keep it up to date")
            }
            Self::Known(Primary::Disk { namespace: last, reads: true }) if last != namespace => {
                Some("the last run had another namespace")
            }
            Self::Known(Primary::Disk { .. }) => None,
        }
    }

    /// Whether a Redis may have missed invalidations since it was used here last; `None` if it has not, or never was.
    ///
    /// A new instance has missed nothing: whoever used the Redis before has told it everything.
    pub(crate) fn distrust_of_redis(&self, db: u32, namespace: &str) -> Option<&'static str> {
        match self {
            Self::Unreadable => Some("the record of the last run cannot be read"),
            Self::Known(Primary::Disk { .. }) => Some("the last run was not on Redis"),
            Self::Known(Primary::Redis { db: last_db, namespace: last })
                if *last_db != db || last != namespace =>
            {
                Some("the last run was in another database or namespace")
            }
            Self::Missing | Self::Known(Primary::Redis { .. }) => None,
        }
    }

    /// Records, before a run on Redis serves anything, what the next run has to know if this one ends here: that it was
    /// in Redis, or, where that has to be cleared first, that no store is up to date.
    ///
    /// # Errors
    /// `Io` where there is a record that can neither be replaced nor emptied: the next run would trust what it must not.
    pub(crate) fn enter_redis(&self, directory: &Path, db: u32, namespace: &str) -> Result<()> {
        let primary = match self.distrust_of_redis(db, namespace) {
            Some(_) => neither(namespace),
            None => Primary::Redis { db, namespace: namespace.to_owned() },
        };
        if *self == Self::Known(primary.clone()) {
            return Ok(());
        }
        let Err(error) = primary.write(directory) else { return Ok(()) };
        self.instead_of_a_record(directory, &error)
    }

    /// Records that the Redis was cleared and is up to date from here on. Until then the next run clears it again.
    ///
    /// # Errors
    /// `Io` when the system refuses.
    pub(crate) fn cleared_redis(directory: &Path, db: u32, namespace: &str) -> Result<()> {
        Primary::Redis { db, namespace: namespace.to_owned() }.write(directory)
    }

    /// Records `primary` durably, where it is not what is recorded anyway.
    ///
    /// Where there is no room for a new record, the old one is emptied: the next run then trusts no store.
    ///
    /// # Errors
    /// `Io` when neither is possible: a run that leaves no trace would let the next one trust what it must not.
    pub(crate) fn record(&self, directory: &Path, primary: &Primary) -> Result<()> {
        if *self == Self::Known(primary.clone()) {
            return Ok(());
        }
        let Err(error) = primary.write(directory) else {
            return Ok(());
        };
        self.instead_of_a_record(directory, &error)
    }

    /// Sees to it that a run whose record could not be written does not leave one behind that the next run trusts.
    fn instead_of_a_record(&self, directory: &Path, error: &Error) -> Result<()> {
        cache_core::log::emit(
            || tracing::warn!(%error, "cannot record which cache is in use; the next run starts empty"),
        );
        if *self == Self::Unreadable { Ok(()) } else { distrust(directory) }
    }
}

/// Makes the next run trust no store: it finds a record that it cannot read. An empty file, which needs no space.
///
/// # Errors
/// `Io` when the system refuses.
pub(crate) fn distrust(directory: &Path) -> Result<()> {
    files::replace_durably(directory, NAME, b"").or_else(|error| {
        let emptied = File::open(directory).and_then(|root| empty_record(&root));
        if emptied.is_ok_and(|was_there| was_there) { Ok(()) } else { Err(error) }
    })
}

/// Empties the record of the directory that `root` is, wherever it is now: a directory that was moved may come back. Whether
/// there was one.
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

/// Makes the next run trust no store, because what one has to hear of may be lost with this process; warns where that is
/// impossible.
pub(crate) fn distrust_or_warn(directory: &Path) {
    if let Err(error) = distrust(directory) {
        cache_core::log::limited(
            directory,
            |suppressed| tracing::warn!(%error, suppressed, "cannot make the next run start empty; after a crash it may serve old values"),
        );
    }
}

/// A run whose invalidations reached no store: neither the disk cache nor any Redis may be read before it was cleared.
fn neither(namespace: &str) -> Primary {
    Primary::Disk { namespace: namespace.to_owned(), reads: false }
}

impl Primary {
    fn write(&self, directory: &Path) -> Result<()> {
        files::replace_durably(directory, NAME, format(self).as_bytes())
    }
}

fn format(primary: &Primary) -> String {
    let mut text = HEADING.to_owned();
    let written = match primary {
        Primary::Disk { namespace, reads } => {
            let reads = if *reads { "on" } else { "off" };
            write!(text, "primary disk\nnamespace {namespace}\nreads {reads}\n")
        }
        Primary::Redis { db, namespace } => {
            write!(text, "primary redis\nnamespace {namespace}\ndb {db}\n")
        }
    };
    written.expect("writing to a String cannot fail");
    let checksum = xxh3_64(text.as_bytes());
    writeln!(text, "checksum {checksum:016x}").expect("writing to a String cannot fail");
    text
}

fn parse(text: &str) -> Option<Primary> {
    let (_, fields) = text.split_once(HEADING).filter(|(before, _)| before.is_empty())?;
    let mut fields = fields.lines().map(|line| line.split_once(' '));
    let mut field = |name: &str| fields.next()?.filter(|(found, _)| *found == name).map(|(_, value)| value);
    let primary = match field("primary")? {
        "disk" => Primary::Disk { namespace: field("namespace")?.to_owned(), reads: field("reads")? == "on" },
        "redis" => {
            Primary::Redis { namespace: field("namespace")?.to_owned(), db: field("db")?.parse().ok()? }
        }
        _ => return None,
    };
    // Whatever differs in a byte from what would be written is not a record: that covers the checksum too.
    (format(&primary) == text).then_some(primary)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn primaries() -> Vec<Primary> {
        let namespace = || "app".to_owned();
        vec![
            Primary::Disk { namespace: namespace(), reads: true },
            Primary::Disk { namespace: namespace(), reads: false },
            Primary::Redis { db: 3, namespace: namespace() },
            Primary::Redis { db: u32::MAX, namespace: namespace() },
        ]
    }

    #[test]
    fn records_are_written_and_read_as_the_golden_file_says() {
        let golden = include_str!("../../tests/golden/state.txt");
        let namespace = || "app".to_owned();
        let records = [
            Primary::Disk { namespace: namespace(), reads: true },
            Primary::Disk { namespace: namespace(), reads: false },
            Primary::Redis { namespace: namespace(), db: 3 },
        ];
        assert_eq!(records.each_ref().map(format).concat(), golden);
        let texts =
            golden.split_inclusive(HEADING).skip(1).map(|text| text.strip_suffix(HEADING).unwrap_or(text));
        let read: Vec<_> = texts.map(|text| parse(&format!("{HEADING}{text}")).unwrap()).collect();
        assert_eq!(read, records);
    }

    #[test]
    fn what_is_recorded_is_read_back() {
        let root = tempfile::tempdir().unwrap();
        let mut last = State::read(root.path());
        assert_eq!(last, State::Missing);
        for primary in primaries() {
            last.record(root.path(), &primary).unwrap();
            last = State::read(root.path());
            assert_eq!(last, State::Known(primary));
        }
    }

    #[test]
    fn a_record_that_differs_in_a_bit_or_is_cut_is_none() {
        for primary in primaries() {
            let text = format(&primary);
            assert_eq!(parse(&text), Some(primary));
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
    fn what_is_no_record_is_unreadable_and_not_missing() {
        let root = tempfile::tempdir().unwrap();
        for bytes in [&b""[..], b"hello", b"\xff\xfe"] {
            std::fs::write(root.path().join(NAME), bytes).unwrap();
            assert_eq!(State::read(root.path()), State::Unreadable);
        }
        std::fs::remove_file(root.path().join(NAME)).unwrap();
        std::fs::create_dir(root.path().join(NAME)).unwrap();
        assert_eq!(State::read(root.path()), State::Unreadable);
    }

    #[test]
    fn only_a_last_run_with_this_disk_cache_open_is_trusted() {
        let disk =
            |namespace: &str, reads| State::Known(Primary::Disk { namespace: namespace.to_owned(), reads });
        assert_eq!(disk("app", true).distrust_of_disk("app"), None);
        for state in [State::Missing, State::Unreadable, disk("app", false), disk("other", true)] {
            assert!(state.distrust_of_disk("app").is_some(), "{state:?}");
        }
        assert!(
            primaries()
                .into_iter()
                .skip(2)
                .all(|redis| State::Known(redis).distrust_of_disk("app").is_some())
        );
    }

    #[test]
    fn a_redis_is_trusted_by_new_instances_and_by_those_that_were_on_it_last() {
        let distrusts = |state: &State| state.distrust_of_redis(3, "app").is_some();
        assert!(!distrusts(&State::Missing) && distrusts(&State::Unreadable));
        let trusted: Vec<bool> =
            primaries().into_iter().map(|last| !distrusts(&State::Known(last))).collect();
        assert_eq!(trusted, [false, false, true, false]);
        let other = State::Known(Primary::Redis { db: 3, namespace: "other".to_owned() });
        assert!(distrusts(&other));
    }

    #[test]
    fn until_a_redis_is_cleared_neither_it_nor_the_disk_is_trusted() {
        for last in primaries() {
            let root = tempfile::tempdir().unwrap();
            State::Missing.record(root.path(), &last).unwrap();
            let state = State::read(root.path());
            state.enter_redis(root.path(), 3, "app").unwrap();
            let entered = State::read(root.path());
            assert!(entered.distrust_of_disk("app").is_some());
            assert_eq!(
                entered.distrust_of_redis(3, "app").is_some(),
                state.distrust_of_redis(3, "app").is_some()
            );
            State::cleared_redis(root.path(), 3, "app").unwrap();
            assert_eq!(State::read(root.path()).distrust_of_redis(3, "app"), None);
        }
    }

    #[test]
    fn a_record_that_cannot_be_replaced_is_emptied_and_then_no_store_is_trusted() {
        for last in primaries() {
            let root = tempfile::tempdir().unwrap();
            State::Missing.record(root.path(), &last).unwrap();
            // Where the new record would be written, a directory stands in the way.
            std::fs::create_dir_all(root.path().join("state.new/x")).unwrap();
            let other = Primary::Disk { namespace: "other".to_owned(), reads: true };
            let state = State::read(root.path());
            state.record(root.path(), &other).unwrap();
            assert_eq!(State::read(root.path()), State::Unreadable);
            State::Unreadable.record(root.path(), &other).unwrap();
            state.enter_redis(root.path(), 7, "another").unwrap();
            assert_eq!(State::read(root.path()), State::Unreadable);
        }
    }
}
