//! A value that is served equals the value that was loaded; one that cannot be stored so is loaded by each caller.

use cache_facade::{Cache, Codec, ErrorKind, Source};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::support::{Nothing, key};

async fn ask<T>(cache: &Cache, id: u32, value: T) -> (T, Source)
where
    T: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    let load = async move || Ok::<_, Nothing>(value);
    let loaded = cache.get_or_load(&key(id), load).details().await.unwrap();
    (loaded.value, loaded.source)
}

#[tokio::test]
async fn a_value_without_a_json_text_is_loaded_each_time_and_others_of_its_type_are_stored() {
    let cache = Cache::memory().with_codec(Codec::Json);
    for _ in 0..3 {
        let (value, source) = ask(&cache, 1, Some(f64::NAN)).await;
        assert!(value.is_some_and(f64::is_nan) && source == Source::Loaded);
        assert_eq!(ask(&cache, 2, Some(None::<u8>)).await, (Some(None), Source::Loaded));
    }
    assert_eq!(ask(&cache, 3, Some(0.921_568_632_125_854_5)).await.1, Source::Loaded);
    assert_eq!(ask(&cache, 3, None::<f64>).await, (Some(0.921_568_632_125_854_5), Source::Hit));
    assert_eq!(ask(&cache, 4, Some(Some(1_u8))).await.1, Source::Loaded);
    assert_eq!(ask(&cache, 4, None::<Option<u8>>).await, (Some(Some(1)), Source::Hit));
    assert_eq!(cache.set(&key(5), &[f32::INFINITY]).await.unwrap_err().kind(), ErrorKind::Encode);
    assert_eq!(cache.stats().await.unwrap().errors, 2, "each type is reported once");
}

/// Encodes any number, and decodes only those up to 9.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
struct Digit(u32);

impl From<Digit> for u32 {
    fn from(digit: Digit) -> Self {
        digit.0
    }
}

impl TryFrom<u32> for Digit {
    type Error = &'static str;

    fn try_from(digit: u32) -> Result<Self, Self::Error> {
        if digit < 10 { Ok(Self(digit)) } else { Err("no digit") }
    }
}

#[tokio::test]
async fn a_value_that_did_not_decode_is_not_stored_again() {
    for cache in [Cache::memory(), Cache::memory().with_codec(Codec::Json)] {
        assert_eq!(ask(&cache, 1, Digit(1)).await.1, Source::Loaded);
        for _ in 0..5 {
            assert_eq!(ask(&cache, 2, Digit(10)).await, (Digit(10), Source::Loaded));
        }
        let stats = cache.stats().await.unwrap();
        assert_eq!((stats.fills, stats.errors), (2, 1), "stored once, then found out, and said once");
        assert_eq!(ask(&cache, 2, Digit(2)).await.1, Source::Loaded);
        assert_eq!(ask(&cache, 2, Digit(3)).await, (Digit(2), Source::Hit), "a good one is stored there");
    }
}
