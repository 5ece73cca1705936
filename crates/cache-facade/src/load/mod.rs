//! Loads: one for all callers that miss a key at the same time.

pub(crate) mod engine;

pub(crate) mod context;
mod cooldown;
mod flight;
mod join;
mod leader;
pub(crate) mod options;
mod others;
mod parts;
mod read;
mod refresh;
mod type_mismatches;
mod verify;
mod waits_for_graph;

use std::any::Any;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use cache_core::{BackendKind, CacheKey};
use serde::{Serialize, Serializer};
use twox_hash::XxHash3_64;

pub(crate) use self::join::{LookupResult, Request, resolve_one};
pub(crate) use self::leader::{Item, Loader, many, one, run_loader};
pub use self::options::LoadOptions;
pub(crate) use self::parts::{Part, of_values};

fn hash_of(key: &CacheKey) -> u64 {
    XxHash3_64::oneshot(key.as_str().as_bytes())
}

/// A value with its source. It dereferences to the value, serialises as the value, and `clone` clones the value.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loaded<T> {
    /// The value.
    pub value: T,
    /// Its source.
    pub source: Source,
    /// The backend that answered the lookup.
    pub backend: BackendKind,
}

impl<T> Loaded<T> {
    /// Returns the value alone.
    pub fn into_value(self) -> T {
        self.value
    }
}

impl<T> Deref for Loaded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Serialize> Serialize for Loaded<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

/// Source of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// From the cache.
    Hit,
    /// From the cache, and expired: it is loaded anew in the background, or that failed. The caller's options or the
    /// configuration allow it; see [`Lifetime`](crate::Lifetime).
    Stale,
    /// From this caller's own load.
    Loaded,
    /// From a load that this caller joined: of the callers that miss a key at once, one has [`Loaded`](Self::Loaded) and all others
    /// have this. Also from the load of another instance, by [`LoadOptions::wait_for_others`].
    Waited,
    /// From this caller's own load: caching is switched off.
    Bypassed,
}

impl Source {
    /// The name in logs and headers: `hit`, `stale`, `miss` (loaded, or waited for) or `bypass`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Loaded | Self::Waited => "miss",
            Self::Bypassed => "bypass",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Error of a loader: any type that callers in several threads can share.
#[diagnostic::on_unimplemented(
    message = "the loader's error `{Self}` cannot be given to all callers that wait",
    label = "not `Send + Sync + 'static`",
    note = "callers in several threads share the error of one load: take `Box<dyn std::error::Error + Send + Sync>` instead of \
            `Box<dyn std::error::Error>`, `Arc` instead of `Rc`, and `String` instead of `&str` that is borrowed"
)]
pub trait LoaderError: Send + Sync + 'static {}

#[diagnostic::do_not_recommend]
impl<E: Send + Sync + 'static> LoaderError for E {}

/// Why there is no value. The cache itself is never the reason.
///
/// It is a [`std::error::Error`] for every loader's error with `Debug` and `Display`: `?` turns it into an `anyhow::Error` or a
/// boxed error also where the loader returns one of these. For an application's own error type one conversion is enough:
///
/// ```
/// use cache_facade::LoadError;
///
/// # #[derive(Debug)] enum DbError { NotFound }
/// # impl std::fmt::Display for DbError { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("db") } }
/// enum AppError { NotFound, Internal(String) }
///
/// impl From<LoadError<DbError>> for AppError {
///     fn from(error: LoadError<DbError>) -> Self {
///         match error.loader_error() {
///             Some(DbError::NotFound) => Self::NotFound,
///             _ => Self::Internal(error.to_string()),
///         }
///     }
/// }
/// ```
///
/// `Display` is the loader's own message, in its alternate form (`{:#}`), with which an `anyhow::Error` shows its causes.
/// `source` gives the cause of a boxed error; that of another type is reached through [`loader_error`](Self::loader_error).
#[derive(Debug)]
pub enum LoadError<E> {
    /// The loader's error; every caller that waited for this load gets the same one.
    Failed(Arc<E>),
    /// The loader panicked, with this message.
    Panicked(Arc<str>),
    /// The load requested its own key, and would wait for itself.
    Recursive,
}

/// What a read through the cache returns.
pub type LoadResult<T, E> = Result<T, LoadError<E>>;

impl<E> LoadError<E> {
    /// Returns the loader's error; `None` when it panicked or would have waited for itself.
    pub fn loader_error(&self) -> Option<&E> {
        match self {
            Self::Failed(error) => Some(error),
            Self::Panicked(_) | Self::Recursive => None,
        }
    }

    /// Returns the loader's error by value.
    ///
    /// # Errors
    /// This error, where it is no loader's error or other callers hold it too.
    pub fn into_inner(self) -> Result<E, Self> {
        match self {
            Self::Failed(error) => Arc::try_unwrap(error).map_err(Self::Failed),
            other @ (Self::Panicked(_) | Self::Recursive) => Err(other),
        }
    }
}

impl<E> Clone for LoadError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Failed(error) => Self::Failed(Arc::clone(error)),
            Self::Panicked(message) => Self::Panicked(Arc::clone(message)),
            Self::Recursive => Self::Recursive,
        }
    }
}

impl<E: fmt::Display> fmt::Display for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => write!(f, "{error:#}"),
            Self::Panicked(message) => write!(f, "the load panicked: {message}"),
            Self::Recursive => f.write_str("the load requested the key that it is loading"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display + 'static> std::error::Error for LoadError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.loader_error().and_then(|error| cause_of(error))
    }
}

/// The cause of an error whose type need not be an error: known for boxed errors.
pub(crate) fn cause_of(error: &dyn Any) -> Option<&(dyn std::error::Error + 'static)> {
    type Boxed = Box<dyn std::error::Error + Send + Sync>;
    error.downcast_ref::<Boxed>().and_then(|error| error.source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_holder_of_an_error_gets_it_by_value() {
        let alone = LoadError::Failed(Arc::new("gone"));
        assert_eq!(alone.into_inner().unwrap(), "gone");
        let shared = LoadError::Failed(Arc::new("gone"));
        let _other = shared.clone();
        assert!(matches!(shared.into_inner(), Err(LoadError::Failed(_))));
        assert!(matches!(LoadError::<()>::Recursive.into_inner(), Err(LoadError::Recursive)));
    }

    #[test]
    fn a_loaded_value_reads_as_the_value() {
        let loaded = Loaded { value: String::from("abc"), source: Source::Hit, backend: BackendKind::Memory };
        assert_eq!(loaded.len(), 3);
        assert_eq!(loaded.clone(), "abc", "a String");
        let shown = Loaded { value: loaded.clone(), ..loaded };
        assert_eq!(serde_json::to_string(&shown).unwrap(), r#""abc""#);
        assert_eq!(shown.into_value(), "abc");
    }

    #[test]
    fn a_load_error_is_an_error_whatever_the_loader_returns() {
        type Boxed = Box<dyn std::error::Error + Send + Sync>;
        fn raised<E: fmt::Debug + fmt::Display + 'static>(error: E) -> Box<dyn std::error::Error> {
            fn fails<E: fmt::Debug + fmt::Display + 'static>(
                error: E,
            ) -> Result<(), Box<dyn std::error::Error>> {
                Err(LoadError::Failed(Arc::new(error)))?;
                Ok(())
            }
            fails(error).unwrap_err()
        }
        assert_eq!(raised("a text").to_string(), "a text");
        assert_eq!(raised(std::io::Error::other("disk")).to_string(), "disk");
        let cause = cache_core::Error::new(cache_core::ErrorKind::Io, "outer").with_source("inner");
        let boxed = raised(Boxed::from(cause));
        assert_eq!(boxed.source().map(ToString::to_string).as_deref(), Some("inner"));
    }
}
