//! How values become bytes and back: through a codec, or unchanged for [`Bytes`].

use std::any::{Any, TypeId};
use std::sync::Arc;

use bytes::Bytes;
use cache_core::{CacheKey, Codec, CodecId, NewEntry, Refusal, Result, RoundTrips};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::decoded::DecodedValues;

/// A type whose values can be cached: it derives serde's `Serialize` and `Deserialize`, and owns its data.
///
/// Implemented for every such type. [`Bytes`] are stored as they are, without a codec. A type without both derives does not
/// compile:
///
/// ```compile_fail,E0277
/// # async fn example(cache: cache_facade::Cache, key: cache_facade::CacheKey) {
/// struct Profile(String);
///
/// let profile = cache.get_or_compute(&key, async || Profile("Ada".to_owned())).await;
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "values of `{Self}` cannot be cached",
    label = "not a type that can be stored and read again",
    note = "values are stored as bytes: derive both traits, `#[derive(serde::Serialize, serde::Deserialize)]`",
    note = "a value outlives the call: it owns its data (`String` instead of `&str`, no `Rc`) and is `Send`",
    note = "for files and pictures use `bytes::Bytes`, which are stored as they are"
)]
pub trait CacheValue: Serialize + DeserializeOwned + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + 'static> CacheValue for T {}

/// A type whose values [`Cache::set`](crate::Cache::set) takes: that of a [`CacheValue`], a text, or a slice.
#[diagnostic::on_unimplemented(
    message = "values of `{Self}` cannot be stored in the cache",
    label = "not a type that can be stored",
    note = "values are stored as bytes: `#[derive(serde::Serialize)]`; the type holds no references"
)]
pub trait StoredValue: Serialize + Sync {
    #[doc(hidden)]
    fn as_bytes(&self) -> Option<&Bytes> {
        None
    }
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + Sync + 'static> StoredValue for T {
    fn as_bytes(&self) -> Option<&Bytes> {
        (self as &dyn Any).downcast_ref()
    }
}

impl StoredValue for str {}

impl<T: Serialize + Sync> StoredValue for [T] {}

/// Encodes `value` for [`Cache::set`](crate::Cache::set).
pub(crate) fn encoded<T: StoredValue + ?Sized>(codec: Codec, value: &T) -> Result<NewEntry> {
    match value.as_bytes() {
        Some(bytes) => Ok(NewEntry::new(bytes.clone())),
        None => codec.encode(value).map(NewEntry::from),
    }
}

/// Decodes values of `T`.
pub(crate) trait Decode<T>: Copy + Send + Sync + 'static {
    /// The codec that is stored beside the value.
    fn codec(self) -> CodecId;

    /// Decodes a stored value; an error when another type or another build stored it.
    fn decode(self, payload: &Bytes, shape: u64) -> Result<T>;

    /// Decodes the stored value of `key`, unless it was decoded before and is kept for callers that share it.
    fn decode_once(
        self,
        _decoded: &DecodedValues,
        _key: &CacheKey,
        payload: &Bytes,
        shape: u64,
    ) -> Result<T> {
        self.decode(payload, shape)
    }
}

/// Encodes values of `T` so that they decode to what they were.
pub(crate) trait Encode<T>: Decode<T> {
    /// The type that is encoded: callers that ask for it in different ways join one load.
    type Stored: 'static;

    /// Encodes `value`.
    fn encode(self, known: &RoundTrips, value: &T) -> Result<NewEntry, Refusal>;

    /// Encodes `value`, and compares it with what it decodes to.
    fn encode_compared(self, known: &RoundTrips, value: &T) -> Result<NewEntry, Refusal>;
}

/// Values through a codec, and bytes unchanged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Typed(pub(crate) Codec);

impl<T: DeserializeOwned + 'static> Decode<T> for Typed {
    fn codec(self) -> CodecId {
        if TypeId::of::<T>() == TypeId::of::<Bytes>() { CodecId::Raw } else { self.0.id() }
    }

    fn decode(self, payload: &Bytes, shape: u64) -> Result<T> {
        // The type is known when this is compiled, so that one branch is left.
        if TypeId::of::<T>() == TypeId::of::<Bytes>() {
            let mut value = Some(payload.clone());
            if let Some(value) = (&mut value as &mut dyn Any).downcast_mut().and_then(Option::take) {
                return Ok(value);
            }
        }
        self.0.decode(payload, shape)
    }
}

impl<T: Serialize + DeserializeOwned + 'static> Encode<T> for Typed {
    type Stored = T;

    fn encode(self, known: &RoundTrips, value: &T) -> Result<NewEntry, Refusal> {
        match (value as &dyn Any).downcast_ref::<Bytes>() {
            Some(bytes) => Ok(NewEntry::new(bytes.clone())),
            None => known.encode(self.0, value).map(NewEntry::from),
        }
    }

    fn encode_compared(self, known: &RoundTrips, value: &T) -> Result<NewEntry, Refusal> {
        match (value as &dyn Any).downcast_ref::<Bytes>() {
            Some(bytes) => Ok(NewEntry::new(bytes.clone())),
            None => known.encode_compared(self.0, value).map(NewEntry::from),
        }
    }
}

/// Values as [`Typed`], which callers share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shared(pub(crate) Codec);

impl<T: DeserializeOwned + Send + Sync + 'static> Decode<Arc<T>> for Shared {
    fn codec(self) -> CodecId {
        Decode::<T>::codec(Typed(self.0))
    }

    fn decode(self, payload: &Bytes, shape: u64) -> Result<Arc<T>> {
        Typed(self.0).decode(payload, shape).map(Arc::new)
    }

    fn decode_once(
        self,
        decoded: &DecodedValues,
        key: &CacheKey,
        payload: &Bytes,
        shape: u64,
    ) -> Result<Arc<T>> {
        let codec = Decode::<Arc<T>>::codec(self);
        if let Some(value) = decoded.get(key, payload, codec, shape) {
            return Ok(value);
        }
        let value = self.decode(payload, shape)?;
        decoded.put(key, payload, codec, shape, &value);
        Ok(value)
    }
}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Encode<Arc<T>> for Shared {
    type Stored = T;

    fn encode(self, known: &RoundTrips, value: &Arc<T>) -> Result<NewEntry, Refusal> {
        Typed(self.0).encode(known, &**value)
    }

    fn encode_compared(self, known: &RoundTrips, value: &Arc<T>) -> Result<NewEntry, Refusal> {
        Typed(self.0).encode_compared(known, &**value)
    }
}
