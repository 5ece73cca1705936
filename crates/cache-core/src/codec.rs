//! [`Codec`]: encodes values as bytes and decodes them.
//!
//! bincode 2.0.1 is no longer maintained and has no known defect. Only this module depends on it, and the [`CodecId`] in
//! every stored header lets another codec be used beside it.

mod binary;
mod error;
#[cfg(feature = "json")]
mod json;
mod round_trip;
mod serializer;

use std::any::type_name;
use std::fmt::Display;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec_id::CodecId;
use crate::entry::NewEntry;
use crate::envelope::LARGEST_PAYLOAD;
use crate::error::{Error, ErrorKind, Result};
use crate::panics::caught;

pub use self::round_trip::{Refusal, RoundTrips};

/// How typed values are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Codec {
    /// Small and fast, the default. A value does not decode, and is loaded again, once its type has changed since it was
    /// stored: fields added, removed, reordered, renamed or retyped.
    ///
    /// Not for types that ask the format what comes next or leave fields out: serde's `untagged`, `tag`, `flatten`,
    /// `alias`, `skip_serializing_if`.
    #[default]
    Bincode,
    /// For every type of serde. A changed type decodes where its attributes (`default`, `alias`) allow it.
    ///
    /// Refuses values that JSON cannot represent: NaN and infinities, a `Some` that is written as `null` (`Some(None)`,
    /// `Some(())`), nesting deeper than 127 levels, map keys that are not a text, number or unit variant.
    #[cfg(feature = "json")]
    Json,
}

/// An encoded value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The bytes.
    pub payload: Bytes,
    /// How they are encoded.
    pub codec: CodecId,
    /// The shape hash of the value, to be stored with it; 0 for JSON, which describes itself.
    pub shape: u64,
    /// A bit for each sort of part that the value holds.
    sorts: u128,
    /// A sum over the kinds of all parts; 0 for bincode, whose shape says more.
    kinds: u64,
    /// Why this value may be read as another.
    doubt: Option<&'static str>,
}

/// The payload of `bytes`, without the spare capacity of a growing vector, because a store may keep it for long.
fn payload(bytes: Vec<u8>) -> Bytes {
    bytes.into_boxed_slice().into()
}

impl From<Encoded> for NewEntry {
    /// Makes an entry that lives until it is invalidated or evicted.
    fn from(encoded: Encoded) -> Self {
        let Encoded { payload, codec, shape, .. } = encoded;
        Self { codec, shape, ..Self::new(payload) }
    }
}

const PANICKED: &str = "the type's own code panicked";

impl Codec {
    /// The number under which this codec is stored.
    pub fn id(self) -> CodecId {
        match self {
            Self::Bincode => CodecId::Bincode,
            #[cfg(feature = "json")]
            Self::Json => CodecId::Json,
        }
    }

    /// Encodes `value`.
    ///
    /// Does not check that it decodes again; [`RoundTrips::encode`] does. A panic in the type's own code is returned as an
    /// error, unless the program aborts on panics.
    ///
    /// # Errors
    /// `Encode` when the type refuses or does not suit the codec, when the codec cannot tell the value from another (see
    /// [`Codec`]), or when it is nested deeper than 128 levels (bincode) or 127 (JSON); `TooLarge` over
    /// [`LARGEST_PAYLOAD`].
    pub fn encode<T: Serialize + ?Sized>(self, value: &T) -> Result<Encoded> {
        let encoded = self.write(value)?;
        match encoded.doubt {
            Some(why) => Err(cannot_encode::<T>(why)),
            None => Ok(encoded),
        }
    }

    /// Encodes `value`, even if it is doubtful that it is read back.
    fn write<T: Serialize + ?Sized>(self, value: &T) -> Result<Encoded> {
        let encoded = caught(|| match self {
            Self::Bincode => binary::encode(value),
            #[cfg(feature = "json")]
            Self::Json => json::encode(value),
        });
        let encoded = encoded.map_err(|_| cannot_encode::<T>(PANICKED))?.map_err(cannot_encode::<T>)?;
        let length = encoded.payload.len();
        if length > LARGEST_PAYLOAD {
            let name = type_name::<T>();
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!(
                    "a {name} of {length} bytes is over the limit of {LARGEST_PAYLOAD}; cache it in parts"
                ),
            ));
        }
        Ok(encoded)
    }

    /// Decodes a value that was stored with the shape `shape`.
    ///
    /// The bytes may be those of any value of any program, once a checksum was compared. Allocations are bounded by their
    /// length, time by their length and 65,536 elements without bytes, nesting by 128 levels. A panic is an error, as for
    /// [`encode`](Self::encode).
    ///
    /// # Errors
    /// `Decode` when the bytes are not exactly one value of this type and shape: a miss, most often because another
    /// build stored them.
    pub fn decode<T: DeserializeOwned>(self, payload: &[u8], shape: u64) -> Result<T> {
        let decoded = caught(|| match self {
            Self::Bincode => binary::decode(payload, shape).map_err(cannot_decode::<T>),
            #[cfg(feature = "json")]
            Self::Json => json::decode(payload).map_err(cannot_decode::<T>),
        });
        decoded.unwrap_or_else(|_| Err(cannot_decode::<T>(PANICKED)))
    }
}

fn cannot_encode<T: ?Sized>(why: impl Display) -> Error {
    Error::new(ErrorKind::Encode, format!("cannot encode {}: {why}", type_name::<T>()))
}

fn cannot_decode<T>(why: impl Display) -> Error {
    Error::new(ErrorKind::Decode, format!("cannot decode {}: {why}", type_name::<T>()))
}
