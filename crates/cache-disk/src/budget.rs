//! [`Budget`]: the cost of entries on disk, and the total cost that the limit allows.
//!
//! The factors were measured. A row of more than 2 KiB takes a page of its own; smaller rows share pages that are two thirds
//! full. Everything written between two durable commits takes about three times its size, because freed pages are used
//! again only after the second of them. Each insertion or removal also rewrites a page of the key table.

use cache_core::{CacheKey, Error, ErrorKind, MEGABYTE};

use crate::store::ROW_BYTES;

/// Space for the files beside the database: locks, state, journal, directories, blocks of the file system.
const BESIDE: u64 = 256 * 1024;

/// The page size of redb, in bytes.
const PAGE: u64 = 4096;

/// The whole share of the allowance, in parts.
const WHOLE: u64 = 10_000;

/// The smallest limit: below it, the fixed costs would leave too little for values.
pub(crate) const SMALLEST_LIMIT: u64 = 8 * MEGABYTE;

/// Returns what an entry costs on disk, in bytes: its rows, its row of the key table, its place in the saved order.
pub(crate) fn cost(key: &str, record_bytes: usize) -> u32 {
    let whole = record_bytes / ROW_BYTES * 4096;
    let rest = record_bytes % ROW_BYTES;
    // A short row between full rows cannot share a page with them.
    let tail = if rest > 2048 || (whole > 0 && rest > 0) { 4096 } else { shared(rest) };
    let cost = whole + tail + shared(key.len() + META_BYTES) + 4;
    u32::try_from(cost).unwrap_or(u32::MAX)
}

/// Returns what a counter or a claim costs on disk, in bytes.
pub(crate) fn counter_cost(name: &str, value: &[u8]) -> u64 {
    let bytes = name.len() + value.len();
    // A larger row takes a power of two pages of its own.
    let cost = if bytes > 2048 { (bytes + 64).next_power_of_two().max(4096) } else { shared(bytes) };
    cost as u64
}

/// Returns how much is written for entries that cost `bytes` altogether and `operations` that add or remove one.
pub(crate) fn written(bytes: u64, operations: usize) -> u64 {
    bytes + PAGE * operations as u64
}

/// Bytes of a row of the key table without its key.
const META_BYTES: usize = 20;

/// Returns the cost of a small row, with 40 bytes of redb, in pages that are two thirds full.
fn shared(bytes: usize) -> usize {
    (bytes + 40) * 155 / 100
}

/// The total cost that live entries may have, lowered when redb finds no room for it.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u64,
    /// Bytes that may be written between two durable commits, as [`written`] counts them.
    pub(crate) interval: u64,
    /// The share of the allowance that may be used, in parts of [`WHOLE`].
    share: u64,
}

impl Budget {
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit, interval: (limit / 64).min(8 * MEGABYTE), share: WHOLE }
    }

    /// The total cost that live entries may have, in bytes.
    pub(crate) fn live_bytes(&self) -> u64 {
        let whole = self.limit - self.limit / 1000 * 15 - 2 * self.interval - BESIDE;
        whole / WHOLE * self.share
    }

    /// The greatest length of the database file, in whole pages, with `quarantined` bytes of a damaged one beside it.
    pub(crate) fn file_bytes(&self, quarantined: u64) -> u64 {
        (self.limit - BESIDE).saturating_sub(quarantined) / PAGE * PAGE
    }

    /// Raises a lowered allowance a little, after a durable commit.
    pub(crate) fn recover(&mut self) {
        self.share = (self.share + WHOLE / 500).min(WHOLE);
    }

    /// Lowers the allowance after the file system had no space, when the file took `taken` bytes of it.
    pub(crate) fn disk_is_full(&mut self, taken: u64) {
        let whole = (self.limit - BESIDE).max(1);
        let fitting = u128::from(taken) * u128::from(WHOLE) * 9 / 10 / u128::from(whole);
        self.share = self.share.min(u64::try_from(fitting).unwrap_or(WHOLE)).max(WHOLE / 100);
    }

    /// Lowers the allowance after redb found no room.
    ///
    /// Costs assume that entries lie together. When small entries give way to large ones, the few that were used lately
    /// remain, each on a page of its own.
    pub(crate) fn refused(&mut self) {
        self.share = (self.share * 98 / 100).max(WHOLE / 100);
    }
}

/// Checks that a record fits a store of `limit` bytes: it may take an eighth of it.
///
/// # Errors
/// `TooLarge`.
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
    fn the_database_and_the_files_beside_it_stay_within_the_limit() {
        for limit in [SMALLEST_LIMIT, 10 * MEGABYTE, 1000 * MEGABYTE + 1] {
            let (alone, beside) =
                (Budget::new(limit).file_bytes(0), Budget::new(limit).file_bytes(limit / 8));
            assert!(alone.is_multiple_of(PAGE) && alone + BESIDE <= limit);
            assert!(beside + limit / 8 + BESIDE <= limit);
        }
    }
}
