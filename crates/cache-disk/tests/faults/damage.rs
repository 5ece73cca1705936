//! Damaged files: the store opens, serves no wrong or old value, and works again.
//!
//! `CACHE_DISK_DAMAGES=10000 cargo test -p cache-disk --test faults damage` tries more of them.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use cache_core::{CacheBackend, CacheKey, Invalidation, NewEntry};
use cache_disk::DiskBackend;
use testkit::reliability::{Tally, seed};

use super::support::{Dice, config, copy_files, eventually, in_memory, key, open, repeat, runtime, what};
use super::world::{World, value};

const RECOVERS_WITHIN: Duration = Duration::from_secs(5);
/// The row of the reliability report.
const ROW: &str = "damaged files";

/// A world with enough rows for branch pages in every table.
fn world() -> World {
    let key = |id: u32| CacheKey::builder("image", id).part("metadata").build().unwrap();
    World::of((0..400).map(key).chain(World::new().rows.into_iter().map(|row| row.key)))
}

/// Fills a store with every row and closes it, or leaves it as kill -9 would if `is_killed`.
async fn filled(directory: &Path, world: &World, is_killed: bool) {
    let root = in_memory();
    let cache = open(root.path()).await;
    for at in 0..world.rows.len() {
        world.read(&cache, at, [100, 900, 4_000, 9_000][at % 4]).await.unwrap();
    }
    cache.flush().await.unwrap();
    if is_killed {
        copy_files(root.path(), directory);
    }
    cache.close().await.unwrap();
    if !is_killed {
        copy_files(root.path(), directory);
    }
}

/// Opens a store with a damaged file, and reads, invalidates and loads until it works. Checks every value.
async fn examine(directory: &Path, world: &World, dice: &Dice, tally: &Tally) -> usize {
    let cache = open(directory).await;
    let hits = world.look_at_all(&cache).await;
    for _ in 0..8 {
        let row = dice.pick(&world.rows);
        let what =
            if dice.one_in(2) { row.key.to_group().into() } else { Invalidation::Key(row.key.clone()) };
        world.change(&cache, what).await.unwrap();
    }
    world.change(&cache, what("pattern thumbnail")).await.unwrap();
    world.look_at_all(&cache).await;
    tally.healed(works(&cache, world).await);
    world.look_at_all(&cache).await;
    cache.close().await.unwrap();
    let cache = open(directory).await;
    world.look_at_all(&cache).await;
    let _ = works(&cache, world).await;
    cache.close().await.unwrap();
    hits
}

/// Waits until loaded values are found, in memory and on the disk.
async fn works(cache: &DiskBackend, world: &World) -> Duration {
    eventually(RECOVERS_WITHIN, "a damaged store works again", async || {
        for at in 0..world.rows.len() {
            world.read(cache, at, 700).await.unwrap();
        }
        cache.flush().await.is_ok() && world.look_at_all(cache).await == world.rows.len()
    })
    .await
}

/// Damages a copy of `whole`; `number` selects how.
fn damage(whole: &[u8], number: usize, dice: &Dice) -> Vec<u8> {
    let mut file = whole.to_vec();
    match number % 8 {
        // A few bits anywhere.
        0 | 1 => (0..dice.between(1, 20)).for_each(|_| file[dice.below(whole.len())] ^= 1 << dice.below(8)),
        2 => file.truncate(dice.below(whole.len())),
        3 => {
            let at = dice.below(whole.len() / 512) * 512;
            file[at..at + 512].fill_with(|| dice.next() as u8);
        }
        4 => {
            // A page from elsewhere: sound by itself, but in the wrong tree.
            let (from, to) = (dice.below(whole.len() / 4096) * 4096, dice.below(whole.len() / 4096) * 4096);
            file.copy_within(from..from + 4096, to);
        }
        5 => {
            let at = dice.below(whole.len() / 4096) * 4096;
            file[at..at + 4096].fill(0);
        }
        6 => {
            // The first bytes of a page are its type and the number of its keys.
            let at = dice.below(whole.len() / 4096) * 4096 + dice.below(16);
            file[at] ^= 1 << dice.below(8);
        }
        _ => {
            // Bits in the text of keys, found by their family.
            let keys: Vec<usize> = memchr(&file, b"image:").collect();
            for _ in 0..dice.between(1, 6) {
                file[*dice.pick(&keys) + dice.below(12)] ^= 1 << dice.below(3);
            }
        }
    }
    file
}

fn memchr<'a>(file: &'a [u8], needle: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    (0..file.len() - needle.len() - 12).filter(move |at| file[*at..].starts_with(needle))
}

fn damaged_copies(is_killed: bool, seed: u64) {
    let (dice, runtime, tally) = (Dice::new(seed), runtime(), Tally::new(ROW, seed));
    let copies = repeat("CACHE_DISK_DAMAGES", 320) / 2;
    runtime.block_on(async {
        let original = in_memory();
        filled(original.path(), &world(), is_killed).await;
        let whole = fs::read(original.path().join("cache.redb")).unwrap();
        // The end of the file is mostly empty: only the used part is damaged.
        let used = whole.iter().rposition(|byte| *byte != 0).unwrap() / 4096 * 4096 + 4096;
        let mut hits = 0;
        for number in 0..copies {
            tally.attempt();
            let (root, world) = (in_memory(), world());
            let mut file = damage(&whole[..used], number, &dice);
            if file.len() == used {
                file.resize(whole.len(), 0);
            }
            super::recorder::write_sparse(&root.path().join("cache.redb"), &file);
            hits += examine(root.path(), &world, &dice, &tally).await;
        }
        println!("{copies} damaged files, {} hits each", hits / copies);
        assert!(hits > copies * 20, "nothing survived the damage: nothing was tested");
    });
}

#[test]
fn no_damaged_copy_of_a_closed_file_serves_a_wrong_or_an_old_value() {
    damaged_copies(false, seed(5));
}

#[test]
fn no_damaged_copy_of_a_killed_process_file_serves_a_wrong_or_an_old_value() {
    damaged_copies(true, seed(6));
}

#[test]
fn a_foreign_file_is_set_aside_and_the_cache_starts_empty() {
    let contents: [(&str, Vec<u8>); 6] = [
        ("text", b"[cache]\nsize = 10\n".repeat(10)),
        ("one byte", vec![7]),
        ("zeros", vec![0; 100_000]),
        ("garbage", (0..200_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()),
        ("another redb database", another_database()),
        ("redb's first bytes alone", another_database()[..64].to_vec()),
    ];
    runtime().block_on(async {
        for (name, content) in contents {
            let root = in_memory();
            fs::write(root.path().join("cache.redb"), &content).unwrap();
            let (cache, world) = (open(root.path()).await, World::new());
            assert_eq!(world.look_at_all(&cache).await, 0, "{name}");
            let _ = works(&cache, &world).await;
            cache.close().await.unwrap();
            // redb writes a mark into a file that it opens.
            let kept = fs::read(root.path().join("cache.redb.bad")).unwrap();
            assert!(kept.len() >= content.len(), "{name} was not kept");
        }
    });
}

/// A redb database with other tables.
fn another_database() -> Vec<u8> {
    let root = in_memory();
    let path = root.path().join("other.redb");
    let database = redb::Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(redb::TableDefinition::<u64, u64>::new("data")).unwrap().insert(1, 1).unwrap();
    transaction.commit().unwrap();
    drop(database);
    fs::read(path).unwrap()
}

#[test]
fn an_empty_file_becomes_a_cache_and_nothing_is_set_aside() {
    runtime().block_on(async {
        let root = in_memory();
        fs::write(root.path().join("cache.redb"), "").unwrap();
        let (cache, world) = (open(root.path()).await, World::new());
        let _ = works(&cache, &world).await;
        cache.close().await.unwrap();
        assert!(!root.path().join("cache.redb.bad").exists());
    });
}

#[test]
fn a_file_of_another_format_version_is_set_aside() {
    runtime().block_on(async {
        let (root, world) = (in_memory(), World::new());
        filled(root.path(), &world, false).await;
        let path = root.path().join("cache.redb");
        let database = redb::Database::open(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        let state = redb::TableDefinition::<&str, &[u8]>::new("state");
        transaction.open_table(state).unwrap().insert("format", b"999".as_slice()).unwrap();
        transaction.commit().unwrap();
        drop(database);
        let cache = open(root.path()).await;
        assert_eq!(world.look_at_all(&cache).await, 0, "entries of another format were served");
        let _ = works(&cache, &world).await;
        cache.close().await.unwrap();
        assert!(root.path().join("cache.redb.bad").exists());
    });
}

#[test]
fn another_namespace_starts_empty_and_never_sees_the_first_ones_values() {
    runtime().block_on(async {
        let (root, world) = (in_memory(), World::new());
        filled(root.path(), &world, false).await;
        for namespace in ["other", "app"] {
            let cache = DiskBackend::open(config(root.path()).namespace(namespace)).await.unwrap();
            assert_eq!(world.look_at_all(&cache).await, 0, "{namespace}");
            let token = cache.lookup(&key("image:5")).await.unwrap().token;
            let entry = NewEntry::new(value(&key("image:5"), 0, 50));
            let _ = cache.fill(&key("image:5"), token, entry).await.unwrap();
            cache.close().await.unwrap();
        }
        assert!(!root.path().join("cache.redb.bad").exists(), "another namespace was taken for damage");
    });
}

/// Another program writes into the open file. Reads miss until the file is set aside or overwritten.
#[test]
fn a_running_cache_recovers_from_damage() {
    let (dice, runtime, tally) = (Dice::new(seed(8)), runtime(), Tally::new(ROW, seed(8)));
    let runs = repeat("CACHE_DISK_DAMAGES", 320) / 16;
    for run in 0..runs {
        tally.attempt();
        runtime.block_on(async {
            let (root, world) = (in_memory(), world());
            filled(root.path(), &world, false).await;
            let path = root.path().join("cache.redb");
            let whole = fs::read(&path).unwrap();
            let used = whole.iter().rposition(|byte| *byte != 0).unwrap() / 4096 * 4096 + 4096;
            // Without a page cache, reads go to the file.
            let cache = DiskBackend::open(config(root.path()).page_cache_bytes(0)).await.unwrap();
            world.look_at_all(&cache).await;
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            if run % 5 == 4 {
                file.set_len(dice.below(used) as u64).unwrap();
            } else {
                for _ in 0..dice.between(1, 30) {
                    let at = dice.below(used / 512) as u64 * 512;
                    let bytes: Vec<u8> = (0..dice.between(1, 512)).map(|_| dice.next() as u8).collect();
                    file.write_all_at(&bytes, at).unwrap();
                }
            }
            for turn in 0..100 {
                if turn % 10 == 9 {
                    let row = dice.pick(&world.rows);
                    world.change(&cache, Invalidation::Key(row.key.clone())).await.unwrap();
                } else {
                    world.read(&cache, dice.below(world.rows.len()), 2_000).await.unwrap();
                }
            }
            tally.healed(works(&cache, &world).await);
            cache.close().await.unwrap();
            let cache = open(root.path()).await;
            world.look_at_all(&cache).await;
            let _ = works(&cache, &world).await;
            cache.close().await.unwrap();
        });
    }
}
