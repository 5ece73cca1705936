//! [`BlockingCache`] and [`BlockingFamily`]: the cache for code that is not async.

use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use cache_core::{CacheKey, Invalidated, Invalidates, KeyParts, Result};
use tokio::runtime::{Builder, Handle, Runtime, RuntimeFlavor};
use tokio::task::{block_in_place, spawn_blocking};

use crate::cache::Cache;
use crate::change::{ChangeError, Changed, CommitOutcome};
use crate::encoding::{CacheValue, StoredValue};
use crate::family::Family;
use crate::load::{LoadResult, LoaderError, context};

/// Drives what calls from code that is not async start, such as loads and timers.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let runtime =
        Builder::new_multi_thread().worker_threads(1).thread_name("cache-blocking").enable_all().build();
    runtime.expect("a thread and a selector can be made")
});

/// Waits for `call` in this thread, which may be a plain one or a worker of a runtime: `wait(Cache::from_env())`, or any other
/// call of the cache.
///
/// A worker of a runtime with several threads hands its other tasks on meanwhile; the only thread of a runtime with one stands
/// still, and with it the connections to Redis that were opened there.
///
/// # Panics
/// With the panic of `call`, where the thread that drives the calls cannot be started, and in a `LocalSet` of a runtime with
/// several threads, which lets no task block.
pub fn wait<C: IntoFuture>(call: C) -> C::Output {
    let call = || {
        let _context = RUNTIME.enter();
        block_on(call.into_future())
    };
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => block_in_place(call),
        _ => call(),
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs `work` in a thread for work that blocks, as part of the load that the running task is part of.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let context = context::current();
    let work = || match context {
        Some(context) => block_on(context.run(async { work() })),
        None => work(),
    };
    spawn_blocking(work).await.unwrap_or_else(|error| resume_unwind(error.into_panic()))
}

/// A view of a [`Cache`] whose calls wait; made by [`Cache::blocking`]. [`wait`] is for its other calls.
#[derive(Debug, Clone, Copy)]
pub struct BlockingCache<'a>(&'a Cache);

impl Cache {
    /// Creates a view for code that is not async, with the feature `blocking`.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use cache_facade::{Cache, CacheKey};
    ///
    /// let cache = Cache::memory(); // in production: cache_facade::blocking::wait(Cache::from_env())?
    /// let key = CacheKey::builder("user", 7).part("name").build()?;
    /// let name = cache.blocking().get_or_load(&key, || std::fs::read_to_string("/etc/hostname"))?;
    /// assert_eq!(cache.blocking().get(&key), Some(name));
    /// # Ok(())
    /// # }
    /// ```
    pub fn blocking(&self) -> BlockingCache<'_> {
        BlockingCache(self)
    }
}

impl BlockingCache<'_> {
    /// As [`Cache::get`].
    pub fn get<T: CacheValue>(self, key: &CacheKey) -> Option<T> {
        wait(self.0.get(key))
    }

    /// As [`Cache::get_or_load`], with a load that may block.
    ///
    /// # Errors
    /// The loader's, where it fails or panics.
    pub fn get_or_load<T, E>(
        self,
        key: &CacheKey,
        load: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> LoadResult<T, E>
    where
        T: CacheValue,
        E: LoaderError,
    {
        wait(self.0.get_or_load(key, || blocking(load)))
    }

    /// As [`Cache::set`].
    ///
    /// # Errors
    /// As for [`Cache::set`].
    pub fn set<T: StoredValue + ?Sized>(self, key: &CacheKey, value: &T) -> Result<()> {
        wait(self.0.set(key, value))
    }

    /// As [`Cache::change`], with a commit that may block.
    ///
    /// # Errors
    /// As for [`Cache::change`].
    pub fn change<O>(
        self,
        what: impl Invalidates,
        commit: impl FnOnce() -> O + Send + 'static,
    ) -> Result<Changed<O::Value>, ChangeError<O::Error>>
    where
        O: CommitOutcome + Send + 'static,
        O::Value: Send + 'static,
        O::Error: Send + 'static,
    {
        wait(self.0.change(what, || blocking(commit)))
    }

    /// As [`Cache::invalidate`].
    ///
    /// # Errors
    /// As for [`Cache::invalidate`].
    pub fn invalidate(self, what: &(impl Invalidates + ?Sized)) -> Result<Invalidated> {
        wait(self.0.invalidate(what))
    }
}

/// A view of a [`Family`] whose calls wait; made by [`Family::blocking`]. [`wait`] is for its other calls.
#[derive(Debug)]
pub struct BlockingFamily<'a, K, V>(&'a Family<K, V>);

impl<K, V: CacheValue> Family<K, V> {
    /// Creates a view for code that is not async, with the feature `blocking`.
    pub fn blocking(&self) -> BlockingFamily<'_, K, V> {
        BlockingFamily(self)
    }
}

impl<K, V: CacheValue> BlockingFamily<'_, K, V> {
    /// As [`Family::get`].
    pub fn get(&self, id: impl KeyParts<K>) -> Option<V> {
        wait(self.0.get(id))
    }

    /// As [`Family::get_or_load`], with a load that may block.
    ///
    /// # Errors
    /// The loader's, where it fails or panics.
    pub fn get_or_load<E: LoaderError>(
        &self,
        id: impl KeyParts<K>,
        load: impl FnOnce() -> Result<V, E> + Send + 'static,
    ) -> LoadResult<V, E> {
        wait(self.0.get_or_load(id, || blocking(load)))
    }

    /// As [`Family::set`].
    ///
    /// # Errors
    /// As for [`Cache::set`].
    pub fn set(&self, id: impl KeyParts<K>, value: &V) -> Result<()>
    where
        V: Sync,
    {
        wait(self.0.set(id, value))
    }

    /// As [`Family::delete`].
    ///
    /// # Errors
    /// As for [`Cache::invalidate`].
    pub fn delete(&self, id: impl KeyParts<K>) -> Result<Invalidated> {
        wait(self.0.delete(id))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::LoadError;

    fn reads(names: &Family<u32, String>) {
        let load = || {
            thread::sleep(Duration::from_millis(1));
            Ok::<_, std::io::Error>("Ada".to_owned())
        };
        let _ = names.blocking().delete(7).unwrap();
        assert_eq!(names.blocking().get_or_load(7, load).unwrap(), "Ada");
        assert_eq!(names.blocking().get(7).as_deref(), Some("Ada"));
        names.blocking().set(7, &"Grace".to_owned()).unwrap();
        let failed = names.blocking().get_or_load(8, || Err::<String, _>("gone")).unwrap_err();
        assert_eq!(failed.loader_error(), Some(&"gone"));
        let panicked =
            names.blocking().get_or_load(8, || -> Result<_, &str> { panic!("a bug") }).unwrap_err();
        assert!(matches!(panicked, LoadError::Panicked(message) if &*message == "a bug"));
    }

    #[test]
    fn outside_a_runtime() {
        let cache = wait(async { Cache::memory() });
        let names = cache.family("user").unwrap();
        reads(&names);
        let changed = cache.blocking().change(names.at(7), || Ok::<_, std::io::Error>(3)).unwrap();
        assert_eq!((*changed, names.blocking().get(7)), (3, None));
    }

    #[test]
    fn a_load_that_requests_its_own_id_is_recursive_and_does_not_wait() {
        let names: Family<u32, String> = Cache::memory().family("user").unwrap();
        let inner = names.clone();
        let again = move || inner.blocking().get_or_load(7, || Err::<String, _>("it ran".to_owned()));
        let load = move || again().map_err(|error| error.to_string());
        let failed = names.blocking().get_or_load(7, load).unwrap_err();
        assert_eq!(failed.to_string(), LoadError::<String>::Recursive.to_string());
    }

    #[tokio::test]
    async fn on_the_only_thread_of_a_runtime() {
        reads(&Cache::memory().family("user").unwrap());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn on_a_worker_and_in_a_thread_for_blocking_work() {
        let names = Cache::memory().family("user").unwrap();
        reads(&names);
        spawn_blocking(move || reads(&names)).await.unwrap();
    }
}
