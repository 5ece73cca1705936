//! Registries and logs that were written to by hand.

use std::time::Duration;

use bytes::Bytes;
use testkit::RedisServer;

use crate::support::*;

const KEY: &str = "image:5:metadata";
const WHAT: &str = "key image:5:metadata";

#[tokio::test(flavor = "multi_thread")]
async fn a_count_that_is_lost_is_no_acknowledgement() {
    let server = RedisServer::start().unwrap();
    let (one, other) = (with_memory(server.port()).await, with_memory(server.port()).await);
    past_the_beginning().await;
    for _ in 0..10 {
        invalidate(&other, "key image:7:metadata").await;
    }
    let mut stale = 0;
    for round in 0..10 {
        let value = format!("old {round}");
        load(&other, &key(KEY), &value).await;
        read(&one, &key(KEY)).await;
        if at_hand(&one, &key(KEY)).is_none() {
            continue;
        }
        let () = raw(&server, &["HDEL", &registry(&server), "n"]);
        invalidate(&other, WHAT).await;
        stale += u32::from(at_hand(&one, &key(KEY)).is_some());
        for _ in 0..10 {
            invalidate(&other, "key image:7:metadata").await;
        }
    }
    assert_eq!(stale, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_another_kind_is_repaired() {
    let server = RedisServer::start().unwrap();
    let (_one, other) = (with_memory(server.port()).await, without_memory(server.port()).await);
    past_the_beginning().await;
    let log = format!("{}:log", registry(&server));
    let () = raw(&server, &["UNLINK", &log]);
    let () = raw(&server, &["SET", &log, "no stream"]);
    let mut slow = 0;
    for _ in 0..12 {
        let took = invalidate(&other, WHAT).await;
        slow += u32::from(took > Duration::from_millis(100));
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(slow <= 3, "{slow} of 12 slow");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_garbage_is_removed() {
    let server = RedisServer::start().unwrap();
    let one = with_memory(server.port()).await;
    past_the_beginning().await;
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    let value = Bytes::from_static(b"\xff\xfe");
    let () = redis::cmd("HSET")
        .arg(registry(&server))
        .arg("garbage")
        .arg(&value[..])
        .query(&mut connection)
        .unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut took = Vec::new();
    for _ in 0..4 {
        took.push(invalidate(&one, WHAT).await);
    }
    assert!(took.iter().filter(|took| **took > Duration::from_millis(400)).count() <= 1, "{took:?}");
}
