//! JSON by `serde_json`, after a pass over the value that finds what JSON cannot tell apart.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{CodecError, Result};
use super::serializer::JsonWatch;
use super::{Encoded, payload};
use crate::codec_id::CodecId;

pub(super) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Encoded> {
    // First, because it stops at values that are nested too deep for the stack.
    let mut watch = JsonWatch::new();
    value.serialize(&mut watch)?;
    let bytes = serde_json::to_vec(value).map_err(CodecError::new)?;
    let JsonWatch { kinds, sorts, doubt, .. } = watch;
    Ok(Encoded { payload: payload(bytes), codec: CodecId::Json, shape: 0, sorts, kinds, doubt })
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        // The error's own text would quote the value.
        CodecError::new(format_args!("its JSON does not fit at line {line}, column {column}"))
    })
}
