//! Damaged, missing and foreign values files: the store opens, serves no wrong or old value, and loses nothing else.
//!
//! `CACHE_DISK_DAMAGES=10000 cargo test -p cache-disk --test faults damage` tries more of them.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use std::time::Duration;

use cache_core::{CacheBackend, Invalidation};
use cache_disk::{DiskBackend, DiskConfig};
use redb::{ReadableDatabase, ReadableTableMetadata};
use testkit::reliability::{Tally, seed};

use super::sampler::values_files;
use super::support::{
    Dice, config, copy_files, eventually, in_memory, key, open, repeat, runtime, until_complete, what,
};
use super::world::{World, in_blocks};

const RECOVERS_WITHIN: Duration = Duration::from_secs(5);
/// The row of the reliability report.
const ROW: &str = "damaged files";
const SIZES: [usize; 4] = [900, 9_000, 30_000, 60_000];

fn world() -> World {
    let keys = (0..60).map(|id| key(&format!("image:{id}:large")));
    World::of(keys.chain(World::new().rows.into_iter().map(|row| row.key)))
}

fn config_of(directory: &Path, has_holes: bool) -> DiskConfig {
    let config = config(directory).page_cache_bytes(0);
    if has_holes { config } else { config.without_holes() }
}

/// Fills a store with every row and closes it.
async fn fill(config: DiskConfig, world: &World) {
    let cache = DiskBackend::open(config).await.unwrap();
    load_all(&cache, world).await;
    cache.close().await.unwrap();
}

/// Loads the rows that are not found; returns whether all are found then.
async fn load_all(cache: &DiskBackend, world: &World) -> bool {
    for row in 0..world.rows.len() {
        world.read(cache, row, SIZES[row % SIZES.len()]).await.unwrap();
    }
    cache.flush().await.is_ok() && world.look_at_all(cache).await == world.rows.len()
}

/// The number of rows whose values have blocks.
fn large(world: &World) -> usize {
    let is_large = |row: usize| in_blocks(&world.rows[row].key, SIZES[row % SIZES.len()]) > 0;
    (0..world.rows.len()).filter(|row| is_large(*row)).count()
}

/// Invalidates and loads until the store works, also after it was opened again. Checks every value.
///
/// A file that was removed while it was open takes what was written to it since along.
async fn examine(cache: DiskBackend, directory: &Path, world: &World, has_holes: bool, dice: &Dice) {
    let is_whole = !values_files(directory).is_empty();
    for _ in 0..4 {
        let row = dice.pick(&world.rows);
        let what =
            if dice.one_in(2) { row.key.to_group().into() } else { Invalidation::Key(row.key.clone()) };
        world.change(&cache, what).await.unwrap();
    }
    world.change(&cache, what("pattern thumbnail")).await.unwrap();
    world.look_at_all(&cache).await;
    eventually(RECOVERS_WITHIN, "a damaged store works again", async || load_all(&cache, world).await).await;
    cache.close().await.unwrap();
    let cache = DiskBackend::open(config_of(directory, has_holes)).await.unwrap();
    assert!(world.look_at_all(&cache).await == world.rows.len() || !is_whole, "stored values were lost");
    world.frees_all_other_blocks(&cache, directory).await;
    cache.close().await.unwrap();
}

/// Ways to damage a values file; the last one makes it longer.
const DAMAGES: usize = 8;

/// Damages the values file at `path`; `number` selects how. Returns how many values that may cost at most.
fn damage(path: &Path, number: usize, dice: &Dice) -> usize {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len() as usize;
    let noise = |length: usize| -> Vec<u8> { (0..length).map(|_| dice.next() as u8).collect() };
    match number {
        0 | 1 => {
            let flips = dice.between(1, 10);
            for _ in 0..flips {
                let (at, mut byte) = (dice.below(length) as u64, [0]);
                file.read_exact_at(&mut byte, at).unwrap();
                file.write_all_at(&[byte[0] ^ (1 << dice.below(8))], at).unwrap();
            }
            flips
        }
        2 => {
            file.set_len(dice.below(length) as u64).unwrap();
            usize::MAX
        }
        3 => {
            file.write_all_at(&noise(512), (dice.below(length) / 512 * 512) as u64).unwrap();
            1
        }
        4 => {
            // Blocks from elsewhere: sound by themselves, but of other values.
            let (from, to) = (dice.below(length) / 4096 * 4096, dice.below(length) / 4096 * 4096);
            let mut blocks = vec![0; 40_960.min(length - from.max(to))];
            file.read_exact_at(&mut blocks, from as u64).unwrap();
            file.write_all_at(&blocks, to as u64).unwrap();
            11
        }
        5 => {
            file.write_all_at(&[0; 4096], (dice.below(length) / 4096 * 4096) as u64).unwrap();
            1
        }
        6 => {
            fs::remove_file(path).unwrap();
            usize::MAX
        }
        _ => {
            file.write_all_at(&noise(100_000), length as u64).unwrap();
            // The last value may end there.
            1
        }
    }
}

/// What is behind the value in a file of its own is not freed before it leaves.
fn damages(has_holes: bool) -> usize {
    if has_holes { DAMAGES } else { DAMAGES - 1 }
}

fn damaged_copies(has_holes: bool, seed: u64) {
    let (dice, runtime, tally) = (Dice::new(seed), runtime(), Tally::new(ROW, seed));
    let copies = repeat("CACHE_DISK_DAMAGES", 320) / 10;
    runtime.block_on(async {
        let original = in_memory();
        fill(config_of(original.path(), has_holes), &world()).await;
        let mut lost = 0;
        for number in 0..copies {
            tally.attempt();
            let (root, world) = (in_memory(), world());
            copy_files(original.path(), root.path());
            let files = values_files(root.path());
            assert_eq!(files.len(), if has_holes { 1 } else { large(&world) });
            let most = damage(&files[dice.below(files.len())], number % damages(has_holes), &dice);
            let most = most.min(if has_holes { large(&world) } else { 1 });
            let cache = DiskBackend::open(config_of(root.path(), has_holes)).await.unwrap();
            let hits = world.look_at_all(&cache).await;
            assert!(
                hits + most >= world.rows.len(),
                "damage {number} cost {} values",
                world.rows.len() - hits
            );
            lost += world.rows.len() - hits;
            examine(cache, root.path(), &world, has_holes, &dice).await;
        }
        println!("{copies} damaged values files cost {lost} values");
        assert!(lost > copies / 2, "nothing was damaged");
    });
}

#[test]
fn no_damaged_values_file_serves_a_wrong_or_an_old_value_or_costs_another() {
    damaged_copies(true, seed(15));
}

#[test]
fn no_damaged_file_of_a_single_value_serves_a_wrong_or_an_old_value_or_costs_another() {
    damaged_copies(false, seed(16));
}

/// Another program writes into the open file, truncates or removes it.
#[test]
fn a_running_cache_recovers_from_damage_of_its_values() {
    let (dice, runtime, tally) = (Dice::new(seed(17)), runtime(), Tally::new(ROW, seed(17)));
    for number in 0..repeat("CACHE_DISK_DAMAGES", 320) / 16 {
        tally.attempt();
        runtime.block_on(async {
            let (root, world, has_holes) = (in_memory(), world(), number % 4 < 3);
            fill(config_of(root.path(), has_holes), &world).await;
            let cache = DiskBackend::open(config_of(root.path(), has_holes)).await.unwrap();
            world.look_at_all(&cache).await;
            for file in values_files(root.path()) {
                damage(&file, dice.below(damages(has_holes)), &dice);
            }
            let hits = world.look_at_all(&cache).await;
            assert!(hits + large(&world) >= world.rows.len(), "values in rows were lost");
            examine(cache, root.path(), &world, has_holes, &dice).await;
        });
    }
}

#[test]
fn a_damaged_value_counts_as_corrupt_once_and_a_lost_one_does_not() {
    runtime().block_on(async {
        for (is_zero, corrupt) in [(false, 1), (true, 0)] {
            let (root, world) = (in_memory(), World::of([key("image:5:a")]));
            let cache = open(root.path()).await;
            world.read(&cache, 0, 60_000).await.unwrap();
            cache.flush().await.unwrap();
            let file = values_files(root.path()).pop().unwrap();
            let length = fs::metadata(&file).unwrap().len() as usize;
            let file = OpenOptions::new().write(true).open(file).unwrap();
            if is_zero {
                file.write_all_at(&vec![0; length], 0).unwrap();
            } else {
                file.write_all_at(&[b'?'; 100], length as u64 - 200).unwrap();
            }
            for _ in 0..3 {
                assert_eq!(world.look_at_all(&cache).await, 0);
            }
            let stats = cache.stats().await.unwrap();
            assert_eq!((stats.corrupt, stats.errors), (corrupt, 0));
            cache.close().await.unwrap();
        }
    });
}

#[test]
fn rows_that_lead_to_lost_blocks_are_removed() {
    runtime().block_on(async {
        let (root, world) = (in_memory(), world());
        fill(config(root.path()), &world).await;
        fs::remove_file(values_files(root.path()).pop().unwrap()).unwrap();
        let cache = open(root.path()).await;
        until_complete(&cache).await;
        cache.close().await.unwrap();
        let database = redb::Database::open(root.path().join("cache.redb")).unwrap();
        let meta = redb::TableDefinition::<&str, &[u8]>::new("meta");
        let rows = database.begin_read().unwrap().open_table(meta).unwrap().len().unwrap();
        assert_eq!(rows as usize, world.rows.len() - large(&world));
    });
}

/// Names that this crate writes, of other databases, and names that it never writes.
#[test]
fn values_files_that_are_not_of_the_database_are_removed_on_opening() {
    runtime().block_on(async {
        for has_holes in [true, false] {
            let (root, world) = (in_memory(), world());
            fill(config_of(root.path(), has_holes), &world).await;
            let own = values_files(root.path());
            let name = own[0].file_name().unwrap().to_str().unwrap();
            let generation = name[..name.len() - 12].to_owned();
            let others = ["0123456789abcdef-000000000000", "0123456789abcdef-x", "", "x", "-", "\u{e9}"];
            let others = others.map(|name| format!("values-{name}"));
            let odd =
                ["", "x", "-1", "+1", "1", "00000000000", "0000000000001", " 00000000000", "00000000000G"];
            let huge = ["ffffffffffffffff", "fffffffff", "7fffffffffffffff", "fffffffffffffffff"];
            let names: Vec<String> = others
                .into_iter()
                .chain(odd.iter().chain(&huge).map(|number| format!("{generation}{number}")))
                .collect();
            for name in &names {
                fs::write(root.path().join(name), vec![7; 50_000]).unwrap();
            }
            let cache = DiskBackend::open(config_of(root.path(), has_holes)).await.unwrap();
            assert_eq!(world.look_at_all(&cache).await, world.rows.len(), "values were lost");
            for name in &names {
                assert!(!root.path().join(name).exists(), "{name} is still there");
            }
            examine(cache, root.path(), &world, has_holes, &Dice::new(1)).await;
        }
    });
}

/// A later file of the same database, as after a loss of the commits that led to it.
#[test]
fn ids_go_on_behind_a_values_file_that_no_entry_leads_to() {
    runtime().block_on(async {
        for has_holes in [true, false] {
            let (root, world) = (in_memory(), world());
            fill(config_of(root.path(), has_holes), &world).await;
            let own = values_files(root.path()).pop().unwrap();
            let name = own.file_name().unwrap().to_str().unwrap();
            let later = root.path().join(format!("{}{:012x}", &name[..name.len() - 12], 0x9999));
            fs::write(&later, vec![7; 500_000]).unwrap();
            let cache = DiskBackend::open(config_of(root.path(), has_holes)).await.unwrap();
            assert_eq!(world.look_at_all(&cache).await, world.rows.len(), "values were lost");
            examine(cache, root.path(), &world, has_holes, &Dice::new(2)).await;
        }
    });
}

#[test]
fn a_link_or_a_directory_in_place_of_a_values_file_is_not_followed() {
    runtime().block_on(async {
        let (root, elsewhere, world) = (in_memory(), in_memory(), world());
        let victim = elsewhere.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        fill(config_of(root.path(), true), &world).await;
        // Of another database: the link itself is removed.
        let link = root.path().join("values-0123456789abcdef-000000000000");
        symlink(&victim, &link).unwrap();
        let cache = open(root.path()).await;
        assert!(!link.exists() && world.look_at_all(&cache).await == world.rows.len());
        cache.close().await.unwrap();
        let own = values_files(root.path()).pop().unwrap();
        fs::remove_file(&own).unwrap();
        symlink(&victim, &own).unwrap();
        let refused = DiskBackend::open(config(root.path())).await.unwrap_err().to_string();
        assert!(refused.contains("symbolic link") && refused.contains("values-"), "{refused}");
        fs::remove_file(&own).unwrap();
        fs::create_dir(&link).unwrap();
        File::create(link.join("precious")).unwrap();
        let refused = DiskBackend::open(config(root.path())).await.unwrap_err().to_string();
        assert!(refused.contains("values-0123456789abcdef"), "{refused}");
        assert!(link.join("precious").exists());
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    });
}
