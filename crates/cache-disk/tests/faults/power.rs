//! Power loss: writes that were not synced are missing, out of order or torn, in the database and in the values files, of
//! which neither waits for the other.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use cache_core::CacheBackend;
use cache_core::plants::{Plant, is_planted};
use cache_disk::{DiskBackend, DiskConfig};
use testkit::reliability::{Tally, seed};
use testkit::stale_only_if;

use super::image::Image;
use super::recorder::{Recorder, recorded};
use super::support::{Dice, config, in_memory, repeat, runtime, what};
use super::world::World;

/// The row of the reliability report.
const ROW: &str = "simulated power losses";

/// The record of the use of a store: every event, and from which event on each version was acknowledged.
struct Life {
    recorder: Arc<Recorder>,
    world: World,
    has_holes: bool,
    /// (number of events, row, version).
    acknowledged: Vec<(usize, usize, u64)>,
}

impl Life {
    /// Uses a store for some hundred operations.
    async fn live(recorder: Recorder, has_holes: bool, dice: &Dice) -> Self {
        let (recorder, world, root) = (Arc::new(recorder), World::new(), in_memory());
        let mut acknowledged = Vec::new();
        let config = recorded(config_of(root.path(), has_holes), &recorder);
        let cache = DiskBackend::open(config).await.unwrap();
        for _ in 0..300 {
            match dice.below(10) {
                0..7 => {
                    let size = *dice.pick(&[100, 900, 4_000, 9_000, 30_000]);
                    let _ = world.read(&cache, dice.below(world.rows.len()), size).await;
                }
                7..9 => {
                    let what = world.any_invalidation(dice);
                    if let Ok(begun) = world.change(&cache, what).await {
                        let at = recorder.acknowledged();
                        acknowledged.extend(begun.iter().map(|(row, version)| (at, *row, *version)));
                    }
                }
                _ => drop(cache.flush().await),
            }
        }
        cache.close().await.unwrap();
        Self { recorder, world, has_holes, acknowledged }
    }

    /// The database as it was after the first `events` events.
    fn world_after(&self, events: usize) -> World {
        let then = World::new();
        for (row, now) in then.rows.iter().zip(&self.world.rows) {
            row.version.store(now.version.load(Ordering::SeqCst), Ordering::SeqCst);
        }
        for (_, row, version) in self.acknowledged.iter().filter(|(at, ..)| *at <= events) {
            then.rows[*row].acknowledged.fetch_max(*version, Ordering::SeqCst);
        }
        then
    }

    /// Cuts the power at `images` moments, and sometimes again while the store is reopened; returns how many entries
    /// survived in all, and how many of their bytes are in blocks.
    async fn cut(&self, images: usize, dice: &Dice, tally: &Tally) -> (usize, u64) {
        let events = self.recorder.events().clone();
        let (mut survivors, mut in_blocks) = (0, 0);
        for _ in 0..images {
            tally.attempt();
            let moment = dice.between(2, events.len());
            let root = in_memory();
            let image = Image::after(&events, moment, self.has_holes, dice);
            image.write_to(root.path()).unwrap();
            if dice.one_in(3) {
                let again = self.open_and_cut(root.path(), image, dice).await;
                again.write_to(root.path()).unwrap();
            }
            let start = Instant::now();
            let cache = DiskBackend::open(config_of(root.path(), self.has_holes)).await.unwrap();
            tally.healed(start.elapsed());
            let world = self.world_after(moment);
            survivors += world.look_at_all(&cache).await;
            in_blocks += world.frees_all_other_blocks(&cache, root.path()).await;
            world.change(&cache, what("group image:5")).await.unwrap();
            world.frees_all_other_blocks(&cache, root.path()).await;
            // The store works: loaded values are found.
            for at in 0..world.rows.len() {
                world.read(&cache, at, 500).await.unwrap();
                let is_found = world.read(&cache, at, 500).await.unwrap();
                let (why, health) = (cache.explain(&world.rows[at].key).await, cache.health().await);
                assert!(is_found, "row {at} was loaded and is not found: {why:?} {health:?}");
            }
            cache.close().await.unwrap();
        }
        (survivors, in_blocks)
    }

    /// Opens the store, and cuts the power again meanwhile.
    async fn open_and_cut(&self, root: &Path, image: Image, dice: &Dice) -> Image {
        let recorder = Arc::new(Recorder::of(image.database, image.blocks));
        let before = recorder.events().len();
        let config = recorded(config_of(root, self.has_holes), &recorder);
        let cache = DiskBackend::open(config).await.unwrap();
        cache.close().await.unwrap();
        let events = recorder.events();
        Image::after(&events, dice.between(before, events.len() + 1), self.has_holes, dice)
    }
}

fn config_of(directory: &Path, has_holes: bool) -> DiskConfig {
    if has_holes { config(directory) } else { config(directory).without_holes() }
}

/// Cuts the power of four lives, `images` times in all.
fn lose_power(has_holes: bool, images: usize, seed: u64) {
    let (dice, tally, runtime) = (Dice::new(seed), Tally::new(ROW, seed), runtime());
    let (mut survivors, mut in_blocks) = (0, 0);
    for _ in 0..4 {
        let (survived, bytes) = runtime.block_on(async {
            Life::live(Recorder::default(), has_holes, &dice).await.cut(images / 4, &dice, &tally).await
        });
        survivors += survived;
        in_blocks += bytes;
    }
    println!("{images} losses of power, {survivors} entries survived, {in_blocks} bytes of them in blocks");
    assert!(survivors > images, "nothing survived: nothing was tested");
    assert!(in_blocks > 4096 * images as u64, "hardly a large value survived: nothing was tested");
}

#[test]
fn after_a_loss_of_power_no_acknowledged_invalidation_is_undone() {
    lose_power(true, repeat("CACHE_DISK_POWER_LOSSES", 240), seed(2));
}

#[test]
fn after_a_loss_of_power_files_of_single_values_hold_no_wrong_and_no_old_value() {
    lose_power(false, repeat("CACHE_DISK_POWER_LOSSES", 240) / 2, seed(12));
}

/// A failed sync may have lost its writes, even if the next one succeeds.
#[test]
fn after_a_failed_sync_and_a_loss_of_power_no_acknowledged_invalidation_is_undone() {
    let (dice, runtime) = (Dice::new(seed(3)), runtime());
    let tally = Tally::new(ROW, seed(3));
    let lives = repeat("CACHE_DISK_POWER_LOSSES", 240) / 10;
    let survivors: usize = (0..lives)
        .map(|_| {
            let recorder = Recorder::failing_after(dice.between(10, 120));
            runtime.block_on(async { Life::live(recorder, true, &dice).await.cut(10, &dice, &tally).await.0 })
        })
        .sum();
    println!("{} losses of power after a failed sync, {survivors} entries survived", lives * 10);
    assert!(survivors > lives, "nothing survived: nothing was tested");
}

/// The power loss must reveal the planted bug: otherwise the tests above prove nothing.
///
/// `cargo xtask test` runs it with `PLANTED_BUG=lazy-delete`; without the bug there is nothing to find.
#[test]
fn killing_the_power_shows_that_invalidations_were_acknowledged_too_early() {
    if !is_planted(Plant::LazyDelete) {
        return;
    }
    let (dice, tally) = (Dice::new(2), Tally::new(ROW, 2));
    stale_only_if(true, || {
        let life = async { Life::live(Recorder::default(), true, &dice).await.cut(400, &dice, &tally).await };
        let _ = runtime().block_on(life);
    });
}
