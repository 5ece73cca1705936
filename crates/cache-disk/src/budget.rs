//! What entries cost on disk, and how much of that the limit allows.
//!
//! The factors were measured: a row of more than 2 KiB takes a page of its own, smaller rows share pages that are filled
//! to about two thirds, and every byte written between two durable commits costs about two bytes of space, because
//! freed pages are used again only after the next one.

use cache_core::{CacheKey, Error, ErrorKind, MEGABYTE};

use crate::record::ROW_BYTES;

/// Space kept for what stands beside the database: locks, state, journal, directories, the file system's own blocks.
const BESIDE: u64 = 256 * 1024;

/// All of the allowance.
const WHOLE: u64 = 10_000;

/// The smallest limit: below it the fixed costs would leave too little for values.
pub(crate) const SMALLEST_LIMIT: u64 = 8 * MEGABYTE;

/// What an entry costs on disk, in bytes: its rows, its row of the key table, its place in the saved order.
pub(crate) fn cost(key: &str, record_bytes: usize) -> u32 {
    let whole = record_bytes / ROW_BYTES * 4096;
    let rest = record_bytes % ROW_BYTES;
    let tail = if rest > 2048 { 4096 } else { shared(rest) };
    let cost = whole + tail + shared(key.len() + META_BYTES) + 4;
    u32::try_from(cost).unwrap_or(u32::MAX)
}

/// What a counter or a claim costs on disk, in bytes.
pub(crate) fn counter_cost(name: &str, value: &[u8]) -> u64 {
    let bytes = name.len() + value.len();
    // A larger row takes pages of its own, a power of two of them.
    let cost = if bytes > 2048 { (bytes + 64).next_power_of_two().max(4096) } else { shared(bytes) };
    cost as u64
}

/// Bytes of a row of the key table beside its key.
const META_BYTES: usize = 20;

/// A small row with redb's own 40 bytes, in pages filled to two thirds.
fn shared(bytes: usize) -> usize {
    (bytes + 40) * 155 / 100
}

/// How much live cost the limit allows, corrected by what the file really takes.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u64,
    /// Bytes that may be written between two durable commits.
    pub(crate) interval: u64,
    /// The share of that which may be used, in parts of [`WHOLE`].
    share: u64,
    /// What the file took when it was last observed.
    file_bytes: u64,
}

impl Budget {
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit, interval: (limit / 64).min(4 * MEGABYTE), share: WHOLE, file_bytes: 0 }
    }

    /// The sum of costs that live entries may reach.
    pub(crate) fn live_bytes(&self) -> u64 {
        let whole = self.limit - self.limit * 35 / 1000 - 3 * self.interval - BESIDE;
        whole / WHOLE * self.share
    }

    /// What the database file may take at most, with `quarantined` bytes of a damaged one beside it.
    pub(crate) fn file_bytes(&self, quarantined: u64) -> u64 {
        (self.limit - BESIDE).saturating_sub(quarantined)
    }

    /// Whether a file of `file_bytes` may be opened beside `quarantined` bytes of a damaged one.
    ///
    /// One that was filled to its limit may take a little more: the file system counts its own blocks with it.
    pub(crate) fn fits(&self, file_bytes: u64, quarantined: u64) -> bool {
        file_bytes.saturating_add(quarantined) <= self.limit - BESIDE / 2
    }

    /// Corrects the allowance by the space the file takes after a durable commit.
    ///
    /// Blocks are not given back: a file that was full once stays so. Near its limit only what it grows by says that
    /// too much lives in it; while it does not grow, the allowance recovers, but slowly.
    pub(crate) fn observe(&mut self, file_bytes: u64) {
        let near = self.file_bytes(0) / 1000 * 985 - self.interval;
        let growth = file_bytes.saturating_sub(self.file_bytes.max(near));
        self.file_bytes = file_bytes;
        let too_much = (growth * WHOLE * 3 / 2).div_ceil(self.limit);
        self.share = match (file_bytes > near, growth) {
            (false, _) => self.share + WHOLE / 2000,
            (true, 0) => self.share + WHOLE / 10_000,
            (true, _) => self.share.saturating_sub(too_much),
        };
        self.share = self.share.clamp(WHOLE / 2, WHOLE);
    }

    /// Lowers the allowance after a write was refused at the limit.
    pub(crate) fn refused(&mut self) {
        self.share = (self.share * 95 / 100).max(WHOLE / 2);
    }
}

/// The largest record a store of `limit` bytes takes: an eighth of it.
pub(crate) fn check_size(key: &CacheKey, record_bytes: usize, limit: u64) -> Result<(), Error> {
    let most = (limit / 8).min(u64::from(u16::MAX) * ROW_BYTES as u64);
    if record_bytes as u64 <= most {
        return Ok(());
    }
    let message = format!(
        "a value of {record_bytes} bytes for {key} is over an eighth of the cache's limit ({most} bytes); raise \
         CACHE_SIZE_MB or do not cache it"
    );
    Err(Error::new(ErrorKind::TooLarge, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_one_row_costs_a_page_and_its_key() {
        assert!((4096..4300).contains(&cost("image:1:metadata", ROW_BYTES)));
        assert!((8192..8400).contains(&cost("image:1:metadata", ROW_BYTES + 2049)));
        assert!(cost("image:1:metadata", 200) < 600);
    }

    #[test]
    fn at_the_smallest_limit_most_space_is_for_values() {
        let budget = Budget::new(SMALLEST_LIMIT);
        assert!(budget.live_bytes() > SMALLEST_LIMIT * 85 / 100);
    }

    #[test]
    fn a_file_that_stays_full_does_not_lower_the_allowance_again_and_again() {
        let mut budget = Budget::new(100 * MEGABYTE);
        budget.observe(99 * MEGABYTE);
        let after_growing = budget.live_bytes();
        for _ in 0..1000 {
            budget.observe(99 * MEGABYTE);
        }
        assert!(budget.live_bytes() > after_growing);
    }

    #[test]
    fn the_allowance_follows_the_file() {
        let mut budget = Budget::new(100 * MEGABYTE);
        let before = budget.live_bytes();
        budget.observe(100 * MEGABYTE);
        assert!(budget.live_bytes() < before);
        for _ in 0..100 {
            budget.observe(50 * MEGABYTE);
        }
        assert_eq!(budget.live_bytes(), before);
    }
}
