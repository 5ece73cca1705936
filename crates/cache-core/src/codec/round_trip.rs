//! [`RoundTrips`]: no type is stored that does not come back.

use std::any::{TypeId, type_name};
use std::collections::HashMap;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Codec, Encoded};
use crate::error::{Error, ErrorKind, Result};
use crate::sync::Mutex;

/// Encodes values, and decodes back what is the first of its sort.
///
/// Some attributes of serde write one thing and read another. Such a value would be stored, never decode, and be loaded
/// again each time, silently. So the first value of each type is decoded back, and later ones that hold a sort of part
/// not seen before: another variant, a first element, an option that was absent. A type that fails is not stored any
/// more.
///
/// # Cost
/// A lock and a hash table's lookup a value; at most 128 decodings a type.
#[derive(Default)]
pub struct RoundTrips {
    types: Mutex<HashMap<(TypeId, Codec), Known>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// Whether a value was decoded back, and the sorts of parts that were.
    sound: Option<u128>,
    broken: bool,
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

    /// Encodes `value`, unless its type does not come back from `codec`.
    ///
    /// # Errors
    /// As [`Codec::encode`], and of kind `Encode` for a type that does not come back, now or earlier.
    pub fn encode<T>(&self, codec: Codec, value: &T) -> Result<Encoded, Refusal>
    where
        T: Serialize + DeserializeOwned + 'static,
    {
        let place = (TypeId::of::<T>(), codec);
        let known = self.types.lock().get(&place).copied().unwrap_or_default();
        if known.broken {
            return Err(self.refusal(place, does_not_come_back::<T>(codec)));
        }
        let encoded = codec.encode(value).map_err(|error| self.refusal(place, error))?;
        if known.sound.is_some_and(|sound| encoded.seen & !sound == 0) {
            return Ok(encoded);
        }
        let decoded = codec.decode::<T>(&encoded.payload, encoded.shape);
        let mut types = self.types.lock();
        let known = types.entry(place).or_default();
        match decoded {
            Ok(_) => {
                known.sound = Some(known.sound.unwrap_or_default() | encoded.seen);
                Ok(encoded)
            }
            Err(cause) => {
                known.broken = true;
                drop(types);
                Err(self.refusal(place, does_not_come_back::<T>(codec).with_source(cause)))
            }
        }
    }

    fn refusal(&self, place: (TypeId, Codec), error: Error) -> Refusal {
        let mut types = self.types.lock();
        let known = types.entry(place).or_default();
        Refusal { error, is_first: !std::mem::replace(&mut known.reported, true) }
    }
}

impl fmt::Debug for RoundTrips {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoundTrips").field("types", &self.types.lock().len()).finish()
    }
}

fn does_not_come_back<T>(codec: Codec) -> Error {
    let name = type_name::<T>();
    let advice = match codec {
        Codec::Bincode => {
            "remove serde's untagged, tag, flatten, alias or skip attributes, or use Codec::Json"
        }
        #[cfg(feature = "json")]
        Codec::Json => "make its Serialize and Deserialize agree",
    };
    Error::new(
        ErrorKind::Encode,
        format!("values of {name} are not cached, because they do not decode to what was encoded; {advice}"),
    )
}
