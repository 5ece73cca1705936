//! The rules that make leases safe, and the histories of `docs/histories.md`.

use std::time::Duration;

use cache_core::{CacheBackend, CacheBackendExt, CacheKey, ErrorKind, FillOutcome, Invalidation, NewEntry};
use cache_redis::RedisBackend;
use testkit::Mode;

use crate::support::*;

const KEY: &str = "image:5:metadata";

fn entries() -> [NewEntry; 2] {
    [small("old"), large("old")]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fill_whose_lease_is_gone_is_refused() {
    let site = Site::new(PATIENCE).await;
    let key = key(KEY);
    for entry in entries() {
        for end in ["delete", "group", "flush", "unlink"] {
            let token = token(&site.through, &key).await;
            match end {
                "delete" => drop(site.beside.delete(&key).await.expect("it answers")),
                "group" => invalidate(&site.beside, &key).await,
                "flush" => site.raw(&["FLUSHALL"]),
                _ => {
                    let keys: Vec<String> = site.raw(&["KEYS", "app:image:5:@*"]);
                    let _: u64 = site.raw(&["UNLINK", &keys[0]]);
                }
            }
            let outcome = site.through.fill(&key, token, entry.clone()).await.expect("it answers");
            assert_eq!((outcome, held(&site.beside, &key).await), (FillOutcome::Refused, None), "{end}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_share_a_lease_and_the_first_fill_wins() {
    let site = Site::new(PATIENCE).await;
    let key = key(KEY);
    let (one, other) = (token(&site.through, &key).await, token(&site.beside, &key).await);
    assert_eq!(one.value(), other.value(), "two instances share a lease");
    assert_ne!(one, other, "each instance has its own token");
    assert_eq!(site.beside.fill(&key, other, small("first")).await.unwrap(), FillOutcome::Stored);
    assert_eq!(site.through.fill(&key, one, small("second")).await.unwrap(), FillOutcome::Refused);
    assert_eq!(held(&site.through, &key).await.unwrap(), "first");
}

/// History 14: LEASE times out and is sent again; the invalidation returns; the first LEASE lands.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_lands_late_opens_no_fill() {
    let mut site = Site::new(Duration::from_secs(1)).await;
    let key = key(KEY);
    // LEASE reaches the server after 2 s, and the operation ends after 1 s.
    site.proxy.set(Mode::Delay(Duration::from_secs(2))).await;
    let error = site.through.lookup(&key).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    site.proxy.set(Mode::Pass).await;
    let resent = token(&site.through, &key).await;
    invalidate(&site.beside, &key).await;
    let landed = async || site.raw::<Vec<String>>(&["KEYS", "app:image:5:@*"]).len() == 1;
    eventually("the first LEASE lands", landed).await;
    assert_eq!(site.through.fill(&key, resent, small("old")).await.unwrap(), FillOutcome::Refused);
    assert_ne!(token(&site.through, &key).await, resent, "what landed late is another nonce");
    assert_eq!(held(&site.beside, &key).await, None);
}

/// History 15: a fill times out, the invalidation returns, the fill lands.
#[tokio::test(flavor = "multi_thread")]
async fn a_fill_that_lands_late_is_refused_by_the_server() {
    let mut site = Site::new(Duration::from_millis(300)).await;
    let key = key(KEY);
    for (entry, command) in entries().into_iter().zip(["evalsha", "exec"]) {
        let mut lookup = site.through.lookup(&key).await;
        for _ in 0..50 {
            if lookup.is_ok() {
                break;
            }
            lookup = site.through.lookup(&key).await;
        }
        let token = lookup.expect("the server answers").token;
        // The server knows the script afterwards, so that the late command is the one that is counted.
        load(&site.beside, &crate::support::key("image:9:metadata"), small("x")).await;
        let calls = site.calls(command);
        site.proxy.set(Mode::BlackHole).await;
        let error = site.through.fill(&key, token, entry).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        invalidate(&site.beside, &key).await;
        site.proxy.set(Mode::Pass).await;
        eventually("the fill lands", async || site.calls(command) > calls).await;
        assert_eq!(held(&site.beside, &key).await, None);
    }
}

/// History 16: a live value is refreshed while it is invalidated.
#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_does_not_outlast_an_invalidation() {
    let site = Site::new(PATIENCE).await;
    let key = key(KEY);
    for first in entries() {
        for second in entries() {
            load(&site.through, &key, first.clone()).await;
            let refresh = token(&site.through, &key).await;
            let _ = site.beside.delete(&key).await.unwrap();
            assert_eq!(site.through.fill(&key, refresh, second.clone()).await.unwrap(), FillOutcome::Refused);
            assert_eq!(held(&site.through, &key).await, None);

            load(&site.through, &key, first.clone()).await;
            let refresh = token(&site.through, &key).await;
            assert_eq!(site.through.fill(&key, refresh, second.clone()).await.unwrap(), FillOutcome::Stored);
            assert_eq!(held(&site.through, &key).await, Some(second.payload));
            invalidate(&site.beside, &key).await;
        }
    }
}

/// History 18: FLUSHALL, SCRIPT FLUSH and CLIENT KILL between any two steps.
#[tokio::test(flavor = "multi_thread")]
async fn a_fault_between_two_steps_costs_a_load_at_most() {
    let site = Site::new(PATIENCE).await;
    let key = key(KEY);
    for entry in entries() {
        for fault in [&["FLUSHALL"][..], &["SCRIPT", "FLUSH"], &["CLIENT", "KILL", "TYPE", "normal"]] {
            for step in 0..4 {
                let disturb = |at: usize| {
                    if step == at {
                        site.raw::<redis::Value>(fault);
                    }
                };
                let is_lost = |at: usize| fault == ["FLUSHALL"] && step == at;
                disturb(0);
                let token = token(&site.through, &key).await;
                disturb(1);
                let outcome = site.through.fill(&key, token, entry.clone()).await.expect("it is retried");
                assert_eq!(outcome == FillOutcome::Refused, is_lost(1), "{fault:?} at {step}");
                disturb(2);
                let is_held = held(&site.through, &key).await.is_some();
                assert_eq!(is_held, !is_lost(1) && !is_lost(2), "{fault:?} at {step}");
                disturb(3);
                invalidate(&site.through, &key).await;
                assert_eq!(held(&site.through, &key).await, None);
                assert_eq!(
                    site.through.fill(&key, token, entry.clone()).await.unwrap(),
                    FillOutcome::Refused
                );
            }
        }
    }
}

/// History 19: after lost replies, later ones answer earlier requests.
#[tokio::test(flavor = "multi_thread")]
async fn lost_replies_give_no_key_another_keys_value() {
    let mut site = Site::new(Duration::from_millis(150)).await;
    let keys: Vec<_> = (0..40).map(|n| key(&format!("image:{n}:metadata"))).collect();
    for key in &keys {
        load(&site.beside, key, small(key.as_str())).await;
    }
    let mut hits = 0;
    for round in 0..12 {
        let mode = if round % 3 == 0 { Mode::SwallowReplies } else { Mode::Pass };
        site.proxy.set(mode).await;
        for chunk in keys.chunks(8) {
            let reads: Vec<_> = chunk.iter().map(|key| site.through.lookup(key)).collect();
            for (key, found) in chunk.iter().zip(join_all(reads).await) {
                if let Some(entry) = found.ok().and_then(|lookup| lookup.entry) {
                    assert_eq!(entry.payload, key.as_str());
                    hits += 1;
                }
            }
        }
        if round % 3 == 0 {
            let acknowledged = site.through.delete(&keys[0]).await;
            assert!(acknowledged.is_err(), "a lost reply acknowledges nothing");
        }
    }
    assert!(hits > 100, "{hits} hits");
}

/// History 19 for acknowledgements: a removal is refused, the refusal is lost, and the replies to a later removal arrive in
/// its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_removal_counts_only_with_its_own_reply() {
    let mut site = Site::new(Duration::from_secs(1)).await;
    let (kept, other) = (key("image:1:metadata"), key("image:2:metadata"));
    for key in [&kept, &other] {
        load(&site.through, key, small("old")).await;
    }
    let _: () = site.raw(&["ACL", "SETUSER", "default", "-unlink"]);
    site.proxy.set(Mode::SwallowReplies).await;
    let asked = site.calls("hlen");
    let group = |key: &CacheKey| [Invalidation::Group(key.to_group())];
    let (first, second) = (group(&kept), group(&other));
    let Site { server, proxy, through, beside } = &mut site;
    let later = async {
        eventually("the first removal is refused", async || calls(server, "hlen") > asked).await;
        raw::<()>(server, &["ACL", "SETUSER", "default", "+unlink"]);
        proxy.set(Mode::Pass).await;
        through.invalidate(&second).await
    };
    let (first, second) = tokio::join!(through.invalidate(&first), later);
    // Without the seal the reply to the second removal would acknowledge the first, and the old value would stay.
    assert!(first.is_ok(), "it is retried on another connection: {first:?}");
    assert_eq!(held(beside, &kept).await, None, "the acknowledged removal was done");
    // Its replies were lost, unless a heartbeat had replaced the connection before.
    assert_eq!(held(beside, &other).await, None, "it was executed: {second:?}");
}

async fn join_all<T>(futures: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut futures: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut done: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, done) in futures.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(output) = future.as_mut().poll(context)
            {
                *done = Some(output);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

/// A lookup that creates the lease has a token of its own; every later one finds the lease, whichever way it asks.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_shared_where_an_earlier_lookup_created_its_lease() {
    let site = Site::new(PATIENCE).await;
    let is_shared = async |cache: &RedisBackend, key: &CacheKey| token(cache, key).await.is_shared();
    let key = key(KEY);
    // A hit in the group makes the next lookup ask for the value alone, a miss for the lease with it.
    let neighbour = crate::support::key("image:5:thumbnail");
    for expects_miss in [true, false] {
        for other in [&site.through, &site.beside] {
            invalidate(&site.beside, &key).await;
            load(&site.beside, &neighbour, small("x")).await;
            if !expects_miss {
                held(&site.through, &neighbour).await.expect("it is stored");
            }
            assert!(!is_shared(&site.through, &key).await, "{expects_miss}");
            assert!(is_shared(other, &key).await, "{expects_miss}");
        }
    }
    let many = [key.clone(), crate::support::key("image:5:analysis")];
    let found = site.beside.lookup_many(&many).await.expect("it answers");
    let shared: Vec<_> = found.iter().map(|found| found.token.is_shared()).collect();
    assert_eq!(shared, [true, false], "in a batch too");
    load(&site.beside, &key, small("x")).await;
    assert!(!is_shared(&site.beside, &key).await, "no lease, but a value");
}
