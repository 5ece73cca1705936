//! A serializer that passes everything on to `serde_json`'s and notes what JSON cannot tell apart.

use std::fmt::Display;

use serde::ser::{Error, Serialize, Serializer};

use super::parts::Parts;
use super::{DEEPEST, Watch};
use crate::shape::{counted, token};

const NOT_FINITE: &str =
    "JSON has no NaN and no infinity, and null would be read instead; use Codec::Bincode";
/// The name under which `serde_json`'s `RawValue` has its text written as it is.
const RAW: &str = "$serde_json::private::RawValue";

const NULL_IN_SOME: &str =
    "JSON writes this Some as null, which is read as None (Some(None), Some(())); use Codec::Bincode";

/// A serializer, and where it stands in the value.
#[derive(Debug)]
pub(super) struct Watched<'a, S> {
    inner: S,
    watch: &'a Watch,
    place: Place,
}

/// Where a part stands.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    /// The number of arrays and objects around it.
    depth: u32,
    /// Whether it is the content of a `Some`.
    in_some: bool,
}

/// A part of a value, to be watched too.
#[derive(Debug)]
pub(super) struct Part<'a, T: ?Sized> {
    pub(super) value: &'a T,
    pub(super) watch: &'a Watch,
    pub(super) place: Place,
}

impl<T: Serialize + ?Sized> Serialize for Part<'_, T> {
    #[inline]
    fn serialize<S: Serializer>(&self, inner: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(Watched { inner, watch: self.watch, place: self.place })
    }
}

impl<'a, S: Serializer> Watched<'a, S> {
    #[inline]
    pub(super) fn new(inner: S, watch: &'a Watch) -> Self {
        Self { inner, watch, place: Place::default() }
    }

    /// `null` is about to be written.
    #[inline]
    fn null(&self, token: u64) {
        self.watch.saw(token);
        if self.place.in_some {
            self.watch.doubt(NULL_IN_SOME);
        }
    }

    /// The place of what stands inside `levels` more arrays and objects.
    #[inline]
    fn enter(&self, levels: u32) -> Result<Place, S::Error> {
        let depth = self.place.depth + levels;
        if depth > DEEPEST {
            return Err(S::Error::custom(format_args!(
                "nested deeper than {DEEPEST} levels; flatten the type"
            )));
        }
        Ok(Place { depth, in_some: false })
    }

    #[inline]
    fn variant(&self, form: u64, index: u32) {
        self.watch.saw(counted(form, u64::from(index)));
    }
}

/// Leaves that JSON takes as they are.
macro_rules! leaves {
    ($($method:ident($kind:ty) $token:ident),* $(,)?) => {$(
        #[inline]
        fn $method(self, value: $kind) -> Result<S::Ok, S::Error> {
            self.watch.saw(token::$token);
            self.inner.$method(value)
        }
    )*};
}

/// Integers of 128 bits: those over 64 bits are a sort of their own, because fewer readers take them.
macro_rules! wide {
    ($($method:ident($kind:ty) $narrow:ty, $token:ident);* $(;)?) => {$(
        #[inline]
        fn $method(self, value: $kind) -> Result<S::Ok, S::Error> {
            let is_narrow = <$narrow>::try_from(value).is_ok();
            self.watch.saw(if is_narrow { token::$token } else { counted(token::$token, 1) });
            self.inner.$method(value)
        }
    )*};
}

macro_rules! floats {
    ($($method:ident($kind:ty) $token:ident),* $(,)?) => {$(
        #[inline]
        fn $method(self, value: $kind) -> Result<S::Ok, S::Error> {
            if value.is_finite() {
                self.watch.saw(token::$token);
            } else {
                // Three sorts, all of which are written as null.
                let which = if value.is_nan() { 1 } else if value.is_sign_positive() { 2 } else { 3 };
                self.watch.saw(counted(token::$token, which));
                self.watch.doubt(NOT_FINITE);
            }
            self.inner.$method(value)
        }
    )*};
}

impl<'a, S: Serializer> Serializer for Watched<'a, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Parts<'a, S::SerializeSeq>;
    type SerializeTuple = Parts<'a, S::SerializeTuple>;
    type SerializeTupleStruct = Parts<'a, S::SerializeTupleStruct>;
    type SerializeTupleVariant = Parts<'a, S::SerializeTupleVariant>;
    type SerializeMap = Parts<'a, S::SerializeMap>;
    type SerializeStruct = Parts<'a, S::SerializeStruct>;
    type SerializeStructVariant = Parts<'a, S::SerializeStructVariant>;

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

    floats! {
        serialize_f32(f32) F32,
        serialize_f64(f64) F64,
    }

    wide! {
        serialize_i128(i128) i64, I128;
        serialize_u128(u128) u64, U128;
    }

    #[inline]
    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.null(token::UNIT);
        self.inner.serialize_unit()
    }

    #[inline]
    fn serialize_unit_struct(self, name: &'static str) -> Result<S::Ok, S::Error> {
        self.null(token::UNIT_STRUCT);
        self.inner.serialize_unit_struct(name)
    }

    #[inline]
    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.null(token::NONE);
        self.inner.serialize_none()
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        let Self { inner, watch, place } = self;
        watch.saw(token::SOME);
        inner.serialize_some(&Part { value, watch, place: Place { in_some: true, ..place } })
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let Self { inner, watch, place } = self;
        watch.saw(token::NEWTYPE);
        inner.serialize_newtype_struct(name, &Part { value, watch, place })
    }

    #[inline]
    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<S::Ok, S::Error> {
        self.variant(token::UNIT_VARIANT, index);
        self.inner.serialize_unit_variant(name, index, variant)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.variant(token::NEWTYPE_VARIANT, index);
        let place = self.enter(1)?;
        let value = Part { value, watch: self.watch, place };
        self.inner.serialize_newtype_variant(name, index, variant, &value)
    }

    #[inline]
    fn serialize_seq(self, length: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        let place = self.enter(1)?;
        Ok(Parts::new(self.inner.serialize_seq(length)?, self.watch, place, token::SEQUENCE))
    }

    #[inline]
    fn serialize_tuple(self, length: usize) -> Result<Self::SerializeTuple, S::Error> {
        let place = self.enter(1)?;
        Ok(Parts::new(self.inner.serialize_tuple(length)?, self.watch, place, token::TUPLE))
    }

    #[inline]
    fn serialize_tuple_struct(
        self,
        name: &'static str,
        length: usize,
    ) -> Result<Self::SerializeTupleStruct, S::Error> {
        let place = self.enter(1)?;
        let inner = self.inner.serialize_tuple_struct(name, length)?;
        Ok(Parts::new(inner, self.watch, place, token::TUPLE_STRUCT))
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        self.variant(token::TUPLE_VARIANT, index);
        let place = self.enter(2)?;
        let inner = self.inner.serialize_tuple_variant(name, index, variant, length)?;
        Ok(Parts::new(inner, self.watch, place, token::TUPLE))
    }

    #[inline]
    fn serialize_map(self, length: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        let place = self.enter(1)?;
        Ok(Parts::new(self.inner.serialize_map(length)?, self.watch, place, token::MAP))
    }

    #[inline]
    fn serialize_struct(self, name: &'static str, length: usize) -> Result<Self::SerializeStruct, S::Error> {
        if self.place.in_some && name == RAW {
            self.watch.doubt(NULL_IN_SOME);
        }
        let place = self.enter(1)?;
        Ok(Parts::new(self.inner.serialize_struct(name, length)?, self.watch, place, token::FIELDS))
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        self.variant(token::STRUCT_VARIANT, index);
        let place = self.enter(2)?;
        let inner = self.inner.serialize_struct_variant(name, index, variant, length)?;
        Ok(Parts::new(inner, self.watch, place, token::FIELDS))
    }

    #[inline]
    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.watch.saw(token::STR);
        self.inner.collect_str(value)
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}
