//! The functions that the code of `cache-macros` calls, and no other: they change with the macros.

use std::convert::Infallible;
use std::fmt::Display;
use std::marker::PhantomData;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use cache_core::{CacheGroup, CacheKey, CachePattern, Invalidation, KeyBuilder};
use tokio::sync::OnceCell;

use crate::cache::Cache;
use crate::encoding::CacheValue;
use crate::global::{CACHE, get_cache};
use crate::load::{LoadError, LoadOptions};

/// A segment after the family.
#[expect(missing_debug_implementations, reason = "made and used in one expression of generated code")]
pub enum Segment<'a> {
    /// A value, which is escaped.
    Part(&'a dyn Display),
    /// An `Option` that is `None`.
    Absent,
    /// Any text.
    Any,
}

/// A value of a placeholder, or what is in its `Option`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the value of a placeholder",
    label = "needs `Display`, or an `Option` of a type that has it",
    note = "name a field or an argument that is a number or a text; a list, or a type without `Display`, is not one part of a key",
    note = "an `Option` is recognised by its name: write `Option<..>` once, and no alias of it"
)]
pub trait PlaceholderValue: Display {}

#[diagnostic::do_not_recommend]
impl<T: Display> PlaceholderValue for T {}

pub fn part<T: PlaceholderValue>(value: &T) -> Segment<'_> {
    Segment::Part(value)
}

pub fn optional_part<T: PlaceholderValue>(value: &Option<T>) -> Segment<'_> {
    value.as_ref().map_or(Segment::Absent, part)
}

/// Makes the key, as a family with this name does: one that would be too long has a hash in place of the segments after its
/// group.
pub fn key(family: &str, segments: &[Segment<'_>]) -> CacheKey {
    let with = |key: KeyBuilder, segment: &Segment<'_>| match segment {
        Segment::Part(part) => key.part(format_args!("{part}")),
        Segment::Absent | Segment::Any => key.optional_part(None::<&str>),
    };
    segments.iter().fold(KeyBuilder::family(family), with).build_shortened()
}

/// Makes the group of a key with these segments.
pub fn group(family: &str, segments: &[Segment<'_>]) -> CacheGroup {
    key(family, segments.get(..1).unwrap_or_default()).to_group()
}

/// Makes the invalidation of a family, a group, a key or a pattern, as the number of segments and `*` tell.
pub fn invalidation(family: &str, segments: &[Segment<'_>]) -> Invalidation {
    let is_pattern = segments.iter().any(|segment| matches!(segment, Segment::Any));
    match segments {
        [_] if !is_pattern => group(family, segments).into(),
        [_, _, ..] if !is_pattern => key(family, segments).into(),
        _ => CachePattern::parse(&text_of(family, segments)).map_or_else(
            // It is too long. The first segment covers what it matches, and is short.
            |_| invalidation(family, segments.get(..1).unwrap_or_default()),
            Invalidation::from,
        ),
    }
}

/// Appends the segments to `family`, which is written as it is.
fn text_of(family: &str, segments: &[Segment<'_>]) -> String {
    let mut text = family.to_owned();
    for segment in segments {
        match segment {
            // Escaped by the group of another family.
            Segment::Part(part) => {
                text.push_str(CacheGroup::new("_", format_args!("{part}")).as_str().trim_start_matches('_'));
            }
            Segment::Absent => text.push_str(":%-"),
            Segment::Any => text.push_str(":*"),
        }
    }
    text
}

/// The cache of the process. Where it cannot be opened, a cache that stores nothing, until [`get_cache`] opens it.
pub async fn process_cache() -> Cache {
    static TRIED: OnceCell<()> = OnceCell::const_new();
    // Once: a directory that another process holds is waited for 45 seconds, and callers wait for each other.
    let open = async || {
        if let Err(error) = get_cache().await {
            cache_core::log::warn!(
                %error, "the cache of the process cannot be opened; cached functions run without it"
            );
        }
    };
    TRIED.get_or_init(open).await;
    CACHE.get().cloned().unwrap_or_else(Cache::disabled)
}

/// An argument that is lent to a cached function. With `ToOwned` in the place of this trait the compiler would advise to
/// borrow the argument once more.
pub trait Lent {
    type Owned;

    fn own(&self) -> Self::Owned;
}

impl<T: ToOwned + ?Sized> Lent for T {
    type Owned = T::Owned;

    fn own(&self) -> T::Owned {
        self.to_owned()
    }
}

pub fn owned<T: Lent + ?Sized>(value: &T) -> T::Owned {
    value.own()
}

/// A type that a cached function returns.
#[derive(Debug)]
pub struct Returned<T>(PhantomData<T>);

impl<T, E> Returned<Result<T, E>> {
    /// The compiler prefers it to that of [`NoResult`].
    pub const IS_RESULT: bool = true;
}

/// Whether a type is a `Result`: no, unless it has a constant of its own.
pub trait NoResult {
    const IS_RESULT: bool = false;
}

impl<T> NoResult for Returned<T> {}

/// Makes the options of a load.
pub fn options<T>(
    ttl: Option<Duration>,
    stale_while_revalidate: Option<Duration>,
    stale_if_error: Option<Duration>,
) -> LoadOptions<T> {
    let mut options = LoadOptions::new();
    let lifetime = &mut options.lifetime;
    (lifetime.ttl, lifetime.stale_while_revalidate) = (ttl, stale_while_revalidate);
    lifetime.stale_if_error = stale_if_error;
    options
}

/// The value of a function with the option `negative`.
#[diagnostic::on_unimplemented(
    message = "`negative` is how long a `None` is kept, and this function returns `{Self}`",
    label = "needs an `Option`",
    note = "return an `Option` or a `Result<Option<..>, ..>`, or take the option `negative` away"
)]
pub trait Absent: Sized {
    fn negative(options: LoadOptions<Self>, duration: Duration) -> LoadOptions<Self>;
}

impl<T: 'static> Absent for Option<T> {
    fn negative(options: LoadOptions<Self>, duration: Duration) -> LoadOptions<Self> {
        options.negative(duration)
    }
}

/// Sets how long a `None` may be served.
pub fn negative<T: Absent>(options: LoadOptions<T>, duration: Duration) -> LoadOptions<T> {
    T::negative(options, duration)
}

/// Reads through `cache`; the error is the loader's, which callers of one load share.
///
/// # Panics
/// With the message of a load that panicked, as the body would without a cache.
pub async fn load<T, E, F, Fut>(
    cache: &Cache,
    key: &CacheKey,
    options: LoadOptions<T>,
    load: F,
) -> Result<T, Arc<E>>
where
    T: CacheValue,
    E: Send + Sync + 'static,
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = Result<T, E>> + Send + 'static,
{
    match cache.get_or_load(key, load).options(options).await {
        Ok(value) => Ok(value),
        Err(LoadError::Failed(error)) => Err(error),
        Err(LoadError::Panicked(message)) => resume_unwind(Box::new(message.to_string())),
        Err(LoadError::Recursive) => recursive(key),
    }
}

#[expect(clippy::panic, reason = "without a cache the function would call itself without end")]
fn recursive(key: &CacheKey) -> ! {
    panic!("the cached function of the key {key} calls itself with the arguments that it was called with")
}

/// Reads through `cache` where a load has no error.
///
/// # Panics
/// As [`load`](fn@load) does.
pub async fn load_infallible<T, F, Fut>(
    cache: &Cache,
    key: &CacheKey,
    options: LoadOptions<T>,
    loader: F,
) -> T
where
    T: CacheValue,
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = T> + Send + 'static,
{
    let infallible = move || async move { Ok::<T, Infallible>(loader().await) };
    match load(cache, key, options, infallible).await {
        Ok(value) => value,
        Err(never) => match *never {},
    }
}

/// The error of a load, to be given to one of the callers that share it: cloned where it can be, else converted.
#[derive(Debug)]
pub struct LoaderError<E>(pub Arc<E>);

/// Gives the error to a caller by a clone; the compiler prefers this to [`ByFrom`], whose method takes a longer reference.
pub trait ByClone<E> {
    fn to_own(&self) -> E;
}

impl<E: Clone> ByClone<E> for LoaderError<E> {
    fn to_own(&self) -> E {
        E::clone(&self.0)
    }
}

/// Gives the error to a caller by a conversion.
pub trait ByFrom<E> {
    fn to_own(&self) -> E
    where
        E: Shared;
}

impl<E> ByFrom<E> for &LoaderError<E> {
    fn to_own(&self) -> E
    where
        E: Shared,
    {
        E::shared(LoadError::Failed(Arc::clone(&self.0)))
    }
}

/// An error that callers of one load can share.
#[diagnostic::on_unimplemented(
    message = "the error `{Self}` of a cached function cannot be shared",
    label = "needs `Clone` or `From<LoadError<{Self}>>`",
    note = "callers that wait for one load get its error each: derive `Clone` for `{Self}`, or implement \
            `From<cache_facade::LoadError<{Self}>>` for it; for an error of another crate return one of your own"
)]
pub trait Shared: Sized {
    fn shared(error: LoadError<Self>) -> Self;
}

#[diagnostic::do_not_recommend]
impl<E: From<LoadError<E>>> Shared for E {
    fn shared(error: LoadError<E>) -> E {
        error.into()
    }
}
