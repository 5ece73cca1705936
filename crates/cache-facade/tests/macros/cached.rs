//! `#[cached]`: keys, arguments, options.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cache_facade::backend::MemoryBackend;
use cache_facade::{Cache, CacheConfig, CacheGroup, CacheKey, Family, ManualClock, cached};
use futures_util::future::BoxFuture;

/// Stands for a database: it counts what is asked of it.
#[derive(Clone, Default)]
pub(crate) struct Db {
    pub(crate) loads: Arc<AtomicU32>,
}

impl Db {
    pub(crate) fn count(&self) -> u32 {
        self.loads.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn loads(&self) -> u32 {
        self.loads.load(Ordering::SeqCst)
    }
}

/// A user's name.
#[cached(family = "user", key = "{id}", ttl = "60s", cache = "cache")]
async fn name(cache: &Cache, db: &Db, id: u64) -> Result<String, String> {
    tokio::task::yield_now().await;
    let load = db.count();
    if id == 0 { Err(format!("no user 0 in load {load}")) } else { Ok(format!("user {id} in load {load}")) }
}

#[tokio::test]
async fn the_body_runs_on_a_miss_alone_and_what_is_kept_can_be_invalidated() {
    let (cache, db) = (Cache::memory(), Db::default());
    assert_eq!(name_key(7), CacheKey::builder("user", 7).build().unwrap());
    assert_eq!(name_group(7), CacheGroup::new("user", 7));
    for _ in 0..2 {
        assert_eq!(name(&cache, &db, 7).await.unwrap(), "user 7 in load 1");
    }
    assert_eq!(cache.get(&name_key(7)).await, Some("user 7 in load 1".to_owned()));
    cache.change(name_group(7), async || Ok::<_, String>(())).await.unwrap();
    assert_eq!(name(&cache, &db, 7).await.unwrap(), "user 7 in load 2");
    let _ = cache.delete(&name_key(7)).await.unwrap();
    assert_eq!(name(&cache, &db, 7).await.unwrap(), "user 7 in load 3");
}

#[tokio::test]
async fn concurrent_callers_share_a_load() {
    let (cache, db) = (Cache::memory(), Db::default());
    let (first, second) = tokio::join!(name(&cache, &db, 7), name(&cache, &db, 7));
    assert_eq!((first.as_deref(), db.loads()), (Ok("user 7 in load 1"), 1));
    assert_eq!(first, second);
}

/// Arguments of each kind; only those of the key are part of it.
#[cached(family = "page", key = "{owner}:by:{order}:{skip}", cache = "cache")]
async fn page<T>(
    cache: Cache,
    db: &Db,
    owner: &str,
    order: Option<&'static str>,
    mut skip: usize,
    items: &[T],
    tail: Vec<T>,
) -> Vec<T>
where
    T: Clone + serde::Serialize + serde::de::DeserializeOwned + Send + Sync + 'static,
{
    db.count();
    skip += order.map_or(0, str::len) + owner.len();
    let _ = cache;
    items.iter().chain(&tail).skip(skip).cloned().collect()
}

#[tokio::test]
async fn arguments_of_every_kind_reach_the_body() {
    let (cache, db) = (Cache::memory(), Db::default());
    let call = async |skip| page(cache.clone(), &db, "a", Some("b"), skip, &[0, 1, 2, 3], vec![4]).await;
    assert_eq!(call(0).await, [2, 3, 4]);
    assert_eq!(call(1).await, [3, 4]);
    assert_eq!(call(1).await, [3, 4]);
    assert_eq!(db.loads(), 2);
    let key =
        CacheKey::builder("page", "x:y").part("by").optional_part(None::<&str>).part(3).build().unwrap();
    assert_eq!(page_key("x:y", None, 3), key);
    assert_eq!(page_group("x:y"), CacheGroup::new("page", "x:y"));
}

#[cached(family = "long", key = "{a}:{b}", cache = "cache")]
async fn long(cache: &Cache, a: &str, b: &str) -> String {
    // A path of the module is no method.
    self::joined(a, b)
}

fn joined(a: &str, b: &str) -> String {
    format!("{a}{b}")
}

#[tokio::test]
async fn a_key_that_would_be_too_long_is_hashed_after_its_group() {
    let cache = Cache::memory();
    let (a, b, c) = (":".repeat(200), ":".repeat(200), format!("{};", ":".repeat(199)));
    assert_eq!(long_key(&a, &b).group(), long_group(&a).as_str());
    let family: Family<(String, String), String> = cache.family("long").unwrap();
    assert_eq!(long_key(&a, &b), family.key((&a, &b)));
    // The hash of a part is not that of a rest.
    assert_ne!(long_key(&a, &b), long_key(&a, &format!(":{}", "%3A".repeat(200))));
    assert_ne!(long_key(&a, &b), long_key(&a, &c));
    assert_eq!(long(&cache, &a, &b).await, a.clone() + &b);
    assert!(cache.contains(&long_key(&a, &b)).await && !cache.contains(&long_key(&a, &c)).await);
}

/// A text that lives as long as the program reaches the body as it is.
#[cached(family = "greeting", key = "{word}", cache = "cache")]
async fn greeting(cache: &Cache, word: &'static str) -> String {
    let kept: &'static str = word;
    format!("{kept}!")
}

#[tokio::test]
async fn a_static_text_is_an_argument() {
    assert_eq!(greeting(&Cache::memory(), "hello").await, "hello!");
}

#[derive(Clone)]
struct Users {
    cache: Cache,
    db: Db,
}

impl Users {
    /// An email address.
    #[cached(family = "email", key = "{id}", cache = "self.cache", negative = "1d")]
    pub(crate) async fn email(&self, id: u64) -> Option<String> {
        if id == 1 {
            return Self::nothing();
        }
        let before = self.boxed_email(id - 1).await.unwrap_or_default();
        Some(format!("{before}{id} by load {}; ", self.db.count()))
    }

    fn boxed_email(&self, id: u64) -> BoxFuture<'_, Option<String>> {
        Box::pin(self.email(id))
    }

    #[cached(family = "copy", key = "{id}", cache = "cache")]
    async fn copied(self: Arc<Self>, cache: &Cache, id: u64) -> u32 {
        self.db.count() + u32::try_from(id).unwrap()
    }

    fn nothing() -> Option<String> {
        None
    }
}

#[tokio::test]
async fn methods_are_cached_and_may_call_themselves_with_other_arguments() {
    let users = Users { cache: Cache::memory(), db: Db::default() };
    for _ in 0..2 {
        assert_eq!(users.email(3).await.unwrap(), "2 by load 1; 3 by load 2; ");
    }
    assert_eq!(Users::email_key(3).as_str(), "email:3");
    let _ = users.cache.invalidate(&Users::email_group(3)).await.unwrap();
    assert_eq!(users.email(3).await.unwrap(), "2 by load 1; 3 by load 3; ");
    assert!(users.cache.contains(&Users::email_key(1)).await);
    let shared = Arc::new(users.clone());
    assert_eq!(Arc::clone(&shared).copied(&users.cache, 7).await, 11);
    assert_eq!(shared.copied(&users.cache, 7).await, 11);
}

#[cached(
    family = "rate",
    key = "{currency}",
    ttl = "1m",
    stale_if_error = "2h",
    negative = "10s",
    cache = "cache"
)]
async fn rate(cache: &Cache, db: &Db, currency: &str) -> Result<Option<u32>, &'static str> {
    match (db.count(), currency) {
        (_, "none") => Ok(None),
        (1, _) => Ok(Some(1)),
        _ => Err("the bank is closed"),
    }
}

#[cached(family = "news", key = "all", ttl = "1d", stale_while_revalidate = "1h", cache = "cache")]
async fn news(cache: &Cache, db: &Db) -> u32 {
    db.count()
}

#[tokio::test]
async fn times_are_those_of_the_attribute() {
    let clock = Arc::new(ManualClock::new());
    let store = Arc::new(MemoryBackend::new().clock(clock.clone()));
    let config = CacheConfig::builder().clock(clock.clone()).build().unwrap();
    let cache = Cache::builder(store).config(config).build();
    let advance = |seconds| clock.advance(Duration::from_secs(seconds));

    let db = Db::default();
    assert_eq!(rate(&cache, &db, "eur").await, Ok(Some(1)));
    advance(59);
    assert_eq!((rate(&cache, &db, "eur").await, db.loads()), (Ok(Some(1)), 1));
    advance(1);
    assert_eq!((rate(&cache, &db, "eur").await, db.loads()), (Ok(Some(1)), 2), "stale if the load fails");
    advance(2 * 60 * 60);
    assert_eq!(rate(&cache, &db, "eur").await, Err("the bank is closed"));

    let db = Db::default();
    assert_eq!(rate(&cache, &db, "none").await, Ok(None));
    advance(9);
    assert_eq!((rate(&cache, &db, "none").await, db.loads()), (Ok(None), 1));
    advance(1);
    assert_eq!((rate(&cache, &db, "none").await, db.loads()), (Ok(None), 2));

    let db = Db::default();
    assert_eq!(news(&cache, &db).await, 1);
    advance(24 * 60 * 60 - 1);
    assert_eq!(news(&cache, &db).await, 1);
    advance(1);
    assert_eq!(news(&cache, &db).await, 1, "stale while it is loaded again");
    while db.loads() < 2 {
        tokio::task::yield_now().await;
    }
    advance(25 * 60 * 60);
    assert_eq!(news(&cache, &db).await, 3);
    assert_eq!((news_key().as_str(), news_group().as_str()), ("news:all", "news:all"));
}
