//! Laws of the journal over real files; the death of a process is a copy of its files at that moment.

use std::fs;
use std::path::PathBuf;
use std::task::Poll;

use cache_core::{CacheGroup, Health};

use super::*;
use crate::outage::instance::Instance;
use crate::outage::slots::{FILE_BYTES, SLOT_BYTES, SLOTS};
use crate::outage::trust::{Primary, State as Trust};

struct Place {
    root: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap() }
    }

    /// The journal of a process that starts here, as the disk cache starts: what was left is erased first.
    fn start(&self) -> Journal {
        let mut own = Leftover::read(Instance::claim(self.root.path()).unwrap());
        own.erase(&Owner::Disk).unwrap();
        Journal::open(own, &Owner::Disk, self.root.path())
    }

    fn file(&self) -> PathBuf {
        self.root.path().join("instance-0/journal")
    }

    /// What another process would find here if this one died now.
    fn after_death(&self) -> Vec<String> {
        let copy = Self::new();
        fs::create_dir(copy.root.path().join("instance-0")).unwrap();
        fs::copy(self.file(), copy.file()).unwrap();
        copy.owed()
    }

    /// What is owed to the disk cache by processes that are gone.
    fn owed(&self) -> Vec<String> {
        let left = Instance::of_the_dead(self.root.path()).unwrap().into_iter().map(Leftover::read);
        let mut owed: Vec<_> =
            left.flat_map(|left| left.owed_to(&Owner::Disk)).map(|what| what.to_string()).collect();
        owed.sort();
        owed
    }
}

fn group(id: usize) -> Invalidation {
    CacheGroup::new("image", id).into()
}

fn redis() -> Owner {
    Owner::Redis { db: 0, namespace: "app".to_owned() }
}

/// Puts `records` into the journal of `instance-0`, as a process that is gone left them.
fn leave(place: &Place, records: &[(Reason, Owner, Invalidation)]) {
    let mut file = slots::file_of(&[]);
    for (index, (reason, owner, what)) in records.iter().enumerate() {
        let number = index + 2;
        let text = slots::texts(*reason, owner, std::slice::from_ref(what)).concat();
        file[number * SLOT_BYTES..][..SLOT_BYTES].copy_from_slice(&slots::sealed(number, &text));
    }
    let directory = place.file().parent().unwrap().to_owned();
    fs::create_dir_all(directory).unwrap();
    fs::write(place.file(), file).unwrap();
}

#[tokio::test]
async fn what_is_intended_survives_until_it_is_finished() {
    let place = Place::new();
    let journal = place.start();
    let one = journal.intend(&[group(1)]).await.unwrap();
    let two = journal.intend(&[group(2), group(3)]).await.unwrap();
    assert_eq!(place.after_death(), ["group image:1", "group image:2", "group image:3"]);
    one.finish();
    journal.close().await;
    assert_eq!(place.owed(), ["group image:2", "group image:3"]);
    two.finish();
    assert_eq!(place.owed(), ["group image:2", "group image:3"], "a closed journal writes nothing");
}

#[tokio::test]
async fn what_is_finished_is_gone_after_a_clean_end() {
    let place = Place::new();
    let journal = place.start();
    for id in 0..1000 {
        journal.intend(&[group(id)]).await.unwrap().finish();
    }
    journal.close().await;
    assert!(place.owed().is_empty());
    assert_eq!(fs::metadata(place.file()).unwrap().len(), FILE_BYTES as u64);
}

#[tokio::test]
async fn an_intent_that_is_dropped_stays_and_is_counted() {
    let place = Place::new();
    let journal = place.start();
    drop(journal.intend(&[group(1)]).await.unwrap());
    assert_eq!((journal.depth(), journal.kind()), (1, JournalKind::File));
    journal.close().await;
    assert_eq!(place.owed(), ["group image:1"]);
}

#[tokio::test]
async fn an_intent_whose_caller_went_away_before_it_had_it_leaves_nothing() {
    let place = Place::new();
    let journal = place.start();
    for id in 0..50 {
        let what = [group(id)];
        let mut intending = Box::pin(journal.intend(&what));
        match crate::rt::poll_once(&mut intending).await {
            Poll::Pending => drop(intending),
            // The thread was faster than this line.
            Poll::Ready(intent) => intent.unwrap().finish(),
        }
    }
    assert_eq!(journal.depth(), 0);
    journal.close().await;
    assert!(place.owed().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_that_come_together_are_all_on_disk_when_they_are_told_so() {
    let place = Arc::new(Place::new());
    let journal = Arc::new(place.start());
    let tasks: Vec<_> = (0..100)
        .map(|id| {
            let (place, journal) = (Arc::clone(&place), Arc::clone(&journal));
            tokio::spawn(async move {
                let intent = journal.intend(&[group(id)]).await.unwrap();
                let file = fs::read(place.file()).unwrap();
                let records = slots::read(&file).unwrap();
                assert!(records.iter().any(|(_, record)| record.what == [group(id)]));
                intent.finish();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn more_changes_than_there_is_room_for_become_everything() {
    let place = Place::new();
    let journal = place.start();
    let mut intents = Vec::new();
    for id in 0..SLOTS {
        intents.push(journal.intend(&[group(id)]).await.unwrap());
    }
    assert!(place.after_death().contains(&"everything".to_owned()));
    let huge: Vec<_> = (0..100_000).map(group).collect();
    intents.push(journal.intend(&huge).await.unwrap());
    intents.into_iter().for_each(Intent::finish);
    let intent = journal.intend(&[group(7)]).await.unwrap();
    assert_eq!(fs::metadata(place.file()).unwrap().len(), FILE_BYTES as u64);
    journal.close().await;
    assert_eq!(place.owed(), ["group image:7"]);
    intent.finish();
}

#[tokio::test]
async fn a_damaged_journal_is_owed_everything_and_the_next_one_is_sound() {
    let place = Place::new();
    leave(&place, &[(Reason::Intent, Owner::Disk, group(1))]);
    let mut file = fs::read(place.file()).unwrap();
    for damaged in [file[..100].to_vec(), Vec::new(), b"hello".to_vec(), {
        file[SLOT_BYTES * 2 + 20] ^= 4;
        file.clone()
    }] {
        fs::write(place.file(), damaged).unwrap();
        assert_eq!(place.owed(), ["everything"]);
    }
    let journal = place.start();
    let _intent = journal.intend(&[group(2)]).await.unwrap();
    assert_eq!(place.after_death(), ["group image:2"]);
}

#[test]
fn a_directory_in_place_of_the_journal_counts_as_damage() {
    let place = Place::new();
    fs::create_dir_all(place.file()).unwrap();
    assert_eq!(place.owed(), ["everything"]);
}

#[tokio::test]
async fn what_is_owed_to_another_store_stays_through_runs_on_disk() {
    let place = Place::new();
    leave(
        &place,
        &[
            (Reason::Owed, redis(), group(1)),
            (Reason::Intent, Owner::Disk, group(2)),
            (Reason::Intent, redis(), Invalidation::Everything),
        ],
    );
    assert_eq!(place.owed(), ["group image:2"]);
    for _ in 0..2 {
        let journal = place.start();
        assert_eq!(journal.depth(), 2);
        journal.intend(&[group(3)]).await.unwrap().finish();
        journal.close().await;
    }
    assert!(place.owed().is_empty());
    let left = Leftover::read(Instance::claim(place.root.path()).unwrap());
    assert_eq!(left.owed_to(&redis()), [group(1), Invalidation::Everything]);
}

#[test]
fn a_dead_processs_journal_goes_when_nothing_is_left_in_it() {
    for (owner, goes) in [(Owner::Disk, true), (redis(), false)] {
        let place = Place::new();
        leave(&place, &[(Reason::Intent, owner, group(1))]);
        let mut dead = Instance::of_the_dead(place.root.path()).unwrap();
        let mut left = Leftover::read(dead.pop().unwrap());
        left.erase(&Owner::Disk).unwrap();
        left.discard().unwrap();
        assert_eq!(place.file().exists(), !goes);
        assert!(place.root.path().join("instance-0/lock").exists(), "locks are never removed");
    }
}

#[tokio::test]
async fn a_journal_that_was_closed_takes_nothing_and_has_let_go_of_its_lock() {
    let place = Place::new();
    let journal = place.start();
    assert!(Instance::of_the_dead(place.root.path()).unwrap().is_empty());
    journal.close().await;
    journal.close().await;
    assert_eq!(Instance::of_the_dead(place.root.path()).unwrap().len(), 1);
    assert_eq!(journal.intend(&[group(1)]).await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn a_journal_that_cannot_be_written_lets_the_change_go_on_and_takes_the_trust_away() {
    let place = Place::new();
    let root = place.root.path();
    let primary = Primary::Disk { namespace: "app".to_owned(), reads: true };
    Trust::Missing.record(root, &primary).unwrap();
    // A file that is open for reading alone refuses what a broken disk would refuse.
    fs::write(root.join("file"), slots::file_of(&[])).unwrap();
    let file = fs::File::open(root.join("file")).unwrap();
    let instance = Instance::claim(root).unwrap();
    let taken_over = TakenOver { instance, file, records: Vec::new() };
    let journal = Journal::start(taken_over, Owner::Disk, root).unwrap();
    assert_eq!(journal.kind(), JournalKind::File);
    for _ in 0..2 {
        journal.intend(&[group(1)]).await.unwrap().finish();
        assert_eq!(journal.kind(), JournalKind::Memory);
    }
    assert_eq!(Trust::read(root), Trust::Missing);
}

#[tokio::test]
async fn where_no_journal_can_be_made_there_is_one_in_memory_and_no_trust() {
    let place = Place::new();
    let root = place.root.path();
    let primary = Primary::Disk { namespace: "app".to_owned(), reads: true };
    Trust::Missing.record(root, &primary).unwrap();
    fs::create_dir_all(root.join("instance-0/journal.new/x")).unwrap();
    let journal = place.start();
    assert_eq!((journal.kind(), Trust::read(root)), (JournalKind::Memory, Trust::Missing));
    journal.intend(&[group(1)]).await.unwrap().finish();
}

#[tokio::test]
async fn a_journal_that_is_none_takes_everything_and_says_so() {
    let journal = Journal::none();
    drop(journal.intend(&[group(1)]).await.unwrap());
    assert_eq!((journal.kind(), journal.depth()), (JournalKind::None, 0));
    assert_eq!(
        Health::ok(cache_core::BackendKind::Memory, cache_core::Timestamp::default()).journal,
        journal.kind()
    );
}
