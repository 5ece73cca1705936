//! `#[cached]`: parameters of functions and of implementations, and unusual names.

use std::marker::PhantomData;

use cache_facade::bounds::CacheValue;
use cache_facade::{Cache, cached};

/// A repository of rows of one type.
#[derive(Clone)]
struct Repository<T>(PhantomData<T>);

impl<T: CacheValue + Clone + Default + Sync> Repository<T> {
    #[cached(family = "row", key = "{id}", negative = "1d", cache = "cache")]
    async fn row(&self, cache: &Cache, id: u64) -> Option<T> {
        (id == 7).then(T::default)
    }

    #[cached(family = "rows", key = "{id}", cache = "cache")]
    async fn checked<E>(&self, cache: &Cache, id: u64, error: E) -> Result<T, E>
    where
        E: Clone + Send + Sync + 'static,
    {
        if id == 7 { Ok(T::default()) } else { Err(error) }
    }
}

#[tokio::test]
async fn a_method_may_return_a_parameter_of_its_implementation() {
    let (cache, rows) = (Cache::memory(), Repository::<u32>(PhantomData));
    assert_eq!((rows.row(&cache, 7).await, rows.row(&cache, 8).await), (Some(0), None));
    assert_eq!(
        (rows.checked(&cache, 7, "no").await, rows.checked(&cache, 8, "no").await),
        (Ok(0), Err("no"))
    );
    assert!(cache.contains(&Repository::<u32>::row_key(8)).await);
}

#[cached(family = "raw", key = "{type}:{match}", cache = "cache")]
async fn r#move(cache: &Cache, r#type: u64, r#match: Option<&'static str>) -> String {
    format!("{type} {match:?}")
}

#[tokio::test]
async fn names_may_be_keywords() {
    assert_eq!(r#move(&Cache::memory(), 7, Some("a")).await, "7 Some(\"a\")");
    assert_eq!((move_key(7, None).as_str(), move_group(7).as_str()), ("raw:7:%-", "raw:7"));
}

#[cached(family = "array", key = "{name}", cache = "cache")]
async fn array<'a, const N: usize>(
    cache: &'a Cache,
    name: &'a str,
    path: &'a std::path::Path,
) -> Vec<String> {
    vec![format!("{name} {}", path.display()); N]
}

#[tokio::test]
async fn lifetimes_and_constants_are_parameters() {
    let (cache, name) = (Cache::memory(), String::from("x"));
    assert_eq!(array::<2>(&cache, &name, "/a".as_ref()).await, ["x /a", "x /a"]);
}

/// Names that the generated code may use itself.
#[cached(family = "name", key = "{key}:{options}", cache = "cache")]
async fn load(cache: Cache, key: u32, options: Option<u32>, error: u32, load: u32) -> Result<u32, String> {
    if key == 0 { Err(format!("{error}")) } else { Ok(load + options.unwrap_or_default()) }
}

#[tokio::test]
async fn arguments_may_have_any_name() {
    let cache = Cache::memory();
    assert_eq!(load(cache.clone(), 1, Some(2), 3, 4).await, Ok(6));
    assert_eq!(load(cache.clone(), 0, None, 3, 4).await, Err("3".to_owned()));
    assert!(cache.contains(&load_key(1, Some(2))).await);
}
