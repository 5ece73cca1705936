//! [`Load`] and [`Set`]: calls that are futures once they have their options.

use std::convert::Infallible;
use std::fmt;
use std::panic::resume_unwind;
use std::time::Duration;

use cache_core::Result;
use futures_util::FutureExt;
use futures_util::future::Map;

use crate::lifetime::Lifetime;
use crate::load::options::{lifetime_options, value_options};
use crate::load::{LoadError, LoadOptions, LoadResult, Loaded};

/// A call that waits for its options; implemented for closures that take them.
///
/// Its future has a type of its own, without a box: a hit costs no allocation for it.
pub trait Call<Options> {
    /// What the future returns.
    type Output;
    /// The future.
    type Future: Future<Output = Self::Output> + Send;

    /// Begins.
    fn begin(self, options: Options) -> Self::Future;
}

impl<Options, F, Fut> Call<Options> for F
where
    F: FnOnce(Options) -> Fut,
    Fut: Future + Send,
{
    type Output = Fut::Output;
    type Future = Fut;

    #[inline]
    fn begin(self, options: Options) -> Fut {
        self(options)
    }
}

/// A read through the cache: `.await` it as it is, or after options. Does nothing before.
///
/// Made by [`Cache::get_or_load`](crate::Cache::get_or_load) and its neighbours. An option that is not set is that of the
/// [`Family`](crate::Family), then that of the configuration for the key's family, then that for all families. A caller that
/// joins a load in flight uses the leader's options.
///
/// ```
/// # async fn example(cache: cache_facade::Cache, key: cache_facade::CacheKey) -> Result<(), Box<dyn std::error::Error>> {
/// # async fn rates() -> std::io::Result<Vec<f64>> { Ok(Vec::new()) }
/// use std::time::Duration;
///
/// let rates = cache
///     .get_or_load(&key, rates)
///     .ttl(Duration::from_secs(60))
///     .stale_if_error(Duration::from_secs(3600))
///     .keep(|rates| !rates.is_empty())
///     .await?;
/// # Ok(())
/// # }
/// ```
///
/// It is [`IntoFuture`]: where a function takes a `Future`, pass `.into_future()`.
#[must_use = "a read does nothing unless it is awaited"]
pub struct Load<T, C: Call<LoadOptions<T>>, O> {
    options: LoadOptions<T>,
    call: C,
    answer: fn(C::Output) -> O,
}

impl<T, C: Call<LoadOptions<T>>> Load<T, C, C::Output> {
    #[inline]
    pub(crate) fn new(options: LoadOptions<T>, call: C) -> Self {
        Self { options, call, answer: |output| output }
    }
}

impl<T, C: Call<LoadOptions<T>>, O> Load<T, C, O> {
    value_options!(T);

    /// Returns another form of the outcome.
    #[inline]
    pub(crate) fn answer<P>(self, answer: fn(C::Output) -> P) -> Load<T, C, P> {
        Load { options: self.options, call: self.call, answer }
    }
}

impl<T: 'static, C: Call<LoadOptions<Option<T>>>, O> Load<Option<T>, C, O> {
    /// Sets how long a `None` may be served; see [`LoadOptions::negative`].
    pub fn negative(self, ttl: Duration) -> Self {
        Self { options: self.options.negative(ttl), ..self }
    }
}

impl<T, E, C> Load<T, C, LoadResult<T, E>>
where
    C: Call<LoadOptions<T>, Output = LoadResult<Loaded<T>, E>>,
{
    /// Returns the value with its source and the backend that answered.
    pub fn details(self) -> Load<T, C, C::Output> {
        self.answer(|loaded| loaded)
    }
}

impl<T, C: Call<LoadOptions<T>>, O> IntoFuture for Load<T, C, O> {
    type Output = O;
    type IntoFuture = Map<C::Future, fn(C::Output) -> O>;

    // The future is made where it is awaited, and not moved there.
    #[inline]
    fn into_future(self) -> Self::IntoFuture {
        self.call.begin(self.options).map(self.answer)
    }
}

impl<T, C: Call<LoadOptions<T>>, O> fmt::Debug for Load<T, C, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Load").field("options", &self.options).finish_non_exhaustive()
    }
}

impl<V, C> Load<V, C, V>
where
    C: Call<LoadOptions<V>, Output = LoadResult<Loaded<V>, Infallible>>,
{
    /// Makes the call of a load that cannot fail.
    #[inline]
    pub(crate) fn computed(load: Load<V, C, C::Output>) -> Self {
        load.answer(|loaded| computed(loaded).into_value())
    }

    /// Returns the value with its source and the backend that answered.
    pub fn details(self) -> Load<V, C, Loaded<V>> {
        self.answer(computed)
    }
}

/// The value of a load that cannot fail. Its panic goes on in the caller.
fn computed<T>(loaded: LoadResult<Loaded<T>, Infallible>) -> Loaded<T> {
    match loaded {
        Ok(loaded) => loaded,
        Err(LoadError::Failed(never)) => match *never {},
        Err(LoadError::Panicked(message)) => resume_unwind(Box::new(message.to_string())),
        Err(error @ LoadError::Recursive) => recursive(&error),
    }
}

/// Panics, so that the message is printed: no panic came before.
#[expect(clippy::panic, reason = "the computation asks for its own result: without a cache it would not end")]
fn recursive(error: &LoadError<Infallible>) -> ! {
    panic!("{error}")
}

/// A write of a value: `.await` it as it is, or after options. Does nothing before; made by
/// [`Cache::set`](crate::Cache::set).
#[must_use = "a write does nothing unless it is awaited"]
pub struct Set<C> {
    lifetime: Lifetime,
    call: C,
}

impl<C: Call<Lifetime, Output = Result<()>>> Set<C> {
    pub(crate) fn new(lifetime: Lifetime, call: C) -> Self {
        Self { lifetime, call }
    }

    lifetime_options!(lifetime);
}

impl<C: Call<Lifetime, Output = Result<()>>> IntoFuture for Set<C> {
    type Output = Result<()>;
    type IntoFuture = C::Future;

    fn into_future(self) -> C::Future {
        self.call.begin(self.lifetime)
    }
}

impl<C> fmt::Debug for Set<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Set").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}
