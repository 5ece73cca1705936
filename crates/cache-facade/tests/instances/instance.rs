//! One process: it reads and changes rows through the cache, and records the results.

use std::convert::Infallible;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cache_facade::{BackendKind, Cache, CacheKey, Invalidated, Invalidation, Source};
use serde::{Deserialize, Serialize};
use testkit::history::{self, Event, Reach, Read, now};
use tokio::sync::RwLock;
use tokio::time::{Instant, sleep};

use super::database::{Database, ROWS};
use super::dice::Dice;

/// Make a process of this test an instance, with this directory and number.
pub(crate) const ROOT: &str = "INSTANCE_ROOT";
pub(crate) const NUMBER: &str = "INSTANCE_NUMBER";

const READERS: u64 = 6;
const WRITERS: u64 = 2;
/// How long an instance may take after the last fault until its journal is empty.
const CATCHES_UP_WITHIN: Duration = Duration::from_secs(20);

#[derive(Serialize, Deserialize)]
struct Row {
    number: u32,
    version: u64,
    filler: String,
}

pub(crate) fn history_of(root: &Path, number: usize) -> PathBuf {
    root.join(format!("history-{number}"))
}

/// The file whose existence ends the instances.
pub(crate) fn end_of(root: &Path) -> PathBuf {
    root.join("end")
}

struct Instance {
    cache: Cache,
    database: Database,
    notes: File,
    end: PathBuf,
    /// Held by an invalidation until it is recorded.
    invalidating: RwLock<()>,
}

/// Reads and writes until the file of [`end_of`] exists.
pub(crate) async fn run(root: &Path, number: usize) {
    let notes = File::options().append(true).create(true).open(history_of(root, number)).unwrap();
    let instance = Arc::new(Instance {
        cache: Cache::from_env().await.unwrap(),
        database: Database::open(&root.join("database")),
        notes,
        end: end_of(root),
        invalidating: RwLock::new(()),
    });
    let seed = u64::from(std::process::id());
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..READERS {
        let (instance, dice) = (Arc::clone(&instance), Dice::new(seed << 8 | task));
        tasks.spawn(async move { instance.read_on(dice).await });
    }
    for task in READERS..READERS + WRITERS {
        let (instance, dice) = (Arc::clone(&instance), Dice::new(seed << 8 | task));
        tasks.spawn(async move { instance.write_on(dice).await });
    }
    while !instance.is_over() {
        sleep(Duration::from_millis(100)).await;
        instance.note_when_caught_up().await;
    }
    tasks.join_all().await;
    let until = Instant::now() + CATCHES_UP_WITHIN;
    while !instance.note_when_caught_up().await {
        assert!(Instant::now() < until, "not caught up: {:?}", instance.cache.health().await);
        sleep(Duration::from_millis(50)).await;
    }
    instance.cache.close().await.unwrap();
}

impl Instance {
    fn is_over(&self) -> bool {
        self.end.exists()
    }

    fn note(&self, event: Event) {
        // Written as a whole line: a killed process leaves at most one incomplete line, at the end.
        (&self.notes).write_all(format!("{event}\n").as_bytes()).unwrap();
    }

    async fn read_on(self: Arc<Self>, dice: Dice) {
        // Reads from memory would fill the disk with histories.
        let pause = Duration::from_millis(if std::env::var_os("CACHE_MEMORY_MB").is_some() { 4 } else { 0 });
        while !self.is_over() {
            sleep(pause).await;
            for _ in 0..50 {
                self.read(u32::try_from(dice.below(u64::from(ROWS))).unwrap(), dice.below(4)).await;
            }
        }
    }

    async fn read(self: &Arc<Self>, row: u32, slow: u64) {
        let instance = Arc::clone(self);
        let load = async move || {
            let version = instance.database.version(row);
            // Gives the value time to become stale.
            if slow > 0 {
                sleep(Duration::from_millis(slow)).await;
            }
            Ok::<_, Infallible>(Row { number: row, version, filler: "x".repeat(filler(row)) })
        };
        let start = now();
        let loaded = self.cache.get_or_load(&key(row), load).details().await.unwrap();
        let end = now();
        let source = match (loaded.source, loaded.backend) {
            (Source::Loaded | Source::Bypassed, _) => history::Source::Loaded,
            (_, BackendKind::Redis) => history::Source::Shared,
            (_, BackendKind::Memory) => history::Source::Memory,
            _ => history::Source::Own,
        };
        assert_eq!(loaded.value.filler.len(), filler(loaded.value.number));
        let Row { number: found, version, .. } = loaded.value;
        self.note(Event::Read(Read { row, found, version, start, end, source }));
    }

    async fn write_on(self: Arc<Self>, dice: Dice) {
        while !self.is_over() {
            let row = u32::try_from(dice.below(u64::from(ROWS))).unwrap();
            let what = match dice.below(3) {
                0 => Invalidation::Group(key(row).to_group()),
                _ => Invalidation::Key(key(row)),
            };
            self.write(row, what, dice.below(2) == 0).await;
            sleep(Duration::from_millis(dice.below(20))).await;
        }
    }

    async fn write(self: &Arc<Self>, row: u32, what: Invalidation, as_change: bool) {
        let _invalidating = self.invalidating.read().await;
        let commit = {
            let instance = Arc::clone(self);
            move || {
                instance
                    .database
                    .write(row, |version| instance.note(Event::Writes { row, version, at: now() }))
            }
        };
        let (version, invalidated) = if as_change {
            let changed = self.cache.change(what, async move || Ok::<_, Infallible>(commit())).await;
            let Ok(changed) = changed else { return };
            (changed.value, changed.invalidated)
        } else {
            let version = commit();
            let Ok(invalidated) = self.cache.invalidate(&what).await else { return };
            (version, invalidated)
        };
        let reach = match invalidated {
            Invalidated::Applied { .. } => Reach::Everybody,
            Invalidated::Journaled { .. } => Reach::Itself,
        };
        self.note(Event::Invalidated { row, version, at: now(), reach });
    }

    /// Whether the shared store has every invalidation; records it.
    async fn note_when_caught_up(&self) -> bool {
        let _exclusive = self.invalidating.write().await;
        let health = self.cache.health().await;
        let has_caught_up = health.active == BackendKind::Redis && health.journal_depth == 0;
        if has_caught_up {
            self.note(Event::CaughtUp { at: now() });
        }
        has_caught_up
    }
}

/// Returns the key of `row`; four rows share a group.
fn key(row: u32) -> CacheKey {
    CacheKey::builder("image", row / 4).part(row % 4).build().unwrap()
}

/// Small and large values are stored differently in Redis.
fn filler(row: u32) -> usize {
    if row.is_multiple_of(5) { 12_000 } else { 100 }
}
