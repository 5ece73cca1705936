//! One client's response is not given to another one.

use cache_facade::Cache;
use http::header::{AUTHORIZATION, COOKIE};
use http::request::Parts;

use crate::support::{Site, get, group, pages, response};

/// The viewer that the authorisation has found, as far as these tests are concerned.
fn viewer(request: &Parts) -> Option<String> {
    request.headers.get("x-viewer").map(|viewer| viewer.to_str().unwrap().to_owned())
}

// Law: a request with `Authorization` or `Cookie` is never stored, unless the key names the viewer or the route is public.
#[tokio::test]
async fn a_request_with_credentials_is_neither_stored_nor_answered_from_the_cache() {
    for header in [AUTHORIZATION, COOKIE] {
        let site = Site::with(&pages(&Cache::memory()), 200, &[]);
        let with_credentials = || site.send(get("/a").header(&header, "secret"));
        assert_eq!(with_credentials().await.text(), "call 0");
        assert_eq!(site.get("/a").await.text(), "call 1", "the first one was not stored");
        let again = with_credentials().await;
        assert_eq!((again.text(), again.cache_status()), ("call 2", "fwd=bypass; detail=credentials"));
        assert_eq!(site.get("/a").await.text(), "call 1");
    }
}

// Law: unless the key names the viewer (`per_viewer`).
#[tokio::test]
async fn each_viewer_has_a_response_of_their_own() {
    let site = Site::new(&pages(&Cache::memory()).per_viewer(viewer), |request, call| {
        response(200, &[("cache-control", "private")], format!("{:?} {call}", viewer(request)))
    });
    for round in 0..2 {
        for (number, name) in ["ada", "bob", ""].into_iter().enumerate() {
            let reply = site.send(get("/a").header("x-viewer", name).header(COOKIE, "session")).await;
            assert_eq!(reply.text(), format!("Some({name:?}) {number}"));
            assert_eq!(reply.is_hit(), round == 1);
        }
    }
}

// Law: a request without a viewer is private, as without `per_viewer`.
#[tokio::test]
async fn without_a_viewer_credentials_and_private_responses_are_not_stored() {
    let site = Site::new(&pages(&Cache::memory()).per_viewer(viewer), |request, call| {
        let control = if request.uri.path() == "/private" { "private" } else { "public" };
        response(200, &[("cache-control", control)], format!("call {call}"))
    });
    for _ in 0..2 {
        assert!(!site.send(get("/a").header(COOKIE, "session")).await.is_hit());
        assert!(!site.get("/private").await.is_hit());
    }
    assert!(!site.get("/a").await.is_hit());
    assert!(site.get("/a").await.is_hit(), "without credentials");
    assert!(!site.send(get("/a").header("x-viewer", "ada")).await.is_hit(), "which is not that of a viewer");
}

// Law: or the route is declared `public`.
#[tokio::test]
async fn on_a_public_route_all_clients_share_a_response() {
    let site = Site::with(&pages(&Cache::memory()).public(), 200, &[]);
    site.send(get("/a").header(AUTHORIZATION, "secret")).await;
    assert!(site.send(get("/a").header(COOKIE, "session")).await.is_hit());
    assert!(site.get("/a").await.is_hit());
}

// Law: a response with `Set-Cookie` is never stored.
#[tokio::test]
async fn a_response_that_sets_a_cookie_is_never_stored() {
    let cache = Cache::memory();
    for layer in [pages(&cache), pages(&cache).public(), pages(&cache).per_viewer(viewer)] {
        let site =
            Site::with(&layer, 200, &[("set-cookie", "session=1"), ("cache-control", "public, max-age=60")]);
        for call in 0..3 {
            let reply = site.send(get("/a").header("x-viewer", "ada")).await;
            assert_eq!((reply.text(), reply.header("set-cookie")), (&*format!("call {call}"), "session=1"));
        }
    }
}

// Law: nor one with `no-store`, or with `private` unless per viewer.
#[tokio::test]
async fn a_response_that_forbids_it_is_not_stored() {
    for control in ["no-store", "private", "max-age=60, PRIVATE", "private=\"x-user\"", "public, no-store"] {
        for is_public in [false, true] {
            let layer = pages(&Cache::memory());
            let layer = if is_public { layer.public() } else { layer };
            let site = Site::new(&layer, move |_, call| {
                response(200, &[("cache-control", control)], format!("call {call}"))
            });
            site.get("/a").await;
            assert_eq!(site.get("/a").await.text(), "call 1", "{control}");
        }
    }
}

#[tokio::test]
async fn a_private_response_is_stored_for_its_viewer_and_one_that_must_not_be_stored_is_not() {
    let site = Site::new(&pages(&Cache::memory()).per_viewer(viewer), |request, call| {
        response(200, &[("cache-control", &request.uri.path()[1..])], format!("call {call}"))
    });
    for (path, is_stored) in [("/private", true), ("/no-store", false)] {
        site.send(get(path).header("x-viewer", "ada")).await;
        assert_eq!(site.send(get(path).header("x-viewer", "ada")).await.is_hit(), is_stored);
        assert!(!site.send(get(path).header("x-viewer", "bob")).await.is_hit());
    }
}

#[tokio::test]
async fn an_invalidation_of_the_key_or_the_group_concerns_all_viewers() {
    let cache = Cache::memory();
    let site = Site::with(&pages(&cache).per_viewer(viewer), 200, &[]);
    let key =
        cache.family::<(String, Option<String>), bytes::Bytes>("page").unwrap().key(("/a", None::<&str>));
    for by_key in [false, true] {
        for name in ["ada", "bob"] {
            site.send(get("/a").header("x-viewer", name)).await;
            assert!(site.send(get("/a").header("x-viewer", name)).await.is_hit());
        }
        if by_key {
            assert!(cache.invalidate(&key).await.is_ok());
        } else {
            assert!(cache.invalidate(&group("/a")).await.is_ok());
        }
        for name in ["ada", "bob"] {
            assert!(!site.send(get("/a").header("x-viewer", name)).await.is_hit(), "by key: {by_key}");
        }
    }
}

// A layer per viewer and one for all over one key find each other's values, and serve none of them.
#[tokio::test]
async fn a_page_for_all_is_not_served_to_a_viewer_nor_the_other_way_round() {
    let cache = Cache::memory();
    let for_all = Site::with(&pages(&cache), 200, &[]);
    let per_viewer = Site::new(&pages(&cache).per_viewer(viewer), |request, _| {
        response(200, &[], format!("{:?}", viewer(request)))
    });
    for _ in 0..3 {
        assert!(for_all.get("/a").await.text().starts_with("call"));
        for name in ["ada", "bob"] {
            let reply = per_viewer.send(get("/a").header("x-viewer", name)).await;
            assert_eq!(reply.text(), format!("Some({name:?})"));
        }
    }
}
