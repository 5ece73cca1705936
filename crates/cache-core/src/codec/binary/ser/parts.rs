//! What holds other values while it is written.

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant,
};

use super::{Stop, Writing};
use crate::shape::{counted, with_name};

/// Something that holds others: `kind` is its token so far, `count` how many parts were written, `variant` the token of
/// the variant whose content it is.
pub(in super::super) struct Parts<'a> {
    pub(super) writing: &'a mut Writing,
    pub(super) kind: u64,
    pub(super) count: u64,
    pub(super) variant: u64,
}

impl Parts<'_> {
    #[inline]
    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Stop> {
        self.count += 1;
        value.serialize(&mut *self.writing)
    }

    #[inline]
    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Stop> {
        self.kind = with_name(self.kind, name);
        value.serialize(&mut *self.writing)
    }

    /// A field that is left out leaves no trace in bincode's bytes: the reader would take the next one for it.
    fn left_out(name: &'static str) -> Result<(), Stop> {
        Err(Stop::new(format_args!(
            "the field {name} is left out (skip_serializing_if); remove that or use Codec::Json"
        )))
    }

    #[inline]
    fn close_counted(&mut self) {
        self.writing.depth -= 1;
        self.writing.shape.holder(counted(self.kind, self.count));
        // One sort for the empty ones and one for all others.
        self.writing.saw(counted(self.kind, self.count.min(1)));
    }

    #[inline]
    fn close_named(&mut self) {
        self.writing.depth -= 1;
        self.writing.holder(self.kind);
    }
}

macro_rules! counted_parts {
    ($($trait:ident::$method:ident),*) => {$(
        impl $trait for Parts<'_> {
            type Ok = ();
            type Error = Stop;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Stop> {
                self.part(value)
            }

            fn end(mut self) -> Result<(), Stop> {
                self.close_counted();
                Ok(())
            }
        }
    )*};
}

counted_parts!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field
);

impl SerializeTupleVariant for Parts<'_> {
    type Ok = ();
    type Error = Stop;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Stop> {
        self.part(value)
    }

    fn end(mut self) -> Result<(), Stop> {
        self.close_counted();
        self.writing.holder(self.variant);
        Ok(())
    }
}

impl SerializeMap for Parts<'_> {
    type Ok = ();
    type Error = Stop;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Stop> {
        self.part(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Stop> {
        value.serialize(&mut *self.writing)
    }

    fn end(mut self) -> Result<(), Stop> {
        self.close_counted();
        Ok(())
    }
}

impl SerializeStruct for Parts<'_> {
    type Ok = ();
    type Error = Stop;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Stop> {
        self.field(name, value)
    }

    fn skip_field(&mut self, name: &'static str) -> Result<(), Stop> {
        Self::left_out(name)
    }

    fn end(mut self) -> Result<(), Stop> {
        self.close_named();
        Ok(())
    }
}

impl SerializeStructVariant for Parts<'_> {
    type Ok = ();
    type Error = Stop;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Stop> {
        self.field(name, value)
    }

    fn skip_field(&mut self, name: &'static str) -> Result<(), Stop> {
        Self::left_out(name)
    }

    fn end(mut self) -> Result<(), Stop> {
        self.close_named();
        self.writing.holder(self.variant);
        Ok(())
    }
}
