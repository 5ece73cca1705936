//! A master behind Sentinels that dies while it is used.

use std::time::{Duration, Instant};

use cache_facade::{Cache, CacheConfig};
use testkit::Sentinels;

use crate::support::*;

async fn behind(sentinels: &Sentinels, directory: &tempfile::TempDir) -> Cache {
    let addresses: Vec<_> =
        sentinels.addresses().into_iter().map(|(host, port)| format!("{host}:{port}")).collect();
    let config = CacheConfig::from_pairs([
        ("CACHE_DIR", directory.path().to_str().unwrap()),
        ("REDIS_ENABLED", "true"),
        ("REDIS_SENTINELS", &addresses.join(", ")),
        ("REDIS_SENTINEL_MASTER", "mymaster"),
    ]);
    Cache::connect(config.unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_master_is_replaced_while_requests_are_answered_and_no_change_is_lost() {
    let (sentinels, mut master, _replica) = Sentinels::start().unwrap();
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (one, two) = (behind(&sentinels, &directories[0]).await, behind(&sentinels, &directories[1]).await);
    is_back(&one).await;
    is_back(&two).await;
    let database = Database::new();
    for id in 0..8 {
        database.read(&one, id).await;
    }
    master.kill().unwrap();
    let (killed, mut longest) = (Instant::now(), Duration::ZERO);
    let mut round = 0;
    while killed.elapsed() < Duration::from_secs(4) {
        let id = round % 8;
        let _ = database.write(&one, id).await;
        let asked = Instant::now();
        let (version, _) = database.read(&one, id).await;
        longest = longest.max(asked.elapsed());
        assert_eq!(version, database.version(id), "its own changes are seen at once");
        round += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    is_back(&one).await;
    is_back(&two).await;
    println!("{round} changes, the longest read {longest:?}");
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    for id in 0..8 {
        assert_eq!(database.read(&two, id).await.0, database.version(id));
        let _ = database.write(&one, id).await;
        assert_eq!(database.read(&two, id).await.0, database.version(id), "a change is seen by the other");
    }
    one.close().await.unwrap();
    two.close().await.unwrap();
}
