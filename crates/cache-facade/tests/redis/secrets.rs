//! No output contains the password of a cache, whatever fails: log lines from TRACE up, of every crate, and everything that can be
//! printed.

use std::time::Duration;

use testkit::reliability::Tally;
use testkit::{Lines, Mode, RedisServer, TcpProxy};
use tracing::Level;

use crate::support::*;

const SECRET: &str = "hunter2-secret";

/// Everything that a cache displays of itself.
async fn shown(one: &Instance) -> String {
    let cache = &one.cache;
    let (health, stats, explained) =
        (cache.health().await, cache.stats().await, cache.explain(&key(1)).await);
    format!("{cache:?} {cache:#?} {health:?} {health:#?} {stats:?} {explained:?}")
}

/// The lines so far, and whether `secret` is in one of them.
fn lines_with(secret: &str) -> (usize, Vec<String>) {
    (Lines::with("").len(), Lines::with(secret))
}

#[tokio::test]
async fn no_line_and_no_description_holds_a_password() {
    Lines::capture(Level::TRACE);
    let tally = Tally::new("lines without a secret", None);
    let server = RedisServer::start_with(&["--requirepass", SECRET]).unwrap();
    let mut proxy = TcpProxy::start(server.address()).await.unwrap();
    let (address, patience) = (proxy.address(), Duration::from_millis(300));
    let with = |password: &'static str| {
        let redis = redis_at(address).username("default").password(password);
        let config = cache_facade::CacheConfig::builder().redis(redis.clone());
        assert!(!format!("{redis:?} {redis:#?} {config:?} {config:#?}").contains(password));
        Instance::with(address, |config| config.redis(redis))
    };
    let mut said = String::new();
    for mode in [
        Mode::Pass,
        Mode::Refuse,
        Mode::Reset,
        Mode::BlackHole,
        Mode::SwallowReplies,
        Mode::Garbage(SECRET.into()),
        Mode::Pass,
    ] {
        // One cache with the fault from the start, and one that was connected before.
        proxy.set(Mode::Pass).await;
        let before = with(SECRET).await;
        proxy.set(mode).await;
        let database = Database::new();
        let after = with(SECRET).await;
        let wrong = with("hunter2-secret-but-wrong").await;
        for one in [&before, &after, &wrong] {
            database.read(&one.cache, 1).await;
            let _ = database.write(&one.cache, 1).await;
            tokio::time::sleep(patience).await;
            said.push_str(&shown(one).await);
            one.cache.close().await.unwrap();
        }
    }
    let (lines, found) = lines_with(SECRET);
    tally.attempts(lines);
    assert!(lines > 40, "only {lines} lines were looked at");
    assert!(found.is_empty(), "{found:#?}");
    assert!(!said.contains(SECRET) && said.contains("127.0.0.1"), "{said}");

    tracing::trace!(password = SECRET, "what a bug would say");
    assert_eq!(lines_with(SECRET).1.len(), 1, "a secret in a line is not found");
}
