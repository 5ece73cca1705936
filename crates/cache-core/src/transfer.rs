//! How long values may take on their way to a store.

use std::time::Duration;

/// What a network or a store moves in a millisecond at least, in bytes: 32 MiB a second.
const BYTES_A_MILLISECOND: usize = 32 << 10;

/// How long `bytes` may take on their way to a store, beside the time that an operation may take at all: a millisecond
/// for every 32 KiB.
///
/// Deadlines that do not grow with what is sent make an outage of every large value.
pub fn transfer_time(bytes: usize) -> Duration {
    Duration::from_millis((bytes / BYTES_A_MILLISECOND) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_values_get_more_time_and_small_ones_none() {
        assert_eq!(transfer_time(10_000), Duration::ZERO);
        assert_eq!(transfer_time(64 << 20), Duration::from_secs(2) + Duration::from_millis(48));
    }
}
