//! What loads give: [`Loaded`], [`LoadError`].

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use cache_core::BackendKind;

/// A value and where it came from; it can be used as the value itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded<T> {
    /// The value.
    pub value: T,
    /// Where it came from.
    pub source: Source,
    /// The store that was asked.
    pub backend: BackendKind,
}

impl<T> Loaded<T> {
    /// The value alone.
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

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// From the cache.
    Hit,
    /// From the cache, though its time is over: it is loaded anew in the background, or that failed. The caller's options
    /// or the configuration allow it; see [`Lifetime`](crate::Lifetime).
    Stale,
    /// From this caller's own load.
    Loaded,
    /// From the load of another caller who asked for the same.
    Waited,
    /// From this caller's own load, past the cache: caching is switched off.
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
pub enum LoadError<E> {
    /// The loader's error; everybody who waited for this load gets the same one.
    Failed(Arc<E>),
    /// The loader panicked, with this message.
    Panicked(Arc<str>),
    /// The load asked for its own key, which could only wait for itself.
    Recursive,
}

impl<E> LoadError<E> {
    /// The loader's error by value.
    ///
    /// # Errors
    /// This error itself where there is no loader's error, or other callers hold it too.
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

impl<E: fmt::Debug> fmt::Debug for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => f.debug_tuple("Failed").field(error).finish(),
            Self::Panicked(message) => f.debug_tuple("Panicked").field(message).finish(),
            Self::Recursive => f.write_str("Recursive"),
        }
    }
}

impl<E: fmt::Display> fmt::Display for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::Panicked(message) => write!(f, "the load panicked: {message}"),
            Self::Recursive => f.write_str("the load asked the cache for the key it is loading"),
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
