//! What entries cost on disk, and how much of that the limit allows.
//!
//! The factors were measured: a row of more than 2 KiB takes a page of its own, smaller entries share pages that are filled
//! to about two thirds. What is written between two durable commits is paid for about three times, because freed pages are
//! used again only after the next one; and whatever comes or goes costs a page of the key table besides, which is
//! written anew for it.

use cache_core::{CacheKey, Error, ErrorKind, MEGABYTE};

use crate::record::ROW_BYTES;

/// Space kept for what stands beside the database: locks, state, journal, directories, the file system's own blocks.
const BESIDE: u64 = 256 * 1024;

/// The unit in which redb hands out space, in bytes.
const PAGE: u64 = 4096;

/// All of the allowance.
const WHOLE: u64 = 10_000;

/// The smallest limit: below it the fixed costs would leave too little for values.
pub(crate) const SMALLEST_LIMIT: u64 = 8 * MEGABYTE;

/// What an entry costs on disk, in bytes: its rows, its row of the key table, its place in the saved order.
pub(crate) fn cost(key: &str, record_bytes: usize) -> u32 {
    let whole = record_bytes / ROW_BYTES * 4096;
    let rest = record_bytes % ROW_BYTES;
    // A short row behind full ones has full ones behind it too, with which it cannot share a page.
    let tail = if rest > 2048 || (whole > 0 && rest > 0) { 4096 } else { shared(rest) };
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

/// What it takes to write entries that cost `bytes` altogether, with `operations` that add or remove one.
pub(crate) fn written(bytes: u64, operations: usize) -> u64 {
    bytes + PAGE * operations as u64
}

/// Bytes of a row of the key table beside its key.
const META_BYTES: usize = 20;

/// A small row with redb's own 40 bytes, in pages filled to two thirds.
fn shared(bytes: usize) -> usize {
    (bytes + 40) * 155 / 100
}

/// How much live cost the limit allows, corrected by what redb really finds room for.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u64,
    /// Bytes that may be written between two durable commits, [`written`] for each operation.
    pub(crate) interval: u64,
    /// The share of that which may be used, in parts of [`WHOLE`].
    share: u64,
}

impl Budget {
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit, interval: (limit / 64).min(8 * MEGABYTE), share: WHOLE }
    }

    /// The sum of costs that live entries may reach.
    pub(crate) fn live_bytes(&self) -> u64 {
        let whole = self.limit - self.limit / 1000 * 15 - 2 * self.interval - BESIDE;
        whole / WHOLE * self.share
    }

    /// How long the database file may get, with `quarantined` bytes of a damaged one beside it: whole pages of redb.
    pub(crate) fn file_bytes(&self, quarantined: u64) -> u64 {
        (self.limit - BESIDE).saturating_sub(quarantined) / PAGE * PAGE
    }

    /// Lets the allowance recover after a durable commit, slowly.
    pub(crate) fn recover(&mut self) {
        self.share = (self.share + WHOLE / 500).min(WHOLE);
    }

    /// Lowers the allowance after the file system found no room, when the file took `taken` bytes of it.
    pub(crate) fn disk_is_full(&mut self, taken: u64) {
        let whole = (self.limit - BESIDE).max(1);
        let fitting = u128::from(taken) * u128::from(WHOLE) * 9 / 10 / u128::from(whole);
        self.share = self.share.min(u64::try_from(fitting).unwrap_or(WHOLE)).max(WHOLE / 100);
    }

    /// Lowers the allowance after redb found no room.
    ///
    /// Entries are costed as if they lay together. When small ones gave way to large ones, those that were used lately are
    /// left behind, each on a page of its own, until they go too.
    pub(crate) fn refused(&mut self) {
        self.share = (self.share * 98 / 100).max(WHOLE / 100);
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
        assert!((8192..8400).contains(&cost("image:1:metadata", ROW_BYTES + 1)));
        assert!(cost("image:1:metadata", 200) < 600);
    }

    #[test]
    fn at_the_smallest_limit_most_space_is_for_values() {
        let budget = Budget::new(SMALLEST_LIMIT);
        assert!(budget.live_bytes() > SMALLEST_LIMIT * 85 / 100);
    }

    #[test]
    fn the_allowance_falls_with_a_refusal_and_recovers() {
        let mut budget = Budget::new(100 * MEGABYTE);
        let before = budget.live_bytes();
        budget.refused();
        assert!(budget.live_bytes() < before * 99 / 100);
        for _ in 0..100 {
            budget.recover();
        }
        assert_eq!(budget.live_bytes(), before);
    }

    #[test]
    fn the_file_and_what_stands_beside_it_stay_within_the_limit() {
        for limit in [SMALLEST_LIMIT, 10 * MEGABYTE, 1000 * MEGABYTE + 1] {
            let (alone, beside) =
                (Budget::new(limit).file_bytes(0), Budget::new(limit).file_bytes(limit / 8));
            assert!(alone.is_multiple_of(PAGE) && alone + BESIDE <= limit);
            assert!(beside + limit / 8 + BESIDE <= limit);
        }
    }
}
