//! How values become bytes and back: through a codec, or unchanged.

use std::sync::Arc;

use bytes::Bytes;
use cache_core::{CacheKey, Codec, CodecId, NewEntry, Refusal, Result, RoundTrips};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::decoded::DecodedValues;

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
    fn encode_compared(self, known: &RoundTrips, value: &T) -> Result<NewEntry, Refusal> {
        self.encode(known, value)
    }
}

/// Values through a codec.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Typed(pub(crate) Codec);

impl<T: DeserializeOwned> Decode<T> for Typed {
    fn codec(self) -> CodecId {
        self.0.id()
    }

    fn decode(self, payload: &Bytes, shape: u64) -> Result<T> {
        self.0.decode(payload, shape)
    }
}

impl<T: Serialize + DeserializeOwned + 'static> Encode<T> for Typed {
    type Stored = T;

    fn encode(self, known: &RoundTrips, value: &T) -> Result<NewEntry, Refusal> {
        known.encode(self.0, value).map(NewEntry::from)
    }

    fn encode_compared(self, known: &RoundTrips, value: &T) -> Result<NewEntry, Refusal> {
        known.encode_compared(self.0, value).map(NewEntry::from)
    }
}

/// Values through a codec, which callers share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shared(pub(crate) Codec);

impl<T: DeserializeOwned + Send + Sync + 'static> Decode<Arc<T>> for Shared {
    fn codec(self) -> CodecId {
        self.0.id()
    }

    fn decode(self, payload: &Bytes, shape: u64) -> Result<Arc<T>> {
        self.0.decode(payload, shape).map(Arc::new)
    }

    fn decode_once(
        self,
        decoded: &DecodedValues,
        key: &CacheKey,
        payload: &Bytes,
        shape: u64,
    ) -> Result<Arc<T>> {
        if let Some(value) = decoded.get(key, payload, self.0.id(), shape) {
            return Ok(value);
        }
        let value = self.decode(payload, shape)?;
        decoded.put(key, payload, self.0.id(), shape, &value);
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

/// Bytes, unchanged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Raw;

impl Decode<Bytes> for Raw {
    fn codec(self) -> CodecId {
        CodecId::Raw
    }

    fn decode(self, payload: &Bytes, _shape: u64) -> Result<Bytes> {
        Ok(payload.clone())
    }
}

impl Encode<Bytes> for Raw {
    type Stored = Bytes;

    fn encode(self, _known: &RoundTrips, value: &Bytes) -> Result<NewEntry, Refusal> {
        Ok(NewEntry::new(value.clone()))
    }
}
