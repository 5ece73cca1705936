//! bincode's bytes, with the shape of the value taken on the way. The only module that knows bincode.
//!
//! Numbers and texts are bincode's; what holds them together (a byte for an option, a length for a list, an index for a
//! variant) is written here as bincode's own serde front does it, byte for byte, because that front cannot tell how
//! many bytes are left, and another layer around it cost 1.3 to 3.8 times its time.

mod de;
mod input;
mod ser;

use std::fmt::{self, Display};

use bincode::config::{self, Configuration};
use serde::Serialize;
use serde::de::{DeserializeOwned, Expected, Unexpected};

use super::Written;

/// bincode's standard configuration. Its byte limit would count each number at full width and cost a quarter of the
/// time to decode; the reader never goes past the bytes it was given nor allocates what they only claim.
type Standard = Configuration;
const STANDARD: Standard = config::standard();

/// How deep values may be nested, so that neither a hostile nor a misread value overflows the stack.
const DEEPEST: u32 = 128;

/// How many elements of no bytes (`()`, empty structs) all lists of a value may hold together.
const ELEMENTS_WITHOUT_BYTES: usize = 65_536;

pub(super) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Written, Stop> {
    let mut writing = ser::Writing::new();
    value.serialize(&mut writing)?;
    writing.finish()
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8], shape: u64) -> Result<T, Stop> {
    let mut reading = de::Reading::new(bytes);
    let value = T::deserialize(&mut reading)?;
    reading.finish(shape)?;
    Ok(value)
}

/// Why a value cannot be written or read, without anything of the value. Small, because every result on the way has
/// room for it.
#[derive(Debug)]
pub(super) struct Stop(Box<str>);

impl Stop {
    #[cold]
    fn new(why: impl Display) -> Self {
        Self(why.to_string().into())
    }

    fn too_deep() -> Self {
        Self::new(format_args!("nested deeper than {DEEPEST} levels; use Codec::Json or flatten the type"))
    }
}

impl Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Stop {}

impl serde::ser::Error for Stop {
    /// What a type says when it refuses to be written: a poisoned lock, a path that is no text.
    fn custom<T: Display>(why: T) -> Self {
        Self::new(why)
    }
}

/// Types like to quote what they refuse; a message must not.
impl serde::de::Error for Stop {
    fn custom<T: Display>(_: T) -> Self {
        Self::new("the type refuses what was read")
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format_args!("expected {expected}"))
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format_args!("expected {expected}"))
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::new(format_args!("expected {expected}, found a length of {length}"))
    }
}

impl From<bincode::error::EncodeError> for Stop {
    #[cold]
    fn from(why: bincode::error::EncodeError) -> Self {
        Self::new(why)
    }
}

impl From<bincode::error::DecodeError> for Stop {
    #[cold]
    fn from(why: bincode::error::DecodeError) -> Self {
        Self::new(why)
    }
}
