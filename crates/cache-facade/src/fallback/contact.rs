//! [`Contacts`]: which Redis server in which of its lives was used last here, and until when.
//!
//! ```text
//! cache contact 1
//! redis 0 app
//! incarnation 0123456789abcdef
//! until running
//! checksum 0123456789abcdef
//! ```
//!
//! The second line names whose contact it is. `until` is `running` from the first use to the orderly end of the process,
//! and then a time in milliseconds since 1970: nothing has to be written while invalidations are acknowledged, and after
//! a crash the bound is as late as it can be. The price is a clear that was not needed, when a process crashed **and**
//! another server answers afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cache_core::{Clock, Error, ErrorKind, Result, Timestamp};
use cache_redis::{Contact, ContactRecord};
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

use crate::outage::hold::Hold;
use crate::outage::slots::Owner;
use crate::outage::{files, instance, trust};

const NAME: &str = "contact";
const HEADING: &str = "cache contact 1";
const RUNNING: Timestamp = Timestamp::from_millis(u64::MAX);

/// The contacts of the processes in one directory with one Redis.
#[derive(Debug)]
pub(crate) struct Contacts {
    /// What says which directory is this process's.
    hold: Arc<Hold>,
    owner: Owner,
    last: Option<Contact>,
    /// Directories of processes that are gone; what they knew is in `last`.
    dead: Mutex<Vec<PathBuf>>,
    entered: Mutex<Option<u64>>,
    clock: Arc<dyn Clock>,
}

impl Contacts {
    /// Reads what the processes in `directory` left, living ones too: whoever is on another server now has taken
    /// invalidations there that this one's may have missed.
    pub(crate) fn read(
        directory: &Path,
        hold: &Arc<Hold>,
        dead: Vec<PathBuf>,
        owner: Owner,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let found = instance::paths(directory).into_iter().filter_map(|(_, path)| read(&path, &owner));
        let last = found.reduce(|one, other| Contact {
            // Of several servers none can be taken for the one that heard everything.
            incarnation: if one.incarnation == other.incarnation { one.incarnation } else { NO_SERVER },
            at: one.at.max(other.at),
        });
        let (hold, dead) = (Arc::clone(hold), Mutex::new(dead));
        Self { hold, owner, last, dead, entered: Mutex::new(None), clock }
    }

    /// Notes that the server is not used any more.
    pub(crate) fn ended(&self) {
        if let Some(incarnation) = *self.entered.lock()
            && let Err(error) = self.write(Contact { incarnation, at: self.clock.now() })
        {
            cache_core::log::emit(|| tracing::debug!(%error, "the last contact with Redis stays open"));
        }
    }

    /// Notes the server in use again, in the directory that this process has now.
    pub(crate) fn moved(&self) {
        if let Some(incarnation) = *self.entered.lock() {
            self.write_or_distrust(Contact { incarnation, at: RUNNING });
        }
    }

    fn write(&self, contact: Contact) -> Result<()> {
        let own = self.hold.instance_path().ok_or_else(|| {
            Error::new(
                ErrorKind::Unavailable,
                "the cache directory is lost, and what was noted there with it",
            )
        })?;
        files::replace_durably(&own, NAME, format(&self.owner, contact).as_bytes())
    }

    /// Without a note of the server the next run could not tell it from another one that missed something: it is made to
    /// clear what it finds. A disk without room must not keep a healthy server from being used.
    fn write_or_distrust(&self, contact: Contact) {
        if let Err(error) = self.write(contact) {
            cache_core::log::limited(
                self.hold.directory(),
                |suppressed| tracing::warn!(%error, suppressed, "cannot note which Redis is in use; the next start clears it"),
            );
            trust::distrust_or_warn(self.hold.directory());
        }
    }
}

impl ContactRecord for Contacts {
    fn last(&self) -> Option<Contact> {
        self.last
    }

    fn entered(&self, incarnation: u64) -> Result<()> {
        self.write_or_distrust(Contact { incarnation, at: RUNNING });
        *self.entered.lock() = Some(incarnation);
        for path in self.dead.lock().drain(..) {
            if let Err(error) = files::remove_durably(&path, NAME) {
                cache_core::log::emit(
                    || tracing::debug!(%error, "the contact of a process that is gone stays"),
                );
            }
        }
        Ok(())
    }
}

/// The incarnation of no server: a hash has no reason to be this.
const NO_SERVER: u64 = 0x6e6f_2073_6572_7665;

fn read(instance: &Path, owner: &Owner) -> Option<Contact> {
    let text = match fs::read_to_string(instance.join(NAME)) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(_) => String::new(),
    };
    match parse(&text) {
        Some((whose, contact)) => (whose == owner.to_string()).then_some(contact),
        None => Some(Contact { incarnation: NO_SERVER, at: RUNNING }),
    }
}

fn format(owner: &Owner, contact: Contact) -> String {
    let Contact { incarnation, at } = contact;
    let until = if at == RUNNING { "running".to_owned() } else { at.as_millis().to_string() };
    let text = format!("{HEADING}\n{owner}\nincarnation {incarnation:016x}\nuntil {until}\n");
    let checksum = xxh3_64(text.as_bytes());
    format!("{text}checksum {checksum:016x}\n")
}

fn parse(text: &str) -> Option<(String, Contact)> {
    let (body, checksum) = text.strip_suffix('\n')?.rsplit_once('\n')?;
    let body = format!("{body}\n");
    if checksum != format!("checksum {:016x}", xxh3_64(body.as_bytes())) {
        return None;
    }
    let mut lines = body.lines();
    let owner = lines.next().filter(|heading| *heading == HEADING).and_then(|_| lines.next())?;
    let incarnation = u64::from_str_radix(lines.next()?.strip_prefix("incarnation ")?, 16).ok()?;
    let at = match lines.next()?.strip_prefix("until ")? {
        "running" => RUNNING,
        millis => Timestamp::from_millis(millis.parse().ok()?),
    };
    Some((owner.to_owned(), Contact { incarnation, at }))
}

#[cfg(test)]
mod tests {
    use cache_core::ManualClock;

    use super::*;
    use crate::outage::instance::Instance;
    use crate::outage::lock::{LockFile, Sharing};

    fn redis(db: u32) -> Owner {
        Owner::Redis { db, namespace: "app".to_owned() }
    }

    struct Place {
        root: tempfile::TempDir,
        clock: Arc<ManualClock>,
    }

    impl Place {
        fn new() -> Self {
            Self { root: tempfile::tempdir().unwrap(), clock: Arc::default() }
        }

        fn process(&self, number: u32, dead: &[u32], owner: Owner) -> Contacts {
            let path = |number: &u32| self.root.path().join(format!("instance-{number}"));
            fs::create_dir_all(path(&number)).unwrap();
            let dead = dead.iter().map(path).collect();
            let lock = LockFile::try_lock(&self.root.path().join("lock"), Sharing::Shared).unwrap().unwrap();
            let hold = Hold::of(self.root.path(), Sharing::Shared, lock).unwrap();
            hold.place().unwrap().keep(Instance::numbered(self.root.path(), number).unwrap().unwrap());
            Contacts::read(self.root.path(), &hold, dead, owner, self.clock.clone())
        }
    }

    #[test]
    fn contacts_are_written_and_read_as_the_golden_file_says() {
        let contact = |at| Contact { incarnation: 0x0123_4567_89ab_cdef, at };
        let golden = include_str!("../../tests/golden/contact.txt");
        let (running, ended) = (contact(RUNNING), contact(Timestamp::from_millis(1_704_067_200_000)));
        let texts = [format(&redis(0), running), format(&redis(3), ended)];
        assert_eq!(texts.concat(), golden);
        assert_eq!(parse(&texts[0]).unwrap().1, running);
        assert_eq!(parse(&texts[1]).unwrap().1, ended);
    }

    #[test]
    fn the_last_server_is_known_to_the_next_process_and_until_when() {
        let place = Place::new();
        let first = place.process(0, &[], redis(0));
        assert_eq!(first.last(), None);
        first.entered(7).unwrap();
        assert_eq!(
            place.process(1, &[], redis(0)).last(),
            Some(Contact { incarnation: 7, at: RUNNING }),
            "it crashed"
        );
        first.ended();
        let contact = Contact { incarnation: 7, at: place.clock.now() };
        assert_eq!(place.process(1, &[], redis(0)).last(), Some(contact));
        assert_eq!(place.process(1, &[], redis(3)).last(), None, "another database is another matter");
    }

    #[test]
    fn where_processes_used_several_servers_none_is_trusted_until_the_dead_are_forgotten() {
        let place = Place::new();
        place.process(0, &[], redis(0)).entered(1).unwrap();
        place.process(1, &[], redis(0)).entered(2).unwrap();
        let third = place.process(2, &[0, 1], redis(0));
        assert_eq!(third.last(), Some(Contact { incarnation: NO_SERVER, at: RUNNING }));
        third.entered(2).unwrap();
        assert_eq!(place.process(3, &[], redis(0)).last().unwrap().incarnation, 2);
    }

    #[test]
    fn a_contact_that_cannot_be_read_is_one_with_no_server() {
        let place = Place::new();
        place.process(0, &[], redis(0)).entered(1).unwrap();
        let path = place.root.path().join("instance-0/contact");
        let text = fs::read_to_string(&path).unwrap();
        for spoilt in ["", "cache contact 1\n", &text[1..], &text.replace("app", "apq"), &format!("{text}\n")]
        {
            fs::write(&path, spoilt).unwrap();
            let last = place.process(1, &[], redis(0)).last();
            assert_eq!(last, Some(Contact { incarnation: NO_SERVER, at: RUNNING }), "{spoilt:?}");
        }
    }
}
