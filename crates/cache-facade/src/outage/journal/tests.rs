//! Laws of the journal over real files; the death of a process is a copy of its files at that moment.

use std::fs;
use std::path::PathBuf;
use std::task::Poll;

use cache_core::{CacheGroup, CacheKey, Health};

use super::*;
use crate::outage::instance::Instance;
use crate::outage::lock::{LockFile, Sharing};
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
        Journal::open(own, &Owner::Disk, &self.hold()).unwrap()
    }

    fn hold(&self) -> Arc<Hold> {
        let lock = LockFile::try_lock(&self.root.path().join("lock"), Sharing::Shared).unwrap().unwrap();
        Hold::of(self.root.path(), Sharing::Shared, lock).unwrap()
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
    assert_eq!(place.after_death(), ["group image:2", "group image:3"]);
    assert!(place.owed().is_empty(), "its change may still be committed: nobody else may begin here");
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
async fn a_note_is_not_acknowledged_before_it_is_in_the_directory_at_the_path_with_all_before_it() {
    let place = Place::new();
    let journal = place.start();
    let mut notes = vec![journal.intend(&[group(0)]).await.unwrap()];
    let losses: [fn(&Place); 3] = [
        |place| fs::remove_dir_all(place.root.path()).unwrap(),
        |place| fs::remove_dir_all(place.file().parent().unwrap()).unwrap(),
        |place| fs::remove_file(place.file()).unwrap(),
    ];
    for (id, lose) in (1..).zip(losses) {
        lose(&place);
        notes.push(journal.intend(&[group(id)]).await.unwrap());
        let all: Vec<_> = (0..=id).map(|id| format!("group image:{id}")).collect();
        assert_eq!(place.after_death(), all);
        assert_eq!((journal.kind(), journal.cause()), (JournalKind::File, None));
        assert_eq!(Trust::read(place.root.path()), Trust::Unreadable);
    }
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
    assert_eq!(place.after_death(), ["group image:7"]);
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
    fs::rename(root.join("file"), place.file()).unwrap();
    let journal = Journal::start(taken_over, &Owner::Disk, &place.hold()).unwrap();
    assert_eq!(journal.kind(), JournalKind::File);
    for _ in 0..2 {
        journal.intend(&[group(1)]).await.unwrap().finish();
        assert_eq!(journal.kind(), JournalKind::Memory);
    }
    assert_eq!(Trust::read(root), Trust::Unreadable);
}

#[tokio::test]
async fn where_no_journal_can_be_made_there_is_one_in_memory_and_no_trust() {
    let place = Place::new();
    let root = place.root.path();
    let primary = Primary::Disk { namespace: "app".to_owned(), reads: true };
    Trust::Missing.record(root, &primary).unwrap();
    fs::create_dir_all(root.join("instance-0/journal.new/x")).unwrap();
    let journal = place.start();
    assert_eq!((journal.kind(), Trust::read(root)), (JournalKind::Memory, Trust::Unreadable));
    journal.intend(&[group(1)]).await.unwrap().finish();
}

/// The journal of a process on Redis that starts here.
fn start_on_redis(place: &Place) -> Journal {
    let own = Leftover::read(Instance::claim(place.root.path()).unwrap());
    Journal::open(own, &redis(), &place.hold()).unwrap()
}

/// What is owed to Redis by the process whose files are here, if it died now.
fn owed_to_redis(place: &Place) -> Vec<String> {
    let copy = Place::new();
    fs::create_dir(copy.root.path().join("instance-0")).unwrap();
    fs::copy(place.file(), copy.file()).unwrap();
    let left = Leftover::read(Instance::claim(copy.root.path()).unwrap());
    let mut owed: Vec<_> = left.owed_to(&redis()).iter().map(ToString::to_string).collect();
    owed.sort();
    owed
}

fn key(id: usize) -> Invalidation {
    CacheKey::builder("image", id).part("metadata").build().unwrap().into()
}

#[tokio::test]
async fn what_is_owed_survives_until_it_is_paid() {
    let place = Place::new();
    let journal = start_on_redis(&place);
    journal.owe(&[group(1)]).await.unwrap();
    journal.owe(&[group(2), key(3)]).await.unwrap();
    assert_eq!(owed_to_redis(&place), ["group image:1", "group image:2", "key image:3:metadata"]);
    assert_eq!(journal.depth(), 3);
    drop(journal);
    while crate::outage::instance::Instance::of_the_dead(place.root.path()).unwrap().is_empty() {
        thread::yield_now();
    }
    let journal = start_on_redis(&place);
    assert_eq!((journal.depth(), journal.begin_to_pay().len()), (3, 3));
    journal.end_to_pay(true);
    assert!(journal.owes_nothing());
    journal.close().await;
    assert!(owed_to_redis(&place).is_empty());
}

#[tokio::test]
async fn what_is_owed_again_while_it_is_being_paid_is_owed_still() {
    let place = Place::new();
    let journal = start_on_redis(&place);
    journal.owe(&[group(1)]).await.unwrap();
    assert_eq!(journal.begin_to_pay(), [group(1)]);
    journal.owe(&[group(1)]).await.unwrap();
    journal.end_to_pay(true);
    assert_eq!(
        owed_to_redis(&place),
        ["group image:1", "group image:1"],
        "erased lazily, and never too soon"
    );
    assert_eq!(journal.begin_to_pay(), [group(1)]);
    journal.end_to_pay(false);
    assert_eq!(journal.begin_to_pay(), [group(1)]);
    journal.end_to_pay(true);
    journal.close().await;
    assert!(owed_to_redis(&place).is_empty());
}

#[tokio::test]
async fn what_something_owed_covers_takes_no_room_and_thousands_of_keys_find_some() {
    let place = Place::new();
    let journal = start_on_redis(&place);
    journal.owe(&[group(1)]).await.unwrap();
    journal.owe(&[key(1), group(1)]).await.unwrap();
    assert_eq!(journal.depth(), 1);
    for id in 2..3_000 {
        journal.owe(&[key(id)]).await.unwrap();
    }
    assert_eq!((journal.depth(), owed_to_redis(&place).len()), (2_999, 2_999));
    let _intent = journal.intend(&[group(7)]).await.unwrap();
    assert!(owed_to_redis(&place).contains(&"group image:7".to_owned()));
}

#[tokio::test]
async fn more_than_there_is_room_for_is_owed_as_everything_and_paid_as_one_clear() {
    let place = Place::new();
    let journal = start_on_redis(&place);
    let long = |id: usize| -> Invalidation {
        CacheKey::builder("image", id).part("x".repeat(190)).part("y".repeat(190)).build().unwrap().into()
    };
    for id in 0..SLOTS + 10 {
        journal.owe(&[long(id)]).await.unwrap();
        let owed = owed_to_redis(&place);
        assert!(owed.contains(&long(id).to_string()) || owed.contains(&"everything".to_owned()));
    }
    assert!(journal.begin_to_pay().contains(&Invalidation::Everything));
    journal.end_to_pay(true);
    journal.owe(&[key(1)]).await.unwrap();
    journal.close().await;
    assert_eq!(owed_to_redis(&place), ["key image:1:metadata"]);
    let many: Vec<_> = (0..10_000).map(key).collect();
    let journal = Journal::in_memory();
    journal.owe(&many).await.unwrap();
    assert_eq!(journal.begin_to_pay(), [Invalidation::Everything], "memory is bounded too");
}

#[tokio::test]
async fn a_damaged_journal_owes_everything_to_redis_also_after_the_next_crash() {
    let place = Place::new();
    leave(&place, &[(Reason::Owed, redis(), group(1))]);
    let mut file = fs::read(place.file()).unwrap();
    file[SLOT_BYTES * 2 + 20] ^= 4;
    fs::write(place.file(), file).unwrap();
    let journal = start_on_redis(&place);
    assert_eq!(owed_to_redis(&place), ["everything"]);
    assert_eq!(journal.begin_to_pay(), [Invalidation::Everything]);
    journal.end_to_pay(true);
    journal.close().await;
    assert!(owed_to_redis(&place).is_empty());
}

#[tokio::test]
async fn what_others_left_is_owed_and_stands_in_their_files_alone() {
    let place = Place::new();
    let journal = start_on_redis(&place);
    journal.owe_for_others(&[group(1)]);
    assert_eq!((journal.depth(), owed_to_redis(&place).len()), (1, 0));
    assert_eq!(journal.begin_to_pay(), [group(1)]);
    journal.end_to_pay(true);
    assert!(journal.owes_nothing());
}

#[tokio::test]
async fn without_a_file_what_redis_misses_is_kept_in_memory_and_the_next_run_clears_it() {
    let place = Place::new();
    let root = place.root.path();
    Trust::Missing.enter_redis(root, 0, "app").unwrap();
    assert_eq!(Trust::read(root).distrust_of_redis(0, "app"), None);
    fs::create_dir_all(root.join("instance-0/journal.new/x")).unwrap();
    let journal = start_on_redis(&place);
    assert_eq!(journal.kind(), JournalKind::Memory);
    assert!(Trust::read(root).distrust_of_redis(0, "app").is_some());
    journal.owe(&[group(1)]).await.unwrap();
    assert_eq!(journal.begin_to_pay(), [group(1)]);
}

#[tokio::test]
async fn a_closed_journal_owes_nothing_more() {
    let place = Place::new();
    let journal = start_on_redis(&place);
    journal.close().await;
    assert_eq!(journal.owe(&[group(1)]).await.unwrap_err().kind(), ErrorKind::Closed);
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
