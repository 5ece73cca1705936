//! Foreign or damaged content under the cache's keys, and replies of another program: a miss, in bounded time and memory.

use std::time::{Duration, Instant};

use bytes::Bytes;
use cache_core::{CacheBackend, CacheBackendExt, CacheKey};
use redis::Connection;
use testkit::Mode;

use crate::support::*;

/// How long one lookup may take on a busy machine.
const BRIEF: Duration = Duration::from_secs(5);

struct Scene {
    site: Site,
    key: CacheKey,
    raw: Connection,
    group: String,
    /// A valid value of `key`, as it is stored.
    valid: Vec<u8>,
}

impl Scene {
    async fn new() -> Self {
        let site = Site::new(PATIENCE).await;
        let key = key("image:5:metadata");
        load(&site.beside, &key, small("the value, which is neither long nor short")).await;
        let mut raw =
            redis::Client::open(site.server.url()).and_then(|client| client.get_connection()).unwrap();
        let group = site.raw::<Vec<String>>(&["KEYS", "app:image:5:@*"]).remove(0);
        let valid = redis::cmd("HGET").arg(&group).arg("metadata").query(&mut raw).unwrap();
        Self { site, key, raw, group, valid }
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
    for length in 0..scene.valid.len() {
        let cut = scene.valid[..length].to_vec();
        scene.plant(&cut);
        scene.misses(&format!("{length} bytes")).await;
    }
    scene.is_replaced("cut short").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_with_any_bit_flipped_is_a_miss() {
    let mut scene = Scene::new().await;
    for bit in 0..scene.valid.len() * 8 {
        let mut flipped = scene.valid.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        scene.plant(&flipped);
        scene.misses(&format!("bit {bit}")).await;
    }
    scene.is_replaced("flipped").await;
    let mut longer = scene.valid.clone();
    longer.push(0);
    scene.plant(&longer);
    scene.misses("a byte more").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_valid_value_of_another_key_is_a_miss() {
    let mut scene = Scene::new().await;
    let (other, valid) = (key("image:5:other"), scene.valid.clone());
    redis::cmd("HSET").arg(&scene.group).arg("other").arg(&valid).exec(&mut scene.raw).unwrap();
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

/// Returns the resident memory of this process in kilobytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn reply_lengths_of_gigabytes_allocate_nothing() {
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
        eventually("the cache recovers", async || site.through.delete(&key).await.is_ok()).await;
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 400_000, "{grown} kB more than before, with the other tests' own");
}
