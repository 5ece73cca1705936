//! The deserializer of bincode's bytes: it takes the shape of the value, and stops at input that would overflow the
//! stack, spin or allocate more than is there.

mod access;

use bincode::BorrowDecode;
use bincode::config::Configuration;
use bincode::de::read::{Reader, SliceReader};
use bincode::de::{BorrowDecoder, DecoderImpl};
use serde::de::{Deserializer, Visitor};
use serde::forward_to_deserialize_any;

use self::access::{EnumVariant, Parts};
use super::{CodecError, DEEPEST_BINCODE, ELEMENTS_WITHOUT_BYTES, Result, STANDARD};
use crate::shape::{Shape, counted, fields_of, token};

/// Deserializes one value.
pub(super) struct ValueReader<'de> {
    decoder: DecoderImpl<SliceReader<'de>, Configuration, ()>,
    shape: Shape,
    depth: u32,
    elements_left: usize,
    has_unread_parts: bool,
}

impl<'de> ValueReader<'de> {
    pub(super) fn new(bytes: &'de [u8]) -> Self {
        Self {
            decoder: DecoderImpl::new(SliceReader::new(bytes), STANDARD, ()),
            shape: Shape::default(),
            depth: 0,
            elements_left: bytes.len().saturating_add(ELEMENTS_WITHOUT_BYTES),
            has_unread_parts: false,
        }
    }

    /// Checks that the value took all bytes and has the shape `expected`.
    pub(super) fn finish(mut self, expected: u64) -> Result {
        // After a part that was left unread, each value is read as something else.
        if self.has_unread_parts || self.shape.finish() != expected {
            return Err(CodecError::new("it was stored with another shape: the type has changed"));
        }
        match self.decoder.borrow_reader().peek_read(1) {
            None => Ok(()),
            Some(_) => Err(CodecError::new("bytes are left over")),
        }
    }

    #[inline]
    fn take<T: BorrowDecode<'de, ()>>(&mut self) -> Result<T> {
        T::borrow_decode(&mut self.decoder).map_err(CodecError::new)
    }

    /// Takes the length of a list, unless it is more than the bytes can hold.
    ///
    /// Every element of a list but those of no bytes has a first byte that is no other element's, in this list or
    /// another. Without this check nine bytes could claim 2^40 elements of `()`.
    #[inline]
    fn take_length(&mut self) -> Result<usize> {
        let length = self.take::<usize>()?;
        match self.elements_left.checked_sub(length) {
            Some(left) => self.elements_left = left,
            None => return Err(CodecError::new("a list claims more elements than its bytes can hold")),
        }
        Ok(length)
    }

    #[inline]
    fn enter(&mut self) -> Result {
        self.depth += 1;
        if self.depth > DEEPEST_BINCODE { Err(CodecError::too_deep(DEEPEST_BINCODE)) } else { Ok(()) }
    }

    #[inline]
    fn parts(&mut self, length: usize) -> Result<Parts<'_, 'de>> {
        self.enter()?;
        Ok(Parts { reader: self, left: length })
    }

    /// Notes the token of something, after its parts.
    #[inline]
    fn close(&mut self, token: u64) {
        self.depth -= 1;
        self.shape.holder(token);
    }

    #[inline]
    fn read_list<V: Visitor<'de>>(&mut self, kind: u64, length: usize, visitor: V) -> Result<V::Value> {
        let value = visitor.visit_seq(self.parts(length)?)?;
        self.close(counted(kind, length as u64));
        Ok(value)
    }

    #[inline]
    fn read_fields<V: Visitor<'de>>(
        &mut self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let value = visitor.visit_seq(self.parts(fields.len())?)?;
        self.close(fields_of(fields));
        Ok(value)
    }
}

macro_rules! leaves {
    ($($method:ident $visit:ident $token:ident),* $(,)?) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            self.shape.leaf(token::$token);
            visitor.$visit(self.take()?)
        }
    )*};
}

impl<'de> Deserializer<'de> for &mut ValueReader<'de> {
    type Error = CodecError;

    leaves! {
        deserialize_bool visit_bool BOOL,
        deserialize_i8 visit_i8 I8,
        deserialize_i16 visit_i16 I16,
        deserialize_i32 visit_i32 I32,
        deserialize_i64 visit_i64 I64,
        deserialize_i128 visit_i128 I128,
        deserialize_u8 visit_u8 U8,
        deserialize_u16 visit_u16 U16,
        deserialize_u32 visit_u32 U32,
        deserialize_u64 visit_u64 U64,
        deserialize_u128 visit_u128 U128,
        deserialize_f32 visit_f32 F32,
        deserialize_f64 visit_f64 F64,
        deserialize_char visit_char CHAR,
        deserialize_str visit_borrowed_str STR,
        deserialize_bytes visit_borrowed_bytes BYTES,
    }

    #[inline]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.shape.leaf(token::STR);
        visitor.visit_string(self.take::<&str>()?.to_owned())
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.shape.leaf(token::BYTES);
        visitor.visit_byte_buf(self.take::<&[u8]>()?.to_owned())
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.shape.leaf(token::UNIT);
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value> {
        self.shape.leaf(token::UNIT_STRUCT);
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.take::<u8>()? {
            0 => {
                self.shape.leaf(token::NONE);
                visitor.visit_none()
            }
            1 => {
                self.enter()?;
                let value = visitor.visit_some(&mut *self)?;
                self.close(token::SOME);
                Ok(value)
            }
            other => Err(CodecError::new(format_args!("{other} is no option's first byte"))),
        }
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value> {
        self.enter()?;
        let value = visitor.visit_newtype_struct(&mut *self)?;
        self.close(token::NEWTYPE);
        Ok(value)
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let length = self.take_length()?;
        self.read_list(token::SEQUENCE, length, visitor)
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let length = self.take_length()?;
        let value = visitor.visit_map(self.parts(length)?)?;
        self.close(counted(token::MAP, length as u64));
        Ok(value)
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value> {
        self.read_list(token::TUPLE, length, visitor)
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value> {
        self.read_list(token::TUPLE_STRUCT, length, visitor)
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.read_fields(fields, visitor)
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_enum(EnumVariant { reader: self, names, index: 0 })
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value> {
        Err(CodecError::new(
            "the type asks what comes next (untagged, tag, flatten), which bincode cannot say; use Codec::Json",
        ))
    }

    forward_to_deserialize_any! { identifier ignored_any }

    fn is_human_readable(&self) -> bool {
        false
    }
}
