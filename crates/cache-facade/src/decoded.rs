//! [`DecodedValues`]: decoded values in the memory of this process, which callers share.
//!
//! A value is returned for the very bytes from which it was decoded, and only to a caller whose lookup has just found them. So
//! the store alone decides whether it is current, and nothing has to be forgotten here. The bytes are held with the value:
//! as long as it is here, no others can have their address.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use cache_core::panics::PanicSafeDrop;
use cache_core::{CacheKey, CodecId};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

/// What an entry takes beside its key, its bytes and the value, as in front of a store.
const OVERHEAD: usize = 320;

/// The size that a value is taken to have, in lengths of its bytes: decoded texts and lists have a header each, and an
/// allocation of their own.
const EXPANSION: usize = 2;

/// Each has its share of the limit, which the largest value must fit into.
const SHARDS: usize = 4;

/// The size at which entries are taken to be, to tell how many there will be.
const TYPICAL_BYTES: u64 = 8192;

/// A decoded value, and the bytes it was decoded from.
struct Decoded {
    payload: Bytes,
    codec: CodecId,
    shape: u64,
    value: PanicSafeDrop<Arc<dyn Any + Send + Sync>>,
    value_bytes: usize,
}

impl Decoded {
    fn is_of(&self, payload: &Bytes, codec: CodecId, shape: u64) -> bool {
        self.payload.as_ptr() == payload.as_ptr()
            && self.payload.len() == payload.len()
            && (self.codec, self.shape) == (codec, shape)
    }
}

/// Computes what an entry takes.
#[derive(Debug, Clone)]
struct Weight;

impl Weighter<CacheKey, Arc<Decoded>> for Weight {
    fn weight(&self, key: &CacheKey, decoded: &Arc<Decoded>) -> u64 {
        (key.as_str().len() + decoded.payload.len() + decoded.value_bytes + OVERHEAD) as u64
    }
}

/// Decoded values by key; see the documentation of the module.
///
/// # Space
/// A value is taken to have twice the size of its bytes, and counts with these and its key. The sum never exceeds the limit.
pub(crate) struct DecodedValues(Option<Cache<CacheKey, Arc<Decoded>, Weight>>);

impl DecodedValues {
    /// Makes an empty memo of `limit_bytes`; with 0 it keeps nothing.
    pub(crate) fn new(limit_bytes: u64) -> Self {
        let items = usize::try_from(limit_bytes / TYPICAL_BYTES).unwrap_or(usize::MAX);
        let cache = || {
            let mut options = OptionsBuilder::new();
            let options = options.shards(SHARDS).estimated_items_capacity(items).weight_capacity(limit_bytes);
            let options = options.build().expect("both capacities are set");
            Cache::with_options(options, Weight, DefaultHashBuilder::default(), DefaultLifecycle::default())
        };
        Self((limit_bytes > 0).then(cache))
    }

    /// Returns the value of `key` that was decoded from `payload` itself, if it is one of `T`.
    pub(crate) fn get<T: Send + Sync + 'static>(
        &self,
        key: &CacheKey,
        payload: &Bytes,
        codec: CodecId,
        shape: u64,
    ) -> Option<Arc<T>> {
        let decoded = self.0.as_ref()?.get(key)?;
        if !decoded.is_of(payload, codec, shape) {
            return None;
        }
        Arc::downcast(Arc::clone(&decoded.value)).ok()
    }

    /// Keeps the value of `key` that was decoded from `payload`.
    pub(crate) fn put<T: Send + Sync + 'static>(
        &self,
        key: &CacheKey,
        payload: &Bytes,
        codec: CodecId,
        shape: u64,
        value: &Arc<T>,
    ) {
        let Some(values) = &self.0 else { return };
        let value_bytes = size_of::<T>().max(payload.len() * EXPANSION);
        let value = PanicSafeDrop::new(Arc::clone(value) as Arc<dyn Any + Send + Sync>);
        let decoded = Decoded { payload: payload.clone(), codec, shape, value, value_bytes };
        values.insert(key.clone(), Arc::new(decoded));
    }
}

impl fmt::Debug for DecodedValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (entries, bytes) = self.0.as_ref().map_or((0, 0), |values| (values.len(), values.weight()));
        f.debug_struct("DecodedValues")
            .field("entries", &entries)
            .field("bytes", &bytes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> CacheKey {
        CacheKey::parse("user:5").unwrap()
    }

    fn get(values: &DecodedValues, payload: &Bytes) -> Option<Arc<String>> {
        values.get(&key(), payload, CodecId::Bincode, 7)
    }

    #[test]
    fn a_value_is_returned_for_the_very_bytes_it_was_decoded_from() {
        let values = DecodedValues::new(1 << 20);
        let (payload, value) = (Bytes::from("abc".to_owned()), Arc::new("value".to_owned()));
        values.put(&key(), &payload, CodecId::Bincode, 7, &value);
        assert!(get(&values, &payload.clone()).is_some_and(|found| Arc::ptr_eq(&found, &value)));
        let others = [Bytes::from("abc".to_owned()), payload.slice(..2), payload.slice(1..)];
        assert!(others.iter().all(|other| get(&values, other).is_none()), "equal, or a part of them");
        assert!(values.get::<String>(&key(), &payload, CodecId::Bincode, 8).is_none(), "another shape");
        assert!(values.get::<String>(&key(), &payload, CodecId::Json, 7).is_none(), "another codec");
        assert!(values.get::<u32>(&key(), &payload, CodecId::Bincode, 7).is_none(), "another type");
    }

    #[test]
    fn without_a_limit_nothing_is_kept() {
        let (values, payload) = (DecodedValues::new(0), Bytes::from("abc".to_owned()));
        values.put(&key(), &payload, CodecId::Bincode, 7, &Arc::new(String::new()));
        assert!(get(&values, &payload).is_none());
    }

    #[test]
    fn values_stay_within_the_limit_and_one_that_is_too_large_is_left_out() {
        const LIMIT: usize = 1 << 20;
        let values = DecodedValues::new(LIMIT as u64);
        for number in 0..1000 {
            let key = CacheKey::builder("user", number).build().unwrap();
            let payload = Bytes::from(vec![0; 5000]);
            values.put(&key, &payload, CodecId::Bincode, 7, &Arc::new(number));
            let kept = values.0.as_ref().unwrap();
            assert!(kept.weight() <= LIMIT as u64);
        }
        let payload = Bytes::from(vec![0; LIMIT / SHARDS]);
        values.put(&key(), &payload, CodecId::Bincode, 7, &Arc::new("value".to_owned()));
        assert!(get(&values, &payload).is_none());
        assert!(values.0.unwrap().len() > 10, "the others are still there");
    }

    #[test]
    fn a_value_whose_drop_panics_harms_no_caller() {
        struct Panics;
        impl Drop for Panics {
            fn drop(&mut self) {
                assert!(std::thread::panicking(), "a bug in the application");
            }
        }
        let (values, payload) = (DecodedValues::new(1 << 20), Bytes::from("abc".to_owned()));
        let dropped = Arc::new(Panics);
        values.put(&key(), &payload, CodecId::Bincode, 7, &dropped);
        cache_core::panics::contained(|| drop(dropped));
        values.put(&key(), &payload, CodecId::Bincode, 7, &Arc::new("value".to_owned()));
        assert!(get(&values, &payload).is_some());
    }
}
