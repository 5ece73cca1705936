//! `Vary`: a response is served to requests alone that have the same values of the headers that it names.

use std::sync::Arc;

use cache_facade::Cache;
use http::header::HeaderName;
use tokio::sync::Notify;

use crate::support::{Reply, Site, get, group, let_others_run, pages, response};

/// A handler that responds in the language, or by another header, that it is asked for.
fn by(cache: &Cache, header: &'static str, vary: &'static str) -> Site {
    Site::new(&pages(cache), move |request, call| {
        let value = request.headers.get(header).map_or("none", |value| value.to_str().unwrap());
        response(200, &[("vary", vary)], format!("{value} {call}"))
    })
}

async fn asked(site: &Site, header: &str, value: &str) -> Reply {
    site.send(get("/a").header(header, value)).await
}

// Law: the named request headers are part of the key.
#[tokio::test]
async fn each_value_of_a_named_header_has_a_response_of_its_own() {
    for header in ["accept", "accept-language", "accept-encoding"] {
        let site = by(&Cache::memory(), header, header);
        // The first response of a route tells by what its responses vary.
        assert_eq!(asked(&site, header, "en").await.cache_status(), "fwd=miss; detail=new-vary");
        assert_eq!(asked(&site, header, "en").await.text(), "en 1");
        assert_eq!(asked(&site, header, "de").await.text(), "de 2");
        assert_eq!(site.get("/a").await.text(), "none 3");
        for (value, text) in [("en", "en 1"), ("de", "de 2")] {
            let reply = asked(&site, header, value).await;
            assert_eq!((reply.text(), reply.cache_status()), (text, "hit"));
        }
        assert_eq!(site.get("/a").await.text(), "none 3", "a header that is absent");
        assert_eq!(asked(&site, header, "").await.text(), " 4", "and one that is empty");
        let reply = site.send(get("/a").header(header, "de").header("x-other", "1")).await;
        assert_eq!(reply.text(), "de 2", "another header makes no difference");
    }
}

// Law: only `Accept`, `Accept-Language` and `Accept-Encoding` unless more are allowed; `Vary: *` never.
#[tokio::test]
async fn a_response_that_varies_by_another_header_is_not_stored_unless_it_is_allowed() {
    for vary in ["user-agent", "accept, user-agent", "*", "accept, *", "not a name", "accept;q=1"] {
        let site = by(&Cache::memory(), "user-agent", vary);
        for call in 0..3 {
            let reply = asked(&site, "user-agent", "x").await;
            assert_eq!(reply.text(), format!("x {call}"), "{vary}");
        }
    }
    let cache = Cache::memory();
    let layer =
        pages(&cache).allow_vary([HeaderName::from_static("user-agent"), HeaderName::from_static("*")]);
    let site = Site::new(&layer, |request, call| {
        response(200, &[("vary", &request.uri.path()[1..])], format!("{call}"))
    });
    for (path, is_stored) in [("/user-agent", true), ("/*", false)] {
        for _ in 0..2 {
            site.send(get(path).header("user-agent", "x")).await;
        }
        assert_eq!(site.send(get(path).header("user-agent", "x")).await.is_hit(), is_stored, "{path}");
    }
}

// Law: an invalidation of the group covers all variants; so does one of the page's key.
#[tokio::test]
async fn an_invalidation_concerns_all_variants() {
    let cache = Cache::memory();
    let site = by(&cache, "accept-language", "Accept-Language");
    let key =
        cache.family::<(String, Option<String>), bytes::Bytes>("page").unwrap().key(("/a", None::<&str>));
    asked(&site, "accept-language", "en").await;
    for by_key in [false, true, false] {
        for language in ["en", "de"] {
            asked(&site, "accept-language", language).await;
            assert!(asked(&site, "accept-language", language).await.is_hit());
        }
        if by_key {
            assert!(cache.invalidate(&key).await.is_ok());
        } else {
            assert!(cache.invalidate(&group("/a")).await.is_ok());
        }
        for language in ["en", "de"] {
            let reply = asked(&site, "accept-language", language).await;
            assert_eq!(reply.cache_status(), "fwd=miss; stored", "by key: {by_key}");
        }
    }
}

#[tokio::test]
async fn a_route_whose_responses_vary_by_more_and_more_is_served_right() {
    let cache = Cache::memory();
    let site = Site::new(&pages(&cache), |request, _| {
        let value = |name| request.headers.get(name).map_or("-", |value| value.to_str().unwrap());
        // Only requests with a language are answered by it.
        let vary = if value("accept-language") == "-" { "accept" } else { "accept, accept-language" };
        response(200, &[("vary", vary)], format!("{} {}", value("accept"), value("accept-language")))
    });
    for round in 0..4 {
        for (accept, language) in [("x", "-"), ("y", "-"), ("x", "en"), ("x", "de"), ("y", "en")] {
            let request = get("/a").header("accept", accept);
            let request = if language == "-" { request } else { request.header("accept-language", language) };
            let reply = site.send(request).await;
            assert_eq!(reply.text(), format!("{accept} {language}"));
            assert!(reply.is_hit() || round < 3, "round {round}: {}", reply.cache_status());
        }
    }
}

#[tokio::test]
async fn a_route_may_have_responses_with_and_without_vary() {
    let cache = Cache::memory();
    let site = Site::new(&pages(&cache), |request, call| {
        let fields: &[_] = if request.uri.path() == "/plain" { &[] } else { &[("vary", "accept")] };
        response(200, fields, format!("{call}"))
    });
    site.get("/plain").await;
    for _ in 0..2 {
        site.get("/varies").await;
    }
    assert!(site.get("/plain").await.is_hit(), "stored before there was a response that varies");
    assert!(site.get("/varies").await.is_hit());
    assert!(!site.get("/plain?2").await.is_hit());
    assert!(site.get("/plain?2").await.is_hit());
}

// The names are stored: another process, whose layer has seen no response yet, finds the variants.
#[tokio::test]
async fn the_variants_that_another_layer_has_stored_are_found() {
    let cache = Cache::memory();
    let site = by(&cache, "accept", "accept");
    for value in ["x", "x", "y"] {
        asked(&site, "accept", value).await;
    }
    let other = by(&cache, "accept", "accept");
    for (value, text) in [("y", "y 2"), ("x", "x 1")] {
        let reply = asked(&other, "accept", value).await;
        assert_eq!((reply.text(), reply.is_hit()), (text, true));
    }
    assert_eq!(other.calls(), 0);
    let head = http::Request::builder().method("HEAD").uri("/a").header("accept", "y");
    assert!(by(&cache, "accept", "accept").send(head).await.is_hit());
}

// As a router of axum that was not given its state.
#[tokio::test]
async fn services_that_see_one_request_each_store_variants() {
    let cache = Cache::memory();
    for (value, status) in [
        ("x", "fwd=miss; detail=new-vary"),
        ("x", "fwd=miss; stored"),
        ("x", "hit"),
        ("y", "fwd=miss; stored"),
        ("y", "hit"),
    ] {
        assert_eq!(asked(&by(&cache, "accept", "accept"), "accept", value).await.cache_status(), status);
    }
    assert!(cache.invalidate(&group("/a")).await.is_ok());
    assert!(!asked(&by(&cache, "accept", "accept"), "accept", "x").await.is_hit());
}

// Requests that wait for the first response of a route, which names a header: those that differ by it get responses of their own,
// and those that do not share one.
#[tokio::test]
async fn requests_that_wait_for_the_first_response_wait_for_those_of_their_values() {
    let gate = Arc::new(Notify::new());
    let opened = Arc::clone(&gate);
    let site = Site::slow(&pages(&Cache::memory()), move |request, call| {
        let opened = Arc::clone(&opened);
        Box::pin(async move {
            if call == 0 {
                opened.notified().await;
            }
            let value = request.headers["accept"].to_str().unwrap();
            response(200, &[("vary", "accept")], format!("{value} {call}"))
        })
    });
    let ask = |value: &'static str| {
        let site = site.clone();
        tokio::spawn(async move { asked(&site, "accept", value).await.text().to_owned() })
    };
    let first = ask("x");
    let_others_run().await;
    let waiting = [ask("x"), ask("y"), ask("x"), ask("y")];
    let_others_run().await;
    gate.notify_one();
    assert_eq!(first.await.unwrap(), "x 0");
    let mut texts = Vec::new();
    for reply in waiting {
        texts.push(reply.await.unwrap());
    }
    let [x, y, ..] = &*texts else { panic!("four replies") };
    assert!(x.starts_with('x') && y.starts_with('y'), "{texts:?}");
    assert_eq!((&texts[2..], site.calls()), (&[x.clone(), y.clone()][..], 3));
}

// A response in an encoding is not served to a client that does not accept it, even where its handler forgot to say so.
#[tokio::test]
async fn an_encoded_response_varies_by_the_encoding() {
    let site = Site::with(&pages(&Cache::memory()), 200, &[("content-encoding", "gzip")]);
    for _ in 0..3 {
        asked(&site, "accept-encoding", "gzip").await;
    }
    assert!(asked(&site, "accept-encoding", "gzip").await.is_hit());
    assert!(!site.get("/a").await.is_hit());
}
