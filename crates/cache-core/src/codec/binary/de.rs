//! Reads a value, takes its shape, and stops what would overflow the stack, spin or allocate what is not there.

mod access;

use bincode::de::read::BorrowReader;
use bincode::de::{BorrowDecoder, Decode, DecoderImpl};
use serde::de::{Deserializer, Visitor};

use self::access::{Choice, Parts};
use super::input::Input;
use super::{DEEPEST, ELEMENTS_WITHOUT_BYTES, STANDARD, Standard, Stop};
use crate::shape::{Shape, counted, fields_of, token};

const ASKS: &str =
    "the type asks what comes next (untagged, tag, flatten), which bincode cannot say; use Codec::Json";

/// A value on its way out of bytes.
pub(super) struct Reading<'de> {
    decoder: DecoderImpl<Input<'de>, Standard, ()>,
    shape: Shape,
    depth: u32,
    elements_left: usize,
    unread: bool,
}

impl<'de> Reading<'de> {
    pub(super) fn new(bytes: &'de [u8]) -> Self {
        Self {
            decoder: DecoderImpl::new(Input(bytes), STANDARD, ()),
            shape: Shape::default(),
            depth: 0,
            elements_left: bytes.len().saturating_add(ELEMENTS_WITHOUT_BYTES),
            unread: false,
        }
    }

    /// Whether what was read is all there was, and of the shape `expected`.
    pub(super) fn finish(mut self, expected: u64) -> Result<(), Stop> {
        // Whatever leaves parts unread takes the next value for something that it is not.
        if self.unread || self.shape.finish() != expected {
            return Err(Stop::new("it was stored with another shape: the type has changed"));
        }
        match self.decoder.borrow_reader().0.len() {
            0 => Ok(()),
            left => Err(Stop::new(format_args!("{left} bytes are left over"))),
        }
    }

    #[inline]
    fn take<T: Decode<()>>(&mut self) -> Result<T, Stop> {
        Ok(T::decode(&mut self.decoder)?)
    }

    #[inline]
    fn take_bytes(&mut self) -> Result<&'de [u8], Stop> {
        let length = self.take()?;
        Ok(self.decoder.borrow_reader().take_bytes(length)?)
    }

    #[inline]
    fn take_text(&mut self) -> Result<&'de str, Stop> {
        std::str::from_utf8(self.take_bytes()?).map_err(Stop::new)
    }

    #[inline]
    fn enter(&mut self) -> Result<(), Stop> {
        self.depth += 1;
        if self.depth > DEEPEST { Err(Stop::too_deep()) } else { Ok(()) }
    }

    /// The length of a list, unless it is more than the bytes can hold.
    ///
    /// Every element of a list but those of no bytes has a first byte that is no other element's, in this list or
    /// another. Without this check nine bytes could claim 2^40 elements of `()`.
    #[inline]
    fn take_length(&mut self) -> Result<usize, Stop> {
        let length = self.take::<usize>()?;
        match self.elements_left.checked_sub(length) {
            Some(left) => self.elements_left = left,
            None => return Err(Stop::new("a list claims more elements than its bytes can hold")),
        }
        Ok(length)
    }

    /// The access to `length` parts.
    #[inline]
    fn parts(&mut self, length: usize) -> Result<Parts<'_, 'de>, Stop> {
        self.enter()?;
        Ok(Parts { reading: self, left: length })
    }

    /// Notes the token of something, after its parts.
    #[inline]
    fn close(&mut self, token: u64) {
        self.depth -= 1;
        self.shape.holder(token);
    }

    #[inline]
    fn named_parts<V: Visitor<'de>>(
        &mut self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let value = visitor.visit_seq(self.parts(fields.len())?)?;
        self.close(fields_of(fields));
        Ok(value)
    }
}

macro_rules! leaves {
    ($($method:ident $visit:ident $take:ident $token:ident),* $(,)?) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
            self.shape.leaf(token::$token);
            visitor.$visit(self.$take()?)
        }
    )*};
}

impl<'de> Deserializer<'de> for &mut Reading<'de> {
    type Error = Stop;

    leaves! {
        deserialize_bool visit_bool take BOOL,
        deserialize_i8 visit_i8 take I8,
        deserialize_i16 visit_i16 take I16,
        deserialize_i32 visit_i32 take I32,
        deserialize_i64 visit_i64 take I64,
        deserialize_i128 visit_i128 take I128,
        deserialize_u8 visit_u8 take U8,
        deserialize_u16 visit_u16 take U16,
        deserialize_u32 visit_u32 take U32,
        deserialize_u64 visit_u64 take U64,
        deserialize_u128 visit_u128 take U128,
        deserialize_f32 visit_f32 take F32,
        deserialize_f64 visit_f64 take F64,
        deserialize_char visit_char take CHAR,
        deserialize_str visit_borrowed_str take_text STR,
        deserialize_bytes visit_borrowed_bytes take_bytes BYTES,
    }

    #[inline]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.shape.leaf(token::STR);
        visitor.visit_string(self.take_text()?.to_owned())
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.shape.leaf(token::BYTES);
        visitor.visit_byte_buf(self.take_bytes()?.to_owned())
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.shape.leaf(token::UNIT);
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Stop> {
        self.shape.leaf(token::UNIT_STRUCT);
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
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
            other => Err(Stop::new(format_args!("{other} is no option's first byte"))),
        }
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.enter()?;
        let value = visitor.visit_newtype_struct(&mut *self)?;
        self.close(token::NEWTYPE);
        Ok(value)
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let length = self.take_length()?;
        let value = visitor.visit_seq(self.parts(length)?)?;
        self.close(counted(token::SEQUENCE, length as u64));
        Ok(value)
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let length = self.take_length()?;
        let value = visitor.visit_map(self.parts(length)?)?;
        self.close(counted(token::MAP, length as u64));
        Ok(value)
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Stop> {
        let value = visitor.visit_seq(self.parts(length)?)?;
        self.close(counted(token::TUPLE, length as u64));
        Ok(value)
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let value = visitor.visit_seq(self.parts(length)?)?;
        self.close(counted(token::TUPLE_STRUCT, length as u64));
        Ok(value)
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.named_parts(fields, visitor)
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        visitor.visit_enum(Choice { reading: self, variants })
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Stop> {
        Err(Stop::new(ASKS))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Stop> {
        Err(Stop::new(ASKS))
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Stop> {
        Err(Stop::new(ASKS))
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}
