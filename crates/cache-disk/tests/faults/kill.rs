//! kill -9: a child process writes and invalidates, the parent kills it, opens the store and checks it.
//!
//! `CACHE_DISK_KILLS=1000 cargo test -p cache-disk --test faults kill` repeats it more often.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use cache_core::CacheBackend;
use cache_core::plants::{Plant, is_planted};
use testkit::reliability::{Tally, seed};
use testkit::stale_only_if;

use super::support::{Dice, on_disk, open, repeat, runtime};
use super::world::World;

/// The environment variable with the directory of the child's store; without it the test of the child does a little work
/// and ends.
const DIRECTORY: &str = "CACHE_DISK_VICTIM_DIRECTORY";
const SEED: &str = "CACHE_DISK_VICTIM_SEED";
/// The file, beside the directory of the store, with the versions of the database when the child starts.
const VERSIONS: &str = "versions";

/// Reopening after a crash may take this long.
const REOPEN_WITHIN: Duration = Duration::from_secs(1);

/// A process that writes and invalidates until it is killed.
pub(crate) struct Victim {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Victim {
    /// Starts one with the store in `root` and the database of `world`.
    pub(crate) fn start(root: &Path, world: &World, seed: u64) -> Self {
        let versions: Vec<String> = world
            .rows
            .iter()
            .map(|row| format!("{} {}", number(&row.version), number(&row.acknowledged)))
            .collect();
        fs::write(root.join(VERSIONS), versions.join("\n")).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["kill::a_victim_sees_no_old_version_itself", "--exact", "--nocapture"]);
        command.env(DIRECTORY, root).env(SEED, seed.to_string());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Self { child, said }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn wait_until_open(&mut self) {
        let mut line = String::new();
        while line.trim() != "opened" {
            line.clear();
            if self.said.read_line(&mut line).unwrap() == 0 {
                break;
            }
        }
    }

    /// Kills it `after` this time, and notes in `world` what it printed.
    pub(crate) fn kill(mut self, after: Duration, world: &World) {
        // The moment of the kill.
        thread::sleep(after);
        self.child.kill().unwrap();
        let mut rest = Vec::new();
        self.said.read_to_end(&mut rest).unwrap();
        let mut complaint = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
        self.child.wait().unwrap();
        assert!(!complaint.contains("panicked"), "the victim failed: {complaint}");
        let rest = String::from_utf8_lossy(&rest);
        // A last line without an end was cut off by the kill.
        let whole = rest.rfind('\n').map_or("", |end| &rest[..end]);
        for line in whole.lines() {
            let mut words = line.split(' ');
            let (Some(verb), Some(at), Some(version)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            let (Ok(at), Ok(version)) = (at.parse::<usize>(), version.parse()) else { continue };
            let row = &world.rows[at];
            match verb {
                "begun" => row.version.fetch_max(version, Ordering::SeqCst),
                "acknowledged" => row.acknowledged.fetch_max(version, Ordering::SeqCst),
                _ => continue,
            };
        }
    }
}

fn number(number: &std::sync::atomic::AtomicU64) -> u64 {
    number.load(Ordering::SeqCst)
}

/// What is left of the victims.
pub(crate) struct Left {
    /// The entries that survived.
    survivors: usize,
    /// The bytes of them that are in blocks of values files.
    in_blocks: u64,
    acknowledged: u64,
    slowest_opening: Duration,
}

/// Kills `cycles` victims.
pub(crate) fn kill_and_look(cycles: usize, seed: u64) -> Left {
    let (dice, root, world, runtime) = (Dice::new(seed), on_disk(), World::new(), runtime());
    let tally = Tally::new("kill -9 cycles", seed);
    let (mut survivors, mut in_blocks, mut slowest_opening) = (0, 0, Duration::ZERO);
    for _ in 0..cycles {
        tally.attempt();
        let mut victim = Victim::start(root.path(), &world, dice.next());
        victim.wait_until_open();
        victim.kill(Duration::from_micros(dice.between(5_000, 65_000) as u64), &world);
        runtime.block_on(async {
            let start = Instant::now();
            let cache = open(&root.path().join("cache")).await;
            slowest_opening = slowest_opening.max(start.elapsed());
            tally.healed(start.elapsed());
            // The first time while the index is loaded.
            survivors += world.look_at_all(&cache).await;
            in_blocks += world.frees_all_other_blocks(&cache, &root.path().join("cache")).await;
            cache.close().await.unwrap();
        });
    }
    let acknowledged = world.rows.iter().map(|row| number(&row.acknowledged)).sum();
    Left { survivors, in_blocks, acknowledged, slowest_opening }
}

/// Also frees the blocks of values that the victim could not commit.
#[test]
fn killed_at_any_moment_no_acknowledged_invalidation_is_undone() {
    let cycles = repeat("CACHE_DISK_KILLS", 30);
    let Left { survivors, in_blocks, acknowledged, slowest_opening: slowest } =
        kill_and_look(cycles, seed(1));
    println!(
        "{cycles} kills: {survivors} entries survived with {in_blocks} bytes in blocks, {acknowledged} invalidations \
         held, opened in {slowest:?}"
    );
    assert!(slowest <= REOPEN_WITHIN, "opening took {slowest:?}");
    assert!(survivors > 0 && acknowledged > 0, "nothing was tested");
    assert!(in_blocks > 100_000 * cycles as u64, "there was no flood of large values");
}

/// The kill must reveal the planted bug: otherwise the test above proves nothing.
///
/// `cargo xtask test` runs it with `PLANTED_BUG=lazy-delete`; without the bug there is nothing to find.
#[test]
fn killing_shows_that_invalidations_were_acknowledged_too_early() {
    if is_planted(Plant::LazyDelete) {
        stale_only_if(true, || {
            kill_and_look(200, 1);
        });
    }
}

/// The victim reads, loads and invalidates, prints what it does, and checks every value.
#[test]
fn a_victim_sees_no_old_version_itself() {
    let seed = std::env::var(SEED).map_or(7, |seed| seed.parse().unwrap());
    let dice = Dice::new(seed);
    let Ok(root) = std::env::var(DIRECTORY) else {
        let root = on_disk();
        runtime().block_on(live(root.path(), &World::new(), &dice, 60));
        return;
    };
    let (root, world) = (Path::new(&root), World::new());
    let versions = fs::read_to_string(root.join(VERSIONS)).unwrap();
    for (row, line) in world.rows.iter().zip(versions.lines()) {
        let (version, acknowledged) = line.split_once(' ').unwrap();
        row.version.store(version.parse().unwrap(), Ordering::SeqCst);
        row.acknowledged.store(acknowledged.parse().unwrap(), Ordering::SeqCst);
    }
    runtime().block_on(live(root, &world, &dice, usize::MAX));
}

async fn live(root: &Path, world: &World, dice: &Dice, operations: usize) {
    let cache = open(&root.join("cache")).await;
    println!("\nopened");
    let worker = async || {
        for _ in 0..operations {
            if dice.one_in(8) {
                let what = world.any_invalidation(dice);
                let begun = world.begin(&what);
                for (at, version) in &begun {
                    println!("begun {at} {version}");
                }
                let _ = cache.invalidate(&[what]).await.unwrap();
                world.acknowledge(&begun);
                for (at, version) in &begun {
                    println!("acknowledged {at} {version}");
                }
            } else {
                let size = *dice.pick(&[100, 900, 4_000, 9_000, 60_000, 200_000]);
                world.read(&cache, dice.below(world.rows.len()), size).await.unwrap();
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(worker(), worker(), worker());
}
