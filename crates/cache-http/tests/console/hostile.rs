//! Keys and names that try to be something else: they come back as text, in JSON, unchanged.

use cache_facade::{Cache, CacheKey};

use crate::support::Site;

const NAMES: [&str; 7] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "\u{202e}gnp.exe\u{202c}",
    "שלום",
    "a\u{0}b\r\ndata: x\n\nevent: sample",
    "😀🏳️‍🌈",
    "</style><svg onload=alert(1)>",
];

fn keys_of(names: &[&str]) -> Vec<CacheKey> {
    names.iter().map(|name| CacheKey::builder(*name, *name).part(*name).build().unwrap()).collect()
}

/// The characters of a query that are not letters or digits, escaped.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| {
        if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(escape).collect()
}

#[tokio::test]
async fn hostile_keys_are_explained_counted_and_cleared_as_they_are() {
    let site = Site::of(Cache::memory());
    for key in keys_of(&NAMES) {
        site.cache.set(&key, &"value".to_owned()).await.unwrap();
        let answer = site.get(&format!("/api/v1/key?key={}", escaped(key.as_str()))).await;
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        let explained = answer.json();
        assert_eq!(explained["explanation"]["key"], key.as_str());
        assert_eq!(explained["explanation"]["found"], true, "{key}");
        let body = serde_json::json!({ "key": key.as_str() }).to_string();
        assert_eq!(site.post("/api/v1/clear/dry-run", &body).await.json()["entries"], 1, "{key}");
        assert_eq!(site.post("/api/v1/clear", &body).await.json()["removed"], 1, "{key}");
    }
}

#[tokio::test]
async fn hostile_families_are_named_as_they_are() {
    let site = Site::of(Cache::memory());
    let keys = keys_of(&NAMES);
    for key in &keys {
        site.cache.set(key, &"value".to_owned()).await.unwrap();
    }
    let families = site.get("/api/v1/families").await.json();
    let mut names: Vec<_> = families["families"]
        .as_array()
        .unwrap()
        .iter()
        .map(|family| family["name"].as_str().unwrap())
        .collect();
    let mut expected: Vec<_> = keys.iter().map(CacheKey::family).collect();
    names.sort_unstable();
    expected.sort_unstable();
    assert_eq!(names, expected);
}

#[tokio::test]
async fn input_that_is_no_key_is_repeated_in_json_alone() {
    let site = Site::of(Cache::memory());
    for name in NAMES {
        let answer = site.get(&format!("/api/v1/key?key={}", escaped(name))).await;
        answer.is_refused(400, "invalid_key");
    }
    // Bytes that are no text.
    site.get("/api/v1/key?key=%ff%fe").await.is_refused(400, "invalid_key");
}
