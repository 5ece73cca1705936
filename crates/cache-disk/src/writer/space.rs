//! Space: what the file takes, and what that allows.

use cache_core::MEGABYTE;
use cache_core::sync::atomic::Ordering;

use super::Writer;

impl Writer {
    /// What all counters and claims together may cost.
    pub(super) fn most_counter_bytes(&self) -> u64 {
        self.engine.config.limit_bytes / 16
    }

    /// Corrects the budget by the space the file takes, and gives the quarantined file's up when it is needed.
    pub(super) fn observe_space(&mut self) {
        let meter = self.engine.meter.load();
        let touched = meter.touched_bytes();
        self.budget.observe(touched);
        let quarantined = self.directory.quarantined_bytes();
        if quarantined > 0 && touched + 4 * self.budget.interval > self.budget.file_bytes(quarantined) {
            let keep = quarantined.saturating_sub((8 * self.budget.interval).max(MEGABYTE));
            if let Err(error) = self.directory.shrink_quarantined(keep) {
                tracing::warn!(%error, "cannot shrink the damaged disk cache");
            }
        }
        meter.allow(self.budget.file_bytes(self.directory.quarantined_bytes()));
        self.set_allowance();
    }

    /// Tells callers how much may live.
    pub(super) fn set_allowance(&self) {
        let live = self.budget.live_bytes().saturating_sub(self.counter_bytes);
        self.engine.allowance.store(live, Ordering::Relaxed);
    }
}
