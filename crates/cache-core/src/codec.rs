//! [`Codec`]: how values become bytes and come back.
//!
//! bincode 2.0.1 is no longer maintained and has no known defect. Only `codec/binary.rs` and what is below it know it,
//! and [`CodecId`] in every stored header lets a successor stand beside it.

mod binary;
#[cfg(feature = "json")]
mod json;
mod round_trip;

use std::any::type_name;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec_id::CodecId;
use crate::entry::NewEntry;
use crate::envelope::LARGEST_PAYLOAD;
use crate::error::{Error, ErrorKind, Result};

pub use self::round_trip::{Refusal, RoundTrips};

/// How typed values are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Codec {
    /// Small and fast, the default. A value whose type changed since it was stored does not decode, so that it is loaded
    /// again: fields added, removed, reordered, renamed or retyped.
    ///
    /// Not for types that ask the format what comes next or leave fields out: serde's `untagged`, `tag`, `flatten`,
    /// `alias`, `skip_serializing_if`.
    #[default]
    Bincode,
    /// For every type serde knows. A changed type decodes where its attributes (`default`, `alias`) allow it.
    ///
    /// Refuses what JSON has no text for: NaN and infinities, a `Some` that is written as `null` (`Some(None)`,
    /// `Some(())`), nesting deeper than 127 levels, map keys that are no text, number or unit variant.
    #[cfg(feature = "json")]
    Json,
}

/// A value as a codec writes it.
struct Written {
    bytes: Vec<u8>,
    shape: u64,
    /// A bit for each sort of part that the value holds.
    seen: u128,
    /// A sum over the sorts of all parts; 0 for bincode, whose shape says more.
    kinds: u64,
    /// Why this very value may not be what is read.
    doubt: Option<&'static str>,
}

/// An encoded value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The bytes.
    pub payload: Bytes,
    /// How they are encoded.
    pub codec: CodecId,
    /// The shape of the value, to be stored with it; 0 for JSON, which describes itself.
    pub shape: u64,
    /// As in [`Written`].
    seen: u128,
    kinds: u64,
    doubt: Option<&'static str>,
}

impl From<Encoded> for NewEntry {
    /// The entry of this value, which lives until it is invalidated or evicted.
    fn from(encoded: Encoded) -> Self {
        let Encoded { payload, codec, shape, .. } = encoded;
        Self { codec, shape, ..Self::new(payload) }
    }
}

const PANICKED: &str = "the type's own code panicked";

impl Codec {
    /// The codec stored as `id`; `None` for raw bytes, and for one that this build leaves out.
    pub fn from_id(id: CodecId) -> Option<Self> {
        match id {
            CodecId::Raw => None,
            CodecId::Bincode => Some(Self::Bincode),
            #[cfg(feature = "json")]
            CodecId::Json => Some(Self::Json),
            #[cfg(not(feature = "json"))]
            CodecId::Json => None,
        }
    }

    /// How this codec is stored.
    pub fn id(self) -> CodecId {
        match self {
            Self::Bincode => CodecId::Bincode,
            #[cfg(feature = "json")]
            Self::Json => CodecId::Json,
        }
    }

    /// Encodes `value`.
    ///
    /// Whether it will decode is not checked; [`RoundTrips::encode`] does that too. A panic of the type's own code is an
    /// error, unless the program aborts on panics.
    ///
    /// # Errors
    /// `Encode` when the type refuses, or does not suit the codec, when the value holds what the codec cannot tell from
    /// another value (see [`Codec`]), or is nested deeper than 128 levels (bincode) or 127 (JSON); `TooLarge` over
    /// [`LARGEST_PAYLOAD`].
    pub fn encode<T: Serialize + ?Sized>(self, value: &T) -> Result<Encoded> {
        let encoded = self.write(value)?;
        match encoded.doubt {
            Some(why) => Err(cannot_encode::<T>(why)),
            None => Ok(encoded),
        }
    }

    /// Encodes `value`, also where it is doubtful that it will be read back.
    fn write<T: Serialize + ?Sized>(self, value: &T) -> Result<Encoded> {
        // What a panic leaves behind is the caller's value, which it still owns; here nothing is half-done.
        let encoded = catch_unwind(AssertUnwindSafe(|| match self {
            Self::Bincode => binary::encode(value).map_err(cannot_encode::<T>),
            #[cfg(feature = "json")]
            Self::Json => json::encode(value).map_err(cannot_encode::<T>),
        }));
        let Written { bytes, shape, seen, kinds, doubt } =
            encoded.unwrap_or_else(|_| Err(cannot_encode::<T>(PANICKED)))?;
        if bytes.len() > LARGEST_PAYLOAD {
            let (name, length) = (type_name::<T>(), bytes.len());
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!(
                    "a {name} of {length} bytes is over the limit of {LARGEST_PAYLOAD}; cache it in parts"
                ),
            ));
        }
        // Without the spare room of a growing vector, which whoever keeps the bytes would keep too.
        let payload = Bytes::from(bytes.into_boxed_slice());
        Ok(Encoded { payload, codec: self.id(), shape, seen, kinds, doubt })
    }

    /// Decodes a value that was stored with the shape `shape`.
    ///
    /// The bytes are trusted no further than that they are what some build of some program encoded: a checksum was
    /// compared before. Allocations are bounded by their length, time by their length and 65,536 elements without
    /// bytes, nesting by 128 levels. A panic is an error, as for [`encode`](Self::encode).
    ///
    /// # Errors
    /// `Decode` when the bytes are not exactly one value of this type and shape: a miss, most often because another
    /// build stored them.
    pub fn decode<T: DeserializeOwned>(self, payload: &[u8], shape: u64) -> Result<T> {
        let decoded = catch_unwind(AssertUnwindSafe(|| match self {
            Self::Bincode => binary::decode(payload, shape).map_err(cannot_decode::<T>),
            #[cfg(feature = "json")]
            // The error's own text would quote the value.
            Self::Json => json::decode(payload).map_err(|error| {
                let (line, column) = (error.line(), error.column());
                cannot_decode::<T>(format_args!("its JSON does not fit at line {line}, column {column}"))
            }),
        }));
        decoded.unwrap_or_else(|_| Err(cannot_decode::<T>(PANICKED)))
    }
}

fn cannot_encode<T: ?Sized>(why: impl Display) -> Error {
    Error::new(ErrorKind::Encode, format!("cannot encode {}: {why}", type_name::<T>()))
}

fn cannot_decode<T>(why: impl Display) -> Error {
    Error::new(ErrorKind::Decode, format!("cannot decode {}: {why}", type_name::<T>()))
}
