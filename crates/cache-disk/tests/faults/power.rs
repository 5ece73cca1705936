//! Power loss: writes that were not synced are missing, out of order or torn.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use cache_core::CacheBackend;
use cache_core::plants::{Plant, is_planted};
use cache_disk::DiskBackend;
use testkit::reliability::{Tally, seed};
use testkit::stale_only_if;

use super::recorder::{Disk, Recorder, write_sparse};
use super::storage::tapped;
use super::support::{Dice, config, in_memory, open, repeat, runtime};
use super::world::World;

/// The row of the reliability report.
const ROW: &str = "simulated power losses";

/// The record of the use of a store: every event, and from which event on each version was acknowledged.
struct Life {
    recorder: Arc<Recorder>,
    world: World,
    /// (number of events, row, version).
    acknowledged: Vec<(usize, usize, u64)>,
}

impl Life {
    /// Uses a store for some hundred operations.
    async fn live(recorder: Recorder, dice: &Dice) -> Self {
        let (recorder, world, root) = (Arc::new(recorder), World::new(), in_memory());
        let mut acknowledged = Vec::new();
        let cache = DiskBackend::open(tapped(config(root.path()), &recorder)).await.unwrap();
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
        Self { recorder, world, acknowledged }
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
    /// survived in all.
    async fn cut(&self, images: usize, dice: &Dice, tally: &Tally) -> usize {
        let events = self.recorder.events().clone();
        let mut survivors = 0;
        for _ in 0..images {
            tally.attempt();
            let moment = dice.between(2, events.len());
            let root = in_memory();
            let database = root.path().join("cache.redb");
            let mut content = Disk::after(&events[..moment], dice).lose_power(dice);
            write_sparse(&database, &content);
            if dice.one_in(3) {
                content = Self::open_and_cut(&root, content, dice).await;
                fs::remove_dir_all(root.path()).unwrap();
                fs::create_dir(root.path()).unwrap();
                write_sparse(&database, &content);
            }
            let start = Instant::now();
            let cache = open(root.path()).await;
            tally.healed(start.elapsed());
            let world = self.world_after(moment);
            survivors += world.look_at_all(&cache).await;
            // The store works: loaded values are found.
            for at in 0..world.rows.len() {
                world.read(&cache, at, 500).await.unwrap();
                let is_found = world.read(&cache, at, 500).await.unwrap();
                let (why, health) = (cache.explain(&world.rows[at].key).await, cache.health().await);
                assert!(is_found, "row {at} was loaded and is not found: {why:?} {health:?}");
            }
            cache.close().await.unwrap();
        }
        survivors
    }

    /// Opens the store, and cuts the power again meanwhile.
    async fn open_and_cut(root: &tempfile::TempDir, content: Vec<u8>, dice: &Dice) -> Vec<u8> {
        let recorder = Arc::new(Recorder::of(content));
        let cache = DiskBackend::open(tapped(config(root.path()), &recorder)).await.unwrap();
        cache.close().await.unwrap();
        let events = recorder.events();
        Disk::after(&events[..dice.between(3, events.len() + 1)], dice).lose_power(dice)
    }
}

#[test]
fn after_a_loss_of_power_no_acknowledged_invalidation_is_undone() {
    let (dice, runtime) = (Dice::new(seed(2)), runtime());
    let tally = Tally::new(ROW, seed(2));
    let (lives, images) = (4, repeat("CACHE_DISK_POWER_LOSSES", 240) / 4);
    let survivors: usize = (0..lives)
        .map(|_| {
            runtime.block_on(async {
                let life = Life::live(Recorder::default(), &dice).await;
                life.cut(images, &dice, &tally).await
            })
        })
        .sum();
    println!("{} losses of power, {survivors} entries survived", lives * images);
    assert!(survivors > lives * images, "nothing survived: nothing was tested");
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
            runtime.block_on(async { Life::live(recorder, &dice).await.cut(10, &dice, &tally).await })
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
        let life = async { Life::live(Recorder::default(), &dice).await.cut(400, &dice, &tally).await };
        runtime().block_on(life);
    });
}
