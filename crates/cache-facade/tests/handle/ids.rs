//! Families: keys by ids, defaults, scopes, bytes; options of single calls; errors of loaders of any type.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cache_facade::{
    Bytes, Cache, CacheConfig, CacheKey, Codec, ErrorKind, Family, Invalidation, LoadOptions, ManualClock,
    Source, backend::MemoryBackend,
};
use serde::{Deserialize, Serialize};

use crate::support::Nothing;

const MINUTE: Duration = Duration::from_secs(60);

fn timed() -> (Cache, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new());
    (Cache::memory_with_clock(clock.clone()), clock)
}

#[tokio::test]
async fn a_family_reads_and_writes_the_keys_that_the_builder_makes() {
    let cache = Cache::memory();
    let thumbnails: Family<(u64, u32, u32), Bytes> = cache.family("thumbnail").unwrap();
    let load = async || Ok::<_, Nothing>(Bytes::from("pixels"));
    let loaded = thumbnails.get_or_load((7, 640, 480), load).details().await.unwrap();
    assert_eq!((&**loaded, loaded.source), (&b"pixels"[..], Source::Loaded));
    let key = CacheKey::builder("thumbnail", 7).part(640).part(480).build().unwrap();
    assert_eq!(thumbnails.key((7, 640, 480)), key);
    let explained = cache.explain(&key).await.unwrap();
    assert_eq!((explained.codec, explained.size_bytes), (Some("raw"), Some(6)), "stored as they are");
    assert_eq!(cache.get::<Bytes>(&key).await, thumbnails.get((7, 640, 480)).await);
    assert_eq!(cache.get::<Vec<u8>>(&key).await, None);
    assert_eq!(thumbnails.get_shared((7, 640, 480)).await.as_deref(), Some(&Bytes::from("pixels")));

    thumbnails.set((7, 1, 1), &Bytes::from("dot")).await.unwrap();
    let found = thumbnails.get_many([(7, 1, 1), (7, 2, 2), (8, 1, 1)]).await;
    assert_eq!(found, [Some(Bytes::from("dot")), None, None]);
    let _ = thumbnails.delete((7, 1, 1)).await.unwrap();
    assert!(!thumbnails.contains((7, 1, 1)).await && thumbnails.contains((7, 640, 480)).await);
    let _ = cache.invalidate(&thumbnails.at(7)).await.unwrap();
    assert!(!thumbnails.contains((7, 640, 480)).await);
}

#[tokio::test]
async fn texts_name_ids_that_are_strings_and_options_keep_absent_apart() {
    let pages: Family<(String, Option<String>), u32> = Cache::memory().family("page").unwrap();
    let owned = ("home".to_owned(), Some("en".to_owned()));
    pages.set(owned, &1).await.unwrap();
    for (number, language) in [(2, None), (3, Some("")), (4, Some("None"))] {
        pages.set(("home", language), &number).await.unwrap();
    }
    let languages = [Some("en"), None, Some(""), Some("None")];
    assert_eq!(pages.get_many(languages.map(|it| ("home", it))).await, [1, 2, 3, 4].map(Some));
    let _ = pages.delete(("home", None::<&str>)).await.unwrap();
    assert_eq!(pages.get_many(languages.map(|it| ("home", it))).await, [Some(1), None, Some(3), Some(4)]);
}

#[tokio::test]
async fn a_family_of_a_scope_stays_in_it() {
    let cache = Cache::memory();
    let (outside, inside) = (cache.clone(), cache.scoped("reports").unwrap());
    let (all, own): (Family<u32, u32>, Family<u32, u32>) =
        (outside.family("sum").unwrap(), inside.family("sum").unwrap());
    all.set(1, &1).await.unwrap();
    own.set(1, &2).await.unwrap();
    let long: Family<String, u32> = cache.scoped(&"s".repeat(64)).unwrap().family(&"f".repeat(64)).unwrap();
    long.set("%".repeat(5000), &3).await.unwrap();
    assert_eq!(long.get("%".repeat(5000)).await, Some(3), "a key fits into every scope");
    let _ = inside.invalidate(&own.all()).await.unwrap();
    assert_eq!((all.get(1).await, own.get(1).await), (Some(1), None));

    // A change through the handle without the scope reaches what the family names.
    for stale in [Invalidation::from(own.at(1)), own.all().into(), own.key(1).into()] {
        own.set(1, &2).await.unwrap();
        let _ = outside.invalidate(&stale).await.unwrap();
        assert_eq!((all.get(1).await, own.get(1).await), (Some(1), None), "{stale:?}");
    }
}

#[tokio::test]
async fn an_option_of_the_call_wins_over_the_familys_and_that_over_the_settings() {
    let clock = Arc::new(ManualClock::new());
    let config = CacheConfig::builder().clock(clock.clone()).family_ttl("rates", MINUTE).build().unwrap();
    let store = Arc::new(MemoryBackend::new().clock(clock.clone()));
    let cache = Cache::builder(store).config(config).build();
    let by_settings: Family<u32, u32> = cache.family("rates").unwrap();
    let by_family = by_settings.clone().ttl(2 * MINUTE);
    by_settings.get_or_compute(1, async || 1).await;
    by_family.get_or_compute(2, async || 2).await;
    let computed = by_family.get_or_compute(3, async || 3).ttl(3 * MINUTE).details().await;
    assert_eq!((computed.value, computed.source), (3, Source::Loaded));
    by_family.set(4, &4).await.unwrap();
    by_family.set(5, &5).ttl(3 * MINUTE).await.unwrap();
    let mut alive = Vec::new();
    for _ in 0..3 {
        clock.advance(MINUTE);
        alive.push(by_family.get_many(1..=5).await.into_iter().flatten().collect::<Vec<_>>());
    }
    assert_eq!(alive, [vec![2, 3, 4, 5], vec![3, 5], vec![]]);
}

#[tokio::test]
async fn absent_values_of_a_family_live_as_long_as_it_says() {
    let (cache, clock) = timed();
    let users: Family<u32, Option<String>> = cache.family("user").unwrap().ttl(MINUTE).negative(MINUTE / 6);
    let found =
        users.get_or_load_many(1..=2, async |_| Ok::<_, Nothing>([(1, Some("Ada".to_owned()))])).await;
    assert_eq!(found.unwrap().remove(&2), Some(None));
    users.set(3, &None).await.unwrap();
    users.get_or_load_shared(4, async || Ok::<_, Nothing>(None)).await.unwrap();
    users.get_or_load_shared(5, async || Ok::<_, Nothing>(None)).ttl_by(|_| Some(2 * MINUTE)).await.unwrap();
    clock.advance(MINUTE / 6);
    let found = users.get_many(1..=5).await;
    assert_eq!(found, [Some(Some("Ada".to_owned())), None, None, None, None]);
}

#[tokio::test]
async fn a_family_is_warmed_and_loads_many_with_one_call() {
    let squares: Family<u64, u64> = Cache::memory().family("square").unwrap();
    let calls = Arc::new(AtomicU64::new(0));
    let counting = Arc::clone(&calls);
    let square = async move |id: u64| {
        counting.fetch_add(1, Ordering::Relaxed);
        if id == 3 { Err("three is broken") } else { Ok(id * id) }
    };
    // As an application does at its start, in a task of its own.
    let warming = squares.clone();
    let warmed = tokio::spawn(async move { warming.warm(1..=5, 2, square, |_| {}).await }).await.unwrap();
    assert_eq!((warmed.done, warmed.failed, calls.load(Ordering::Relaxed)), (4, 1, 5));
    let load = async |missing: Vec<u64>| {
        assert_eq!(missing, [3]);
        Ok::<_, Nothing>([(3, 9)])
    };
    let found = squares.get_or_load_many(1..=5, load).await.unwrap();
    assert!((1..=5).all(|id| found.get(&id) == Some(&(id * id))));
}

#[tokio::test]
async fn a_name_that_no_key_can_have_is_refused() {
    for bad in ["", "user profile", "a:b", "user*"] {
        let refused = Cache::memory().family::<u32, u32>(bad).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidKey);
        assert!(refused.to_string().contains("family"), "{refused}");
    }
}

#[tokio::test]
async fn a_codec_of_a_family_is_for_its_values_alone() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u32),
        Text(String),
    }
    let cache = Cache::memory();
    let untagged: Family<u32, Either> = cache.family("either").unwrap().codec(Codec::Json);
    untagged.get_or_compute(1, async || Either::Text("x".to_owned())).await;
    assert_eq!(untagged.get(1).await, Some(Either::Text("x".to_owned())));
    assert_eq!(cache.explain(&untagged.key(1)).await.unwrap().codec, Some("json"));
    cache.set(&CacheKey::builder("a", 1).build().unwrap(), &1).await.unwrap();
}

#[tokio::test]
async fn the_error_of_a_loader_goes_through_a_question_mark_whatever_its_type() {
    type Boxed = Box<dyn std::error::Error + Send + Sync>;
    async fn asks(numbers: Family<u32, u32>) -> Result<(), Boxed> {
        numbers.get_or_load(1, async || Ok::<_, &str>(1)).await?;
        numbers.get_or_load(2, async || Ok::<_, Boxed>("2".parse()?)).await?;
        numbers.get_or_load(3, async || Err::<u32, Boxed>("no row".into())).await?;
        Ok(())
    }
    async fn changes(cache: Cache, numbers: Family<u32, u32>) -> Result<(), Boxed> {
        cache.change(numbers.at(1), async || Ok::<_, Boxed>(())).await?;
        cache.change(numbers.at(1), async || Err::<u32, Boxed>("no connection".into())).await?;
        Ok(())
    }
    let cache = Cache::memory();
    let numbers = cache.family("number").unwrap();
    assert_eq!(asks(numbers.clone()).await.unwrap_err().to_string(), "no row");
    assert_eq!(changes(cache, numbers).await.unwrap_err().to_string(), "no connection");
}

#[tokio::test]
#[should_panic(expected = "the sum overflows")]
async fn the_panic_of_a_computation_goes_on_in_its_caller() {
    let sums: Family<u32, u32> = Cache::memory().family("sum").unwrap();
    sums.get_or_compute(1, async || panic!("the sum overflows")).await;
}

#[tokio::test]
async fn options_that_are_shared_fill_what_the_call_leaves_open() {
    let (cache, clock) = timed();
    let numbers: Family<u32, u32> = cache.family("number").unwrap().keep(|number| *number > 0);
    let shared = || LoadOptions::new().ttl(MINUTE);
    for id in [0, 1] {
        numbers.get_or_compute(id, async move || id).options(shared()).await;
    }
    assert_eq!(numbers.get_many([0, 1]).await, [None, Some(1)]);
    clock.advance(MINUTE);
    assert_eq!(numbers.get(1).await, None);
}

/// 1152 bytes were the future of `get_or_load` when its options were another method.
#[tokio::test]
async fn the_future_of_a_read_is_no_larger_than_it_was() {
    let (cache, key) = (Cache::memory(), CacheKey::builder("user", 7).build().unwrap());
    let names: Family<u64, String> = cache.family("user").unwrap();
    let load = async || Ok::<_, std::io::Error>(String::new());
    let plain = size_of_val(&cache.get_or_load(&key, load).into_future());
    let detailed = size_of_val(&cache.get_or_load(&key, load).details().into_future());
    let of_family = size_of_val(&names.get_or_load(7, load).into_future());
    assert!(plain <= 1152 && detailed <= 1152 && of_family <= 1152, "{plain} {detailed} {of_family}");
}
