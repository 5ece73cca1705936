//! [`Eviction`]: the order in which a store evicts.

/// Order in which entries are evicted once a limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Eviction {
    /// The least recently used entry first, exactly.
    #[default]
    Lru,
    /// SIEVE: entries that were hit outlive those that were read once, such as by a scan over everything.
    ///
    /// A hit marks its entry, and a hand that goes from the oldest entry to the newest takes the marks away and evicts the
    /// first entry without one. After a restart entries with a mark count as the newest.
    ///
    /// Source: Zhang, Yang, Yue, Vigfusson and Rashmi, "SIEVE is Simpler than LRU", NSDI 2024.
    Sieve,
}
