//! The model test over the disk: random operations, with reopening and killed processes.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use cache_conformance::model::{self, Steps};
use cache_conformance::{Law, Opened, Promises, Subject};
use cache_core::ManualClock;
use cache_disk::DiskBackend;
use tempfile::TempDir;
use testkit::reliability::Tally;
use tokio::runtime::Runtime;

use super::storage::{Faulty, tapped, values_on};
use super::support::{SMALL_LIMIT, config, in_memory, runtime};

/// A disk store that can be left as a killed process would leave it.
#[derive(Debug)]
struct MortalDisk {
    clock: Arc<ManualClock>,
    root: TempDir,
    runtime: Arc<Runtime>,
    hash_mask: u64,
    has_holes: bool,
    disk: Mutex<Option<Arc<Faulty>>>,
}

impl MortalDisk {
    fn new(runtime: &Arc<Runtime>, hash_mask: u64, has_holes: bool) -> Self {
        Self {
            clock: Arc::default(),
            root: in_memory(),
            runtime: Arc::clone(runtime),
            hash_mask,
            has_holes,
            disk: Mutex::default(),
        }
    }

    fn directory(&self, place: &str) -> PathBuf {
        self.root.path().join(place)
    }
}

#[async_trait]
impl Subject for MortalDisk {
    fn promises(&self) -> Promises {
        Promises {
            limit_bytes: Some(SMALL_LIMIT),
            largest_value: Some(SMALL_LIMIT / 8),
            ..Promises::default()
        }
    }

    fn clock(&self) -> &Arc<ManualClock> {
        &self.clock
    }

    async fn open(&self, place: &str) -> Opened {
        let disk = Faulty::sound();
        *self.disk.lock().unwrap() = Some(Arc::clone(&disk));
        let config = config(&self.directory(place)).clock(self.clock.clone()).hash_mask(self.hash_mask);
        let config = values_on(if self.has_holes { config } else { config.without_holes() }, &disk);
        Opened::with_atomic(DiskBackend::open(tapped(config, &disk)).await.unwrap())
    }

    async fn crash(&self, _place: &str, store: Opened) {
        self.disk.lock().unwrap().take().unwrap().die();
        drop(store);
    }

    fn run(&self, law: Law<'_>) {
        self.runtime.block_on(law);
    }
}

fn check(hash_mask: u64, has_holes: bool, steps: Steps) {
    let (runtime, tally) = (Arc::new(runtime()), Tally::new("model sequences", None));
    let disk = || {
        tally.attempt();
        MortalDisk::new(&runtime, hash_mask, has_holes)
    };
    model::check(disk, steps);
}

#[test]
fn every_hit_equals_the_model_also_after_reopening_and_after_kill_9() {
    check(u64::MAX, true, Steps { operations: 80, ..Steps::default() });
}

/// With two bits for all hashes, nearly every key shares its hash with others.
#[test]
fn every_hit_equals_the_model_when_hashes_collide() {
    check(0b11, true, Steps { operations: 80, ..Steps::default() });
}

#[test]
fn every_hit_equals_the_model_where_every_value_is_a_file_of_its_own() {
    check(u64::MAX, false, Steps { operations: 80, ..Steps::default() });
}
