//! Thumbnails: their sizes, formats, tags, and how they are kept.

use image::codecs::jpeg::JpegEncoder;
use image::{ImageEncoder, ImageFormat, Rgb, RgbImage};

use crate::harness::{Server, file, plain, png};

fn size(bytes: &[u8]) -> (u32, u32) {
    let picture = image::load_from_memory(bytes).unwrap();
    (picture.width(), picture.height())
}

#[test]
fn a_thumbnail_fits_inside_and_is_never_enlarged() {
    let server = Server::start();
    let image =
        server.upload(&server.project(), "a.png", &file(&plain(300, 150, [7, 7, 7]), ImageFormat::Png));
    let thumbnail = |query: &str| {
        size(&server.get("ann", &format!("/api/images/{image}/thumbnail{query}")).expect(200).body)
    };
    assert_eq!(thumbnail(""), (200, 100));
    assert_eq!(thumbnail("?width=100"), (100, 50));
    assert_eq!(thumbnail("?height=30"), (60, 30));
    assert_eq!(thumbnail("?width=50&height=50"), (50, 25));
    assert_eq!(thumbnail("?width=1&height=1"), (16, 8));
    assert_eq!(thumbnail("?width=99999999999999&height=99999999999999"), (300, 150));
}

#[test]
fn a_side_that_is_no_positive_number_is_refused() {
    let server = Server::start();
    let image = server.upload(&server.project(), "a.png", &png([1, 1, 1]));
    for query in ["width=0", "width=-1", "height=abc", "width=", "height=1.5"] {
        let answer = server.get("ann", &format!("/api/images/{image}/thumbnail?{query}")).expect(400);
        assert_eq!(answer.code(), "bad_request", "{query}");
    }
}

#[test]
fn jpeg_gives_jpeg_and_the_others_png() {
    let server = Server::start();
    let project = server.project();
    for (format, content_type) in [
        (ImageFormat::Jpeg, "image/jpeg"),
        (ImageFormat::Png, "image/png"),
        (ImageFormat::Gif, "image/png"),
        (ImageFormat::WebP, "image/png"),
    ] {
        let image = server.upload(&project, "a", &file(&plain(90, 60, [200, 20, 20]), format));
        let path = format!("/api/images/{image}/thumbnail?width=45&height=45");
        let (miss, hit) = (server.get("ann", &path).expect(200), server.get("bob", &path).expect(200));
        assert_eq!((miss.source(), hit.source()), ("miss", "hit"));
        for answer in [&miss, &hit] {
            assert_eq!(answer.header("content-type"), content_type);
            assert_eq!(image::guess_format(&answer.body).unwrap().to_mime_type(), content_type);
        }
        assert_eq!(miss.body, hit.body);
    }
}

#[test]
fn bounds_with_one_result_share_one_entry() {
    let server = Server::start();
    let image =
        server.upload(&server.project(), "a.png", &file(&plain(300, 150, [7, 7, 7]), ImageFormat::Png));
    let source = |query: &str| {
        let path = format!("/api/images/{image}/thumbnail?{query}");
        server.get("ann", &path).expect(200).source().to_owned()
    };
    assert_eq!(source("width=100&height=100"), "miss");
    assert_eq!(source("width=100&height=2000"), "hit");
    assert_eq!(source("width=2000&height=50"), "hit");
    assert_eq!(source("width=101&height=100"), "miss");
    // Whatever is larger than the picture is the picture.
    assert_eq!(source("width=2000&height=2000"), "miss");
    assert_eq!(source("width=300&height=151"), "hit");
}

#[test]
fn a_photo_taken_upright_is_shown_upright() {
    let server = Server::start();
    // Lying in the file: red on the left, blue on the right. Orientation 6: to be turned by a quarter, red on top.
    let lying = RgbImage::from_fn(200, 100, |x, _| if x < 100 { Rgb([250, 0, 0]) } else { Rgb([0, 0, 250]) });
    let mut exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    exif.extend([6, 0, 0, 0, 0, 0, 0, 0]);
    let mut photo = Vec::new();
    let mut encoder = JpegEncoder::new(&mut photo);
    encoder.set_exif_metadata(exif).unwrap();
    encoder.write_image(&lying, 200, 100, image::ExtendedColorType::Rgb8).unwrap();

    let image = server.upload(&server.project(), "photo.jpg", &photo);
    let seen = server.get("ann", &format!("/api/images/{image}")).expect(200).json();
    assert_eq!((seen["width"].as_u64(), seen["height"].as_u64()), (Some(100), Some(200)));
    let small = server.get("ann", &format!("/api/images/{image}/thumbnail?width=80&height=80")).expect(200);
    let shown = image::load_from_memory(&small.body).unwrap().into_rgb8();
    assert_eq!(shown.dimensions(), (40, 80));
    let (top, bottom) = (shown.get_pixel(20, 5).0, shown.get_pixel(20, 75).0);
    assert!(top[0] > 200 && top[2] < 50 && bottom[0] < 50 && bottom[2] > 200, "{top:?} {bottom:?}");
}

#[test]
fn a_tag_names_the_bytes() {
    let server = Server::start();
    let image = server.upload(&server.project(), "a.png", &png([1, 1, 1]));
    let path = format!("/api/images/{image}/thumbnail?width=32");
    let first = server.get("ann", &path).expect(200);
    let tag = first.header("etag").to_owned();
    assert!(tag.starts_with("W/\"") && tag.ends_with('"') && tag.len() > 10, "{tag}");
    let ask = |tag: &str| server.request("GET", &path, &[("x-user", "ann"), ("if-none-match", tag)], None);
    let known = ask(&tag).expect(304);
    assert_eq!((known.header("etag"), known.source()), (tag.as_str(), "hit"));
    ask("\"other\"").expect(200);

    server
        .form("PUT", "ann", &format!("/api/images/{image}/file"), &[("file", None, &png([200, 1, 1]))])
        .expect(200);
    let new = ask(&tag).expect(200);
    assert_ne!(new.header("etag"), tag);
    // Equal pixels give an equal thumbnail.
    server
        .form("PUT", "ann", &format!("/api/images/{image}/file"), &[("file", None, &png([1, 1, 1]))])
        .expect(200);
    ask(&tag).expect(304);
}
