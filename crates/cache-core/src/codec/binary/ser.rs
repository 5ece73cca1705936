//! Writes a value and takes its shape.

mod parts;

use bincode::enc::write::Writer;
use bincode::enc::{Encode, EncoderImpl};
use bincode::error::EncodeError;
use serde::ser::{Serialize, Serializer};

use self::parts::Parts;
use super::{DEEPEST, ELEMENTS_WITHOUT_BYTES, STANDARD, Standard, Stop, Written};
use crate::shape::{Shape, token, variant};

/// What the output has room for at first, in bytes.
const USUAL_LENGTH: usize = 256;

/// A value on its way into bytes.
pub(super) struct Writing {
    encoder: EncoderImpl<Output, Standard>,
    shape: Shape,
    seen: u128,
    depth: u32,
    /// How many elements all lists hold together, which is what the reader bounds.
    elements: usize,
}

struct Output(Vec<u8>);

impl Writer for Output {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

impl Writing {
    pub(super) fn new() -> Self {
        let encoder = EncoderImpl::new(Output(Vec::with_capacity(USUAL_LENGTH)), STANDARD);
        Self { encoder, shape: Shape::default(), seen: 0, depth: 0, elements: 0 }
    }

    pub(super) fn finish(self) -> Result<Written, Stop> {
        let Self { encoder, shape, seen, elements, depth: _ } = self;
        let bytes = encoder.into_writer().0;
        if elements > bytes.len().saturating_add(ELEMENTS_WITHOUT_BYTES) {
            return Err(Stop::new(format_args!(
                "over {ELEMENTS_WITHOUT_BYTES} elements without bytes, such as (); store their number instead"
            )));
        }
        Ok(Written { bytes, shape: shape.finish(), seen, kinds: 0, doubt: None })
    }

    #[inline]
    fn put(&mut self, value: impl Encode) -> Result<(), Stop> {
        Ok(value.encode(&mut self.encoder)?)
    }

    #[inline]
    fn leaf(&mut self, token: u64) {
        self.shape.leaf(token);
        self.saw(token);
    }

    #[inline]
    fn holder(&mut self, token: u64) {
        self.shape.holder(token);
        self.saw(token);
    }

    #[inline]
    fn saw(&mut self, sort: u64) {
        self.seen |= 1 << (sort >> 57);
    }

    #[inline]
    fn enter(&mut self) -> Result<(), Stop> {
        self.depth += 1;
        if self.depth > DEEPEST { Err(Stop::too_deep()) } else { Ok(()) }
    }

    /// One value inside another, and then the token of the other.
    fn wrapped<T: Serialize + ?Sized>(&mut self, value: &T, token: u64) -> Result<(), Stop> {
        self.enter()?;
        value.serialize(&mut *self)?;
        self.depth -= 1;
        self.holder(token);
        Ok(())
    }

    fn parts(&mut self, kind: u64) -> Result<Parts<'_>, Stop> {
        self.enter()?;
        Ok(Parts { writing: self, kind, count: 0, variant: 0 })
    }

    fn listed(&mut self, kind: u64, length: Option<usize>) -> Result<Parts<'_>, Stop> {
        let Some(length) = length else {
            return Err(Stop::new("a list or map does not know its length (flatten?); use Codec::Json"));
        };
        self.put(length)?;
        self.elements = self.elements.saturating_add(length);
        self.parts(kind)
    }
}

macro_rules! leaves {
    ($($method:ident($kind:ty) $token:ident),* $(,)?) => {$(
        #[inline]
        fn $method(self, value: $kind) -> Result<(), Stop> {
            self.leaf(token::$token);
            self.put(value)
        }
    )*};
}

impl<'a> Serializer for &'a mut Writing {
    type Ok = ();
    type Error = Stop;
    type SerializeSeq = Parts<'a>;
    type SerializeTuple = Parts<'a>;
    type SerializeTupleStruct = Parts<'a>;
    type SerializeTupleVariant = Parts<'a>;
    type SerializeMap = Parts<'a>;
    type SerializeStruct = Parts<'a>;
    type SerializeStructVariant = Parts<'a>;

    leaves! {
        serialize_bool(bool) BOOL,
        serialize_i8(i8) I8,
        serialize_i16(i16) I16,
        serialize_i32(i32) I32,
        serialize_i64(i64) I64,
        serialize_i128(i128) I128,
        serialize_u8(u8) U8,
        serialize_u16(u16) U16,
        serialize_u32(u32) U32,
        serialize_u64(u64) U64,
        serialize_u128(u128) U128,
        serialize_f32(f32) F32,
        serialize_f64(f64) F64,
        serialize_char(char) CHAR,
        serialize_str(&str) STR,
        serialize_bytes(&[u8]) BYTES,
    }

    fn serialize_unit(self) -> Result<(), Stop> {
        self.leaf(token::UNIT);
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Stop> {
        self.leaf(token::UNIT_STRUCT);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Stop> {
        self.leaf(token::NONE);
        self.put(0_u8)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Stop> {
        self.put(1_u8)?;
        self.wrapped(value, token::SOME)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Stop> {
        self.wrapped(value, token::NEWTYPE)
    }

    fn serialize_unit_variant(self, _: &'static str, index: u32, name: &'static str) -> Result<(), Stop> {
        self.holder(variant(token::UNIT_VARIANT, index, name));
        self.put(index)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        index: u32,
        name: &'static str,
        value: &T,
    ) -> Result<(), Stop> {
        self.put(index)?;
        self.wrapped(value, variant(token::NEWTYPE_VARIANT, index, name))
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Parts<'a>, Stop> {
        self.listed(token::SEQUENCE, length)
    }

    fn serialize_tuple(self, _: usize) -> Result<Parts<'a>, Stop> {
        self.parts(token::TUPLE)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Parts<'a>, Stop> {
        self.parts(token::TUPLE_STRUCT)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        index: u32,
        name: &'static str,
        _: usize,
    ) -> Result<Parts<'a>, Stop> {
        self.put(index)?;
        Ok(Parts { variant: variant(token::TUPLE_VARIANT, index, name), ..self.parts(token::TUPLE)? })
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Parts<'a>, Stop> {
        self.listed(token::MAP, length)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Parts<'a>, Stop> {
        self.parts(token::FIELDS)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        index: u32,
        name: &'static str,
        _: usize,
    ) -> Result<Parts<'a>, Stop> {
        self.put(index)?;
        Ok(Parts { variant: variant(token::STRUCT_VARIANT, index, name), ..self.parts(token::FIELDS)? })
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}
