//! [`Family`]: the keys, the type and the lifetime of values of one kind.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use cache_core::{CacheGroup, CacheKey, CachePattern, Codec, FamilyName, Invalidated, KeyParts, Result};
use futures_util::FutureExt;

use crate::cache::{Cache, Warmed, run_all};
use crate::call::{Call, Load, Set};
use crate::encoding::CacheValue;
use crate::lifetime::Lifetime;
use crate::load::options::value_options;
use crate::load::{LoadOptions, LoadResult, Loaded, LoaderError, many};

/// Values of one kind in a cache: the name that begins their keys, the types of id and value, and how long they live.
///
/// Made once, at the start of the application, by [`Cache::family`]; cheap to clone. Its calls take ids, and build the keys
/// themselves, which cannot fail.
///
/// ```
/// # #[derive(Clone)] struct Db;
/// # impl Db {
/// #     async fn name(&self, id: u64) -> std::io::Result<String> { Ok("Ada".to_owned()) }
/// #     async fn rename(&self, id: u64, name: &str) -> std::io::Result<()> { Ok(()) }
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let db = Db;
/// use cache_facade::{Cache, Family};
/// use std::time::Duration;
///
/// let cache = Cache::memory();
/// let names: Family<u64, String> = cache.family("user")?.ttl(Duration::from_secs(3600));
///
/// let reader = db.clone();
/// let name = names.get_or_load(7, async move || reader.name(7).await).await?;
/// assert_eq!(names.get(7).await, Some(name));
///
/// // The group `user:7`: everything that is kept of this user.
/// cache.change(&names.at(7), async move || db.rename(7, "Grace").await).await?;
/// assert_eq!(names.get(7).await, None);
/// # Ok(())
/// # }
/// ```
///
/// The first part of an id names the group, the unit of invalidation, and the other parts are the rest of the key:
/// a `Family<(u64, u32, u32), Bytes>` named `thumbnail` has keys such as `thumbnail:7:640:480` in the group `thumbnail:7`.
/// [`KeyParts`] lists the types of ids. A part over 200 bytes becomes its hash, and so does the rest of a key that would be over
/// 958 bytes.
///
/// # Options
/// Those that are set here hold for each call that does not set them itself, and win over the settings of the family, such as
/// `CACHE_TTL_USER`.
#[must_use]
pub struct Family<K, V> {
    cache: Cache,
    name: FamilyName,
    options: LoadOptions<V>,
    ids: PhantomData<fn(K)>,
}

impl Cache {
    /// Makes the family `name` of this cache, or of its scope, with ids of `K` and values of `V`. Call it once for each kind
    /// of value, at start.
    ///
    /// Two families with one name share their keys: a value of another shape or codec reads as a miss, and one of another type
    /// with the same shape is read as it is.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidKey`](cache_core::ErrorKind::InvalidKey) when `name` is empty, over 64 bytes, or holds white space or
    /// one of `: % * ? [ ] { } \`.
    pub fn family<K: KeyParts, V: CacheValue>(&self, name: &str) -> Result<Family<K, V>> {
        let name = FamilyName::new(name)?;
        Ok(Family { cache: self.clone(), name, options: LoadOptions::new(), ids: PhantomData })
    }
}

impl<K, V> Family<K, V> {
    value_options!(V);

    /// Encodes values with `codec`; [`Bytes`](bytes::Bytes) are stored as they are. Default: that of the cache.
    pub fn codec(self, codec: Codec) -> Self {
        Self { cache: self.cache.with_codec(codec), ..self }
    }

    /// The name: the first segment of the keys.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// The key of `id` without a scope: the cache puts it into its own.
    #[expect(clippy::needless_pass_by_value, reason = "as for the other calls: `get(7)`")]
    fn unscoped_key(&self, id: impl KeyParts<K>) -> CacheKey {
        self.name.key(&id)
    }

    /// The key of `id`, in the scope of the family.
    pub fn key(&self, id: impl KeyParts<K>) -> CacheKey {
        let key = self.unscoped_key(id);
        let scope = self.cache.scope().map(|scope| key.in_scope(scope));
        scope.transpose().expect("the key of a family fits into every scope").unwrap_or(key)
    }

    /// The pattern of all keys in the scope of the family, for a change that makes the whole family stale. A rule that is written
    /// without the family at hand uses [`CachePattern::family`].
    pub fn all(&self) -> CachePattern {
        let pattern = self.name.pattern();
        let scope = self.cache.scope().map(|scope| pattern.in_scope(scope));
        scope
            .transpose()
            .expect("a family has 64 bytes at most, and the scope of a cache was checked")
            .unwrap_or(pattern)
    }
}

impl<K: KeyParts, V> Family<K, V> {
    /// The group of the ids whose first part is `first`, in the scope of the family: what a change makes stale. A rule that is
    /// written without the family at hand uses [`CacheGroup::new`].
    ///
    /// A change through a [scoped](Cache::scoped) cache reaches its own scope alone, whatever names the group: change the values of
    /// this family through its own cache, or through the one without a scope.
    ///
    /// Where the first part is an `Option`, an absent one needs its type:
    ///
    /// ```
    /// # fn main() -> Result<(), cache_facade::Error> {
    /// # let cache = cache_facade::Cache::memory();
    /// use cache_facade::{CacheGroup, Family};
    ///
    /// let listings: Family<(Option<String>, u32), Vec<String>> = cache.family("listing")?; // by tag and page
    /// assert_eq!(listings.at(Some("rust")).as_str(), "listing:rust");
    /// assert_eq!(listings.at(None::<&str>), CacheGroup::new("listing", None::<&str>));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The type of the first part is checked, because the group of another one would have no keys:
    ///
    /// ```compile_fail,E0277
    /// # fn example(users: cache_facade::Family<(u64, String), u32>) {
    /// let group = users.at("Ada"); // the first part of ids is a `u64`
    /// # }
    /// ```
    #[expect(clippy::needless_pass_by_value, reason = "as for the other calls: `at(7)`")]
    pub fn at(&self, first: impl KeyParts<K::First>) -> CacheGroup {
        let group = self.name.group(&first);
        let scope = self.cache.scope().map(|scope| group.in_scope(scope));
        scope.transpose().expect("the scope of a cache was checked").unwrap_or(group)
    }
}

impl<K, T: 'static> Family<K, Option<T>> {
    /// Sets how long a `None` may be served; see [`LoadOptions::negative`].
    pub fn negative(self, ttl: Duration) -> Self {
        Self { options: self.options.negative(ttl), ..self }
    }
}

impl<K, V: CacheValue> Family<K, V> {
    /// Returns the value of `id` from the cache, or from `load` on a miss; see [`Cache::get_or_load`].
    ///
    /// The closure may outlive the call. So it gets clones of what it uses: with `self` in it this method would be the compile
    /// error E0521, "borrowed data escapes outside of method".
    ///
    /// ```
    /// # #[derive(Clone)] struct Db;
    /// # impl Db { async fn name(&self, _: u64) -> std::io::Result<String> { Ok(String::new()) } }
    /// use cache_facade::{Family, LoadError};
    ///
    /// struct Users {
    ///     db: Db,
    ///     names: Family<u64, String>,
    /// }
    ///
    /// impl Users {
    ///     async fn name(&self, id: u64) -> Result<String, LoadError<std::io::Error>> {
    ///         let db = self.db.clone();
    ///         self.names.get_or_load(id, async move || db.name(id).await).await
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// The loader's, where it fails or panics.
    pub fn get_or_load<E, F, Fut>(
        &self,
        id: impl KeyParts<K>,
        load: F,
    ) -> Load<V, impl Call<LoadOptions<V>, Output = LoadResult<Loaded<V>, E>>, LoadResult<V, E>>
    where
        E: LoaderError,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<V, E>> + Send + 'static,
    {
        let load = self.cache.load(self.unscoped_key(id), self.options.clone(), load);
        load.answer(|loaded| loaded.map(Loaded::into_value))
    }

    /// Returns the value of `id` from the cache, or from `compute` on a miss, which cannot fail; see
    /// [`Cache::get_or_compute`].
    ///
    /// # Panics
    /// With the panic of `compute`, and where it requests its own key.
    pub fn get_or_compute<F, Fut>(
        &self,
        id: impl KeyParts<K>,
        compute: F,
    ) -> Load<V, impl Call<LoadOptions<V>, Output = LoadResult<Loaded<V>, Infallible>>, V>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = V> + Send + 'static,
    {
        let compute = async move || Ok(compute().await);
        Load::computed(self.cache.load(self.unscoped_key(id), self.options.clone(), compute))
    }

    /// Returns the values of many ids from the cache, and from one call of `load` for those that are missing; see
    /// [`Cache::get_or_load_many`].
    ///
    /// # Errors
    /// The loader's, where it fails or panics.
    pub fn get_or_load_many<E, F, Fut, R>(
        &self,
        ids: impl IntoIterator<Item = K>,
        load: F,
    ) -> Load<V, impl Call<LoadOptions<V>, Output = LoadResult<HashMap<K, V>, E>>, LoadResult<HashMap<K, V>, E>>
    where
        K: KeyParts + Eq + Hash + Clone + Send + 'static,
        E: LoaderError,
        F: FnOnce(Vec<K>) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
        R: IntoIterator<Item = (K, V)> + 'static,
    {
        let with_key = |id: K| {
            let key = self.name.key(&id);
            (id, key)
        };
        let loader = move |absent| many(load.clone(), absent);
        self.cache.load_many(ids.into_iter().map(with_key).collect(), self.options.clone(), loader)
    }

    /// Returns the value stored for `id`; see [`Cache::get`].
    pub async fn get(&self, id: impl KeyParts<K>) -> Option<V> {
        self.cache.get(&self.unscoped_key(id)).await
    }

    /// Returns the values stored for `ids`, in their order; see [`Cache::get_many`].
    pub async fn get_many(&self, ids: impl IntoIterator<Item = impl KeyParts<K>>) -> Vec<Option<V>> {
        let keys: Vec<CacheKey> = ids.into_iter().map(|id| self.unscoped_key(id)).collect();
        self.cache.get_many(&keys).await
    }

    /// Loads the values of `ids` that are missing, `concurrency` at a time, and calls `progress` after each; see
    /// [`Cache::warm`].
    pub async fn warm<E, F, Fut>(
        &self,
        ids: impl IntoIterator<Item = K>,
        concurrency: usize,
        load: F,
        progress: impl FnMut(Warmed),
    ) -> Warmed
    where
        K: KeyParts + Clone + Send + 'static,
        E: LoaderError,
        F: FnOnce(K) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = Result<V, E>> + Send + 'static,
    {
        // No call of `Cache::warm`, whose closure takes a reference: the compiler could not tell that this future is `Send`.
        let load_one = |id: K| {
            let (key, load) = (self.name.key(&id), load.clone());
            self.cache
                .load(key, self.options.clone(), move || load(id))
                .into_future()
                .map(|loaded| loaded.is_ok())
        };
        run_all(ids.into_iter().map(load_one), concurrency, progress).await
    }
}

impl<K, V: CacheValue + Sync> Family<K, V> {
    /// Returns the value of `id` as one that callers share; see [`Cache::get_or_load_shared`].
    ///
    /// # Errors
    /// The loader's, where it fails or panics.
    pub fn get_or_load_shared<E, F, Fut>(
        &self,
        id: impl KeyParts<K>,
        load: F,
    ) -> Load<
        Arc<V>,
        impl Call<LoadOptions<Arc<V>>, Output = LoadResult<Loaded<Arc<V>>, E>>,
        LoadResult<Arc<V>, E>,
    >
    where
        E: LoaderError,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<V, E>> + Send + 'static,
    {
        let load = self.cache.load_shared(self.unscoped_key(id), self.options.shared(), load);
        load.answer(|loaded| loaded.map(Loaded::into_value))
    }

    /// Returns the value stored for `id` as one that callers share; see [`Cache::get_shared`].
    pub async fn get_shared(&self, id: impl KeyParts<K>) -> Option<Arc<V>> {
        self.cache.get_shared(&self.unscoped_key(id)).await
    }

    /// Stores `value`, which no database holds, for `id`; see [`Cache::set`].
    ///
    /// # Errors
    /// As for [`Cache::set`].
    pub fn set(&self, id: impl KeyParts<K>, value: &V) -> Set<impl Call<Lifetime, Output = Result<()>>> {
        self.cache.set_in(self.unscoped_key(id), self.options.lifetime_of(value), value)
    }
}

impl<K, V> Family<K, V> {
    /// Whether a value is stored for `id`; see [`Cache::contains`].
    pub async fn contains(&self, id: impl KeyParts<K>) -> bool {
        self.cache.contains(&self.unscoped_key(id)).await
    }

    /// Invalidates the value of `id` alone; see [`Cache::delete`].
    ///
    /// # Errors
    /// As for [`Cache::invalidate`].
    pub async fn delete(&self, id: impl KeyParts<K>) -> Result<Invalidated> {
        self.cache.delete(&self.unscoped_key(id)).await
    }
}

impl<K, V> Clone for Family<K, V> {
    fn clone(&self) -> Self {
        let Self { cache, name, options, ids } = self;
        Self { cache: cache.clone(), name: name.clone(), options: options.clone(), ids: *ids }
    }
}

impl<K, V> fmt::Debug for Family<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cache, name, options, ids: _ } = self;
        f.debug_struct("Family")
            .field("name", &name.as_str())
            .field("options", options)
            .field("cache", cache)
            .finish()
    }
}
