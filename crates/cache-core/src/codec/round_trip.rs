//! [`RoundTrips`]: refuses values that do not decode to what was encoded.

use std::any::{TypeId, type_name};
use std::collections::HashMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Codec, Encoded};
use crate::error::{Error, ErrorKind, Result};
use crate::sync::Mutex;

/// Encodes values, and decodes those again that may be read as another value.
///
/// Some attributes of serde write one thing and read another, and a codec may have one text for two values. Such a value
/// would never decode and be loaded again each time, or be served as another value. So these are decoded, encoded again
/// and compared before they are stored: the first value of each type, later ones that hold a sort of part not seen
/// before (another variant, a first element, an option that was absent), and each value that the codec doubts. A value
/// that does not come back is refused; other values of its type are not.
///
/// Fields that serde does not see cannot be compared: one with `#[serde(skip)]` or `skip_serializing` is read as its
/// default.
///
/// # Cost
/// A lock and a hash table's lookup a value. Values to be compared are encoded twice and decoded once: at most 128 values
/// of a type that comes back, each value that does not.
#[derive(Debug, Default)]
pub struct RoundTrips {
    types: Mutex<HashMap<(TypeId, Codec), TypeState>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct TypeState {
    /// The sorts of parts in the values that came back; 0 for none, because every value has a part.
    sorts: u128,
    is_reported: bool,
}

/// Why a value is not stored.
#[derive(Debug)]
pub struct Refusal {
    /// What is wrong, with which type, and what to do.
    pub error: Error,
    /// Whether this is the first refusal of this type here: the one to warn about.
    pub is_first: bool,
}

impl RoundTrips {
    /// Makes a check that knows no type yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Encodes `value`, unless it does not come back from `codec`.
    ///
    /// # Errors
    /// As [`Codec::encode`], and of kind `Encode` for a value that was compared and does not come back.
    pub fn encode<T>(&self, codec: Codec, value: &T) -> Result<Encoded, Refusal>
    where
        T: Serialize + DeserializeOwned + 'static,
    {
        let known = self.types.lock().get(&(TypeId::of::<T>(), codec)).map_or(0, |state| state.sorts);
        self.encode_unless_known(codec, value, known)
    }

    /// Encodes `value` and compares it in any case: for a type of which a stored value did not decode.
    ///
    /// # Errors
    /// As for [`encode`](Self::encode).
    pub fn encode_compared<T>(&self, codec: Codec, value: &T) -> Result<Encoded, Refusal>
    where
        T: Serialize + DeserializeOwned + 'static,
    {
        self.encode_unless_known(codec, value, 0)
    }

    fn encode_unless_known<T>(&self, codec: Codec, value: &T, known: u128) -> Result<Encoded, Refusal>
    where
        T: Serialize + DeserializeOwned + 'static,
    {
        let type_and_codec = (TypeId::of::<T>(), codec);
        let refused = |error| {
            let mut types = self.types.lock();
            let state = types.entry(type_and_codec).or_default();
            Refusal { error, is_first: !std::mem::replace(&mut state.is_reported, true) }
        };
        let encoded = codec.write(value).map_err(refused)?;
        if encoded.doubt.is_some() || encoded.sorts & !known != 0 {
            compare::<T>(codec, &encoded).map_err(refused)?;
            self.types.lock().entry(type_and_codec).or_default().sorts |= encoded.sorts;
        }
        Ok(encoded)
    }
}

/// Decodes the value and encodes it again, and compares the two.
fn compare<T: Serialize + DeserializeOwned>(codec: Codec, encoded: &Encoded) -> Result<()> {
    let again = codec
        .decode::<T>(&encoded.payload, encoded.shape)
        .and_then(|decoded| codec.write(&decoded))
        .map_err(|cause| does_not_come_back::<T>(codec, encoded.doubt).with_source(cause))?;
    // A hash map is written in another order each time, which moves bytes and changes none.
    let is_same = again.kinds == encoded.kinds && counts(&again.payload) == counts(&encoded.payload);
    if is_same { Ok(()) } else { Err(does_not_come_back::<T>(codec, encoded.doubt)) }
}

/// How often each byte occurs.
fn counts(bytes: &[u8]) -> [usize; 256] {
    let mut counts = [0; 256];
    for byte in bytes {
        #[expect(clippy::indexing_slicing, reason = "a byte is below 256")]
        let count = &mut counts[usize::from(*byte)];
        *count += 1;
    }
    counts
}

fn does_not_come_back<T>(codec: Codec, doubt: Option<&'static str>) -> Error {
    let name = type_name::<T>();
    let advice = doubt.unwrap_or(match codec {
        Codec::Bincode => {
            "remove serde's untagged, tag, flatten, alias or skip attributes, or use Codec::Json"
        }
        #[cfg(feature = "json")]
        Codec::Json => "make its Serialize and Deserialize agree",
    });
    Error::new(
        ErrorKind::Encode,
        format!("a value of {name} is not cached, because it does not decode to what was encoded; {advice}"),
    )
}
