//! [`CodecError`]: why a value cannot be encoded or decoded.

use std::fmt::Display;

use serde::de::{Expected, Unexpected};

/// Why a value cannot be encoded or decoded, without anything of the value.
///
/// Small, because every result of the serializers has room for it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct CodecError(Box<str>);

/// The result of a step of a codec.
pub(super) type Result<T = (), E = CodecError> = std::result::Result<T, E>;

impl CodecError {
    #[cold]
    pub(super) fn new(why: impl Display) -> Self {
        Self(why.to_string().into())
    }

    #[cold]
    pub(super) fn too_deep(deepest: u32) -> Self {
        Self::new(format_args!("nested deeper than {deepest} levels; flatten the type"))
    }
}

/// The message of a type that refuses to be serialized: a poisoned lock, a path that is not UTF-8.
impl serde::ser::Error for CodecError {
    fn custom<T: Display>(why: T) -> Self {
        Self::new(why)
    }
}

// The messages of types quote the values that they refuse: they are left out.
impl serde::de::Error for CodecError {
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
