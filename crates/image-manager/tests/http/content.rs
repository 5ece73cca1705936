//! Originals: whole, in part, and not at all when the client has them.

use crate::harness::{Server, png};

#[test]
fn the_original_comes_back_byte_by_byte() {
    let server = Server::start();
    let picture = png([1, 2, 3]);
    let image = server.upload(&server.project(), "so \u{e9}.png", &picture);
    let path = format!("/api/images/{image}/content");
    for _ in 0..2 {
        let answer = server.get("bob", &path).expect(200);
        assert_eq!(answer.body, picture);
        assert_eq!(answer.source(), "bypass");
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
        assert_eq!(answer.source(), "bypass");
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
