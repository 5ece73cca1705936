//! [`transfer_time`]: the time allowed for sending a value to a store.

use std::time::Duration;

/// The slowest rate that counts as normal, in bytes a millisecond: 32 MiB a second.
const BYTES_A_MILLISECOND: usize = 32 << 10;

/// Returns the time allowed for sending `bytes`, besides the limit of an operation: a millisecond for every 32 KiB.
///
/// With a deadline that does not grow with the size, every large value would count as an outage.
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
