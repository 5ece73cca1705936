//! [`LastServer`]: which Redis server, in which of its runs, was used last here, and until when.
//!
//! ```text
//! cache contact 1
//! redis 0 app
//! incarnation 0123456789abcdef
//! until running
//! checksum 0123456789abcdef
//! ```
//!
//! The second line is the target. `until` is `running` from the first use to the orderly end of the process, and then a time in
//! milliseconds since 1970: nothing has to be written when an invalidation is acknowledged, and after a crash the bound is as
//! late as it can be. The price is an unneeded clear when a process crashed **and** another server answers afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cache_core::{Clock, Error, ErrorKind, Result, Timestamp};
use cache_redis::{LastServerRecord, LastUse};
use parking_lot::Mutex;
use twox_hash::XxHash3_64;

use crate::durability::directory::HeldDirectory;
use crate::durability::journal::format::Target;
use crate::durability::{files, instance, last_run};

const NAME: &str = "contact";
const HEADING: &str = "cache contact 1";
const RUNNING: Timestamp = Timestamp::from_millis(u64::MAX);

/// The records of the last server in the instances of one directory.
#[derive(Debug)]
pub(super) struct LastServer {
    directory: Arc<HeldDirectory>,
    target: Target,
    last: Option<LastUse>,
    /// The instances of dead processes; their records are part of `last`.
    dead: Mutex<Vec<PathBuf>>,
    entered: Mutex<Option<u64>>,
    clock: Arc<dyn Clock>,
}

impl LastServer {
    /// Reads the records of all processes in `directory`, also of live ones: a process on another server now has sent it
    /// invalidations that this one's server may have missed.
    pub(super) fn read(
        directory: &Arc<HeldDirectory>,
        dead: Vec<PathBuf>,
        target: Target,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let found = instance::paths(directory.path()).into_iter().filter_map(|path| read(&path, &target));
        let last = found.reduce(|one, other| LastUse {
            // Of several servers none is known to have received every invalidation.
            incarnation: if one.incarnation == other.incarnation { one.incarnation } else { NO_SERVER },
            at: one.at.max(other.at),
        });
        let (directory, dead) = (Arc::clone(directory), Mutex::new(dead));
        Self { directory, target, last, dead, entered: Mutex::new(None), clock }
    }

    /// Records that the server is not used any more.
    pub(super) fn ended(&self) {
        let entered = *self.entered.lock();
        if let Some(incarnation) = entered
            && let Err(error) = self.write(LastUse { incarnation, at: self.clock.now() })
        {
            cache_core::log::debug!(%error, "cannot record the end of the use of Redis");
        }
    }

    /// Records the server again, in the directory that replaces a lost one.
    pub(super) fn moved(&self) {
        let entered = *self.entered.lock();
        if let Some(incarnation) = entered {
            self.write_or_distrust(incarnation);
        }
    }

    fn write(&self, contact: LastUse) -> Result<()> {
        let own = self.directory.instance_path().ok_or_else(|| {
            Error::new(ErrorKind::Unavailable, "the cache directory is lost, and its records with it")
        })?;
        files::replace_durably(&own, NAME, format(&self.target, contact).as_bytes())
    }

    /// Records that the server is in use. If that fails, the next run has to clear what it finds, because it could not tell the
    /// server from another one that missed invalidations. A full disk must not keep a healthy server from being used.
    fn write_or_distrust(&self, incarnation: u64) {
        if let Err(error) = self.write(LastUse { incarnation, at: RUNNING }) {
            cache_core::log::warn!(
                limit: self.directory.path(), %error,
                "cannot record which Redis is in use; the next start clears it"
            );
            last_run::distrust_or_warn(self.directory.path());
        }
    }
}

impl LastServerRecord for LastServer {
    fn last(&self) -> Option<LastUse> {
        self.last
    }

    fn entered(&self, incarnation: u64) -> Result<()> {
        self.write_or_distrust(incarnation);
        *self.entered.lock() = Some(incarnation);
        let dead = std::mem::take(&mut *self.dead.lock());
        for path in dead {
            if let Err(error) = files::remove_durably(&path, NAME) {
                cache_core::log::debug!(%error, "cannot remove a dead process's record of its Redis server");
            }
        }
        Ok(())
    }
}

/// The incarnation of no server: no hash is likely to be this.
const NO_SERVER: u64 = 0x6e6f_2073_6572_7665;

fn read(instance: &Path, target: &Target) -> Option<LastUse> {
    let text = match fs::read_to_string(instance.join(NAME)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        text => text.unwrap_or_default(),
    };
    match parse(&text) {
        Some((of, contact)) => (of == *target).then_some(contact),
        None => Some(LastUse { incarnation: NO_SERVER, at: RUNNING }),
    }
}

fn format(target: &Target, contact: LastUse) -> String {
    let LastUse { incarnation, at } = contact;
    let until = if at == RUNNING { "running".to_owned() } else { at.as_millis().to_string() };
    let text = format!("{HEADING}\n{target}\nincarnation {incarnation:016x}\nuntil {until}\n");
    let checksum = XxHash3_64::oneshot(text.as_bytes());
    format!("{text}checksum {checksum:016x}\n")
}

fn parse(text: &str) -> Option<(Target, LastUse)> {
    let mut lines = text.strip_prefix(HEADING)?.lines().skip(1);
    let target = Target::parse(lines.next()?)?;
    let incarnation = u64::from_str_radix(lines.next()?.strip_prefix("incarnation ")?, 16).ok()?;
    let at = match lines.next()?.strip_prefix("until ")? {
        "running" => RUNNING,
        millis => Timestamp::from_millis(millis.parse().ok()?),
    };
    let contact = LastUse { incarnation, at };
    // A text that differs in a byte from the one that would be written is no record; that covers the checksum too.
    (format(&target, contact) == text).then_some((target, contact))
}

#[cfg(test)]
mod tests {
    use cache_core::ManualClock;

    use super::*;
    use crate::durability::lock::{LockFile, Sharing};

    fn redis(db: u32) -> Target {
        Target::Redis { db, namespace: "app".to_owned() }
    }

    struct Directory {
        root: tempfile::TempDir,
        clock: Arc<ManualClock>,
    }

    impl Directory {
        fn new() -> Self {
            Self { root: tempfile::tempdir().unwrap(), clock: Arc::default() }
        }

        async fn process(&self, number: u32, dead: &[u32], target: Target) -> LastServer {
            let dead =
                dead.iter().map(|number| self.root.path().join(format!("instance-{number}"))).collect();
            let directory = HeldDirectory::take(self.root.path(), Sharing::Shared).await.unwrap();
            let is_own = |instance: &LockFile| instance.directory().ends_with(format!("instance-{number}"));
            let claimed = instance::claim(self.root.path(), |instance| Some(instance).filter(is_own));
            directory.keep(claimed.unwrap());
            LastServer::read(&directory, dead, target, self.clock.clone())
        }
    }

    #[test]
    fn records_are_written_and_read_as_the_golden_file_says() {
        let contact = |at| LastUse { incarnation: 0x0123_4567_89ab_cdef, at };
        let golden = include_str!("../../tests/golden/contact.txt");
        let (running, ended) = (contact(RUNNING), contact(Timestamp::from_millis(1_704_067_200_000)));
        let texts = [format(&redis(0), running), format(&redis(3), ended)];
        assert_eq!(texts.concat(), golden);
        assert_eq!(parse(&texts[0]).unwrap().1, running);
        assert_eq!(parse(&texts[1]).unwrap().1, ended);
    }

    #[tokio::test]
    async fn the_last_server_is_known_to_the_next_process_and_until_when() {
        let directory = Directory::new();
        let first = directory.process(0, &[], redis(0)).await;
        assert_eq!(first.last(), None);
        first.entered(7).unwrap();
        assert_eq!(
            directory.process(1, &[], redis(0)).await.last(),
            Some(LastUse { incarnation: 7, at: RUNNING }),
            "it crashed"
        );
        first.ended();
        let contact = LastUse { incarnation: 7, at: directory.clock.now() };
        assert_eq!(directory.process(1, &[], redis(0)).await.last(), Some(contact));
        assert_eq!(
            directory.process(1, &[], redis(3)).await.last(),
            None,
            "another database has its own record"
        );
    }

    #[tokio::test]
    async fn after_several_servers_none_is_trusted_until_the_dead_are_forgotten() {
        let directory = Directory::new();
        directory.process(0, &[], redis(0)).await.entered(1).unwrap();
        directory.process(1, &[], redis(0)).await.entered(2).unwrap();
        let third = directory.process(2, &[0, 1], redis(0)).await;
        assert_eq!(third.last(), Some(LastUse { incarnation: NO_SERVER, at: RUNNING }));
        third.entered(2).unwrap();
        assert_eq!(directory.process(3, &[], redis(0)).await.last().unwrap().incarnation, 2);
    }

    #[tokio::test]
    async fn an_unreadable_record_names_no_server() {
        let directory = Directory::new();
        directory.process(0, &[], redis(0)).await.entered(1).unwrap();
        let path = directory.root.path().join("instance-0/contact");
        let text = fs::read_to_string(&path).unwrap();
        for spoilt in ["", "cache contact 1\n", &text[1..], &text.replace("app", "apq"), &format!("{text}\n")]
        {
            fs::write(&path, spoilt).unwrap();
            let last = directory.process(1, &[], redis(0)).await.last();
            assert_eq!(last, Some(LastUse { incarnation: NO_SERVER, at: RUNNING }), "{spoilt:?}");
        }
    }
}
