//! The access of serde's visitors to the parts and variants of a value.

use serde::de::value::U32Deserializer;
use serde::de::{
    DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::{CodecError, Result, ValueReader};
use crate::shape::{token, variant};

/// The parts of a list, tuple, struct or map that are left to be read.
pub(super) struct Parts<'a, 'de> {
    pub(super) reader: &'a mut ValueReader<'de>,
    pub(super) left: usize,
}

impl<'de> Parts<'_, 'de> {
    #[inline]
    fn next<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        seed.deserialize(&mut *self.reader).map(Some)
    }
}

impl Drop for Parts<'_, '_> {
    #[inline]
    fn drop(&mut self) {
        // Noted here and not with each part, so that the count stays in a register.
        self.reader.has_unread_parts |= self.left != 0;
    }
}

impl<'de> SeqAccess<'de> for Parts<'_, 'de> {
    type Error = CodecError;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        self.next(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> MapAccess<'de> for Parts<'_, 'de> {
    type Error = CodecError;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        self.next(seed)
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value> {
        seed.deserialize(&mut *self.reader)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// A variant of an enum: its index, and then its content.
pub(super) struct EnumVariant<'a, 'de> {
    pub(super) reader: &'a mut ValueReader<'de>,
    pub(super) names: &'static [&'static str],
    pub(super) index: u32,
}

impl EnumVariant<'_, '_> {
    #[inline]
    fn token(&self, form: u64) -> u64 {
        let name = self.names.get(self.index as usize).copied().unwrap_or_default();
        variant(form, self.index, name)
    }
}

impl<'de> EnumAccess<'de> for EnumVariant<'_, 'de> {
    type Error = CodecError;
    type Variant = Self;

    #[inline]
    fn variant_seed<S: DeserializeSeed<'de>>(mut self, seed: S) -> Result<(S::Value, Self)> {
        self.index = self.reader.take()?;
        let index: U32Deserializer<CodecError> = self.index.into_deserializer();
        Ok((seed.deserialize(index)?, self))
    }
}

impl<'de> VariantAccess<'de> for EnumVariant<'_, 'de> {
    type Error = CodecError;

    #[inline]
    fn unit_variant(self) -> Result {
        self.reader.shape.holder(self.token(token::UNIT_VARIANT));
        Ok(())
    }

    #[inline]
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value> {
        self.reader.enter()?;
        let value = seed.deserialize(&mut *self.reader)?;
        self.reader.close(self.token(token::NEWTYPE_VARIANT));
        Ok(value)
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value> {
        let value = self.reader.read_list(token::TUPLE, length, visitor)?;
        self.reader.shape.holder(self.token(token::TUPLE_VARIANT));
        Ok(value)
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let value = self.reader.read_fields(fields, visitor)?;
        self.reader.shape.holder(self.token(token::STRUCT_VARIANT));
        Ok(value)
    }
}
