//! Bincode's bytes, and the shape of the value taken on the way.
//!
//! Numbers and texts are written by bincode; what holds them together (a byte for an option, a length for a list, an
//! index for a variant) is written here, byte for byte as by bincode's serde front. That front does not tell how many
//! bytes are left, and a layer around it that took the shape cost 1.3 to 3.8 times its time.

mod reader;

use serde::Serialize;
use serde::de::DeserializeOwned;

use self::reader::ValueReader;
use super::error::{CodecError, Result};
use super::serializer::{BincodeWriter, DEEPEST_BINCODE, STANDARD};
use super::{Encoded, payload};
use crate::codec_id::CodecId;

/// Elements of no bytes (`()`, empty structs) that all lists of a value may hold together.
const ELEMENTS_WITHOUT_BYTES: usize = 65_536;

pub(super) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Encoded> {
    let mut writer = BincodeWriter::new();
    value.serialize(&mut writer)?;
    let BincodeWriter { shape, sorts, elements, .. } = writer;
    let bytes = writer.into_bytes();
    if elements > bytes.len().saturating_add(ELEMENTS_WITHOUT_BYTES) {
        return Err(CodecError::new(format_args!(
            "over {ELEMENTS_WITHOUT_BYTES} elements without bytes, such as (); store their number instead"
        )));
    }
    let (payload, shape) = (payload(bytes), shape.finish());
    Ok(Encoded { payload, codec: CodecId::Bincode, shape, sorts, kinds: 0, doubt: None })
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8], shape: u64) -> Result<T> {
    let mut reader = ValueReader::new(bytes);
    let value = T::deserialize(&mut reader)?;
    reader.finish(shape)?;
    Ok(value)
}
