//! Laws of the journal over real files. A copy of the files is what the death of a process leaves at that moment.

use std::fs;
use std::path::PathBuf;
use std::task::Poll;

use cache_core::{CacheGroup, CacheKey, Health};

use super::format::{FILE_BYTES, SLOT_BYTES, SLOTS};
use super::*;
use crate::durability::instance::{claim, claim_dead};
use crate::durability::last_run::{LastRun, UsedStore};
use crate::durability::lock::Sharing;

mod lost_directory;
mod zones;

struct Directory {
    root: tempfile::TempDir,
}

impl Directory {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap() }
    }

    /// Starts the journal of a process with a disk cache: erases what a dead process left.
    async fn start(&self) -> Journal {
        let mut own = OrphanJournal::read(claim(self.root.path(), Some).unwrap());
        own.erase(&Target::Disk).unwrap();
        Journal::open(own, &Target::Disk, &self.hold().await).unwrap()
    }

    /// Starts the journal of a process on Redis.
    async fn start_on_redis(&self) -> Journal {
        let own = OrphanJournal::read(claim(self.root.path(), Some).unwrap());
        Journal::open(own, &redis(), &self.hold().await).unwrap()
    }

    async fn hold(&self) -> Arc<HeldDirectory> {
        HeldDirectory::take(self.root.path(), Sharing::Shared).await.unwrap()
    }

    fn file(&self) -> PathBuf {
        self.root.path().join("instance-0/journal")
    }

    /// The invalidations pending for `target` if this process died now.
    fn after_death(&self, target: &Target) -> Vec<String> {
        let copy = Self::new();
        fs::create_dir(copy.root.path().join("instance-0")).unwrap();
        fs::copy(self.file(), copy.file()).unwrap();
        copy.orphaned(target)
    }

    /// The invalidations pending for `target` in the journals of dead processes.
    fn orphaned(&self, target: &Target) -> Vec<String> {
        let orphans = claim_dead(self.root.path()).unwrap().into_iter().map(OrphanJournal::read);
        let mut pending: Vec<_> =
            orphans.flat_map(|orphan| orphan.pending_for(target)).map(|what| what.to_string()).collect();
        pending.sort();
        pending
    }

    /// Writes `records` into the journal of `instance-0`, as a dead process left them.
    fn leave(&self, records: &[(Reason, Target, Invalidation)]) {
        let mut file = format::encode(&[]);
        for (index, (reason, target, what)) in records.iter().enumerate() {
            let number = index + 2;
            let text = format::texts(*reason, target, std::slice::from_ref(what)).concat();
            file[number * SLOT_BYTES..][..SLOT_BYTES].copy_from_slice(&format::sealed(number, &text));
        }
        fs::create_dir_all(self.file().parent().unwrap()).unwrap();
        fs::write(self.file(), file).unwrap();
    }
}

fn group(id: usize) -> Invalidation {
    CacheGroup::new("image", id).into()
}

fn key(id: usize) -> Invalidation {
    CacheKey::builder("image", id).part("metadata").build().unwrap().into()
}

fn redis() -> Target {
    Target::Redis { db: 0, namespace: "app".to_owned() }
}

#[tokio::test]
async fn an_intent_survives_a_crash_until_it_is_finished() {
    let directory = Directory::new();
    let journal = directory.start().await;
    let one = journal.intend(&[group(1)]).await.unwrap();
    let two = journal.intend(&[group(2), group(3)]).await.unwrap();
    assert_eq!(directory.after_death(&Target::Disk), ["group image:1", "group image:2", "group image:3"]);
    one.finish();
    journal.close().await;
    assert_eq!(directory.after_death(&Target::Disk), ["group image:2", "group image:3"]);
    assert!(
        directory.orphaned(&Target::Disk).is_empty(),
        "its change may still be committed: no other process may start here"
    );
    two.finish();
    assert_eq!(
        directory.orphaned(&Target::Disk),
        ["group image:2", "group image:3"],
        "a closed journal writes nothing"
    );
}

#[tokio::test]
async fn finished_intents_are_gone_after_a_clean_end() {
    let directory = Directory::new();
    let journal = directory.start().await;
    for id in 0..1000 {
        journal.intend(&[group(id)]).await.unwrap().finish();
    }
    journal.close().await;
    assert!(directory.orphaned(&Target::Disk).is_empty());
    assert_eq!(fs::metadata(directory.file()).unwrap().len(), FILE_BYTES as u64);
}

#[tokio::test]
async fn an_intent_is_returned_only_when_it_and_all_before_it_are_in_the_directory_at_the_path() {
    let directory = Directory::new();
    let journal = directory.start().await;
    let mut notes = vec![journal.intend(&[group(0)]).await.unwrap()];
    let losses: [fn(&Directory); 3] = [
        |directory| fs::remove_dir_all(directory.root.path()).unwrap(),
        |directory| fs::remove_dir_all(directory.file().parent().unwrap()).unwrap(),
        |directory| fs::remove_file(directory.file()).unwrap(),
    ];
    for (id, lose) in (1..).zip(losses) {
        lose(&directory);
        notes.push(journal.intend(&[group(id)]).await.unwrap());
        let all: Vec<_> = (0..=id).map(|id| format!("group image:{id}")).collect();
        assert_eq!(directory.after_death(&Target::Disk), all);
        assert_eq!((journal.kind(), journal.cause()), (JournalKind::File, None));
        assert_eq!(LastRun::read(directory.root.path()), LastRun::Unreadable);
    }
}

#[tokio::test]
async fn an_intent_that_is_dropped_stays_and_is_counted() {
    let directory = Directory::new();
    let journal = directory.start().await;
    drop(journal.intend(&[group(1)]).await.unwrap());
    assert_eq!((journal.depth(), journal.kind()), (1, JournalKind::File));
    journal.close().await;
    assert_eq!(directory.orphaned(&Target::Disk), ["group image:1"]);
}

#[tokio::test]
async fn an_intent_whose_future_is_dropped_leaves_nothing() {
    let directory = Directory::new();
    let journal = directory.start().await;
    for id in 0..50 {
        let what = [group(id)];
        let mut intending = Box::pin(journal.intend(&what));
        match crate::rt::poll_once(&mut intending).await {
            Poll::Pending => drop(intending),
            // The thread was faster than this poll.
            Poll::Ready(intent) => intent.unwrap().finish(),
        }
    }
    assert_eq!(journal.depth(), 0);
    journal.close().await;
    assert!(directory.orphaned(&Target::Disk).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_intents_are_on_disk_when_they_are_returned() {
    let directory = Arc::new(Directory::new());
    let journal = Arc::new(directory.start().await);
    let tasks: Vec<_> = (0..100)
        .map(|id| {
            let (directory, journal) = (Arc::clone(&directory), Arc::clone(&journal));
            tokio::spawn(async move {
                let intent = journal.intend(&[group(id)]).await.unwrap();
                let file = fs::read(directory.file()).unwrap();
                let records = format::decode(&file).unwrap();
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
async fn intents_without_free_slots_become_everything() {
    let directory = Directory::new();
    let journal = directory.start().await;
    let mut intents = Vec::new();
    for id in 0..SLOTS {
        intents.push(journal.intend(&[group(id)]).await.unwrap());
    }
    assert!(directory.after_death(&Target::Disk).contains(&"everything".to_owned()));
    let huge: Vec<_> = (0..100_000).map(group).collect();
    intents.push(journal.intend(&huge).await.unwrap());
    intents.into_iter().for_each(Intent::finish);
    let intent = journal.intend(&[group(7)]).await.unwrap();
    assert_eq!(fs::metadata(directory.file()).unwrap().len(), FILE_BYTES as u64);
    journal.close().await;
    assert_eq!(directory.after_death(&Target::Disk), ["group image:7"]);
    intent.finish();
}

#[tokio::test]
async fn a_damaged_journal_holds_everything_and_the_next_one_is_sound() {
    let directory = Directory::new();
    directory.leave(&[(Reason::Intent, Target::Disk, group(1))]);
    let mut file = fs::read(directory.file()).unwrap();
    for damaged in [file[..100].to_vec(), Vec::new(), b"hello".to_vec(), {
        file[SLOT_BYTES * 2 + 20] ^= 4;
        file.clone()
    }] {
        fs::write(directory.file(), damaged).unwrap();
        assert_eq!(directory.orphaned(&Target::Disk), ["everything"]);
    }
    let journal = directory.start().await;
    let _intent = journal.intend(&[group(2)]).await.unwrap();
    assert_eq!(directory.after_death(&Target::Disk), ["group image:2"]);
}

#[test]
fn a_directory_in_place_of_the_journal_counts_as_damage() {
    let directory = Directory::new();
    fs::create_dir_all(directory.file()).unwrap();
    assert_eq!(directory.orphaned(&Target::Disk), ["everything"]);
}

#[tokio::test]
async fn records_of_another_store_stay_through_runs_on_disk() {
    let directory = Directory::new();
    directory.leave(&[
        (Reason::Pending, redis(), group(1)),
        (Reason::Intent, Target::Disk, group(2)),
        (Reason::Intent, redis(), Invalidation::Everything),
    ]);
    assert_eq!(directory.orphaned(&Target::Disk), ["group image:2"]);
    for _ in 0..2 {
        let journal = directory.start().await;
        assert_eq!(journal.depth(), 2);
        journal.intend(&[group(3)]).await.unwrap().finish();
        journal.close().await;
    }
    assert!(directory.orphaned(&Target::Disk).is_empty());
    let orphan = OrphanJournal::read(claim(directory.root.path(), Some).unwrap());
    assert_eq!(orphan.pending_for(&redis()), [group(1), Invalidation::Everything]);
}

#[test]
fn the_journal_of_a_dead_process_is_removed_when_it_is_empty() {
    for (target, goes) in [(Target::Disk, true), (redis(), false)] {
        let directory = Directory::new();
        directory.leave(&[(Reason::Intent, target, group(1))]);
        let dead = claim_dead(directory.root.path()).unwrap();
        OrphanJournal::settle(dead.into_iter().map(OrphanJournal::read).collect(), &Target::Disk);
        assert_eq!(directory.file().exists(), !goes);
        assert!(directory.root.path().join("instance-0/lock").exists(), "locks are never removed");
    }
}

#[tokio::test]
async fn a_closed_journal_refuses_intents_and_has_released_its_lock() {
    let directory = Directory::new();
    let journal = directory.start().await;
    assert!(claim_dead(directory.root.path()).unwrap().is_empty());
    journal.close().await;
    journal.close().await;
    assert_eq!(claim_dead(directory.root.path()).unwrap().len(), 1);
    assert_eq!(journal.intend(&[group(1)]).await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn a_journal_that_cannot_be_written_lets_changes_pass_and_makes_the_next_run_start_empty() {
    let directory = Directory::new();
    let root = directory.root.path();
    let store = UsedStore::Disk { namespace: "app".to_owned(), reads: true };
    LastRun::Missing.record(root, &store).unwrap();
    // A file that is open only for reading fails as a broken disk does.
    fs::write(root.join("file"), format::encode(&[])).unwrap();
    let file = fs::File::open(root.join("file")).unwrap();
    let instance = claim(root, Some).unwrap();
    fs::rename(root.join("file"), directory.file()).unwrap();
    let file = Some(JournalFile { file, path: directory.file() });
    let own = OrphanJournal { instance, file, records: Vec::new(), is_damaged: false };
    let journal = Journal::open(own, &Target::Disk, &directory.hold().await).unwrap();
    assert_eq!(journal.kind(), JournalKind::File);
    fs::create_dir_all(root.join("instance-0/journal.new/x")).unwrap();
    for _ in 0..2 {
        journal.intend(&[group(1)]).await.unwrap().finish();
        assert_eq!(journal.kind(), JournalKind::Memory);
    }
    assert_eq!(directory.after_death(&Target::Disk), ["everything"]);
    fs::remove_dir_all(root.join("instance-0/journal.new")).unwrap();
    let intent = journal.intend(&[group(2)]).await.unwrap();
    assert_eq!(journal.kind(), JournalKind::File);
    assert_eq!(directory.after_death(&Target::Disk), [group(2).to_string()]);
    intent.finish();
}

#[tokio::test]
async fn without_a_file_the_journal_is_in_memory_and_the_next_run_starts_empty() {
    let directory = Directory::new();
    let root = directory.root.path();
    let store = UsedStore::Disk { namespace: "app".to_owned(), reads: true };
    LastRun::Missing.record(root, &store).unwrap();
    fs::create_dir_all(root.join("instance-0/journal.new/x")).unwrap();
    let journal = directory.start().await;
    assert_eq!(journal.kind(), JournalKind::Memory);
    assert_eq!(directory.after_death(&Target::Disk), ["everything"]);
    journal.intend(&[group(1)]).await.unwrap().finish();
}

#[tokio::test]
async fn pending_invalidations_survive_a_crash_until_they_are_acknowledged() {
    let directory = Directory::new();
    let journal = directory.start_on_redis().await;
    journal.add(&[group(1)]).await.unwrap();
    journal.add(&[group(2), key(3)]).await.unwrap();
    assert_eq!(directory.after_death(&redis()), ["group image:1", "group image:2", "key image:3:metadata"]);
    assert_eq!(journal.depth(), 3);
    drop(journal);
    while claim_dead(directory.root.path()).unwrap().is_empty() {
        thread::yield_now();
    }
    let journal = directory.start_on_redis().await;
    assert_eq!((journal.depth(), journal.take().len()), (3, 3));
    journal.acknowledge();
    assert!(journal.is_drained());
    journal.close().await;
    assert!(directory.after_death(&redis()).is_empty());
}

#[tokio::test]
async fn a_deferred_intent_is_pending_by_its_own_record() {
    let directory = Directory::new();
    let journal = directory.start_on_redis().await;
    let mut intents = Vec::new();
    for _ in 0..2 {
        let mut intent = journal.intend(&[group(1)]).await.unwrap();
        intent.begin_commit();
        intents.push(intent);
    }
    let mut first = intents.remove(0);
    first.end_commit();
    journal.add(&[group(1)]).await.unwrap();
    first.finish();
    assert_eq!(directory.after_death(&redis()), ["group image:1", "group image:1"], "no third record");
    assert_eq!((journal.depth(), journal.take()), (1, vec![group(1)]));
    journal.acknowledge();
    let second = intents.remove(0);
    assert!(journal.is_drained());
    let _other = journal.intend(&[group(2)]).await.unwrap();
    let left = directory.after_death(&redis());
    assert_eq!(left, ["group image:1", "group image:2"], "the second change may still be committed");
    second.finish();
}

#[tokio::test]
async fn the_intent_of_a_change_that_is_not_committed_is_not_deferred() {
    let directory = Directory::new();
    let journal = directory.start_on_redis().await;
    let mut intent = journal.intend(&[group(1)]).await.unwrap();
    intent.begin_commit();
    journal.add(&[group(1)]).await.unwrap();
    assert_eq!(directory.after_death(&redis()).len(), 2);
    intent.end_commit();
    intent.finish();
    journal.close().await;
    assert_eq!(directory.after_death(&redis()), ["group image:1"]);
}

#[tokio::test]
async fn an_invalidation_appended_while_an_equal_one_is_sent_stays_pending() {
    let directory = Directory::new();
    let journal = directory.start_on_redis().await;
    journal.add(&[group(1)]).await.unwrap();
    assert_eq!(journal.take(), [group(1)]);
    journal.add(&[group(1)]).await.unwrap();
    journal.acknowledge();
    assert_eq!(
        directory.after_death(&redis()),
        ["group image:1", "group image:1"],
        "records are erased lazily, and never too soon"
    );
    assert_eq!(journal.take(), [group(1)]);
    journal.return_batch();
    assert_eq!(journal.take(), [group(1)]);
    journal.acknowledge();
    journal.close().await;
    assert!(directory.after_death(&redis()).is_empty());
}

#[tokio::test]
async fn covered_invalidations_take_no_slot_and_thousands_of_keys_fit() {
    let directory = Directory::new();
    let journal = directory.start_on_redis().await;
    journal.add(&[group(1)]).await.unwrap();
    journal.add(&[key(1), group(1)]).await.unwrap();
    assert_eq!(journal.depth(), 1);
    for id in 2..3_000 {
        journal.add(&[key(id)]).await.unwrap();
    }
    assert_eq!((journal.depth(), directory.after_death(&redis()).len()), (2_999, 2_999));
    let _intent = journal.intend(&[group(7)]).await.unwrap();
    assert!(directory.after_death(&redis()).contains(&"group image:7".to_owned()));
}

#[tokio::test]
async fn too_many_pending_invalidations_become_one_clear() {
    let directory = Directory::new();
    let journal = directory.start_on_redis().await;
    let long = |id: usize| -> Invalidation {
        CacheKey::builder("image", id).part("x".repeat(190)).part("y".repeat(190)).build().unwrap().into()
    };
    for id in 0..SLOTS + 10 {
        journal.add(&[long(id)]).await.unwrap();
        let pending = directory.after_death(&redis());
        assert!(pending.contains(&long(id).to_string()) || pending.contains(&"everything".to_owned()));
    }
    assert!(journal.take().contains(&Invalidation::Everything));
    journal.acknowledge();
    journal.add(&[key(1)]).await.unwrap();
    journal.close().await;
    assert_eq!(directory.after_death(&redis()), ["key image:1:metadata"]);
    let many: Vec<_> = (0..10_000).map(key).collect();
    let journal = Journal::in_memory();
    journal.add(&many).await.unwrap();
    assert_eq!(journal.take(), [Invalidation::Everything], "memory is bounded too");
}

#[tokio::test]
async fn a_damaged_journal_makes_everything_pending_also_after_the_next_crash() {
    let directory = Directory::new();
    directory.leave(&[(Reason::Pending, redis(), group(1))]);
    let mut file = fs::read(directory.file()).unwrap();
    file[SLOT_BYTES * 2 + 20] ^= 4;
    fs::write(directory.file(), file).unwrap();
    let journal = directory.start_on_redis().await;
    assert_eq!(directory.after_death(&redis()), ["everything"]);
    assert_eq!(journal.take(), [Invalidation::Everything]);
    journal.acknowledge();
    journal.close().await;
    assert!(directory.after_death(&redis()).is_empty());
}

#[tokio::test]
async fn invalidations_of_dead_processes_stay_in_their_files_alone() {
    let directory = Directory::new();
    let journal = directory.start_on_redis().await;
    journal.append_recorded(&[group(1)]);
    assert_eq!((journal.depth(), directory.after_death(&redis()).len()), (1, 0));
    assert_eq!(journal.take(), [group(1)]);
    journal.acknowledge();
    assert!(journal.is_drained());
}

#[tokio::test]
async fn without_a_file_pending_invalidations_are_in_memory_and_the_next_run_clears_redis() {
    let directory = Directory::new();
    let root = directory.root.path();
    UsedStore::Redis { db: 0, namespace: "app".to_owned() }.write(root).unwrap();
    assert_eq!(LastRun::read(root).distrust_of_redis(0, "app"), None);
    fs::create_dir_all(root.join("instance-0/journal.new/x")).unwrap();
    let journal = directory.start_on_redis().await;
    assert_eq!(journal.kind(), JournalKind::Memory);
    // Another process may record meanwhile that Redis is up to date.
    assert_eq!(directory.after_death(&redis()), ["everything"]);
    journal.add(&[group(1)]).await.unwrap();
    assert_eq!(journal.take(), [group(1)]);
}

#[tokio::test]
async fn a_closed_journal_refuses_appends() {
    let directory = Directory::new();
    let journal = directory.start_on_redis().await;
    journal.close().await;
    assert_eq!(journal.add(&[group(1)]).await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn a_journal_that_records_nothing_accepts_intents_and_has_no_kind() {
    let journal = Journal::none();
    drop(journal.intend(&[group(1)]).await.unwrap());
    assert_eq!((journal.kind(), journal.depth()), (JournalKind::None, 0));
    assert_eq!(
        Health::ok(cache_core::BackendKind::Memory, cache_core::Timestamp::default()).journal,
        journal.kind()
    );
}
