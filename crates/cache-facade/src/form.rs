//! How values become bytes and come back: through a codec, or as they are.

use bytes::Bytes;
use cache_core::{Codec, CodecId, NewEntry, Refusal, Result, RoundTrips};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A way to read values of `T`.
pub(crate) trait Reads<T>: Copy + Send + Sync + 'static {
    /// The codec that is written beside the value.
    fn codec(self) -> CodecId;

    /// The stored value; an error when another type or another build stored it.
    fn decode(self, payload: &Bytes, shape: u64) -> Result<T>;
}

/// A way to store values of `T` so that they come back.
pub(crate) trait Form<T>: Reads<T> {
    /// The value as it is stored, for ever.
    fn encode(self, known: &RoundTrips, value: &T) -> Result<NewEntry, Refusal>;

    /// The same, and this very value is decoded and compared before.
    fn encode_compared(self, known: &RoundTrips, value: &T) -> Result<NewEntry, Refusal>;
}

/// Values through a codec.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Typed(pub(crate) Codec);

impl Typed {
    /// The value as it is stored, for ever; whether it comes back is not checked.
    pub(crate) fn entry<T: Serialize + ?Sized>(self, value: &T) -> Result<NewEntry> {
        self.0.encode(value).map(NewEntry::from)
    }
}

impl<T: DeserializeOwned> Reads<T> for Typed {
    fn codec(self) -> CodecId {
        self.0.id()
    }

    fn decode(self, payload: &Bytes, shape: u64) -> Result<T> {
        self.0.decode(payload, shape)
    }
}

impl<T: Serialize + DeserializeOwned + 'static> Form<T> for Typed {
    fn encode(self, known: &RoundTrips, value: &T) -> Result<NewEntry, Refusal> {
        known.encode(self.0, value).map(NewEntry::from)
    }

    fn encode_compared(self, known: &RoundTrips, value: &T) -> Result<NewEntry, Refusal> {
        known.encode_compared(self.0, value).map(NewEntry::from)
    }
}

/// Bytes as they are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plain;

impl Reads<Bytes> for Plain {
    fn codec(self) -> CodecId {
        CodecId::Raw
    }

    fn decode(self, payload: &Bytes, _shape: u64) -> Result<Bytes> {
        Ok(payload.clone())
    }
}

impl Form<Bytes> for Plain {
    fn encode(self, _known: &RoundTrips, value: &Bytes) -> Result<NewEntry, Refusal> {
        Ok(NewEntry::new(value.clone()))
    }

    fn encode_compared(self, known: &RoundTrips, value: &Bytes) -> Result<NewEntry, Refusal> {
        self.encode(known, value)
    }
}
