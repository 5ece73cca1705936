//! Log events and spans, and how often they are emitted.

#![expect(clippy::unwrap_used, reason = "what goes wrong in a helper fails its test")]

use std::io;
use std::sync::{Arc, Mutex};

use cache_facade::{Cache, CacheKey};
use tokio::sync::MutexGuard;
use tracing::Level;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::FmtSpan;

type Nothing = std::convert::Infallible;

fn key(id: u32) -> CacheKey {
    CacheKey::builder("image", id).part("metadata").build().unwrap()
}

/// The log of this thread.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Collects the log of this thread, one test at a time: tracing caches for all threads which events are enabled.
    async fn listen(level: Level) -> (Self, DefaultGuard, MutexGuard<'static, ()>) {
        static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        let alone = ALONE.lock().await;
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .with_span_events(FmtSpan::CLOSE)
            .with_writer(log.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber), alone)
    }

    fn lines(&self, with: &str) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains(with)).map(str::to_owned).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn a_clear_leaves_one_line_that_names_its_caller() {
    let (log, _listening, _alone) = Log::listen(Level::INFO).await;
    let cache = Cache::memory();
    let _ = cache.clear().await.unwrap();
    let lines = log.lines("cache cleared");
    assert_eq!(lines.len(), 1);
    assert!(lines[0].contains(" INFO ") && lines[0].contains(file!()), "{lines:?}");
}

#[tokio::test]
async fn an_error_of_the_backend_is_logged_once_and_not_for_every_request() {
    let (log, _listening, _alone) = Log::listen(Level::DEBUG).await;
    let cache = Cache::memory();
    cache.close().await.unwrap();
    for _ in 0..100 {
        cache.get::<u32>(&key(1)).await;
    }
    let lines = log.lines("cache operation failed");
    assert_eq!(lines.len(), 1);
    assert!(lines[0].contains("WARN") && lines[0].contains("was closed"), "{lines:?}");
}

#[tokio::test]
async fn each_type_that_cannot_be_stored_is_named_in_one_warning() {
    let (log, _listening, _alone) = Log::listen(Level::WARN).await;
    let cache = Cache::memory().with_codec(cache_facade::Codec::Json);
    for _ in 0..20 {
        cache.get_or_load(&key(1), async || Ok::<_, Nothing>(Some(f64::NAN))).await.unwrap();
        cache.get_or_load(&key(2), async || Ok::<_, Nothing>(vec![Some(None::<u8>)])).await.unwrap();
    }
    let lines = log.lines("cache operation failed");
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("Option<f64>") && lines[0].contains("NaN"), "{lines:?}");
    assert!(lines[1].contains("Vec<") && lines[1].contains("null"), "{lines:?}");
}

#[tokio::test]
async fn a_failed_invalidation_is_an_error_in_the_log_that_names_the_first_key() {
    let (log, _listening, _alone) = Log::listen(Level::ERROR).await;
    let cache = Cache::memory();
    cache.close().await.unwrap();
    assert!(cache.invalidate(&key(1)).await.is_err());
    let lines = log.lines("invalidation failed");
    assert!(lines.len() == 1 && lines[0].contains("key image:1:metadata"), "{lines:?}");
}

#[tokio::test]
async fn the_span_of_a_load_has_its_outcome() {
    let (log, _listening, _alone) = Log::listen(Level::DEBUG).await;
    let cache = Cache::memory();
    let ask = async || cache.get_or_load(&key(1), async || Ok::<_, Nothing>(7_u32)).await;
    let _ = tokio::join!(ask(), ask());
    let _: Result<u32, _> = cache.get_or_load(&key(2), async || Err("gone")).await;
    let spans = log.lines("close");
    for outcome in [r#"outcome="loaded" fill=Stored"#, r#"outcome="waited""#, r#"outcome="failed""#] {
        assert!(
            spans.iter().any(|line| line.contains("cache_load") && line.contains(outcome)),
            "{outcome}: {spans:?}"
        );
    }
}

#[tokio::test]
async fn the_span_of_a_change_has_its_keys_and_its_outcome() {
    let (log, _listening, _alone) = Log::listen(Level::DEBUG).await;
    let cache = Cache::memory();
    cache.change(&key(1), async || Ok::<_, Nothing>(())).await.unwrap();
    assert!(cache.change(&key(1), async || Err::<(), _>("gone")).await.is_err());
    cache.close().await.unwrap();
    assert!(cache.change(&key(1), async || Ok::<_, Nothing>(())).await.is_err());
    let spans = log.lines("close");
    for outcome in ["applied", "failed", "not begun"] {
        let fields = format!(r#"cache_change{{first=key image:1:metadata count=1 outcome="{outcome}"}}"#);
        assert!(spans.iter().any(|line| line.contains(&fields)), "{fields}: {spans:?}");
    }
}
