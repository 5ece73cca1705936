//! [`Budget`]: the cost of entries on disk, and how the limit is shared between the database and the values files.
//!
//! Blocks of a values file cost what they take. What rows take in the database was measured: a row of more than 2 KiB takes a
//! page of its own, smaller ones share pages. Everything written between two durable commits takes about three times its
//! size, because freed pages are used again only after the second of them, and redb prefers pages that were never written where
//! runs of free ones are long. Each insertion or removal also rewrites a page of
//! the key table.

use cache_core::{CacheKey, Error, ErrorKind, MEGABYTE};

use crate::store::{BLOCK, Location};

/// Space for the files beside the database: locks, state, journal, directories, blocks of the file system.
const BESIDE: u64 = 256 * 1024;

/// What an empty database takes, in bytes.
const EMPTY: u64 = 256 * 1024;

/// The page size of redb, in bytes.
const PAGE: u64 = 4096;

/// The whole share of the allowance, in parts.
const WHOLE: u64 = 10_000;

/// The smallest limit: below it, the fixed costs would leave too little for values.
pub(crate) const SMALLEST_LIMIT: u64 = 8 * MEGABYTE;

/// The most bytes that may be written to the database between two durable commits.
const MOST_INTERVAL: u64 = 8 * MEGABYTE;
/// The fewest.
const LEAST_INTERVAL: u64 = 128 * 1024;

/// Returns what the rows of an entry cost in the database, in bytes: its record, unless that is in blocks, its row of the key
/// table, its place in the saved order.
pub(crate) fn row_cost(at: Location) -> u64 {
    let of_record = match at.row_bytes() {
        0 => 0,
        // As many as fit share a page, for entries that are stored one after the other lie side by side; some leave early.
        length @ 1..=2000 => PAGE * 116 / 100 / (4080 / (length as u64 + 12)),
        _ => PAGE,
    };
    of_record + (at.key_bytes() as u64 + META_BYTES + 20) * 150 / 100 + 4
}

/// Returns what an entry costs on disk, in bytes: its rows and its blocks.
pub(crate) fn cost(at: Location) -> u64 {
    row_cost(at) + at.blocks() * BLOCK
}

/// Returns what a counter or a claim costs on disk, in bytes.
pub(crate) fn counter_cost(name: &str, value: &[u8]) -> u64 {
    let bytes = name.len() + value.len();
    // A larger row takes a power of two pages of its own.
    if bytes > 2048 { (bytes as u64 + 64).next_power_of_two().max(PAGE) } else { shared(bytes) }
}

/// Returns how much is written to the database for rows that cost `bytes` altogether and `operations` that add or remove an
/// entry.
pub(crate) fn written(bytes: u64, operations: usize) -> u64 {
    bytes + PAGE * operations as u64
}

/// Bytes of a row of the key table without its key.
const META_BYTES: u64 = 20;

/// Returns the cost of a counter's row, with 40 bytes of redb, in pages that are two thirds full.
fn shared(bytes: usize) -> u64 {
    (bytes as u64 + 40) * 155 / 100
}

/// How the limit is shared; lowered when redb or the file system finds no room.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u64,
    /// The share of the database's space that its rows may use, in parts of [`WHOLE`].
    share: u64,
    /// The share of the limit that may be used at all, in parts of [`WHOLE`].
    disk_share: u64,
}

impl Budget {
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit, share: WHOLE, disk_share: WHOLE }
    }

    /// Bytes that may be written to a database whose rows cost `rows` between two durable commits, as [`written`] counts them.
    pub(crate) fn interval(&self, rows: u64) -> u64 {
        (self.limit / 256).max(rows / 64).clamp(LEAST_INTERVAL, MOST_INTERVAL)
    }

    /// The space of a database with rows that cost `rows` that only removals may take, in bytes.
    pub(crate) fn reserve(&self, rows: u64) -> u64 {
        2 * self.interval(rows)
    }

    /// The space that a database needs for rows that cost `rows`, in bytes.
    pub(crate) fn needed(&self, rows: u64) -> u64 {
        let full = u128::from(rows) * u128::from(WHOLE) / u128::from(self.share);
        let full = u64::try_from(full).unwrap_or(u64::MAX);
        full.saturating_add(full / 64 + 3 * self.interval(rows) + self.reserve(rows) + EMPTY)
    }

    /// The space of the database and the values files together, with `quarantined` bytes of a damaged one beside them.
    pub(crate) fn whole(&self, quarantined: u64) -> u64 {
        (self.limit - BESIDE).saturating_sub(quarantined) / PAGE * PAGE
    }

    /// The total cost that live entries may have, in bytes, while rows cost `rows`.
    pub(crate) fn live_bytes(&self, rows: u64) -> u64 {
        let whole = self.whole(0) / WHOLE * self.disk_share;
        whole.saturating_sub(self.needed(rows).saturating_sub(rows))
    }

    /// Raises an allowance that a full disk lowered a little, after a durable commit.
    pub(crate) fn recover(&mut self) {
        self.disk_share = (self.disk_share + WHOLE / 500).min(WHOLE);
    }

    /// Raises an allowance that a refusal lowered a little, once a second: rows that lie apart are moved together only as
    /// they are replaced.
    pub(crate) fn recover_slowly(&mut self) {
        self.share = (self.share + WHOLE / 2000).min(WHOLE);
    }

    /// Lowers the allowance after the file system had no space, when the files took `taken` bytes of it.
    pub(crate) fn disk_is_full(&mut self, taken: u64) {
        let whole = (self.limit - BESIDE).max(1);
        let fitting = u128::from(taken) * u128::from(WHOLE) * 9 / 10 / u128::from(whole);
        self.disk_share = self.disk_share.min(u64::try_from(fitting).unwrap_or(WHOLE)).max(WHOLE / 100);
    }

    /// Raises an allowance that refusals lowered below a half, for a database that is begun empty: no rows lie apart in it, and
    /// redb at most doubles a file.
    pub(crate) fn begin_empty(&mut self) {
        self.share = self.share.max(WHOLE / 2);
    }

    /// Lowers the allowance after redb found no room.
    ///
    /// Costs assume that rows lie together. When small entries give way to large ones, the few that were used lately remain,
    /// each on a page of its own.
    pub(crate) fn refused(&mut self) {
        self.share = (self.share * 95 / 100).max(WHOLE / 100);
    }
}

/// Checks that a record fits a store of `limit` bytes: it may take an eighth of it.
///
/// # Errors
/// `TooLarge`.
pub(crate) fn check_size(key: &CacheKey, record_bytes: usize, limit: u64) -> Result<(), Error> {
    let most = (limit / 8).min(1 << 27);
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
    use crate::store::packed_size;

    fn at(record_bytes: usize) -> Location {
        Location { id: 1, size: packed_size("image:1:metadata", record_bytes) }
    }

    #[test]
    fn a_record_costs_the_blocks_or_the_share_of_a_page_that_it_takes() {
        assert!((4096..4300).contains(&cost(at(4080))) && (4096..4300).contains(&cost(at(4081))));
        assert!((4300..4700).contains(&cost(at(4200))));
        assert!((53_248..53_500).contains(&cost(at(51_200))));
        assert!(cost(at(200)) < 600);
    }

    #[test]
    fn most_space_is_for_values() {
        for (limit, rows, percent) in
            [(8, 6, 80), (100, 80, 90), (100, 1, 97), (1000, 800, 94), (1000, 5, 97)]
        {
            let (limit, rows) = (limit * MEGABYTE, rows * MEGABYTE);
            let live = Budget::new(limit).live_bytes(rows);
            assert!(live > limit * percent / 100, "{limit}, {rows}: {live}");
        }
    }

    #[test]
    fn the_allowance_falls_with_a_refusal_and_recovers() {
        let mut budget = Budget::new(100 * MEGABYTE);
        let live = |budget: &Budget| budget.live_bytes(80 * MEGABYTE);
        let before = live(&budget);
        budget.refused();
        budget.disk_is_full(90 * MEGABYTE);
        assert!(live(&budget) < before * 90 / 100);
        for _ in 0..500 {
            budget.recover();
            budget.recover_slowly();
        }
        assert_eq!(live(&budget), before);
    }

    #[test]
    fn refusals_of_a_database_that_is_gone_leave_a_new_one_half_of_the_space() {
        let mut budget = Budget::new(100 * MEGABYTE);
        for _ in 0..100 {
            budget.refused();
        }
        assert!(budget.needed(30 * MEGABYTE) > 100 * MEGABYTE);
        budget.begin_empty();
        assert!(budget.needed(40 * MEGABYTE) < 100 * MEGABYTE);
        assert!(budget.needed(50 * MEGABYTE) > 100 * MEGABYTE);
    }

    #[test]
    fn the_files_of_the_cache_stay_within_the_limit() {
        for limit in [SMALLEST_LIMIT, 10 * MEGABYTE, 1000 * MEGABYTE + 1] {
            let (alone, beside) = (Budget::new(limit).whole(0), Budget::new(limit).whole(limit / 8));
            assert!(alone.is_multiple_of(PAGE) && alone + BESIDE <= limit);
            assert!(beside + limit / 8 + BESIDE <= limit);
        }
    }
}
