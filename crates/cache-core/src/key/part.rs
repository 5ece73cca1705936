//! [`KeyPart`]: the types from which segments of keys are made.

use std::fmt::Display;

/// A part of a key: any type with one [`Display`] form, such as a number, a text or an identifier.
///
/// Implemented for every `Display` type. Two values that mean different results must display differently.
///
/// An `Option` is not a part. `unwrap_or("")` would give `None` and `Some("")` one key, and so one value:
///
/// ```compile_fail,E0277
/// let language: Option<&str> = None;
/// let key = cache_core::CacheKey::builder("page", 7).part(language);
/// ```
///
/// [`KeyBuilder::optional_part`](crate::KeyBuilder::optional_part) keeps them apart.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a part of a cache key",
    label = "not a key part: it needs one `Display` form",
    note = "for an `Option` call `.optional_part(value)` (or `.optional_filter(name, value)`): `None` gets a segment of its own, \
            whereas `unwrap_or(\"\")` would give `None` and `Some(\"\")` the same key",
    note = "for a list call `.part(list.len())` and then `.part(item)` for each item"
)]
pub trait KeyPart: Display {}

#[diagnostic::do_not_recommend]
impl<T: Display + ?Sized> KeyPart for T {}
