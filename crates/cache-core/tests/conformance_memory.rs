//! The conformance suite on the backends of this crate.
#![cfg(not(feature = "shuttle"))]

mod subjects;

use std::sync::Arc;

use async_trait::async_trait;
use cache_conformance::chaos::Chaotic;
use cache_conformance::{Figures, Keeping, Opened, Promises, Subject};
use cache_core::{ManualClock, NullBackend};
use subjects::Memory;

#[derive(Debug, Default)]
struct Null {
    clock: Arc<ManualClock>,
}

#[async_trait]
impl Subject for Null {
    fn promises(&self) -> Promises {
        Promises { keeping: Keeping::AtWill, figures: Figures::Exact, ..Promises::default() }
    }

    fn clock(&self) -> &Arc<ManualClock> {
        &self.clock
    }

    async fn open(&self, _place: &str) -> Opened {
        Opened::cache(NullBackend::new())
    }
}

mod memory {
    use super::*;
    cache_conformance::conformance_tests!(Memory::default());
}

mod memory_under_chaos {
    use super::*;
    cache_conformance::forgetful_conformance_tests!(Chaotic::new(Memory::default(), 7));
}

mod null {
    use super::*;
    cache_conformance::forgetful_conformance_tests!(Null::default());
}
