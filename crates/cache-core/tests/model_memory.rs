//! The model test on the memory backend, alone and with random faults.
#![cfg(not(feature = "shuttle"))]

mod subjects;

use std::sync::Arc;

use async_trait::async_trait;
use cache_conformance::chaos::Chaotic;
use cache_conformance::model::{self, Steps};
use cache_conformance::{Opened, Promises, Subject};
use cache_core::{ManualClock, MemoryBackend};
use subjects::Memory;
use testkit::reliability::Tally;

const SMALL_LIMIT: u64 = 36_000;

/// A memory backend with room for eight of the model's larger values.
#[derive(Debug, Default)]
struct SmallMemory {
    clock: Arc<ManualClock>,
}

#[async_trait]
impl Subject for SmallMemory {
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

    async fn open(&self, _place: &str) -> Opened {
        Opened::cache(MemoryBackend::new().limit_bytes(SMALL_LIMIT).clock(self.clock.clone()))
    }
}

fn check<S: Subject>(subject: impl Fn() -> S, steps: Steps) {
    let tally = Tally::new("model sequences", None);
    let counted = || {
        tally.attempt();
        subject()
    };
    model::check(counted, steps);
}

#[test]
fn every_hit_equals_the_model() {
    check(Memory::default, Steps::default());
}

#[test]
fn every_hit_equals_the_model_while_entries_are_evicted() {
    check(SmallMemory::default, Steps { operations: 120, ..Steps::default() });
}

#[test]
fn every_hit_equals_the_model_under_chaos() {
    check(|| Chaotic::new(Memory::default(), 11), Steps::default());
}
