//! The memory backend as a subject of the suite.

use std::sync::Arc;

use async_trait::async_trait;
use cache_conformance::{Eviction, Figures, Keeping, Opened, Promises, Subject};
use cache_core::{ManualClock, MemoryBackend};

const LIMIT: u64 = 8 * 1_048_576;

/// The backend under test.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    clock: Arc<ManualClock>,
}

#[async_trait]
impl Subject for Memory {
    fn promises(&self) -> Promises {
        Promises {
            keeping: Keeping::WhileOpen,
            eviction: Eviction::LeastRecentlyUsed,
            figures: Figures::Exact,
            limit_bytes: Some(LIMIT),
            largest_value: Some(LIMIT / 8),
            refuses_after_close: true,
        }
    }

    fn clock(&self) -> &Arc<ManualClock> {
        &self.clock
    }

    async fn open(&self, _place: &str) -> Opened {
        Opened::with_atomic(MemoryBackend::new().limit_bytes(LIMIT).clock(self.clock.clone()))
    }
}
