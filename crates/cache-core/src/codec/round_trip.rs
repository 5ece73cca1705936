//! [`RoundTrips`]: values that do not decode to what was encoded are not stored.

use std::any::{TypeId, type_name};
use std::collections::HashMap;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Codec, Encoded};
use crate::error::{Error, ErrorKind, Result};
use crate::sync::Mutex;

/// Encodes values, and decodes back those that may not be read as what they are.
///
/// Some attributes of serde write one thing and read another, and a codec may have one text for two values. Such a value
/// would never decode and be loaded again each time, or be served as another value. So these are decoded, encoded again
/// and compared before they are stored: the first value of each type, later ones that hold a sort of part not seen
/// before (another variant, a first element, an option that was absent), and each value that the codec doubts. One that
/// does not come back is refused; other values of its type are not.
///
/// What serde is not told cannot be compared: a field with `#[serde(skip)]` or `skip_serializing` is read as its default.
///
/// # Cost
/// A lock and a hash table's lookup a value. Values to be compared are encoded twice and decoded once: at most 128 values
/// of a type that comes back, each value that does not.
#[derive(Default)]
pub struct RoundTrips {
    types: Mutex<HashMap<(TypeId, Codec), Known>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// Whether a value came back, and the sorts of parts that were in those that did.
    sound: Option<u128>,
    reported: bool,
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
    /// No type is known yet.
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
        let known = self.types.lock().get(&place::<T>(codec)).copied().unwrap_or_default();
        self.checked(codec, value, |encoded| known.sound.is_some_and(|sound| encoded.seen & !sound == 0))
    }

    /// Encodes `value` and compares it whatever is known of its type: for one that lately did not decode.
    ///
    /// # Errors
    /// As for [`encode`](Self::encode).
    pub fn encode_compared<T>(&self, codec: Codec, value: &T) -> Result<Encoded, Refusal>
    where
        T: Serialize + DeserializeOwned + 'static,
    {
        self.checked(codec, value, |_| false)
    }

    fn checked<T>(
        &self,
        codec: Codec,
        value: &T,
        is_known: impl FnOnce(&Encoded) -> bool,
    ) -> Result<Encoded, Refusal>
    where
        T: Serialize + DeserializeOwned + 'static,
    {
        let refused = |error| {
            let mut types = self.types.lock();
            let known = types.entry(place::<T>(codec)).or_default();
            Refusal { error, is_first: !std::mem::replace(&mut known.reported, true) }
        };
        let encoded = codec.write(value).map_err(refused)?;
        if encoded.doubt.is_none() && is_known(&encoded) {
            return Ok(encoded);
        }
        compare::<T>(codec, &encoded).map_err(refused)?;
        let mut types = self.types.lock();
        let known = types.entry(place::<T>(codec)).or_default();
        known.sound = Some(known.sound.unwrap_or_default() | encoded.seen);
        Ok(encoded)
    }
}

fn place<T: 'static>(codec: Codec) -> (TypeId, Codec) {
    (TypeId::of::<T>(), codec)
}

/// Whether what `encoded` decodes to is encoded in the same way.
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
    for &byte in bytes {
        if let Some(count) = counts.get_mut(usize::from(byte)) {
            *count += 1;
        }
    }
    counts
}

impl fmt::Debug for RoundTrips {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoundTrips").field("types", &self.types.lock().len()).finish()
    }
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
