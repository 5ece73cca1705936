//! How values become bytes and back: through a codec, or unchanged.

use bytes::Bytes;
use cache_core::{Codec, CodecId, NewEntry, Refusal, Result, RoundTrips};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Decodes values of `T`.
pub(crate) trait Decode<T>: Copy + Send + Sync + 'static {
    /// The codec that is stored beside the value.
    fn codec(self) -> CodecId;

    /// Decodes a stored value; an error when another type or another build stored it.
    fn decode(self, payload: &Bytes, shape: u64) -> Result<T>;
}

/// Encodes values of `T` so that they decode to what they were.
pub(crate) trait Encode<T>: Decode<T> {
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
    fn encode(self, known: &RoundTrips, value: &T) -> Result<NewEntry, Refusal> {
        known.encode(self.0, value).map(NewEntry::from)
    }

    fn encode_compared(self, known: &RoundTrips, value: &T) -> Result<NewEntry, Refusal> {
        known.encode_compared(self.0, value).map(NewEntry::from)
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
    fn encode(self, _known: &RoundTrips, value: &Bytes) -> Result<NewEntry, Refusal> {
        Ok(NewEntry::new(value.clone()))
    }
}
