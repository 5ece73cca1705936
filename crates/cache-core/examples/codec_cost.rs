//! Measures the codecs against bare bincode and bare `serde_json`, and the checks of the header.
//!
//! `cargo run --release -p cache-core --features json --example codec_cost [PART OF A NAME]`

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use cache_core::envelope::{Header, KeyHasher};
use cache_core::{Codec, NewEntry, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
struct Image {
    id: u64,
    project_id: u64,
    name: String,
    media_type: String,
    width: u32,
    height: u32,
    bytes: u64,
    checksum: [u8; 16],
    created_at: i64,
    deleted_at: Option<i64>,
    status: Status,
    tags: Vec<String>,
    location: Option<Location>,
}

#[derive(Clone, Serialize, Deserialize)]
enum Status {
    Ready,
    Failed { reason: String, code: u16 },
}

#[derive(Clone, Serialize, Deserialize)]
struct Location {
    latitude: f64,
    longitude: f64,
}

#[derive(Clone, Serialize, Deserialize)]
struct Page {
    total: u64,
    images: Vec<Image>,
}

fn image(id: u64) -> Image {
    let status = if id.is_multiple_of(7) {
        Status::Failed { reason: "the file ends early".into(), code: 500 }
    } else {
        Status::Ready
    };
    Image {
        id: id * 1_000_003,
        project_id: 42,
        name: format!("holiday-{id}.jpeg"),
        media_type: "image/jpeg".into(),
        width: 4032,
        height: 3024,
        bytes: 2_400_000 + id,
        checksum: [7; 16],
        created_at: 1_704_067_200_000,
        deleted_at: id.is_multiple_of(5).then_some(1_704_067_300_000),
        status,
        tags: vec!["beach".into(), "family".into()],
        location: id.is_multiple_of(2).then_some(Location { latitude: 52.5, longitude: 13.4 }),
    }
}

fn main() {
    println!("{:<40} {:>9} {:>10} {:>10} {:>7}", "value", "bytes", "bare", "ours", "ratio");
    measure("one image", &image(3));
    measure("a page of 100 images", &Page { total: 100, images: (0..100).map(image).collect() });
    measure("10,000 numbers", &(0..10_000_u64).map(|i| i * 7_919).collect::<Vec<_>>());
    measure("10,000 small numbers", &vec![(1_u32, 2_u32); 5_000]);
    measure("64 KiB as Vec<u8>", &vec![7_u8; 65_536]);
    let map: BTreeMap<String, f64> = (0..1_000).map(|i| (format!("metric-{i}"), f64::from(i))).collect();
    measure("a map of 1,000 metrics", &map);
    headers();
}

fn measure<T: Serialize + DeserializeOwned>(name: &str, value: &T) {
    #[cfg(feature = "json")]
    measure_json(&format!("JSON, {name}"), value);
    if std::env::args().nth(1).is_some_and(|part| !name.contains(&part)) {
        return;
    }
    let bare = bincode::config::standard();
    let encoded = Codec::Bincode.encode(value).expect("the sample encodes");
    let payload = &encoded.payload;
    let row = |what: &str, (ours, theirs): (f64, f64)| {
        let name = format!("{name}, {what}");
        println!("{name:<40} {:>9} {theirs:>8.0}ns {ours:>8.0}ns {:>7.2}", payload.len(), ours / theirs);
    };
    row(
        "decode",
        medians(
            || drop(black_box(Codec::Bincode.decode::<T>(black_box(payload), encoded.shape))),
            || drop(black_box(bincode::serde::decode_from_slice::<T, _>(black_box(payload), bare))),
        ),
    );
    row(
        "encode",
        medians(
            || drop(black_box(Codec::Bincode.encode(black_box(value)))),
            || drop(black_box(bincode::serde::encode_to_vec(black_box(value), bare))),
        ),
    );
}

#[cfg(feature = "json")]
fn measure_json<T: Serialize + DeserializeOwned>(name: &str, value: &T) {
    if std::env::args().nth(1).is_some_and(|part| !name.contains(&part)) {
        return;
    }
    let length = Codec::Json.encode(value).expect("the sample encodes").payload.len();
    let (ours, theirs) = medians(
        || drop(black_box(Codec::Json.encode(black_box(value)))),
        || drop(black_box(serde_json::to_vec(black_box(value)).map(Vec::into_boxed_slice))),
    );
    let name = format!("{name}, encode");
    println!("{name:<40} {length:>9} {theirs:>8.0}ns {ours:>8.0}ns {:>7.2}", ours / theirs);
}

/// The time of a call of each in nanoseconds: medians of alternating rounds.
fn medians(ours: impl Fn(), theirs: impl Fn()) -> (f64, f64) {
    let long = |calls| time(&ours, calls) + time(&theirs, calls) > Duration::from_millis(1);
    let calls = (1..30).map(|power| 1 << power).find(|&calls| long(calls)).unwrap_or(1);
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for _ in 0..401 {
        a.push(time(&ours, calls));
        b.push(time(&theirs, calls));
    }
    let median = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times.get(times.len() / 2).map_or(0.0, |time| time.as_secs_f64() * 1e9 / f64::from(calls))
    };
    (median(a), median(b))
}

fn time(work: &impl Fn(), calls: u32) -> Duration {
    let start = Instant::now();
    (0..calls).for_each(|_| work());
    start.elapsed()
}

fn headers() {
    if std::env::args().len() > 1 {
        return;
    }
    let (hasher, now) = (KeyHasher::new("app"), Timestamp::from_millis(1_704_067_200_000));
    let name = "project_images:42:skip:0:limit:100:include_deleted:false";
    for length in [100, 1_024, 51_200] {
        let entry = NewEntry::new(vec![7; length]).stored_at(now);
        let header = *Header::seal(&entry, hasher.hash(name), 0).as_bytes();
        let decode = |key| Header::parse(black_box(&header))?.open(key, entry.payload.clone(), || now);
        let known = hasher.hash(name);
        let (whole, checks) = medians(
            || drop(black_box(decode(hasher.hash(black_box(name))))),
            || drop(black_box(decode(black_box(known)))),
        );
        println!("header checks over {length:>6} bytes: {checks:.0} ns, with the key's hash {whole:.0} ns");
    }
}
