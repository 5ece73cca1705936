//! Fuzzed headers of requests and responses: the layer answers as the handler would, and never panics.

use cache_facade::{Cache, ManualClock};
use http::header::{HeaderName, HeaderValue};
use proptest::prelude::*;

use crate::support::{Site, get, pages, response};

/// Headers that mean something to the layer, and one that does not.
const NAMES: [&str; 22] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "age",
    "authorization",
    "cache-control",
    "cache-status",
    "connection",
    "content-encoding",
    "content-language",
    "cookie",
    "date",
    "etag",
    "expires",
    "if-modified-since",
    "if-none-match",
    "last-modified",
    "pragma",
    "set-cookie",
    "vary",
    "x-other",
    "transfer-encoding",
];

/// Values that mean something to the layer, cut and joined, and bytes that need not be UTF-8.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "no-store",
        "private",
        "no-cache",
        "max-age=0",
        "only-if-cached",
        "*",
        "accept",
        "Accept-Language",
        "cookie",
        "\"a\"",
        "W/\"a\"",
        "gzip",
        "close, x-other",
        "chunked",
        "Tue, 01 Dec 2026 20:00:00 GMT",
        ",",
        "=",
        "\"",
        "",
    ]);
    let part = prop_oneof![
        3 => known.prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(prop_oneof![0x20..0x7f_u8, 0x80..=0xff_u8, Just(b'\t')], 0..12),
    ];
    prop::collection::vec(part, 1..4).prop_map(|parts| parts.join(&b", "[..]))
}

fn headers() -> impl Strategy<Value = Vec<(&'static str, Vec<u8>)>> {
    prop::collection::vec((prop::sample::select(&NAMES[..]), value()), 0..6)
}

fn named(headers: &[(&'static str, Vec<u8>)]) -> Vec<(HeaderName, HeaderValue)> {
    let named = |(name, value): &(&'static str, Vec<u8>)| {
        (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap())
    };
    headers.iter().map(named).collect()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_headers_are_each_request_is_answered_as_by_the_handler(
        requests in prop::collection::vec((headers(), 0..3_u8), 1..6),
        response_headers in headers(),
        status in prop::sample::select(vec![200, 203, 204, 301, 403, 404, 410, 500]),
    ) {
        runtime().block_on(async {
            let cache = Cache::memory_with_clock(std::sync::Arc::new(ManualClock::new()));
            let fields = named(&response_headers);
            let site = Site::new(&pages(&cache), move |_, _| {
                let mut response = response(status, &[], "body");
                for (name, value) in &fields {
                    response.headers_mut().append(name, value.clone());
                }
                response
            });
            for (request_headers, query) in &requests {
                let lines = named(request_headers);
                let request = lines.iter().fold(get(&format!("/a?{query}")), |request, (name, value)| request.header(name, value));
                let reply = site.send(request).await;
                let is_own = reply.status == status && reply.body == "body";
                let is_unchanged = reply.status == 304 && reply.body.is_empty();
                let is_unavailable = reply.status == 504 && reply.body.is_empty();
                prop_assert!(is_own || is_unchanged || is_unavailable, "{reply:?}");
                prop_assert!(reply.headers.contains_key("cache-status"));
                let asks = |name: &str| request_headers.iter().any(|(found, _)| *found == name);
                prop_assert!(!is_unchanged || asks("if-none-match") || asks("if-modified-since"));
                prop_assert!(!is_unavailable || asks("cache-control"));
                // Everything else that the handler sent is there.
                let has_hops = response_headers.iter().any(|(name, _)| *name == "connection");
                if is_own && !has_hops {
                    for (name, value) in named(&response_headers) {
                        let is_kept = !["age", "connection", "cache-status", "date", "transfer-encoding"].contains(&name.as_str());
                        let found = reply.headers.get_all(&name).iter().any(|found| found == value);
                        prop_assert!(found || !is_kept, "{name}: {value:?} of {reply:?}");
                    }
                }
            }
            Ok(())
        })?;
    }

    #[test]
    fn a_response_that_sets_a_cookie_or_forbids_it_is_never_stored_in_whatever_company(
        response_headers in headers(),
        forbidding in prop::sample::select(vec![
            ("set-cookie", "a=b"), ("cache-control", "private"), ("cache-control", "No-Store"), ("vary", "*"),
            ("vary", "cookie"), ("vary", "x-other"), ("content-type", "text/event-stream"),
        ]),
        at: prop::sample::Index,
    ) {
        runtime().block_on(async {
            let (name, value) = forbidding;
            let mut all = response_headers.clone();
            all.insert(at.index(all.len() + 1), (name, value.as_bytes().to_vec()));
            let fields = named(&all);
            let site = Site::new(&pages(&Cache::memory()), move |_, call| {
                let mut response = response(200, &[], format!("call {call}"));
                for (name, value) in &fields {
                    response.headers_mut().append(name, value.clone());
                }
                response
            });
            for call in 0..3 {
                let reply = site.get("/a").await;
                prop_assert_eq!(reply.text(), format!("call {call}"));
            }
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn a_response_with_as_many_fields_as_there_can_be_is_answered() {
    for fields in [1000, 24_000] {
        let site = Site::new(&pages(&Cache::memory()), move |_, _| {
            let mut response = response(200, &[], "body");
            for number in 0..fields {
                let name: HeaderName = format!("x-{number}").parse().unwrap();
                response.headers_mut().insert(name, HeaderValue::from_static("1"));
            }
            response
        });
        for _ in 0..2 {
            assert_eq!(site.get("/a").await.text(), "body");
        }
        assert_eq!(site.calls() == 1, fields == 1000);
    }
}

#[tokio::test]
async fn values_that_are_not_utf_8_are_stored_as_they_are() {
    let value = HeaderValue::from_bytes(b"\xff\xfe caf\xe9").unwrap();
    let sent = value.clone();
    let site = Site::new(&pages(&Cache::memory()), move |_, _| {
        let mut response = response(200, &[], "body");
        response.headers_mut().insert("x-name", sent.clone());
        response.headers_mut().insert("etag", sent.clone());
        response
    });
    for _ in 0..2 {
        let reply = site.get("/a").await;
        assert_eq!((reply.headers.get("x-name"), reply.headers.get("etag")), (Some(&value), Some(&value)));
    }
    assert_eq!(site.calls(), 1);
}
