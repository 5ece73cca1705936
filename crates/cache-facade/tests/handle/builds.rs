//! Two builds of an application over one backend: each reads its own types, and none of the other's as its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(feature = "disk")]
use cache_facade::CacheConfig;
use cache_facade::{Cache, Source, stats::MissCause};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::support::{Nothing, every_store, key, let_others_run};

/// The type of the old build.
mod old {
    use super::{Deserialize, Serialize};

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub(super) struct Image {
        pub(super) width: u32,
        pub(super) height: u32,
    }
}

/// The type of builds that changed it.
mod new {
    use super::{Deserialize, Serialize};

    /// Its fields changed places: bincode alone would swap them.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub(super) struct Reordered {
        pub(super) height: u32,
        pub(super) width: u32,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub(super) struct Longer {
        pub(super) width: u32,
        pub(super) height: u32,
        #[serde(default)]
        pub(super) format: Option<String>,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub(super) struct Renamed {
        #[serde(rename = "w")]
        pub(super) width: u32,
        pub(super) height: u32,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub(super) struct Retyped {
        pub(super) width: i32,
        pub(super) height: u32,
    }
}

const OLD: old::Image = old::Image { width: 640, height: 480 };

async fn ask<T>(cache: &Cache, value: &T) -> (T, Source)
where
    T: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    let value = value.clone();
    let loaded = cache.get_or_load(&key(5), async move || Ok::<_, Nothing>(value)).details().await.unwrap();
    (loaded.value, loaded.source)
}

/// Two builds that take turns: each loads the values of the other, and reads its own.
async fn take_turns<T>(cache: &Cache, changed: T)
where
    T: Serialize + DeserializeOwned + Clone + PartialEq + std::fmt::Debug + Send + Sync + 'static,
{
    for _ in 0..2 {
        assert_eq!(ask(cache, &OLD).await, (OLD, Source::Loaded));
        assert_eq!(ask(cache, &OLD).await, (OLD, Source::Hit));
        assert_eq!(cache.get::<T>(&key(5)).await, None);
        assert_eq!(cache.explain(&key(5)).await.unwrap().last_miss, Some(MissCause::ShapeChanged));
        assert_eq!(
            cache.get::<old::Image>(&key(5)).await,
            Some(OLD),
            "a miss of another build removes nothing"
        );
        assert_eq!(ask(cache, &changed).await, (changed.clone(), Source::Loaded));
        assert_eq!(ask(cache, &changed).await, (changed.clone(), Source::Hit));
    }
    let _ = cache.delete(&key(5)).await.unwrap();
}

#[tokio::test]
async fn a_changed_type_is_loaded_anew_by_each_build_and_never_read_as_another() {
    for stored in every_store().await {
        let cache = &stored.cache;
        take_turns(cache, new::Reordered { height: 480, width: 640 }).await;
        take_turns(cache, new::Longer { width: 640, height: 480, format: Some("png".to_owned()) }).await;
        take_turns(cache, new::Renamed { width: 640, height: 480 }).await;
        take_turns(cache, new::Retyped { width: 640, height: 480 }).await;
    }
}

#[tokio::test]
async fn a_value_of_another_build_is_replaced_by_token() {
    for stored in every_store().await {
        let (cache, loads) = (&stored.cache, Arc::new(AtomicU64::new(0)));
        ask(cache, &OLD).await;
        let load = {
            let (cache, loads) = (cache.clone(), Arc::clone(&loads));
            async move || {
                loads.fetch_add(1, Ordering::SeqCst);
                // A change comes between the load and its fill.
                let _ = cache.delete(&key(5)).await.unwrap();
                Ok::<_, Nothing>(new::Retyped { width: 1, height: 1 })
            }
        };
        cache.get_or_load(&key(5), load).await.unwrap();
        let_others_run().await;
        assert_eq!(cache.get::<new::Retyped>(&key(5)).await, None, "{}", stored.name);
        assert_eq!(cache.get::<old::Image>(&key(5)).await, None, "{}", stored.name);
        assert_eq!(loads.load(Ordering::SeqCst), 1);
    }
}

#[cfg(feature = "disk")]
#[tokio::test]
async fn a_new_build_on_an_old_directory_loads_values_that_it_cannot_read_and_keeps_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let open = async || {
        let config = CacheConfig::builder().directory(directory.path()).size_mb(16).build().unwrap();
        Cache::connect(config).await.unwrap()
    };
    let before = open().await;
    ask(&before, &OLD).await;
    before.get_or_load(&key(6), async || Ok::<_, Nothing>(7_u64)).await.unwrap();
    before.close().await.unwrap();
    let after = open().await;
    assert_eq!(after.get::<u64>(&key(6)).await, Some(7));
    let changed = new::Reordered { height: 480, width: 640 };
    assert_eq!(ask(&after, &changed).await, (changed.clone(), Source::Loaded));
    assert_eq!(ask(&after, &changed).await, (changed, Source::Hit));
    after.close().await.unwrap();
}
