//! What somebody else wrote under our keys, or answers in the server's place: a miss, in bounded time and memory.

use std::time::{Duration, Instant};

use bytes::Bytes;
use cache_core::{CacheBackend, CacheBackendExt, CacheKey, ErrorKind};
use redis::Connection;
use testkit::Mode;

use crate::support::*;

/// How long one look at what is hostile may take, on a crowded machine.
const BRIEF: Duration = Duration::from_secs(5);

struct Scene {
    site: Site,
    key: CacheKey,
    raw: Connection,
    group: String,
    /// A sound value of `key`, as it is stored.
    sound: Vec<u8>,
}

impl Scene {
    async fn new() -> Self {
        let site = Site::new(PATIENCE).await;
        let key = key("image:5:metadata");
        load(&site.beside, &key, small("the value, which is neither long nor short")).await;
        let mut raw =
            redis::Client::open(site.server.url()).and_then(|client| client.get_connection()).unwrap();
        let group = site.raw::<Vec<String>>(&["KEYS", "app:image:5:@*"]).remove(0);
        let sound = redis::cmd("HGET").arg(&group).arg("metadata").query(&mut raw).unwrap();
        Self { site, key, raw, group, sound }
    }

    fn plant(&mut self, bytes: &[u8]) {
        redis::cmd("HSET").arg(&self.group).arg("metadata").arg(bytes).exec(&mut self.raw).unwrap();
    }

    async fn misses(&self, what: &str) {
        let started = Instant::now();
        assert_eq!(held(&self.site.through, &self.key).await, None, "{what}");
        assert!(started.elapsed() < BRIEF, "{what}: {:?}", started.elapsed());
    }

    async fn is_replaced(&self, what: &str) {
        load(&self.site.through, &self.key, small(what)).await;
        assert_eq!(held(&self.site.beside, &self.key).await.unwrap(), what);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_cut_short_at_any_byte_is_a_miss() {
    let mut scene = Scene::new().await;
    for length in 0..scene.sound.len() {
        let cut = scene.sound[..length].to_vec();
        scene.plant(&cut);
        scene.misses(&format!("{length} bytes")).await;
    }
    scene.is_replaced("cut short").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_with_any_bit_flipped_is_a_miss() {
    let mut scene = Scene::new().await;
    for bit in 0..scene.sound.len() * 8 {
        let mut flipped = scene.sound.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        scene.plant(&flipped);
        scene.misses(&format!("bit {bit}")).await;
    }
    scene.is_replaced("flipped").await;
    let mut longer = scene.sound.clone();
    longer.push(0);
    scene.plant(&longer);
    scene.misses("a byte more").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_keys_sound_value_is_a_miss() {
    let mut scene = Scene::new().await;
    let (other, sound) = (key("image:5:other"), scene.sound.clone());
    redis::cmd("HSET").arg(&scene.group).arg("other").arg(&sound).exec(&mut scene.raw).unwrap();
    assert_eq!(held(&scene.site.through, &other).await, None);
    load(&scene.site.through, &other, small("its own")).await;
    assert_eq!(held(&scene.site.through, &other).await.unwrap(), "its own");
    assert!(held(&scene.site.through, &scene.key).await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_other_types_are_misses_and_are_replaced() {
    let mut scene = Scene::new().await;
    for make in [
        &["SET", "KEY", "text"][..],
        &["SETRANGE", "KEY", "536870911", "x"],
        &["RPUSH", "KEY", "a"],
        &["SADD", "KEY", "a"],
        &["ZADD", "KEY", "1", "a"],
        &["XADD", "KEY", "*", "a", "b"],
        &["SETBIT", "KEY", "7", "1"],
    ] {
        redis::cmd("UNLINK").arg(&scene.group).exec(&mut scene.raw).unwrap();
        let mut command = redis::cmd(make[0]);
        for word in &make[1..] {
            command.arg(if *word == "KEY" { &scene.group } else { *word });
        }
        command.exec(&mut scene.raw).unwrap();
        scene.misses(make[0]).await;
        let many = scene.site.through.get_many(&[scene.key.clone(), key("image:6:x")]).await.unwrap();
        assert!(many.iter().all(Option::is_none));
        scene.is_replaced(make[0]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_field_is_a_miss_and_is_replaced() {
    let mut scene = Scene::new().await;
    for first in ["x", "V", "L"] {
        let huge = "redis.call('HSET', KEYS[1], 'metadata', ARGV[1] .. string.rep('x', 67108864))";
        let mut command = redis::cmd("EVAL");
        command.arg(huge).arg(1).arg(&scene.group).arg(first).exec(&mut scene.raw).unwrap();
        scene.misses("64 MiB").await;
        scene.is_replaced("huge").await;
    }
}

/// More than any build stores, and more than can be read in time.
#[tokio::test(flavor = "multi_thread")]
async fn a_field_too_large_to_be_read_in_time_is_removed_before_it_is_read_again() {
    let site = Site::new(Duration::from_millis(100)).await;
    let (key, other) = (key("image:5:metadata"), key("image:5:other"));
    load(&site.beside, &other, small("neighbour")).await;
    let group = site.raw::<Vec<String>>(&["KEYS", "app:image:5:@*"]).remove(0);
    let keys = [key.clone(), other.clone()];
    // Once by whoever waits to the end, once in a batch, once by a caller with less patience than the store.
    for (many, patience) in [(false, 500), (true, 500), (false, 90)] {
        site.raw::<()>(&["HSET", &group, "metadata", &"V".repeat(256 << 20)]);
        let read = async || {
            if many {
                site.through.get_many(&keys).await.map(drop)
            } else {
                site.through.lookup(&key).await.map(drop)
            }
        };
        let read_so_long = tokio::time::timeout(Duration::from_millis(patience), read()).await;
        if let Ok(read) = read_so_long {
            let error = read.expect_err("nobody reads so much in so little time");
            assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        }
        eventually("reads are answered again", async || read().await.is_ok()).await;
        assert!(site.raw::<usize>(&["HSTRLEN", &group, "metadata"]) < 100, "it is gone");
        load(&site.beside, &key, small("new")).await;
        assert_eq!(held(&site.beside, &key).await.unwrap(), "new");
        assert_eq!(held(&site.beside, &other).await.unwrap(), "neighbour");
    }
}

/// Kilobytes of memory of this process that are in use.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn lengths_that_promise_gigabytes_cost_none() {
    let mut site = Site::new(Duration::from_millis(300)).await;
    let key = key("image:5:metadata");
    let before = resident();
    let nested = "*1\r\n".repeat(10_000);
    for bomb in [
        "$536870911\r\n",
        "*2147483647\r\n",
        "*536870911\r\n$1\r\na\r\n",
        ":7\r\n",
        "+OK\r\n",
        "%99999999\r\n",
        &nested,
    ] {
        site.proxy.set(Mode::Garbage(Bytes::from(bomb.to_owned()))).await;
        for _ in 0..3 {
            let started = Instant::now();
            let found = site.through.lookup(&key).await;
            assert!(found.as_ref().map_or(true, |found| found.entry.is_none()), "{bomb:.20?}: {found:?}");
            assert!(started.elapsed() < BRIEF);
        }
        site.proxy.set(Mode::Pass).await;
        eventually("it heals", async || site.through.delete(&key).await.is_ok()).await;
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 400_000, "{grown} kB more than before, with the other tests' own");
}
