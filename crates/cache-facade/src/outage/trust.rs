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
//! With Redis the second line is `primary redis` and the lines `db 0` and `incarnation 0123456789abcdef` (or `none`)
//! stand in place of `reads`. The checksum is the xxh3-64 of all lines above its own.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use cache_core::Result;
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
        /// The last known incarnation of the server.
        incarnation: Option<u64>,
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
        let read =
            File::open(directory.join(NAME)).and_then(|file| file.take(LONGEST).read_to_string(&mut text));
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

    /// Records `primary` durably, where it is not what is recorded anyway.
    ///
    /// Where there is no room for a new record and the last run was on disk, the record is removed: the next disk run
    /// then starts empty. Any other record must not be lost, because a run on Redis takes none for a new instance.
    ///
    /// # Errors
    /// `Io` when neither is possible: a run that leaves no trace would let the next one trust what it must not.
    pub(crate) fn record(&self, directory: &Path, primary: &Primary) -> Result<()> {
        if *self == Self::Known(primary.clone()) {
            return Ok(());
        }
        let Err(error) = files::replace_durably(directory, NAME, format(primary).as_bytes()) else {
            return Ok(());
        };
        match self {
            Self::Missing | Self::Known(Primary::Disk { .. }) => {
                tracing::warn!(%error, "cannot record which cache is in use; the next run starts empty");
                forget(directory)
            }
            Self::Unreadable | Self::Known(Primary::Redis { .. }) => Err(error),
        }
    }
}

/// Removes the record durably, so that the next disk run starts empty; warns where that is impossible.
pub(super) fn forget_or_warn(directory: &Path) {
    if let Err(error) = forget(directory) {
        tracing::warn!(%error, "cannot make the next run start empty; after a crash it may serve old values");
    }
}

fn forget(directory: &Path) -> Result<()> {
    files::remove_durably(directory, NAME)
}

fn format(primary: &Primary) -> String {
    let mut text = HEADING.to_owned();
    let written = match primary {
        Primary::Disk { namespace, reads } => {
            let reads = if *reads { "on" } else { "off" };
            write!(text, "primary disk\nnamespace {namespace}\nreads {reads}\n")
        }
        Primary::Redis { db, namespace, incarnation } => {
            let incarnation = incarnation.map_or("none".to_owned(), |number| format!("{number:016x}"));
            write!(text, "primary redis\nnamespace {namespace}\ndb {db}\nincarnation {incarnation}\n")
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
        "redis" => Primary::Redis {
            namespace: field("namespace")?.to_owned(),
            db: field("db")?.parse().ok()?,
            incarnation: match field("incarnation")? {
                "none" => None,
                number => Some(u64::from_str_radix(number, 16).ok()?),
            },
        },
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
            Primary::Redis { db: 3, namespace: namespace(), incarnation: None },
            Primary::Redis { db: 0, namespace: namespace(), incarnation: Some(u64::MAX) },
        ]
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
    fn a_record_that_cannot_be_written_is_removed_after_a_disk_run_and_an_error_after_redis() {
        for (last, is_removed) in primaries().into_iter().zip([true, true, false, false]) {
            let root = tempfile::tempdir().unwrap();
            State::Missing.record(root.path(), &last).unwrap();
            // Where the new record would be written, a directory stands in the way.
            std::fs::create_dir_all(root.path().join("state.new/x")).unwrap();
            let other = Primary::Disk { namespace: "other".to_owned(), reads: true };
            let recorded = State::read(root.path()).record(root.path(), &other);
            assert_eq!(recorded.is_ok(), is_removed);
            assert_eq!(State::read(root.path()) == State::Missing, is_removed);
        }
    }
}
