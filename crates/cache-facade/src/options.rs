//! [`LoadOptions`]: how a load's value is to be kept.

use std::fmt;
use std::time::Duration;

use crate::lifetime::Lifetime;

type Keeps<T> = Box<dyn Fn(&T) -> bool + Send + Sync + 'static>;
type Expires<T> = Box<dyn Fn(&T) -> Option<Duration> + Send + Sync + 'static>;

/// How a load's value is to be kept; see [`Cache::get_or_load_with`](crate::Cache::get_or_load_with).
///
/// Everything is off by default: a value is stored, and lives until it is invalidated or evicted, unless the
/// configuration gives its key's family a [`Lifetime`]. Nothing here ever brings a value back that an invalidation
/// removed: old values are old by time alone, and a refresh that an invalidation overtakes is not stored.
///
/// ```
/// use cache_facade::LoadOptions;
/// use std::time::Duration;
///
/// struct Analysis { finished: bool }
///
/// let load = LoadOptions::new().expire(Duration::from_secs(60)).keep(|analysis: &Analysis| analysis.finished);
/// ```
#[must_use]
pub struct LoadOptions<T> {
    pub(crate) lifetime: Lifetime,
    keeps: Option<Keeps<T>>,
    expires: Option<Expires<T>>,
    /// What a load of many that leaves an item out says of it.
    pub(crate) absent: Option<fn() -> T>,
}

impl<T> LoadOptions<T> {
    /// A load whose value lives as long as the configuration lets values of its key's family live.
    pub fn new() -> Self {
        Self { lifetime: Lifetime::new(), keeps: None, expires: None, absent: None }
    }

    /// How long the value may be served, counted from when it is stored. Default: `CACHE_TTL_<FAMILY>`, else
    /// `CACHE_DEFAULT_TTL`, else until it is invalidated or evicted.
    pub fn expire(self, duration: Duration) -> Self {
        Self { lifetime: self.lifetime.expire(duration), ..self }
    }

    /// The same, decided by the value: a token knows when it ends. `None` leaves it to [`expire`](Self::expire).
    /// Default: `None` for every value.
    pub fn expire_by(self, expires: impl Fn(&T) -> Option<Duration> + Send + Sync + 'static) -> Self {
        Self { expires: Some(Box::new(expires)), ..self }
    }

    /// Stores the value only if `keeps` says so; those who wait for the load get it all the same. Default: every value
    /// is stored.
    pub fn keep(self, keeps: impl Fn(&T) -> bool + Send + Sync + 'static) -> Self {
        Self { keeps: Some(Box::new(keeps)), ..self }
    }

    /// Shortens the value's time by a random share of up to `share` (0 to 1) of it, so that what was loaded together is
    /// not loaded again together. Default: `CACHE_JITTER_<FAMILY>`, else `CACHE_DEFAULT_JITTER`, else 0.
    pub fn jitter(self, share: f64) -> Self {
        Self { lifetime: self.lifetime.jitter(share), ..self }
    }

    /// Serves the value for `window` after its time is over, while it is loaded anew in the background: by one caller
    /// for all, for 64 keys of a cache at a time at most, and one second after it failed at the earliest. Callers get it as [`Source::Stale`](crate::Source::Stale).
    /// Default: `CACHE_STALE_WHILE_REVALIDATE_<FAMILY>`, else `CACHE_DEFAULT_STALE_WHILE_REVALIDATE`, else not at all.
    pub fn stale_while_revalidate(self, window: Duration) -> Self {
        Self { lifetime: self.lifetime.stale_while_revalidate(window), ..self }
    }

    /// Serves the value for `window` after its time is over to callers whose load failed or panicked, as
    /// [`Source::Stale`](crate::Source::Stale), unless it was invalidated meanwhile. Default:
    /// `CACHE_STALE_IF_ERROR_<FAMILY>`, else `CACHE_DEFAULT_STALE_IF_ERROR`, else not at all.
    pub fn stale_if_error(self, window: Duration) -> Self {
        Self { lifetime: self.lifetime.stale_if_error(window), ..self }
    }

    /// Loads the value anew in the background when it is asked for in the last `share` (0 to 1) of its time, so that
    /// nobody waits for what is asked for often; one second after it failed at the earliest. Default: `CACHE_REFRESH_AHEAD_<FAMILY>`, else
    /// `CACHE_DEFAULT_REFRESH_AHEAD`, else 0.
    pub fn refresh_ahead(self, share: f64) -> Self {
        Self { lifetime: self.lifetime.refresh_ahead(share), ..self }
    }

    /// Whether the value is to be stored.
    pub(crate) fn keeps(&self, value: &T) -> bool {
        self.keeps.as_ref().is_none_or(|keeps| keeps(value))
    }

    /// The times of `value`, as far as this load says something about them.
    pub(crate) fn lifetime_of(&self, value: &T) -> Lifetime {
        let by_value = self.expires.as_ref().and_then(|expires| expires(value));
        Lifetime { expire: by_value.or(self.lifetime.expire), ..self.lifetime }
    }

    /// Whether the caller himself said that values end by time, not by change.
    pub(crate) fn says_expiry(&self) -> bool {
        self.lifetime.expire.is_some() || self.expires.is_some()
    }
}

impl<T: 'static> LoadOptions<Option<T>> {
    /// How long it may be served that there is nothing: a `None`. Default: as long as any other value; what creates the
    /// thing invalidates its key, as every other change does.
    ///
    /// In [`get_or_load_many`](crate::Cache::get_or_load_many) an item that the load leaves out is then a `None` too, which
    /// is stored and returned.
    ///
    /// ```
    /// use cache_facade::LoadOptions;
    /// use std::time::Duration;
    ///
    /// let user: LoadOptions<Option<String>> = LoadOptions::new().negative(Duration::from_secs(10));
    /// ```
    pub fn negative(self, duration: Duration) -> Self {
        let present = self.expires;
        let expires = move |value: &Option<T>| match (value, &present) {
            (None, _) => Some(duration),
            (Some(_), Some(present)) => present(value),
            (Some(_), None) => None,
        };
        Self { expires: Some(Box::new(expires)), absent: Some(|| None), ..self }
    }
}

impl<T> Default for LoadOptions<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for LoadOptions<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadOptions").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}
