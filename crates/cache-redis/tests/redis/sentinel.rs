//! A replicated group behind Sentinels: failovers, and settings that do not fit.

use std::time::{Duration, Instant};

use cache_core::{CacheBackend, CacheBackendExt, ErrorKind, HealthStatus};
use cache_redis::{Diagnosis, RedisBackend, RedisConfig};
use testkit::{RedisServer, Restart, Sentinels};

use crate::support::*;

fn behind(sentinels: &Sentinels) -> RedisConfig {
    RedisConfig::new("unused").sentinels(sentinels.addresses()).heartbeat(Duration::from_millis(200))
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_master_is_killed_its_successor_is_used_and_nothing_comes_back() {
    let (sentinels, mut master, _replica) = Sentinels::start().unwrap();
    let cache = RedisBackend::connect(behind(&sentinels)).await.unwrap();
    let (removed, kept) = (key("image:5:metadata"), key("image:6:metadata"));
    for key in [&removed, &kept] {
        load(&cache, key, small("old")).await;
    }
    invalidate(&cache, &removed).await;
    let killed = Instant::now();
    master.kill().unwrap();
    eventually("the successor is used", async || cache.delete(&kept).await.is_ok()).await;
    println!("used {:?} after the kill", killed.elapsed());
    assert_eq!(held(&cache, &removed).await, None);
    load(&cache, &removed, small("new")).await;
    let other = RedisBackend::connect(behind(&sentinels)).await.unwrap();
    assert_eq!(held(&other, &removed).await.unwrap(), "new");
    assert_eq!(other.health().await.status, HealthStatus::Ok);
}

/// History 34: the old master is up and acknowledges for some time.
#[tokio::test(flavor = "multi_thread")]
async fn no_removal_that_is_acknowledged_during_a_failover_is_lost() {
    const KEYS: usize = 60;
    let (sentinels, _master, _replica) = Sentinels::start().unwrap();
    let (one, two) = (
        RedisBackend::connect(behind(&sentinels)).await.unwrap(),
        // Hears of the successor later.
        RedisBackend::connect(behind(&sentinels).heartbeat(Duration::from_secs(2))).await.unwrap(),
    );
    let keys: Vec<_> = (0..KEYS).map(|n| key(&format!("image:{n}:metadata"))).collect();
    sentinels.fail_over().unwrap();
    let mut acknowledged = 0;
    for key in &keys {
        // Loaded by the one that may have switched, removed by the one that may not have.
        if let Ok(found) = one.lookup(key).await {
            let _ = one.fill(key, found.token, small("old")).await;
        }
        acknowledged += usize::from(two.delete(key).await.is_ok());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    eventually("both use the successor", async || {
        one.probe().await.is_ok()
            && two.probe().await.is_ok()
            && two.delete(&key("image:0:metadata")).await.is_ok()
    })
    .await;
    assert!(acknowledged > KEYS / 2, "{acknowledged} of {KEYS}");
    for key in &keys {
        for cache in [&one, &two] {
            assert_eq!(held(cache, key).await, None, "{key}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_not_used_while_most_sentinels_are_away() {
    let (mut sentinels, master, _replica) = Sentinels::start().unwrap();
    let cache = RedisBackend::connect(behind(&sentinels)).await.unwrap();
    load(&cache, &key("image:5:a"), small("a")).await;
    for sentinel in &mut sentinels.all()[..2] {
        sentinel.kill().unwrap();
    }
    eventually("nothing is read", async || cache.get(&key("image:5:a")).await.is_err()).await;
    let error = cache.get(&key("image:5:a")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("1 of 3 Sentinels answer"), "{error}");
    sentinels.all()[1].restart(Restart::WithData).unwrap();
    let port = master.port();
    sentinels.all()[1].command(&format!("SENTINEL MONITOR mymaster 127.0.0.1 {port} 2")).unwrap();
    eventually("it is read again", async || held(&cache, &key("image:5:a")).await.is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_do_not_fit_say_what_to_set() {
    let refused = async |config: RedisConfig| RedisBackend::connect(config).await.unwrap_err();
    let error = refused(RedisConfig::new("unused").sentinels([("127.0.0.1".to_owned(), 1)])).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("0 of 1 Sentinels answer"), "{error}");

    let (sentinels, master, _replica) = Sentinels::start().unwrap();
    let error = refused(behind(&sentinels).sentinel_master("other")).await;
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("REDIS_SENTINEL_MASTER to one that they watch: mymaster"), "{error}");

    let second = RedisServer::start().unwrap();
    sentinels.watch("second", &second).unwrap();
    let error = refused(behind(&sentinels)).await;
    assert!(error.to_string().contains("one of the masters that they watch: mymaster, second"), "{error}");
    let cache = RedisBackend::connect(behind(&sentinels).sentinel_master("second")).await.unwrap();
    load(&cache, &key("image:5:a"), small("a")).await;
    assert_eq!(raw::<u64>(&second, &["DBSIZE"]), 2, "the value and the settings");
    assert_eq!(raw::<u64>(&master, &["DBSIZE"]), 0);

    let named = behind(&sentinels).sentinel_master("mymaster");
    let checks = cache_redis::diagnose(&named).await;
    let found = |name: &str| checks.iter().find(|(check, _)| *check == name).map(|(_, found)| found.clone());
    let fine = format!("the master is 127.0.0.1:{}", master.port());
    assert_eq!(found("sentinels"), Some(Diagnosis::Fine(fine)));
    assert!(matches!(found("commands"), Some(Diagnosis::Fine(_))), "{checks:?}");
}
