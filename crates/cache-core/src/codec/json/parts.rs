//! What holds other values, watched while it is written.

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant,
};

use super::Watch;
use super::watched::{Part, Place};
use crate::shape::counted;

/// An array or object: `kind` is its token, `count` how many parts were written.
#[derive(Debug)]
pub(super) struct Parts<'a, C> {
    inner: C,
    watch: &'a Watch,
    place: Place,
    kind: u64,
    count: u64,
}

impl<'a, C> Parts<'a, C> {
    #[inline]
    pub(super) fn new(inner: C, watch: &'a Watch, place: Place, kind: u64) -> Self {
        Self { inner, watch, place, kind, count: 0 }
    }

    #[inline]
    fn part<'b, T: ?Sized>(&mut self, value: &'b T) -> Part<'b, T>
    where
        'a: 'b,
    {
        self.count += 1;
        Part { value, watch: self.watch, place: self.place }
    }

    /// The serializer to end, of something with any number of parts: the empty ones are one sort, all others another.
    #[inline]
    fn close_list(self) -> C {
        self.watch.saw(counted(self.kind, self.count.min(1)));
        self.inner
    }

    /// The same of something whose parts are named: one sort for each number of them, because some may be left out.
    #[inline]
    fn close_named(self) -> C {
        self.watch.saw(counted(self.kind, self.count));
        self.inner
    }
}

macro_rules! lists {
    ($($trait:ident::$method:ident),* $(,)?) => {$(
        impl<C: $trait> $trait for Parts<'_, C> {
            type Ok = C::Ok;
            type Error = C::Error;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
                let part = self.part(value);
                self.inner.$method(&part)
            }

            #[inline]
            fn end(self) -> Result<C::Ok, C::Error> {
                self.close_list().end()
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

macro_rules! named {
    ($($trait:ident),*) => {$(
        impl<C: $trait> $trait for Parts<'_, C> {
            type Ok = C::Ok;
            type Error = C::Error;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), C::Error> {
                let part = self.part(value);
                self.inner.serialize_field(name, &part)
            }

            #[inline]
            fn skip_field(&mut self, name: &'static str) -> Result<(), C::Error> {
                self.inner.skip_field(name)
            }

            #[inline]
            fn end(self) -> Result<C::Ok, C::Error> {
                self.close_named().end()
            }
        }
    )*};
}

named!(SerializeStruct, SerializeStructVariant);

impl<C: SerializeMap> SerializeMap for Parts<'_, C> {
    type Ok = C::Ok;
    type Error = C::Error;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), C::Error> {
        let key = self.part(key);
        self.inner.serialize_key(&key)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
        let value = Part { value, watch: self.watch, place: self.place };
        self.inner.serialize_value(&value)
    }

    #[inline]
    fn end(self) -> Result<C::Ok, C::Error> {
        self.close_list().end()
    }
}
