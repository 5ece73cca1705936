//! The crate cached with its redb store, without a sync for each write.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cache_core::CacheKey;
use cached::{ConcurrentCached, RedbCache, SerializeCached};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::runtime::Runtime;

use super::Peer;
use crate::Outcome;

/// Bytes that are written as bytes, not as a list of numbers.
struct Blob(Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whole;
        impl Visitor<'_> for Whole {
            type Value = Blob;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.to_vec()))
            }

            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Blob, E> {
                Ok(Blob(bytes))
            }
        }
        deserializer.deserialize_byte_buf(Whole)
    }
}

struct Cached(RedbCache<String, Blob>);

/// An empty cache in `directory`.
pub(super) fn open(_: &Arc<Runtime>, directory: &Path) -> Outcome<Box<dyn Peer>> {
    Ok(Box::new(Cached(RedbCache::builder("bench").disk_dir(directory).durable(false).build()?)))
}

impl Peer for Cached {
    fn reads(&mut self, keys: &[&CacheKey], expected: usize) -> Outcome<Duration> {
        let keys: Vec<String> = keys.iter().map(|key| key.as_str().to_owned()).collect();
        let started = Instant::now();
        for key in &keys {
            let found = self.0.cache_get(key)?;
            if found.map(|value| value.0.len()) != Some(expected) {
                return Err(format!("cached gave something else for {key}").into());
            }
        }
        Ok(started.elapsed())
    }

    fn writes(&mut self, entries: &[(&CacheKey, Bytes)]) -> Outcome<Duration> {
        let own = |(key, value): &(&CacheKey, Bytes)| (key.as_str().to_owned(), Blob(value.to_vec()));
        let entries: Vec<_> = entries.iter().map(own).collect();
        let started = Instant::now();
        for (key, value) in &entries {
            self.0.cache_set_ref(key, value)?;
        }
        Ok(started.elapsed())
    }

    fn settle(&mut self) -> Outcome<()> {
        Ok(self.0.flush()?)
    }
}
