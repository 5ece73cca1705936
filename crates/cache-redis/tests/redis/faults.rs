//! Network faults: each has an error kind, no call exceeds its deadline, and the cache recovers without a restart.

use std::time::{Duration, Instant};

use bytes::Bytes;
use cache_core::{AtomicBackend, CacheBackend, CacheBackendExt, ErrorKind, Invalidation};
use cache_redis::RedisBackend;
use testkit::{Mode, RedisServer};

use crate::support::*;

const TIMEOUT: Duration = Duration::from_millis(250);
/// The deadline, a tenth more, and slack for a busy machine.
const BUDGET: Duration = Duration::from_millis(275 + 400);

async fn recovers(site: &Site) {
    let key = key("image:5:metadata");
    eventually("the cache works again", async || {
        site.through.invalidate(&[Invalidation::Key(key.clone())]).await.is_ok()
    })
    .await;
    eventually("the cache stores", async || {
        let Ok(lookup) = site.through.lookup(&key).await else { return false };
        site.through.fill(&key, lookup.token, small("new")).await.is_ok()
            && site.through.get(&key).await.is_ok_and(|entry| entry.is_some())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_every_network_fault_the_cache_recovers_in_time() {
    let mut site = Site::new(TIMEOUT).await;
    let key = key("image:5:metadata");
    let faults = [
        (Mode::Refuse, ErrorKind::Unavailable),
        (Mode::Reset, ErrorKind::Unavailable),
        (Mode::BlackHole, ErrorKind::Timeout),
        (Mode::SwallowReplies, ErrorKind::Timeout),
        (Mode::Drip(1, Duration::from_millis(300)), ErrorKind::Timeout),
        (Mode::CutAfter(2), ErrorKind::Unavailable),
        (Mode::Garbage(Bytes::from_static(b"HTTP/1.1 400 Bad Request\r\n\r\n")), ErrorKind::Unavailable),
        (Mode::Garbage(Bytes::from_static(b"*2147483647\r\n")), ErrorKind::Timeout),
    ];
    for (mode, kind) in faults {
        recovers(&site).await;
        site.proxy.set(mode.clone()).await;
        let started = Instant::now();
        let error = site.through.invalidate(&[Invalidation::Group(key.to_group())]).await.unwrap_err();
        let took = started.elapsed();
        assert!(took < BUDGET, "{mode:?} took {took:?}");
        assert!(error.is_transient(), "{mode:?}: {error}");
        // A connection that was made during the fault may fail with a timeout instead.
        let is_expected =
            error.kind() == kind || kind == ErrorKind::Unavailable && error.kind() == ErrorKind::Timeout;
        assert!(is_expected, "{mode:?}: {:?}: {error}", error.kind());
        site.proxy.set(Mode::Pass).await;
    }
    recovers(&site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_cut_at_any_byte_cost_one_call() {
    let mut site = Site::new(TIMEOUT).await;
    let key = key("image:5:metadata");
    for bytes in 1..=40 {
        site.proxy.set(Mode::CutAfter(bytes)).await;
        let started = Instant::now();
        let read = site.through.lookup(&key).await;
        assert!(read.as_ref().map_or_else(cache_core::Error::is_transient, |_| true), "{bytes}: {read:?}");
        let removed = site.through.invalidate(&[Invalidation::Group(key.to_group())]).await;
        // An acknowledgement is two numbers and the seal.
        assert!(removed.is_err() || bytes >= 31, "{bytes} bytes are no acknowledgement");
        assert!(started.elapsed() < 2 * BUDGET, "{bytes}: {:?}", started.elapsed());
        site.proxy.set(Mode::Pass).await;
        recovers(&site).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_network_causes_no_errors() {
    let mut site = Site::new(Duration::from_secs(5)).await;
    let key = key("image:5:metadata");
    for mode in [Mode::Delay(Duration::from_millis(50)), Mode::Drip(64, Duration::from_millis(2))] {
        site.proxy.set(mode).await;
        for entry in [small("x"), large("x")] {
            load(&site.through, &key, entry.clone()).await;
            assert_eq!(held(&site.through, &key).await, Some(entry.payload));
            invalidate(&site.through, &key).await;
            assert_eq!(held(&site.through, &key).await, None);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_server_costs_a_call_its_deadline_at_most() {
    let site = Site::new(TIMEOUT).await;
    recovers(&site).await;
    site.server.pause().unwrap();
    for _ in 0..3 {
        let started = Instant::now();
        let error = site.through.lookup(&key("image:5:metadata")).await.unwrap_err();
        let took = started.elapsed();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(took < BUDGET, "{took:?}");
    }
    site.server.resume().unwrap();
    recovers(&site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_is_noticed_at_once() {
    let mut site = Site::new(Duration::from_secs(5)).await;
    site.server.kill().unwrap();
    let started = Instant::now();
    let error = site.beside.lookup(&key("image:5:metadata")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(3), "the call does not wait for its deadline");
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_are_checked_at_the_start_and_never_shown() {
    let server = RedisServer::start_with(&["--requirepass", "s3cr3t-right"]).unwrap();
    let at = || config(server.address());
    for wrong in [at(), at().password("s3cr3t-wrong"), at().username("nobody").password("s3cr3t-right")] {
        let error = RedisBackend::connect(wrong).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
        assert!(!format!("{error} {error:?} {error:#?}").contains("s3cr3t"));
    }
    let cache = RedisBackend::connect(at().password("s3cr3t-right")).await.unwrap();
    load(&cache, &key("image:5:metadata"), small("x")).await;
    assert!(!format!("{cache:?} {cache:#?}").contains("s3cr3t"));
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_and_namespaces_share_nothing() {
    let server = RedisServer::start().unwrap();
    let key = key("image:5:metadata");
    let at = || config(server.address());
    let mut caches = Vec::new();
    for config in [at(), at().db(3), at().namespace("other")] {
        let cache = RedisBackend::connect(config).await.unwrap();
        assert_eq!(held(&cache, &key).await, None);
        load(&cache, &key, small("x")).await;
        cache.increment(&key, 1).await.unwrap();
        caches.push(cache);
    }
    let _ = caches[0].clear().await.unwrap();
    assert_eq!(held(&caches[0], &key).await, None);
    for other in &caches[1..] {
        assert_eq!(held(other, &key).await.unwrap(), "x");
        assert_eq!(other.increment(&key, 1).await.unwrap(), 2);
    }
    let error = RedisBackend::connect(at().db(99)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forbidden_command_is_a_configuration_error() {
    let site = Site::new(PATIENCE).await;
    let key = key("image:5:metadata");
    load(&site.through, &key, small("x")).await;
    let _: () = site.raw(&["ACL", "SETUSER", "default", "-unlink"]);
    let error = site.through.invalidate(&[Invalidation::Group(key.to_group())]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert_eq!(held(&site.through, &key).await.unwrap(), "x", "the connection is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_content_under_our_keys_is_a_miss() {
    let site = Site::new(PATIENCE).await;
    let key = key("image:5:metadata");
    load(&site.through, &key, small("x")).await;
    let group = site.raw::<Vec<String>>(&["KEYS", "app:image:5:@*"]).remove(0);
    for junk in ["", "junk", "Vjunk", "longer junk than any header would ever be, and then some more of it"] {
        let _: u64 = site.raw(&["HSET", &group, "metadata", junk]);
        assert_eq!(held(&site.through, &key).await, None);
        load(&site.through, &key, small("x")).await;
    }
    let _: u64 = site.raw(&["UNLINK", &group]);
    let _: u64 = site.raw(&["RPUSH", &group, "a", "list"]);
    assert_eq!(held(&site.through, &key).await, None);
    invalidate(&site.through, &key).await;
    let _: u64 = site.raw(&["RPUSH", &group, "a", "list"]);
    site.through.set(&key, small("y")).await.unwrap();
    assert_eq!(held(&site.through, &key).await.unwrap(), "y");
}
