//! Full disks and limits of the process: no wrong value, no signal, and space is freed by evicting.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use cache_core::{CacheBackend, HealthStatus, NewEntry};
use cache_disk::DiskBackend;
use tempfile::TempDir;
use testkit::Lines;
use tracing::Level;

use super::support::{Dice, eventually, key, on_disk, open, runtime, what};
use super::world::World;

const RECOVERS_WITHIN: Duration = Duration::from_secs(5);
/// The environment variable with the directory of a child's store.
const LIMITED: &str = "CACHE_DISK_LIMITED_DIRECTORY";
/// Less than the smallest limit of a cache.
const DISK: &str = "size=5m";

/// A file system of a few megabytes.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// Mounts one; `None` if this process may not mount.
    fn mount() -> Option<Self> {
        let root = on_disk();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", DISK, "tmpfs"]).arg(root.path()).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self(root))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn grow(&self) {
        let grown = Command::new("mount").args(["-o", "remount,size=64m"]).arg(self.path()).status();
        assert!(grown.unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

/// Stores far more than fits, and reads and invalidates the rows of `world` meanwhile.
async fn flood(cache: &DiskBackend, world: &World, dice: &Dice, entries: usize) {
    for number in 0..entries {
        let size = *dice.pick(&[100, 4_000, 30_000]);
        let entry = NewEntry::new(vec![b'x'; size]);
        // It may be refused.
        let _ = cache.set(&key(&format!("flood:{number}")), entry).await;
        if number % 16 == 0 {
            let _ = world.read(cache, dice.below(world.rows.len()), 2_000).await;
        }
        if number % 64 == 0 {
            let _ = world.change(cache, world.any_invalidation(dice)).await;
        }
    }
    world.look_at_all(cache).await;
}

#[test]
fn on_a_full_disk_entries_are_evicted_and_a_disk_that_grows_is_used() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("SKIPPED: nothing can be mounted here");
        return;
    };
    let (world, dice) = (World::new(), Dice::new(8));
    let directory = disk.path().join("cache");
    runtime().block_on(async {
        let cache = open(&directory).await;
        for round in 0..4 {
            flood(&cache, &world, &dice, 1_000).await;
            // Another program takes the rest of the disk, and frees it again.
            let filler = disk.path().join("filler");
            let _ = fs::write(&filler, vec![0; 8 << 20]);
            flood(&cache, &world, &dice, 300).await;
            fs::remove_file(&filler).unwrap();
            let took = eventually(RECOVERS_WITHIN, "loaded values are found again", async || {
                let _ = world.read(&cache, 0, 2_000).await;
                cache.flush().await.is_ok() && world.read(&cache, 0, 2_000).await.unwrap_or(false)
            })
            .await;
            println!("round {round}: back after {took:?}, {:?}", cache.health().await.status);
        }
        disk.grow();
        flood(&cache, &world, &dice, 1_000).await;
        eventually(RECOVERS_WITHIN, "all is well", async || {
            cache.flush().await.is_ok() && cache.health().await.status == HealthStatus::Ok
        })
        .await;
        cache.close().await.unwrap();
        let cache = open(&directory).await;
        assert!(world.look_at_all(&cache).await > 0, "the last values are still there");
        cache.close().await.unwrap();
    });
}

#[test]
fn a_full_disk_is_named_and_logged_once_and_nothing_is_taken_for_damaged() {
    const NAME: &str = "full_disk::a_full_disk_is_named_and_logged_once_and_nothing_is_taken_for_damaged";
    if std::env::var_os(LIMITED).is_none() {
        // In a process where no other test logs.
        let mut child = Command::new(std::env::current_exe().unwrap());
        let output = child.args([NAME, "--exact", "--nocapture"]).env(LIMITED, "").output().unwrap();
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        print!("{said}");
        return assert!(output.status.success(), "{}", output.status);
    }
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("SKIPPED: nothing can be mounted here");
        return;
    };
    Lines::capture(Level::INFO);
    let (world, dice) = (World::new(), Dice::new(10));
    let directory = disk.path().join("cache");
    runtime().block_on(async {
        let cache = open(&directory).await;
        for _ in 0..3 {
            world.read(&cache, 0, 2_000).await.unwrap();
            cache.flush().await.unwrap();
            let filler = disk.path().join("filler");
            let _ = fs::write(&filler, vec![0; 8 << 20]);
            for _ in 0..100 {
                let _ = world.read(&cache, dice.below(world.rows.len()), 9_000).await;
                let _ = world.change(&cache, world.any_invalidation(&dice)).await;
            }
            world.look_at_all(&cache).await;
            fs::remove_file(&filler).unwrap();
            eventually(RECOVERS_WITHIN, "loaded values are found again", async || {
                let _ = world.read(&cache, 0, 2_000).await;
                cache.flush().await.is_ok() && world.read(&cache, 0, 2_000).await.unwrap_or(false)
            })
            .await;
        }
        assert!(cache.health().await.status == HealthStatus::Ok);
        cache.close().await.unwrap();
    });
    let warnings = Lines::of_all_threads("WARN ");
    println!("{}", Lines::of_all_threads("").join("\n"));
    assert_eq!(Lines::of_all_threads("WARN disk cache cannot be written: the disk is full").len(), 1);
    assert!(warnings.len() <= 4, "{warnings:#?}");
    for word in ["damage", "set aside", "cannot be read", "database failed"] {
        assert!(warnings.iter().all(|line| !line.contains(word)), "{word}: {warnings:#?}");
    }
    let left: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let is_expected = |name: &std::ffi::OsString| {
        name == "cache.redb" || name == "cache.lock" || name.to_string_lossy().starts_with("values-")
    };
    assert!(left.iter().all(is_expected), "{left:?}");
}

/// A full disk evicts what does not fit, and not the rest.
#[test]
fn on_a_full_disk_large_values_are_kept_as_far_as_they_fit_and_a_disk_with_space_is_used() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("SKIPPED: nothing can be mounted here");
        return;
    };
    let directory = disk.path().join("cache");
    let world = World::of((0..60).map(|id| key(&format!("image:{id}:tiles"))));
    runtime().block_on(async {
        let cache = open(&directory).await;
        let fill = async || {
            for row in 0..world.rows.len() {
                let _ = world.read(&cache, row, 100_000).await;
                let _ = cache.flush().await;
            }
            world.look_at_blocks(&cache).await.1
        };
        for round in 0..3 {
            let kept = fill().await;
            println!("round {round}: {kept} bytes are kept on a disk of 5 MB");
            assert!(kept > 2_500_000, "round {round}: only {kept} bytes are kept on a disk of 5 MB");
            // Another program takes a part of the disk, and frees it again.
            world.change(&cache, what("everything")).await.unwrap();
            let filler = disk.path().join("filler");
            eventually(RECOVERS_WITHIN, "a clear frees space", async || {
                fs::write(&filler, vec![0; 2 << 20]).is_ok()
            })
            .await;
            let beside = fill().await;
            println!("round {round}: {beside} bytes are kept beside a file of 2 MB");
            assert!(beside > 1_000_000, "round {round}: only {beside} bytes are kept beside a file of 2 MB");
            fs::remove_file(&filler).unwrap();
            eventually(RECOVERS_WITHIN, "the space is used again", async || fill().await > 2_500_000).await;
        }
        disk.grow();
        eventually(RECOVERS_WITHIN, "all is well", async || {
            fill().await > 5_000_000 && cache.health().await.status == HealthStatus::Ok
        })
        .await;
        world.frees_all_other_blocks(&cache, &directory).await;
        cache.close().await.unwrap();
    });
}

/// A file that is too large would end the child by a signal.
#[test]
fn a_process_that_may_not_write_large_files_stays_within_that_limit() {
    if let Ok(directory) = std::env::var(LIMITED) {
        let most = rustix::process::Rlimit { current: Some(10 << 20), maximum: Some(10 << 20) };
        rustix::process::setrlimit(rustix::process::Resource::Fsize, most).unwrap();
        let (world, dice) = (World::new(), Dice::new(9));
        runtime().block_on(async {
            let config = super::support::config(Path::new(&directory)).limit_bytes(100 << 20);
            let cache = DiskBackend::open(config).await.unwrap();
            flood(&cache, &world, &dice, 2_000).await;
            assert_eq!(cache.stats().await.unwrap().limit_mb, 10);
            cache.close().await.unwrap();
        });
        println!("stayed within the limit");
        return;
    }
    let root = on_disk();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args([
        "full_disk::a_process_that_may_not_write_large_files_stays_within_that_limit",
        "--exact",
        "--nocapture",
    ]);
    let output = child.env(LIMITED, root.path()).output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("stayed within the limit"), "{}: {said}", output.status);
}
