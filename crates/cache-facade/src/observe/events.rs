//! Events and operations that are counted and reported.

/// An event of a key, counted by its family and the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// A read answered from the cache.
    Hit,
    /// A read answered with an expired value.
    Stale,
    /// A read that was not answered from the cache.
    Miss,
    /// A miss that waited for another caller's load.
    Coalesced,
    /// A load that was put off, because another instance was loading the value.
    Awaited,
    /// A load that began after all, because no value came in time.
    AwaitedInVain,
    /// A background load of an old value.
    Refreshed,
    /// A background load that failed.
    RefreshFailed,
    /// A background load that was not begun, because enough others ran.
    RefreshSkipped,
    /// A loaded value that was stored.
    Filled,
    /// A loaded value that was not stored, because an invalidation overtook it.
    FillRefused,
    /// A hit that was loaded again and compared.
    Verified,
    /// A verified hit that differed from the loaded value.
    VerifyMismatch,
}

/// An operation of the cache, as metrics and logs name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    /// Looking a key up.
    Lookup,
    /// Storing a loaded value.
    Fill,
    /// Turning a value into bytes.
    Encode,
    /// Scoping a key.
    Place,
    /// Invalidating.
    Invalidate,
}

impl Operation {
    /// The name in logs and metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Lookup => "lookup",
            Self::Fill => "fill",
            Self::Encode => "encode",
            Self::Place => "place",
            Self::Invalidate => "invalidate",
        }
    }
}
