//! Originals: whole, in part, and not at all when the client has them.

use crate::harness::{Answer, Server, png};

#[test]
fn the_original_comes_back_byte_by_byte() {
    let server = Server::start();
    let picture = png([1, 2, 3]);
    let image = server.upload(&server.project(), "so \u{e9}.png", &picture);
    let path = format!("/api/images/{image}/content");
    for _ in 0..2 {
        let answer = server.get("bob", &path).expect(200);
        assert_eq!(answer.body, picture);
        assert_eq!(answer.source(), "");
        assert_eq!(answer.header("content-type"), "image/png");
        assert_eq!(answer.header("content-length"), picture.len().to_string());
        assert_eq!(answer.header("accept-ranges"), "bytes");
        assert_eq!(answer.header("cache-control"), "private, no-cache");
        assert_eq!(answer.header("content-disposition"), "inline; filename*=UTF-8''so%20%C3%A9.png");
    }
    let head = server.request("HEAD", &path, &[("x-user", "ann")], None).expect(200);
    assert_eq!(head.header("content-length"), picture.len().to_string());
    assert!(head.body.is_empty());
}

#[test]
fn a_range_gives_a_part() {
    let server = Server::start();
    let picture = png([1, 2, 3]);
    let length = picture.len();
    let image = server.upload(&server.project(), "a.png", &picture);
    let path = format!("/api/images/{image}/content");
    let ask = |range: &str| server.request("GET", &path, &[("x-user", "ann"), ("range", range)], None);
    for (range, from, to) in [
        ("bytes=0-9", 0, 10),
        ("bytes=5-", 5, length),
        ("bytes=-7", length - 7, length),
        ("bytes=3-99999999", 3, length),
    ] {
        let answer = ask(range).expect(206);
        assert_eq!(answer.body, picture[from..to], "{range}");
        assert_eq!(answer.header("content-range"), format!("bytes {from}-{}/{length}", to - 1));
        assert_eq!(answer.source(), "");
    }
    let refused = ask(&format!("bytes={length}-")).expect(416);
    assert_eq!(refused.header("content-range"), format!("bytes */{length}"));
    assert_eq!(ask("bytes=0-1,4-5").expect(200).body, picture);

    let tag = ask("bytes=0-1").header("etag").to_owned();
    let resume = |tag: &str| {
        server.request("GET", &path, &[("x-user", "ann"), ("range", "bytes=2-"), ("if-range", tag)], None)
    };
    assert_eq!(resume(&tag).expect(206).body, picture[2..]);
    assert_eq!(resume("\"old\"").expect(200).body, picture);
}

#[test]
fn a_replaced_original_has_another_tag() {
    let server = Server::start();
    let image = server.upload(&server.project(), "a.png", &png([1, 1, 1]));
    let path = format!("/api/images/{image}/content");
    let tag = server.get("ann", &path).expect(200).header("etag").to_owned();
    server
        .form("PUT", "ann", &format!("/api/images/{image}/file"), &[("file", None, &png([1, 1, 1]))])
        .expect(200);
    server.request("GET", &path, &[("x-user", "ann"), ("if-none-match", &tag)], None).expect(200);
}

/// A request for the content of an image that holds `picture`, with some headers: status, headers and body.
fn ask(method: &str, headers: &[(&str, &str)]) -> (Answer, Vec<u8>, String) {
    let server = Server::start();
    let picture = png([1, 2, 3]);
    let image = server.upload(&server.project(), "a.png", &picture);
    let path = format!("/api/images/{image}/content");
    let tag = server.get("ann", &path).expect(200).header("etag").to_owned();
    let headers = headers.iter().map(|(name, value)| (*name, value.replace("TAG", &tag)));
    let headers: Vec<_> = headers.chain([("x-user", "ann".to_owned())]).collect();
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    (server.request(method, &path, &headers, None), picture, tag)
}

#[test]
fn head_says_what_get_without_ranges_would() {
    for range in ["bytes=0-1", "bytes=99999999-"] {
        let (answer, picture, tag) = ask("HEAD", &[("range", range)]);
        let answer = answer.expect(200);
        assert_eq!(answer.header("content-length"), picture.len().to_string());
        assert_eq!((answer.header("content-range"), answer.header("etag")), ("", tag.as_str()));
    }
}

#[test]
fn not_modified_claims_no_length_and_keeps_what_identifies_the_representation() {
    for method in ["GET", "HEAD"] {
        for tags in ["TAG", "W/TAG", "\"other\", TAG", "*"] {
            let (answer, _, tag) = ask(method, &[("if-none-match", tags), ("range", "bytes=0-1")]);
            let answer = answer.expect(304);
            assert_eq!(
                (answer.header("content-length"), answer.header("etag")),
                ("", tag.as_str()),
                "{tags}"
            );
            assert_eq!(
                (answer.header("vary"), answer.header("cache-control")),
                ("X-User", "private, no-cache")
            );
        }
    }
}

#[test]
fn conditions_are_weighed_in_the_order_of_the_standard() {
    const DATE: &str = "Wed, 21 Oct 2015 07:28:00 GMT";
    for (headers, status) in [
        (&[("if-match", "TAG")][..], 200),
        (&[("if-match", "*")], 200),
        (&[("if-match", "\"other\"")], 412),
        (&[("if-match", "W/TAG")], 412),
        (&[("if-match", "\"other\""), ("if-none-match", "TAG")], 412),
        (&[("if-match", "TAG"), ("if-none-match", "TAG")], 304),
        (&[("if-match", "\"other\""), ("range", "bytes=0-1")], 412),
        (&[("if-match", "TAG"), ("range", "bytes=0-1")], 206),
        (&[("if-none-match", "\"other\""), ("range", "bytes=0-1")], 206),
        (&[("if-none-match", "TAG"), ("range", "bytes=99999999-")], 304),
        // There is no date of modification to compare with.
        (&[("if-modified-since", "Thu, 01 Jan 2099 00:00:00 GMT")], 200),
        (&[("if-unmodified-since", DATE)], 200),
        (&[("if-range", DATE), ("range", "bytes=0-1")], 200),
        (&[("if-range", "W/TAG"), ("range", "bytes=0-1")], 200),
        (&[("if-range", "TAG"), ("range", "bytes=0-1")], 206),
        (&[("if-range", "TAG"), ("range", "bytes=99999999-")], 416),
        (&[("if-range", "\"other\""), ("range", "bytes=99999999-")], 200),
        (&[("if-range", "TAG")], 200),
        (&[("range", "BYTES=0-1")], 206),
        (&[("range", "bytes=,0-1,")], 206),
        (&[("range", "bytes=-0")], 416),
        (&[("range", "pages=0-1")], 200),
    ] {
        assert_eq!(ask("GET", headers).0.status, status, "{headers:?}");
    }
}

#[test]
fn a_file_is_replaced_only_where_the_conditions_hold() {
    let server = Server::start();
    let image = server.upload(&server.project(), "a.png", &png([1, 1, 1]));
    let tag =
        server.get("ann", &format!("/api/images/{image}/content")).expect(200).header("etag").to_owned();
    let put = |name, value: &str| {
        let headers = [("x-user", "ann"), ("content-type", "image/png"), (name, value)];
        server.request("PUT", &format!("/api/images/{image}/file"), &headers, Some(&png([2, 2, 2])))
    };
    assert_eq!(put("if-match", "\"other\"").expect(412).code(), "precondition_failed");
    put("if-none-match", "*").expect(412);
    put("if-match", &tag).expect(200);
    put("if-match", &tag).expect(412);
}
