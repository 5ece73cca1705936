//! The conformance suite over the backend of the example `custom_backend`.

#[path = "../examples/custom_backend.rs"]
#[expect(dead_code, reason = "the example's main is not called")]
mod example;

use std::sync::Arc;

use cache_conformance::{Opened, Promises, Subject};
use cache_facade::ManualClock;
use cache_facade::backend::async_trait;

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

// Without the laws on causes of misses, which a map does not record.
cache_conformance::forgetful_conformance_tests!(Map::default());
