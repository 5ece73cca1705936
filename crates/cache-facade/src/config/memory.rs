//! [`Memory`]: how much of the values that were read is kept in the memory of this process.

use cache_core::{CacheKey, MEGABYTE, NearConfig};

use super::RedisConfig;

/// Of the memory, the share for decoded values ([`Cache::get_or_load_shared`](crate::Cache::get_or_load_shared)) is one in so
/// many; the rest is for encoded ones.
const DECODED_SHARE: u64 = 4;

/// Size of the largest value that can be kept in kilobytes, for each megabyte of memory: a 32nd of the part for encoded values,
/// as [`NearConfig::largest_value_bytes`] has it.
const MOST_KB_FOR_EACH_MB: u64 = 24;

/// The settings of the memory in front of the store.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory {
    pub(super) mb: u64,
    pub(super) max_kb: Option<u64>,
    pub(super) except: Vec<String>,
}

impl Memory {
    /// Whether the largest value can be kept at all; without memory nothing is.
    pub(super) fn is_max_valid(&self) -> bool {
        let most = if self.mb == 0 { u64::MAX } else { self.mb.saturating_mul(MOST_KB_FOR_EACH_MB) };
        self.max_kb.is_none_or(|kb| (1..=most).contains(&kb))
    }

    pub(super) fn are_families_valid(&self) -> bool {
        let is_family =
            |name: &String| CacheKey::parse(&format!("{name}:0")).is_ok_and(|key| key.family() == name);
        self.except.iter().all(is_family)
    }

    /// The settings for encoded values; `None` where nothing is kept.
    pub(super) fn near(&self, redis: &RedisConfig) -> Option<NearConfig> {
        let bytes = self.bytes(redis).filter(|bytes| *bytes > 0)?;
        let near = NearConfig::new(bytes - bytes / DECODED_SHARE);
        let near = match self.max_kb {
            Some(kb) => near.largest_value_bytes(kb.saturating_mul(1024)),
            None => near,
        };
        Some(self.except.iter().fold(near, NearConfig::without_family))
    }

    /// Limit of the space of decoded values; 0 for none.
    pub(super) fn decoded_bytes(&self, redis: &RedisConfig) -> u64 {
        self.bytes(redis).unwrap_or(0) / DECODED_SHARE
    }

    /// Warnings of settings that have no effect.
    pub(super) fn without_effect(&self, redis: &RedisConfig) -> Vec<String> {
        let mut warnings = Vec::new();
        let given = [
            ("CACHE_MEMORY_MAX_KB", self.max_kb.is_some()),
            ("CACHE_MEMORY_EXCEPT", !self.except.is_empty()),
        ];
        for (name, _) in given.into_iter().filter(|(_, is_set)| self.mb == 0 && *is_set) {
            warnings.push(format!(
                "{name} has no effect, because nothing is kept in memory: set CACHE_MEMORY_MB"
            ));
        }
        if self.mb > 0 && self.bytes(redis).is_none() {
            let why = "values of a server that is trusted after a restart are never kept in memory";
            warnings.push(format!("CACHE_MEMORY_MB has no effect with REDIS_TRUST_RESTART: {why}"));
        }
        warnings
    }

    /// The limit of all space; `None` at a server whose changes may be missed.
    fn bytes(&self, redis: &RedisConfig) -> Option<u64> {
        let is_usable = !(redis.enabled() && redis.trust_restart());
        is_usable.then(|| self.mb.saturating_mul(MEGABYTE))
    }
}
