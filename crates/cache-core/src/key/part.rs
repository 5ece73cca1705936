//! [`KeyPart`] and [`KeyParts`]: the types from which segments of keys are made.

use std::fmt::{Arguments, Display};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::{NonZeroI32, NonZeroI64, NonZeroU32, NonZeroU64};
use std::sync::Arc;

use super::KeyBuilder;

/// A part of a key: a number, a text, an identifier.
///
/// Implement it for id types of the application, which need a [`Display`] form that differs where the ids do:
///
/// ```
/// # use cache_core as cache_facade;
/// use cache_facade::{CacheKey, KeyPart};
///
/// struct UserId(u64);
///
/// impl std::fmt::Display for UserId {
///     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
///         self.0.fmt(f)
///     }
/// }
///
/// impl KeyPart for UserId {}
///
/// assert_eq!(CacheKey::builder("user", UserId(7)).build()?.as_str(), "user:7");
/// # Ok::<(), cache_facade::Error>(())
/// ```
///
/// An `Option` is not a part. `unwrap_or("")` would give `None` and `Some("")` one key, and so one value:
///
/// ```compile_fail,E0277
/// # use cache_core as cache_facade;
/// let language: Option<&str> = None;
/// let key = cache_facade::CacheKey::builder("page", 7).part(language);
/// ```
///
/// [`KeyBuilder::optional_part`](crate::KeyBuilder::optional_part) keeps them apart, and so do [`KeyParts`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a part of a cache key",
    label = "not a key part",
    note = "for an id type of the application write `impl KeyPart for {Self} {{}}`; it needs a `Display` form that differs where the \
            ids do",
    note = "for a type of another crate pass its text: `value.to_string()` or `format_args!(\"{{value}}\")`",
    note = "for an `Option` call `.optional_part(value)` (or `.optional_filter(name, value)`): `None` gets a segment of its own, \
            whereas `unwrap_or(\"\")` would give `None` and `Some(\"\")` the same key",
    note = "for a list call `.part(list.len())` and then `.part(item)` for each item"
)]
pub trait KeyPart: Display {}

macro_rules! parts {
    ($($type:ty),*) => {$(
        impl KeyPart for $type {}
    )*};
}

parts!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize, f32, f64, bool, char, str, String);
parts!(NonZeroU32, NonZeroU64, NonZeroI32, NonZeroI64, IpAddr, Ipv4Addr, Ipv6Addr, Arguments<'_>);
#[cfg(feature = "uuid")]
parts!(uuid::Uuid);

impl<T: KeyPart + ?Sized> KeyPart for &T {}
impl<T: KeyPart + ?Sized> KeyPart for Box<T> {}
impl<T: KeyPart + ?Sized> KeyPart for Arc<T> {}
impl<T: KeyPart + ToOwned + ?Sized> KeyPart for std::borrow::Cow<'_, T> where T::Owned: Display {}

/// The parts of a key after its family: one [`KeyPart`], or a tuple of up to six. The first is the id of the group.
///
/// Each part may be an `Option`: `None` gets a segment that no text has. The type `K` is that of a family's ids; a text that is
/// borrowed also names an id that is a `String`.
///
/// An `Option` of an `Option` is no id, because its two absent forms could not be told apart:
///
/// ```compile_fail,E0277
/// # use cache_core as cache_facade;
/// use cache_facade::KeyParts;
///
/// fn is_id<K: KeyParts>() {}
/// is_id::<Option<Option<u64>>>();
/// ```
///
/// Implement it for an id with names: the parts must differ where the ids do.
///
/// ```
/// # use cache_core as cache_facade;
/// use cache_facade::{KeyBuilder, KeyParts};
///
/// struct Page { author: u64, language: Option<String>, number: u32 }
///
/// impl KeyParts for Page {
///     type First = u64;
///
///     fn append_to(&self, key: KeyBuilder) -> KeyBuilder {
///         key.part(self.author).optional_part(self.language.as_ref()).part(self.number)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an id where the ids of the family are `{K}`",
    label = "not an id",
    note = "convert a value of another type to that of the ids, as by `.into()`, `.try_into()?` or `.parse()?`",
    note = "ids are integers, `bool`, texts, `Uuid` (feature `uuid`), types with `impl KeyPart`, an `Option` of one of these, and tuples \
            of up to six of them",
    note = "for an id type of the application write `impl KeyPart for {Self} {{}}`; it needs a `Display` form that differs where the ids do",
    note = "an `Option` of an `Option` or of a tuple is none: its absent parts could not be told apart"
)]
pub trait KeyParts<K: ?Sized = Self> {
    /// The type of the first part, which names the group.
    type First;

    /// Appends these parts to `key`.
    fn append_to(&self, key: KeyBuilder) -> KeyBuilder;
}

#[diagnostic::do_not_recommend]
impl<T: KeyPart> KeyParts for T {
    type First = T;

    fn append_to(&self, key: KeyBuilder) -> KeyBuilder {
        key.part(self)
    }
}

#[diagnostic::do_not_recommend]
impl<T: KeyPart> KeyParts<T> for &T {
    type First = T;

    fn append_to(&self, key: KeyBuilder) -> KeyBuilder {
        key.part(self)
    }
}

impl KeyParts<String> for &str {
    type First = String;

    fn append_to(&self, key: KeyBuilder) -> KeyBuilder {
        key.part(self)
    }
}

impl<K: KeyPart, T: KeyPart + KeyParts<K>> KeyParts<Option<K>> for Option<T> {
    type First = Option<K>;

    fn append_to(&self, key: KeyBuilder) -> KeyBuilder {
        key.optional_part(self.as_ref())
    }
}

macro_rules! tuples {
    ($($($kind:ident $type:ident $at:tt),+;)*) => {$(
        impl<$($kind, $type: KeyParts<$kind>),+> KeyParts<($($kind,)+)> for ($($type,)+) {
            type First = Ta::First;

            fn append_to(&self, key: KeyBuilder) -> KeyBuilder {
                $(let key = self.$at.append_to(key);)+
                key
            }
        }
    )*};
}

tuples! {
    A Ta 0;
    A Ta 0, B Tb 1;
    A Ta 0, B Tb 1, C Tc 2;
    A Ta 0, B Tb 1, C Tc 2, D Td 3;
    A Ta 0, B Tb 1, C Tc 2, D Td 3, E Te 4;
    A Ta 0, B Tb 1, C Tc 2, D Td 3, E Te 4, F Tf 5;
}
