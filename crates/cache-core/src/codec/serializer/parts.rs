//! Parts that hold other parts, while they are serialized.

use std::num::NonZeroU64;

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant,
};

use super::{LEFT_OUT, ValueWriter};
use crate::codec::error::{CodecError, Result};
use crate::shape::{counted, with_name};

/// A list, map, tuple or struct.
pub(in crate::codec) struct Parts<'a, const JSON: bool> {
    pub(super) writer: &'a mut ValueWriter<JSON>,
    /// Its token: the kind, and then the names of the fields so far.
    pub(super) kind: u64,
    /// How many parts were written, unless they have names.
    pub(super) count: u64,
    /// The token of the variant that has these fields. One of 0, a chance in 2^64, would be taken for none: the value then
    /// does not decode.
    pub(super) variant: Option<NonZeroU64>,
}

impl<const JSON: bool> Parts<'_, JSON> {
    #[inline]
    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
        self.count += 1;
        value.serialize(&mut *self.writer)
    }

    #[inline]
    fn close_list(self) {
        self.writer.close_part(counted(self.kind, self.count));
        // One sort for the empty ones and one for all others.
        self.writer.saw(counted(self.kind, self.count.min(1)));
        self.close();
    }

    #[inline]
    fn close(self) {
        match self.variant {
            None => self.writer.depth -= 1,
            Some(variant) => {
                self.writer.depth -= ValueWriter::<JSON>::VARIANT;
                self.writer.holder(variant.get());
            }
        }
    }
}

macro_rules! lists {
    ($($trait:ident::$method:ident),* $(,)?) => {$(
        impl<const JSON: bool> $trait for Parts<'_, JSON> {
            type Ok = ();
            type Error = CodecError;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
                self.part(value)
            }

            #[inline]
            fn end(self) -> Result {
                self.close_list();
                Ok(())
            }
        }
    )*};
}

lists!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field,
);

impl<const JSON: bool> SerializeMap for Parts<'_, JSON> {
    type Ok = ();
    type Error = CodecError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result {
        self.part(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Result {
        self.close_list();
        Ok(())
    }
}

macro_rules! fields {
    ($($trait:ident),*) => {$(
        impl<const JSON: bool> $trait for Parts<'_, JSON> {
            type Ok = ();
            type Error = CodecError;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result {
                self.kind = with_name(self.kind, name);
                value.serialize(&mut *self.writer)
            }

            fn skip_field(&mut self, name: &'static str) -> Result {
                // Bincode's bytes do not show that a field is absent: the next one would be read in its place.
                if JSON { Ok(()) } else { Err(CodecError::new(format_args!("the field {name} {LEFT_OUT}"))) }
            }

            #[inline]
            fn end(self) -> Result {
                self.writer.holder(self.kind);
                self.close();
                Ok(())
            }
        }
    )*};
}

fields!(SerializeStruct, SerializeStructVariant);
