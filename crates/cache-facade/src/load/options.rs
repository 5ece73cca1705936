//! [`LoadOptions`]: how the value of a load is stored.

use std::fmt;
use std::time::Duration;

use crate::lifetime::Lifetime;

type Keeps<T> = Box<dyn Fn(&T) -> bool + Send + Sync + 'static>;
type Expires<T> = Box<dyn Fn(&T) -> Option<Duration> + Send + Sync + 'static>;

/// Options of a load; see [`Cache::get_or_load_with`](crate::Cache::get_or_load_with).
///
/// Everything is off by default: a value is stored, and lives until it is invalidated or evicted, unless the
/// configuration gives its key's family a [`Lifetime`]. No option brings back a value that was invalidated: stale values
/// are stale by time alone, and a refresh that an invalidation overtakes is not stored.
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
    /// Value of an item that a load of many leaves out.
    pub(crate) absent: Option<fn() -> T>,
}

impl<T> LoadOptions<T> {
    /// Options that leave everything to the configuration of the key's family.
    pub fn new() -> Self {
        Self { lifetime: Lifetime::new(), keeps: None, expires: None, absent: None }
    }

    /// Sets how long the value may be served after it was stored. Default: `CACHE_TTL_<FAMILY>`, else
    /// `CACHE_DEFAULT_TTL`, else until it is invalidated or evicted.
    pub fn expire(self, duration: Duration) -> Self {
        Self { lifetime: self.lifetime.expire(duration), ..self }
    }

    /// Sets a function that decides by the value how long it may be served, as for a token that knows its end. `None`
    /// leaves it to [`expire`](Self::expire). Default: `None` for every value.
    pub fn expire_by(self, expires: impl Fn(&T) -> Option<Duration> + Send + Sync + 'static) -> Self {
        Self { expires: Some(Box::new(expires)), ..self }
    }

    /// Stores only values for which `keeps` is true; callers get the others all the same. Default: every value is stored.
    pub fn keep(self, keeps: impl Fn(&T) -> bool + Send + Sync + 'static) -> Self {
        Self { keeps: Some(Box::new(keeps)), ..self }
    }

    /// Shortens the time to live by a random share of up to `share` (0 to 1), so that values loaded together do not expire
    /// together. Default: `CACHE_JITTER_<FAMILY>`, else `CACHE_DEFAULT_JITTER`, else 0.
    pub fn jitter(self, share: f64) -> Self {
        Self { lifetime: self.lifetime.jitter(share), ..self }
    }

    /// Serves the value for `window` after it expired, as [`Source::Stale`](crate::Source::Stale), while one background
    /// load replaces it. A cache runs at most 64 of these at a time, and none within a second after the last one of the key
    /// failed. Default: `CACHE_STALE_WHILE_REVALIDATE_<FAMILY>`, else `CACHE_DEFAULT_STALE_WHILE_REVALIDATE`, else off.
    pub fn stale_while_revalidate(self, window: Duration) -> Self {
        Self { lifetime: self.lifetime.stale_while_revalidate(window), ..self }
    }

    /// Serves the value for `window` after it expired to callers whose load failed or panicked, as
    /// [`Source::Stale`](crate::Source::Stale), unless it was invalidated meanwhile. Default:
    /// `CACHE_STALE_IF_ERROR_<FAMILY>`, else `CACHE_DEFAULT_STALE_IF_ERROR`, else off.
    pub fn stale_if_error(self, window: Duration) -> Self {
        Self { lifetime: self.lifetime.stale_if_error(window), ..self }
    }

    /// Loads the value anew in the background on a hit in the last `share` (0 to 1) of its time to live, so that callers do
    /// not wait for popular values. Default: `CACHE_REFRESH_AHEAD_<FAMILY>`, else `CACHE_DEFAULT_REFRESH_AHEAD`, else 0.
    pub fn refresh_ahead(self, share: f64) -> Self {
        Self { lifetime: self.lifetime.refresh_ahead(share), ..self }
    }

    /// Waits up to `longest`, and at most a minute, where another instance is loading the value already, and returns the value
    /// that it stores, as [`Source::Waited`](crate::Source::Waited). Where none comes in time, or an invalidation removed the
    /// other instance's lease, this caller loads. Default: `CACHE_LOAD_WAIT_MS_<FAMILY>`, else `CACHE_LOAD_WAIT_MS`, else 0,
    /// off.
    ///
    /// Only Redis knows of other instances' loads. A load that fails or stores nothing is not known to have ended: each other
    /// instance waits for it once. Loads of many values, background loads, and loads of values that expired and are kept for
    /// [`stale_if_error`](Self::stale_if_error) do not wait. The load timeout starts after the wait. Loads that request each
    /// other's keys in two instances wait for each other until their times are over.
    pub fn wait_for_others(self, longest: Duration) -> Self {
        Self { lifetime: self.lifetime.wait_for_others(longest), ..self }
    }

    /// Whether `value` is to be stored.
    pub(crate) fn keeps(&self, value: &T) -> bool {
        self.keeps.as_ref().is_none_or(|keeps| keeps(value))
    }

    /// The lifetime of `value`, as far as these options give one.
    pub(crate) fn lifetime_of(&self, value: &T) -> Lifetime {
        let by_value = self.expires.as_ref().and_then(|expires| expires(value));
        Lifetime { expire: by_value.or(self.lifetime.expire), ..self.lifetime }
    }

    /// Whether values expire by these options, and not by change alone.
    pub(crate) fn sets_expiry(&self) -> bool {
        self.lifetime.expire.is_some() || self.expires.is_some()
    }
}

impl<T: 'static> LoadOptions<Option<T>> {
    /// Sets how long a `None` may be served. Default: as long as any other value; creating the thing invalidates its key,
    /// as every other change does.
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
