//! [`LoadOptions`]: how the value of a load is stored.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::lifetime::Lifetime;

/// Decides by a value.
type Decides<T> = Arc<dyn Fn(&T) -> bool + Send + Sync>;
type Ends<T> = Arc<dyn Fn(&T) -> Option<Duration> + Send + Sync>;
/// Makes the value of an item that a load of many leaves out.
pub(crate) type Absent<T> = Arc<dyn Fn() -> T + Send + Sync>;

/// Options of a load, for several calls that share them; a single call sets them [on itself](crate::Load).
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
/// let load = LoadOptions::new().ttl(Duration::from_secs(60)).keep(|analysis: &Analysis| analysis.finished);
/// ```
#[must_use]
pub struct LoadOptions<T> {
    pub(crate) lifetime: Lifetime,
    keeps: Option<Decides<T>>,
    ends: Option<Ends<T>>,
    /// Rare, so that it takes little room in the future of a read.
    negative: Option<Arc<Negative<T>>>,
}

/// How long an absent value is kept.
struct Negative<T> {
    ttl: Duration,
    is_absent: Decides<T>,
    absent: Absent<T>,
}

/// Defines the options of a lifetime by those of the field that holds one.
macro_rules! lifetime_options {
    ($field:ident) => {
        /// Sets how long the value may be served after it was stored. Default: that of the family, else
        /// `CACHE_TTL_<FAMILY>`, else `CACHE_DEFAULT_TTL`, else until it is invalidated or evicted.
        pub fn ttl(self, ttl: Duration) -> Self {
            Self { $field: self.$field.ttl(ttl), ..self }
        }

        /// Shortens the time to live by a random share of up to `share` (0 to 1), so that values loaded together do not
        /// expire together. Default: `CACHE_JITTER_<FAMILY>`, else `CACHE_DEFAULT_JITTER`, else 0.
        pub fn jitter(self, share: f64) -> Self {
            Self { $field: self.$field.jitter(share), ..self }
        }
    };
}

/// Defines the options of a load by those of the field that holds them.
macro_rules! load_options {
    ($field:ident) => {
        $crate::load::options::lifetime_options!($field);

        /// Serves the value for `window` after it expired, as [`Source::Stale`](crate::Source::Stale), while one
        /// background load replaces it. A cache runs at most 64 of these at a time, and none within a second after the last
        /// one of the key failed. Default: `CACHE_STALE_WHILE_REVALIDATE_<FAMILY>`, else
        /// `CACHE_DEFAULT_STALE_WHILE_REVALIDATE`, else off.
        pub fn stale_while_revalidate(self, window: Duration) -> Self {
            Self { $field: self.$field.stale_while_revalidate(window), ..self }
        }

        /// Serves the value for `window` after it expired to callers whose load failed or panicked, as
        /// [`Source::Stale`](crate::Source::Stale), unless it was invalidated meanwhile. Default:
        /// `CACHE_STALE_IF_ERROR_<FAMILY>`, else `CACHE_DEFAULT_STALE_IF_ERROR`, else off.
        pub fn stale_if_error(self, window: Duration) -> Self {
            Self { $field: self.$field.stale_if_error(window), ..self }
        }

        /// Loads the value anew in the background on a hit in the last `share` (0 to 1) of its time to live, so that callers
        /// do not wait for popular values. Default: `CACHE_REFRESH_AHEAD_<FAMILY>`, else `CACHE_DEFAULT_REFRESH_AHEAD`,
        /// else 0.
        pub fn refresh_ahead(self, share: f64) -> Self {
            Self { $field: self.$field.refresh_ahead(share), ..self }
        }

        /// Waits up to `longest`, and at most a minute, where another instance is loading the value already, and returns the
        /// value that it stores, as [`Source::Waited`](crate::Source::Waited). Where none comes in time, or an invalidation
        /// removed the other instance's lease, this caller loads. Default: `CACHE_LOAD_WAIT_MS_<FAMILY>`, else
        /// `CACHE_LOAD_WAIT_MS`, else 0, off.
        ///
        /// Only Redis knows of other instances' loads. A load that fails or stores nothing is not known to have ended: each
        /// other instance waits for it once. Loads of many values, background loads, and loads of values that expired and are
        /// kept for [`stale_if_error`](Self::stale_if_error) do not wait. The load timeout starts after the wait. Loads that
        /// request each other's keys in two instances wait for each other until their times are over.
        pub fn wait_for_others(self, longest: Duration) -> Self {
            Self { $field: self.$field.wait_for_others(longest), ..self }
        }
    };
}

/// Defines the options that depend on the value by those of the field `options`.
macro_rules! value_options {
    ($value:ty) => {
        $crate::load::options::load_options!(options);

        /// Sets a function that decides by the value how long it may be served, as for a token that knows its end. `None`
        /// leaves it to [`ttl`](Self::ttl), so that a call's `ttl` does not replace the `ttl_by` of its family: another `ttl_by`
        /// does. Default: `None` for every value.
        pub fn ttl_by(self, ttl: impl Fn(&$value) -> Option<Duration> + Send + Sync + 'static) -> Self {
            Self { options: self.options.ttl_by(ttl), ..self }
        }

        /// Stores only values for which `keeps` is true; callers get the others all the same. Default: every value is
        /// stored.
        pub fn keep(self, keeps: impl Fn(&$value) -> bool + Send + Sync + 'static) -> Self {
            Self { options: self.options.keep(keeps), ..self }
        }

        /// Sets every option that `options` set.
        pub fn options(self, options: $crate::LoadOptions<$value>) -> Self {
            Self { options: options.or(self.options), ..self }
        }
    };
}

pub(crate) use {lifetime_options, load_options, value_options};

impl<T> LoadOptions<T> {
    /// Options that leave everything to the configuration of the key's family.
    pub fn new() -> Self {
        Self { lifetime: Lifetime::new(), keeps: None, ends: None, negative: None }
    }

    load_options!(lifetime);

    /// Sets a function that decides by the value how long it may be served, as for a token that knows its end. `None`
    /// leaves it to [`ttl`](Self::ttl). Default: `None` for every value.
    pub fn ttl_by(self, ttl: impl Fn(&T) -> Option<Duration> + Send + Sync + 'static) -> Self {
        Self { ends: Some(Arc::new(ttl)), ..self }
    }

    /// Stores only values for which `keeps` is true; callers get the others all the same. Default: every value is stored.
    pub fn keep(self, keeps: impl Fn(&T) -> bool + Send + Sync + 'static) -> Self {
        Self { keeps: Some(Arc::new(keeps)), ..self }
    }

    /// Fills what these options leave open from `other`.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            lifetime: self.lifetime.or(other.lifetime),
            keeps: self.keeps.or(other.keeps),
            ends: self.ends.or(other.ends),
            negative: self.negative.or(other.negative),
        }
    }

    /// The same options for values that callers share.
    pub(crate) fn shared(&self) -> LoadOptions<Arc<T>>
    where
        T: 'static,
    {
        let Self { lifetime, keeps, ends, negative } = self.clone();
        LoadOptions {
            lifetime,
            keeps: keeps.map(|keeps| Arc::new(move |value: &Arc<T>| keeps(value)) as Decides<Arc<T>>),
            ends: ends.map(|ends| Arc::new(move |value: &Arc<T>| ends(value)) as Ends<Arc<T>>),
            negative: negative.map(|negative| {
                let (is_absent, absent) = (Arc::clone(&negative.is_absent), Arc::clone(&negative.absent));
                Arc::new(Negative {
                    ttl: negative.ttl,
                    is_absent: Arc::new(move |value: &Arc<T>| is_absent(value)),
                    absent: Arc::new(move || Arc::new(absent())),
                })
            }),
        }
    }

    /// Whether `value` is to be stored.
    pub(crate) fn keeps(&self, value: &T) -> bool {
        self.keeps.as_ref().is_none_or(|keeps| keeps(value))
    }

    /// The lifetime of `value`, as far as these options give one.
    pub(crate) fn lifetime_of(&self, value: &T) -> Lifetime {
        let by_value = match &self.negative {
            Some(negative) if (negative.is_absent)(value) => Some(negative.ttl),
            _ => self.ends.as_ref().and_then(|ends| ends(value)),
        };
        Lifetime { ttl: by_value.or(self.lifetime.ttl), ..self.lifetime }
    }

    /// Whether values expire by these options, and not by change alone.
    pub(crate) fn sets_expiry(&self) -> bool {
        self.lifetime.ttl.is_some() || self.ends.is_some() || self.negative.is_some()
    }

    /// What makes the value of an item that a load of many leaves out, where `negative` is set.
    pub(crate) fn absent(&self) -> Option<Absent<T>> {
        self.negative.as_ref().map(|negative| Arc::clone(&negative.absent))
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
    pub fn negative(self, ttl: Duration) -> Self {
        Self {
            negative: Some(Arc::new(Negative {
                ttl,
                is_absent: Arc::new(Option::is_none),
                absent: Arc::new(|| None),
            })),
            ..self
        }
    }
}

impl<T> Clone for LoadOptions<T> {
    fn clone(&self) -> Self {
        let Self { lifetime, keeps, ends, negative } = self;
        Self { lifetime: *lifetime, keeps: keeps.clone(), ends: ends.clone(), negative: negative.clone() }
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
