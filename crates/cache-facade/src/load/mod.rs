//! Loads: one for all callers that miss a key at the same time.

pub(crate) mod engine;

mod context;
mod cooldown;
mod flight;
mod join;
mod leader;
mod options;
mod others;
mod parts;
mod read;
mod refresh;
mod type_mismatches;
mod verify;
mod waits_for_graph;

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use cache_core::{BackendKind, CacheKey};
use xxhash_rust::xxh3::xxh3_64;

pub(crate) use self::join::{LookupResult, Request, resolve_one};
pub(crate) use self::leader::{many, one, run_loader};
pub use self::options::LoadOptions;
pub(crate) use self::parts::{Part, of_values};

fn hash_of(key: &CacheKey) -> u64 {
    xxh3_64(key.as_str().as_bytes())
}

/// A value with its source; it dereferences to the value.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// From the load of another caller, or of another instance by [`LoadOptions::wait_for_others`].
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

/// Why there is no value. The cache itself is never the reason.
#[derive(Debug)]
pub enum LoadError<E> {
    /// The loader's error; every caller that waited for this load gets the same one.
    Failed(Arc<E>),
    /// The loader panicked, with this message.
    Panicked(Arc<str>),
    /// The load requested its own key, and would wait for itself.
    Recursive,
}

impl<E> LoadError<E> {
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
            Self::Failed(error) => error.fmt(f),
            Self::Panicked(message) => write!(f, "the load panicked: {message}"),
            Self::Recursive => f.write_str("the load requested the key that it is loading"),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for LoadError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Failed(error) => error.source(),
            Self::Panicked(_) | Self::Recursive => None,
        }
    }
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
        assert_eq!(loaded.into_value(), "abc");
    }
}
