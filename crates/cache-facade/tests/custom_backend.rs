//! The backend of the example `custom_backend` keeps every law of the contract: all it takes to put one's own to the test.

#[path = "../examples/custom_backend.rs"]
#[expect(dead_code, reason = "the example's main is not called")]
mod example;

use std::sync::Arc;

use async_trait::async_trait;
use cache_conformance::{Opened, Promises, Subject};
use cache_core::ManualClock;

#[derive(Debug, Default)]
struct Map {
    clock: Arc<ManualClock>,
}

#[async_trait]
impl Subject for Map {
    fn promises(&self) -> Promises {
        Promises { refuses_after_close: false, ..Promises::default() }
    }

    fn clock(&self) -> &Arc<ManualClock> {
        &self.clock
    }

    async fn open(&self, _place: &str) -> Opened {
        Opened::cache(example::MapBackend::new(self.clock.clone()))
    }
}

// Without the laws on why a lookup missed, which a map does not remember.
cache_conformance::forgetful_conformance_tests!(Map::default());
