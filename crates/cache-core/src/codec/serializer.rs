//! The serializer of both codecs: writes bincode's bytes and takes the shape of the value, or watches a value that
//! `serde_json` writes.

mod parts;

use std::fmt::Display;
use std::num::NonZeroU64;

use bincode::config::{self, Configuration};
use bincode::enc::write::Writer;
use bincode::enc::{Encode, EncoderImpl};
use bincode::error::EncodeError;
use serde::ser::{Serialize, Serializer};

use self::parts::Parts;
use super::error::{CodecError, Result};
use crate::shape::{Shape, counted, token, variant};

/// Bincode's standard configuration. Its byte limit would count each number at full width and cost a quarter of the
/// time to decode; the reader never goes past the bytes it was given nor allocates what they only claim.
pub(super) const STANDARD: Configuration = config::standard();

/// Levels that a bincode value may be nested, so that neither a hostile nor a misread value overflows the stack.
pub(super) const DEEPEST_BINCODE: u32 = 128;

/// Arrays and objects that JSON may be nested: as deep as `serde_json` reads them.
const DEEPEST_JSON: u32 = 127;

const NOT_FINITE: &str =
    "JSON has no NaN and no infinity, and null would be read instead; use Codec::Bincode";
const NULL_IN_SOME: &str =
    "JSON writes this Some as null, which is read as None (Some(None), Some(())); use Codec::Bincode";
const NO_LENGTH: &str = "a list or map does not know its length (flatten?); use Codec::Json";
const LEFT_OUT: &str = "is left out (skip_serializing_if); remove that or use Codec::Json";

/// The name under which `serde_json` serializes a `RawValue`, whose text may be `null`.
const RAW_VALUE: &str = "$serde_json::private::RawValue";

/// Writes a value as bincode.
pub(super) type BincodeWriter = ValueWriter<false>;

/// Finds what JSON cannot represent in a value, and writes nothing.
#[cfg(feature = "json")]
pub(super) type JsonWatch = ValueWriter<true>;

/// Serializes one value for one of the codecs; see the aliases.
pub(super) struct ValueWriter<const JSON: bool> {
    encoder: EncoderImpl<Output, Configuration>,
    /// The shape; only of a bincode value.
    pub(super) shape: Shape,
    /// The sum of all tokens, which does not depend on the order of a hash map; only of a JSON value.
    pub(super) kinds: u64,
    /// A bit for each sort of part that was seen; see [`RoundTrips`](super::RoundTrips).
    pub(super) sorts: u128,
    /// Why this value may be read as another.
    pub(super) doubt: Option<&'static str>,
    /// Elements of all lists together, which the reader bounds.
    pub(super) elements: usize,
    depth: u32,
    /// Whether the next part is the content of a `Some`.
    in_some: bool,
}

struct Output(Vec<u8>);

impl Writer for Output {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

impl<const JSON: bool> ValueWriter<JSON> {
    const DEEPEST: u32 = if JSON { DEEPEST_JSON } else { DEEPEST_BINCODE };
    /// Levels of an option or newtype, which JSON writes as its content.
    const WRAPPER: u32 = if JSON { 0 } else { 1 };
    /// Levels of a variant with several fields, which JSON writes as an object that holds them.
    const VARIANT: u32 = if JSON { 2 } else { 1 };

    pub(super) fn new() -> Self {
        let output = if JSON { Vec::new() } else { Vec::with_capacity(256) };
        Self {
            encoder: EncoderImpl::new(Output(output), STANDARD),
            shape: Shape::default(),
            kinds: 0,
            sorts: 0,
            doubt: None,
            elements: 0,
            depth: 0,
            in_some: false,
        }
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.encoder.into_writer().0
    }

    #[inline]
    fn put(&mut self, value: impl Encode) -> Result {
        if JSON { Ok(()) } else { value.encode(&mut self.encoder).map_err(CodecError::new) }
    }

    fn put_length(&mut self, length: Option<usize>) -> Result {
        match length {
            _ if JSON => Ok(()),
            None => Err(CodecError::new(NO_LENGTH)),
            Some(length) => {
                self.elements = self.elements.saturating_add(length);
                self.put(length)
            }
        }
    }

    #[inline]
    fn leaf(&mut self, token: u64) {
        if JSON {
            self.kinds = self.kinds.wrapping_add(token);
        } else {
            self.shape.leaf(token);
        }
        self.saw(token);
    }

    #[inline]
    fn holder(&mut self, token: u64) {
        self.close_part(token);
        self.saw(token);
    }

    #[inline]
    fn close_part(&mut self, token: u64) {
        if JSON {
            self.kinds = self.kinds.wrapping_add(token);
        } else {
            self.shape.holder(token);
        }
    }

    #[inline]
    fn saw(&mut self, sort: u64) {
        self.sorts |= 1 << (sort >> 57);
    }

    /// Notes a part that JSON writes as `null`.
    #[inline]
    fn null(&mut self, token: u64) {
        if JSON && self.in_some {
            self.doubt = Some(NULL_IN_SOME);
        }
        self.leaf(token);
    }

    /// The token of a float; JSON writes three values as `null`, which get tokens of their own.
    #[inline]
    fn float(&mut self, token: u64, value: f64) -> u64 {
        if !JSON || value.is_finite() {
            return token;
        }
        self.doubt = Some(NOT_FINITE);
        counted(token, if value.is_nan() { 1 } else { 2 + u64::from(value.is_sign_negative()) })
    }

    #[inline]
    fn enter(&mut self, levels: u32) -> Result {
        if JSON && levels > 0 {
            self.in_some = false;
        }
        self.depth += levels;
        if self.depth > Self::DEEPEST { Err(CodecError::too_deep(Self::DEEPEST)) } else { Ok(()) }
    }

    /// Writes one value inside another, and then the token of the other.
    fn wrapped<T: Serialize + ?Sized>(&mut self, value: &T, levels: u32, token: u64) -> Result {
        self.enter(levels)?;
        value.serialize(&mut *self)?;
        self.depth -= levels;
        self.holder(token);
        Ok(())
    }

    #[inline]
    fn parts(&mut self, kind: u64) -> Result<Parts<'_, JSON>> {
        self.enter(1)?;
        Ok(Parts { writer: self, kind, count: 0, variant: None })
    }

    #[inline]
    fn parts_of_variant(&mut self, kind: u64, variant: u64) -> Result<Parts<'_, JSON>> {
        self.enter(Self::VARIANT)?;
        Ok(Parts { writer: self, kind, count: 0, variant: NonZeroU64::new(variant) })
    }
}

macro_rules! leaves {
    ($($method:ident($kind:ty) $token:ident),* $(,)?) => {$(
        #[inline]
        fn $method(self, value: $kind) -> Result {
            self.leaf(token::$token);
            self.put(value)
        }
    )*};
}

impl<'a, const JSON: bool> Serializer for &'a mut ValueWriter<JSON> {
    type Ok = ();
    type Error = CodecError;
    type SerializeSeq = Parts<'a, JSON>;
    type SerializeTuple = Parts<'a, JSON>;
    type SerializeTupleStruct = Parts<'a, JSON>;
    type SerializeTupleVariant = Parts<'a, JSON>;
    type SerializeMap = Parts<'a, JSON>;
    type SerializeStruct = Parts<'a, JSON>;
    type SerializeStructVariant = Parts<'a, JSON>;

    leaves! {
        serialize_bool(bool) BOOL,
        serialize_i8(i8) I8,
        serialize_i16(i16) I16,
        serialize_i32(i32) I32,
        serialize_i64(i64) I64,
        serialize_u8(u8) U8,
        serialize_u16(u16) U16,
        serialize_u32(u32) U32,
        serialize_u64(u64) U64,
        serialize_char(char) CHAR,
        serialize_str(&str) STR,
        serialize_bytes(&[u8]) BYTES,
    }

    #[inline]
    fn serialize_f32(self, value: f32) -> Result {
        let token = self.float(token::F32, f64::from(value));
        self.leaf(token);
        self.put(value)
    }

    #[inline]
    fn serialize_f64(self, value: f64) -> Result {
        let token = self.float(token::F64, value);
        self.leaf(token);
        self.put(value)
    }

    fn serialize_i128(self, value: i128) -> Result {
        if i64::try_from(value).is_err() {
            // A sort of its own, because fewer types can be read from it.
            self.saw(counted(token::I128, 1));
        }
        self.leaf(token::I128);
        self.put(value)
    }

    fn serialize_u128(self, value: u128) -> Result {
        if u64::try_from(value).is_err() {
            self.saw(counted(token::U128, 1));
        }
        self.leaf(token::U128);
        self.put(value)
    }

    fn serialize_unit(self) -> Result {
        self.null(token::UNIT);
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result {
        self.null(token::UNIT_STRUCT);
        Ok(())
    }

    fn serialize_none(self) -> Result {
        self.null(token::NONE);
        self.put(0_u8)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result {
        self.put(1_u8)?;
        self.in_some = JSON;
        self.wrapped(value, ValueWriter::<JSON>::WRAPPER, token::SOME)?;
        self.in_some = false;
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result {
        self.wrapped(value, ValueWriter::<JSON>::WRAPPER, token::NEWTYPE)
    }

    fn serialize_unit_variant(self, _: &'static str, index: u32, name: &'static str) -> Result {
        self.holder(variant(token::UNIT_VARIANT, index, name));
        self.put(index)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        index: u32,
        name: &'static str,
        value: &T,
    ) -> Result {
        self.put(index)?;
        self.wrapped(value, 1, variant(token::NEWTYPE_VARIANT, index, name))
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Parts<'a, JSON>> {
        self.put_length(length)?;
        self.parts(token::SEQUENCE)
    }

    fn serialize_tuple(self, _: usize) -> Result<Parts<'a, JSON>> {
        self.parts(token::TUPLE)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Parts<'a, JSON>> {
        self.parts(token::TUPLE_STRUCT)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        index: u32,
        name: &'static str,
        _: usize,
    ) -> Result<Parts<'a, JSON>> {
        self.put(index)?;
        let variant = variant(token::TUPLE_VARIANT, index, name);
        self.parts_of_variant(token::TUPLE, variant)
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Parts<'a, JSON>> {
        self.put_length(length)?;
        self.parts(token::MAP)
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Parts<'a, JSON>> {
        if JSON && self.in_some && name == RAW_VALUE {
            self.doubt = Some(NULL_IN_SOME);
        }
        self.parts(token::FIELDS)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        index: u32,
        name: &'static str,
        _: usize,
    ) -> Result<Parts<'a, JSON>> {
        self.put(index)?;
        let variant = variant(token::STRUCT_VARIANT, index, name);
        self.parts_of_variant(token::FIELDS, variant)
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result {
        if JSON {
            // Only noted: `serde_json` formats it.
            self.leaf(token::STR);
            return Ok(());
        }
        self.serialize_str(&value.to_string())
    }

    fn is_human_readable(&self) -> bool {
        JSON
    }
}
