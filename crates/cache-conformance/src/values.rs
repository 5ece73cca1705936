//! A hit returns exactly what was stored, under exactly its key.

use std::collections::HashSet;
use std::time::Duration;

use super::probe::{Probe, key, noise};
use super::subject::Subject;
use cache_core::{CacheKey, Clock, CodecId, KeyBuilder, LONGEST_KEY, NewEntry};

/// Sizes around the rows and pages that stores cut values into.
const SIZES: &[usize] = &[0, 1, 100, 3900, 4079, 4080, 4081, 4096, 8160, 8161, 16_384, 102_400, 1_048_576];

/// Values of every size come back byte for byte: filled, replaced by another size, and set.
pub async fn values_of_every_size_come_back_exactly(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    let largest = probe.promises.largest_value.map_or(u64::MAX, |largest| largest / 2);
    for (n, size) in SIZES.iter().filter(|size| **size as u64 <= largest).enumerate() {
        let key = CacheKey::builder("thumbnail", n).part(size).build().expect("the key is short");
        let (first, second, third) = (noise(1, *size), noise(2, *size / 2), noise(3, *size));
        probe.load(&key, first.clone()).await;
        probe.must_hit(&key, first).await;
        probe.load(&key, second.clone()).await;
        probe.must_hit(&key, second).await;
        probe.set(&key, third.clone()).await;
        probe.must_hit(&key, third).await;
        let got = probe.accept(probe.cache.get(&key).await).flatten();
        assert!(got.is_none_or(|entry| entry.payload == noise(3, *size)));
    }
}

/// Codec, shape and times come back with the payload.
pub async fn an_entry_keeps_its_codec_shape_and_times(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    let now = subject.clock().now();
    let mut entry = NewEntry::new("payload").expires_in(Duration::from_secs(60));
    entry.codec = CodecId::Json;
    entry.shape = 0xDEAD_BEEF_0123_4567;
    entry.fresh_for = Some(Duration::from_secs(20));
    for round in ["filled", "set"] {
        let key = CacheKey::builder("image", 5).part(round).build().expect("the key is short");
        if round == "filled" {
            probe.load(&key, entry.clone()).await;
        } else {
            probe.set(&key, entry.clone()).await;
        }
        if let Some(found) = probe.must_hit(&key, "payload").await {
            assert_eq!(found, entry.clone().stored_at(now), "{key}");
        }
    }
    probe.load(&key("image:6:metadata"), "plain").await;
    if let Some(found) = probe.must_hit(&key("image:6:metadata"), "plain").await {
        assert_eq!(found, NewEntry::new("plain").stored_at(now));
    }
}

/// Keys up to 1 KiB, with every character that is escaped, next to keys that look almost the same.
pub async fn every_key_that_can_be_built_holds_its_own_value(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    let long = "x".repeat(200);
    let longest = |last: char| {
        let mut key = CacheKey::builder("family", "id");
        for _ in 0..4 {
            key = key.part(&long);
        }
        let length = "family:id".len() + 4 * 201;
        key.part(format!("{}{last}", "y".repeat(LONGEST_KEY - length - 3))).part("")
    };
    let one = || CacheKey::builder("f", "i");
    let builders = [
        one(),
        one().part(""),
        one().part("").part(""),
        one().part("a:b"),
        one().part("a").part("b"),
        one().part("None"),
        one().part("null"),
        one().part("*"),
        one().part("?"),
        one().part("[x]{y}\\ %\t\u{0}\u{2003}"),
        one().part("%2A"),
        one().part("\u{e9}\u{1F600}"),
        one().part("e\u{301}"),
        one().part(&long),
        one().part("x".repeat(201)),
        one().part("x".repeat(202)),
        CacheKey::builder("x".repeat(300), "y".repeat(300)).part("z".repeat(300)),
        CacheKey::builder(":", "*"),
        CacheKey::builder("[s]f", "i"),
        longest('a'),
        longest('b'),
    ];
    let mut keys: Vec<_> =
        builders.into_iter().map(KeyBuilder::build).collect::<Result<_, _>>().expect("all are within 1 KiB");
    let scoped = one().part("None").build().and_then(|key| key.in_scope("s")).expect("the scope is a word");
    keys.push(scoped);
    let distinct: HashSet<_> = keys.iter().collect();
    assert_eq!(distinct.len(), keys.len(), "the law itself uses different keys");
    for key in &keys {
        probe.load(key, key.as_str()).await;
    }
    for key in &keys {
        probe.must_hit(key, key.as_str()).await;
    }
    for (n, key) in keys.iter().enumerate() {
        probe.invalidate(key).await;
        probe.must_miss(key).await;
        for other in keys.iter().skip(n + 1) {
            probe.must_hit(other, other.as_str()).await;
        }
    }
}

/// Many keys in one group, and many groups: none gets another's value.
pub async fn no_key_gets_another_keys_value(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    let keys: Vec<_> = (0..500_u32)
        .map(|n| CacheKey::builder("image", n % 7).part(n).build().expect("the key is short"))
        .collect();
    for key in &keys {
        probe.load(key, key.as_str()).await;
    }
    for key in keys.iter().rev() {
        probe.must_hit(key, key.as_str()).await;
    }
}
