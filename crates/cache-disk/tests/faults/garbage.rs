//! The garbage of an invalidation is deleted: by the writer, or after a crash by the next process.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cache_core::{CacheBackend, CacheBackendExt, CacheKey, CachePattern, Invalidated, NewEntry};
use cache_disk::DiskBackend;
use redb::{Database, ReadableDatabase, ReadableTableMetadata, TableDefinition};

use super::recorder::{Event, Recorder};
use super::storage::tapped;
use super::support::{SMALL_LIMIT, config, copy_files, eventually, in_memory, on_disk, open, runtime};

const DATA: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("data");
const STATE: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("state");

/// The number of rows, and of notes of garbage, in the closed database of `directory`.
fn rows_and_notes(directory: &Path) -> (u64, usize) {
    let database = Database::create(directory.join("cache.redb")).unwrap();
    let transaction = database.begin_read().unwrap();
    let rows = transaction.open_table(DATA).unwrap().len().unwrap();
    let state = transaction.open_table(STATE).unwrap();
    (rows, state.range("remains:".."remains;").unwrap().count())
}

fn listing(group: usize, number: usize) -> CacheKey {
    CacheKey::parse(&format!("project_images:{group}:{number}")).unwrap()
}

/// Stores entries of one row or more; those of a group lie apart.
async fn store(backend: &DiskBackend, groups: usize, entries: usize) {
    for number in 0..entries {
        for group in 0..groups {
            let value = vec![7; if number.is_multiple_of(9) { 9000 } else { 500 }];
            backend.set(&listing(group, number), NewEntry::new(value)).await.unwrap();
        }
    }
    backend.flush().await.unwrap();
}

async fn clear(backend: &DiskBackend, group: usize) -> Invalidated {
    backend.clear_pattern(&CachePattern::parse(&format!("project_images:{group}")).unwrap()).await.unwrap()
}

/// Waits until the open database of `directory` holds so many rows and no note.
async fn until_vacuumed(directory: &Path, rows: u64) {
    eventually(Duration::from_secs(10), "all garbage is deleted", async || {
        let copy = on_disk();
        copy_files(directory, copy.path());
        rows_and_notes(copy.path()) == (rows, 0)
    })
    .await;
}

#[test]
fn the_rows_of_a_cleared_group_are_deleted_in_the_background() {
    let root = on_disk();
    runtime().block_on(async {
        let backend = open(root.path()).await;
        store(&backend, 3, 90).await;
        assert_eq!(clear(&backend, 1).await, Invalidated::Applied { removed: 90 });
        until_vacuumed(root.path(), 2 * 90).await;
    });
}

/// After a crash that kept the note and lost the rows, no new entry may get an id that the note names.
#[test]
fn a_note_whose_rows_are_gone_removes_no_later_entry() {
    let root = on_disk();
    runtime().block_on(async {
        let backend = open(root.path()).await;
        store(&backend, 1, 50).await;
        let _ = clear(&backend, 0).await;
    });
    assert!(rows_and_notes(root.path()).1 > 0, "closing removed the note");
    let database = Database::create(root.path().join("cache.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(DATA).unwrap().retain(|_, _| false).unwrap();
    transaction.commit().unwrap();
    drop(database);
    runtime().block_on(async {
        let backend = open(root.path()).await;
        store(&backend, 1, 50).await;
        until_vacuumed(root.path(), 50).await;
        for number in 0..50 {
            assert!(backend.get(&listing(0, number)).await.unwrap().is_some(), "{number} is gone");
        }
    });
}

#[test]
fn a_crash_before_the_vacuum_leaves_no_row_for_ever() {
    let (root, crashed) = (on_disk(), on_disk());
    runtime().block_on(async {
        let backend = open(root.path()).await;
        store(&backend, 3, 300).await;
        assert_eq!(clear(&backend, 1).await, Invalidated::Applied { removed: 300 });
        // The files as a process leaves them that is killed now.
        copy_files(root.path(), crashed.path());
    });
    let before = on_disk();
    copy_files(crashed.path(), before.path());
    let (rows, notes) = rows_and_notes(before.path());
    assert!(rows > 2 * 300 && notes > 0, "the copy was made too late: {rows} rows, {notes} notes");
    runtime().block_on(async {
        let backend = open(crashed.path()).await;
        until_vacuumed(crashed.path(), 2 * 300).await;
        assert!(backend.get(&listing(1, 7)).await.unwrap().is_none());
        assert!(backend.get(&listing(2, 7)).await.unwrap().is_some());
    });
}

/// The number of entries of a group that are found.
async fn of_group(backend: &DiskBackend, group: usize) -> usize {
    let mut count = 0;
    for number in 0..2000 {
        count += usize::from(backend.get(&listing(group, number)).await.unwrap().is_some());
    }
    count
}

#[test]
fn clearing_half_of_a_full_cache_makes_room_for_as_much() {
    let root = on_disk();
    runtime().block_on(async {
        let backend = open(root.path()).await;
        store(&backend, 2, 2000).await;
        for round in 0..3 {
            let held = backend.stats().await.unwrap().count;
            let others = of_group(&backend, (round + 1) % 2).await;
            let Invalidated::Applied { removed } = clear(&backend, round % 2).await else {
                panic!("not applied")
            };
            assert!(removed > held / 3, "round {round}: {removed} of {held}");
            for number in 0..500 {
                backend.set(&listing(round % 2, number), NewEntry::new(vec![8; 500])).await.unwrap();
            }
            backend.flush().await.unwrap();
            for number in 0..500 {
                let found = backend.get(&listing(round % 2, number)).await.unwrap();
                assert!(found.is_some(), "round {round}: {number} is missing");
            }
            let still = of_group(&backend, (round + 1) % 2).await;
            assert!(still > others / 10 * 9, "round {round}: {still} of {others} others are left");
        }
        let stats = backend.stats().await.unwrap();
        assert!(stats.disk_bytes <= SMALL_LIMIT && stats.errors == 0, "{stats:?}");
    });
}

/// The vacuum after a large pattern takes many commits; a value that is set meanwhile does not wait for the last of them.
#[test]
fn a_value_is_written_while_there_is_much_garbage() {
    let (root, recorder) = (in_memory(), Arc::new(Recorder::default()));
    runtime().block_on(async {
        let backend = DiskBackend::open(tapped(config(root.path()), &recorder)).await.unwrap();
        for number in 0..6_000 {
            backend.set(&listing(1, number), NewEntry::new(vec![7; 500])).await.unwrap();
        }
        backend.flush().await.unwrap();
        let Invalidated::Applied { removed } = clear(&backend, 1).await else { panic!("not applied") };
        assert!(removed > 5_000, "{removed} were removed");
        let asked = recorder.acknowledged();
        backend.set(&listing(2, 1), NewEntry::new("a value that comes meanwhile")).await.unwrap();
        backend.close().await.unwrap();
        let events = recorder.events();
        let written = events.iter().skip(asked).position(
            |event| matches!(event, Event::Write { data, .. } if find(data, b"a value that comes meanwhile")),
        );
        let syncs =
            |events: &[Event]| events.iter().filter(|event| matches!(event, Event::Sync { .. })).count();
        let (before, all) = (syncs(&events[asked..asked + written.unwrap()]), syncs(&events[asked..]));
        assert!(
            all > 4 && before < all / 2,
            "after {before} of the {all} syncs that it took to delete all garbage"
        );
    });
}

fn find(data: &[u8], what: &[u8]) -> bool {
    data.windows(what.len()).any(|window| window == what)
}

/// A commit that failed may have happened all the same: the entries that it removed must not be read, though their rows
/// are still there.
#[test]
fn an_acknowledged_removal_holds_though_its_first_commit_failed() {
    // In tests the removal is done in four parts, with two syncs each.
    for syncs in [0, 1, 2, 5, 7, 8, 9] {
        let (root, recorder) = (on_disk(), Arc::new(Recorder::default()));
        runtime().block_on(async {
            let backend = DiskBackend::open(tapped(config(root.path()), &recorder)).await.unwrap();
            store(&backend, 2, 50).await;
            recorder.fail_after(syncs);
            let _ = clear(&backend, 1).await;
            for number in 0..50 {
                let found = backend.get(&listing(1, number)).await.unwrap();
                assert!(found.is_none(), "after {syncs} syncs one failed, and {number} is back");
            }
            assert_eq!(
                backend.stats().await.unwrap().errors > 0,
                syncs < 8,
                "{syncs} syncs before the failing one"
            );
        });
    }
}
