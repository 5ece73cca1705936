//! What serde asks a value's parts and variants through.

use serde::de::value::U32Deserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::{Reading, Stop};
use crate::shape::{token, variant};

/// The parts of a list, a tuple, a struct or a map, as they are asked for.
pub(super) struct Parts<'a, 'de> {
    pub(super) reading: &'a mut Reading<'de>,
    pub(super) left: usize,
}

impl<'de> Parts<'_, 'de> {
    #[inline]
    fn next<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Stop> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        seed.deserialize(&mut *self.reading).map(Some)
    }
}

impl Drop for Parts<'_, '_> {
    #[inline]
    fn drop(&mut self) {
        // Telling it here, and not behind a reference, lets the count stay in a register.
        self.reading.unread |= self.left != 0;
    }
}

impl<'de> SeqAccess<'de> for Parts<'_, 'de> {
    type Error = Stop;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Stop> {
        self.next(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> MapAccess<'de> for Parts<'_, 'de> {
    type Error = Stop;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Stop> {
        self.next(seed)
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Stop> {
        seed.deserialize(&mut *self.reading)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// The choice among an enum's variants.
pub(super) struct Choice<'a, 'de> {
    pub(super) reading: &'a mut Reading<'de>,
    pub(super) variants: &'static [&'static str],
}

impl<'a, 'de> EnumAccess<'de> for Choice<'a, 'de> {
    type Error = Stop;
    type Variant = Chosen<'a, 'de>;

    #[inline]
    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Chosen<'a, 'de>), Stop> {
        let Self { reading, variants } = self;
        let index = reading.take::<u32>()?;
        let value = seed.deserialize::<U32Deserializer<Stop>>(index.into_deserializer())?;
        let place = usize::try_from(index).ok();
        let name = place.and_then(|place| variants.get(place)).copied().unwrap_or_default();
        Ok((value, Chosen { reading, index, name }))
    }
}

/// The content of the variant that was chosen.
pub(super) struct Chosen<'a, 'de> {
    reading: &'a mut Reading<'de>,
    index: u32,
    name: &'static str,
}

impl<'de> VariantAccess<'de> for Chosen<'_, 'de> {
    type Error = Stop;

    #[inline]
    fn unit_variant(self) -> Result<(), Stop> {
        self.reading.shape.holder(variant(token::UNIT_VARIANT, self.index, self.name));
        Ok(())
    }

    #[inline]
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Stop> {
        self.reading.enter()?;
        let value = seed.deserialize(&mut *self.reading)?;
        self.reading.close(variant(token::NEWTYPE_VARIANT, self.index, self.name));
        Ok(value)
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Stop> {
        let value = self.reading.deserialize_tuple(length, visitor)?;
        self.reading.shape.holder(variant(token::TUPLE_VARIANT, self.index, self.name));
        Ok(value)
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let value = self.reading.named_parts(fields, visitor)?;
        self.reading.shape.holder(variant(token::STRUCT_VARIANT, self.index, self.name));
        Ok(value)
    }
}
