//! What was put is what is read, digit by digit; and a hit is what the miss was, byte for byte.

use twox_hash::XxHash3_64;

use crate::harness::{Answer, Server, png};

/// The JSON text of the metadata in an answer that holds one image.
fn metadata_of(answer: &Answer) -> &str {
    let body = std::str::from_utf8(&answer.body).unwrap();
    let (_, metadata) = body.split_once("\"metadata\":").unwrap();
    metadata.split_once(",\"uploaded_by\"").unwrap().0
}

/// Puts metadata and reads them in every way there is.
#[track_caller]
fn is_kept(server: &Server, project: &str, image: &str, sent: &str, kept: &str) {
    let path = format!("/api/images/{image}");
    let headers = [("x-user", "ann"), ("content-type", "application/json")];
    let answer =
        server.request("PUT", &format!("{path}/metadata"), &headers, Some(sent.as_bytes())).expect(200);
    assert_eq!(metadata_of(&answer), kept);
    for path in [path, format!("/api/projects/{project}/images")] {
        let [miss, hit] = [(); 2].map(|()| server.get("ann", &path).expect(200));
        assert_eq!((miss.source(), hit.source()), ("miss", "hit"));
        assert_eq!(metadata_of(&miss), kept);
        assert_eq!(hit.body, miss.body);
    }
}

fn random(count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(|number| XxHash3_64::oneshot(&number.to_le_bytes()))
}

/// Objects of many numbers each, as most writers of JSON write them.
fn objects<T: ToString>(numbers: impl Iterator<Item = T>) -> Vec<String> {
    let numbers: Vec<String> = numbers.map(|number| number.to_string()).collect();
    let object = |numbers: &[String]| format!(r#"{{"numbers":[{}]}}"#, numbers.join(","));
    numbers.chunks(300).map(object).collect()
}

#[test]
fn random_numbers_are_read_as_they_were_put() {
    let server = Server::start();
    let project = server.project();
    let image = server.upload(&project, "a.png", &png([1, 2, 3]));
    let doubles = || random(6_000).map(f64::from_bits).filter(|number| number.is_finite());
    let unit = random(3_000).map(|bits| (bits >> 11) as f64 / (1_u64 << 53) as f64);
    let kept = [
        objects(doubles().map(|number| format!("{number:?}"))),
        objects(doubles().map(|number| format!("{number:E}"))),
        objects(unit),
        objects(random(600)),
        objects(random(600).map(|bits| i64::from_ne_bytes(bits.to_ne_bytes()))),
        objects(random(300).map(|bits| -i128::from(bits) * i128::from(bits >> 1))),
        objects(
            random(300)
                .map(|bits| f32::from_bits(u32::try_from(bits >> 32).unwrap()))
                .filter(|number| number.is_finite()),
        ),
    ];
    for text in kept.iter().flatten() {
        is_kept(&server, &project, &image, text, text);
    }
}

#[test]
fn every_sort_of_metadata_is_read_as_it_was_put() {
    let server = Server::start();
    let project = server.project();
    let image = server.upload(&project, "a.png", &png([1, 2, 3]));
    let digits = "1234567890".repeat(30);
    for text in [
        r#"{"x":0.9215686321258545,"y":-0.0,"z":-0,"w":0.10,"v":1E5,"u":1e-400,"t":5e-324,"s":1.7976931348623157e308}"#,
        r#"{"a":18446744073709551616,"b":-9223372036854775809,"c":170141183460469231731687303715884105727}"#,
        &format!(r#"{{"long":{digits},"longer":0.{digits}}}"#),
        r#"{"zebra":1,"apple":2,"":{"b":[],"a":{}},"mango":[null,true,false]}"#,
        r#"{"$serde_json::private::RawValue":"[1, 2]","$serde_json::private::Number":"1"}"#,
        &format!(r#"{{"deep":{}1{}}}"#, "[".repeat(119), "]".repeat(119)),
        "{\"text\":\"\\\"\\\\\\n\\u0000é😀\u{2028}/\"}",
    ] {
        is_kept(&server, &project, &image, text, text);
    }
    is_kept(&server, &project, &image, " { \"a\" : [ 1.0 , \"\\u00e9\" ] } ", "{\"a\":[1.0,\"é\"]}");
}

#[test]
fn what_would_be_read_in_several_ways_is_refused() {
    let server = Server::start();
    let project = server.project();
    let image = server.upload(&project, "a.png", &png([1, 2, 3]));
    is_kept(&server, &project, &image, r#"{"kept":1.10}"#, r#"{"kept":1.10}"#);
    let headers = [("x-user", "ann"), ("content-type", "application/json")];
    let path = format!("/api/images/{image}");
    for (text, status) in [
        (r#"{"a":1,"a":2}"#, 422),
        (r#"{"a":[{"b":1,"\u0062":1}]}"#, 422),
        (r#"{"a":1e999}"#, 400),
        (r#"{"a":"\udc00"}"#, 400),
        (r#"{"a":NaN}"#, 400),
        (r#"{"a":01}"#, 400),
        (r#"{"a":1} {}"#, 400),
        (&format!(r#"{{"deep":{}1{}}}"#, "[".repeat(120), "]".repeat(120)), 400),
    ] {
        let body = Some(text.as_bytes());
        server.request("PUT", &format!("{path}/metadata"), &headers, body).expect(status);
        let fields = [("metadata", None, text.as_bytes()), ("file", Some("a.png"), &png([1, 2, 3])[..])];
        server.form("POST", "ann", &format!("/api/projects/{project}/images"), &fields).expect(status);
    }
    assert_eq!(metadata_of(&server.get("ann", &path).expect(200)), r#"{"kept":1.10}"#);
}

#[test]
fn an_uploads_metadata_are_kept_as_those_that_are_put() {
    let server = Server::start();
    let path = format!("/api/projects/{}/images", server.project());
    let metadata = r#"{"x":0.9215686321258545,"b":1,"a":18446744073709551616}"#;
    let fields = [("metadata", None, metadata.as_bytes()), ("file", Some("a.png"), &png([1, 2, 3])[..])];
    assert_eq!(metadata_of(&server.form("POST", "ann", &path, &fields).expect(201)), metadata);
    for source in ["miss", "hit"] {
        let answer = server.get("ann", &path).expect(200);
        assert_eq!((answer.source(), metadata_of(&answer)), (source, metadata));
    }
    let found =
        server.get("ann", &format!("{path}?search_field=x&search_value=0.9215686321258545")).expect(200);
    assert_eq!(found.json()["total"], 1);
}

#[test]
fn the_results_of_an_analysis_are_the_same_on_a_miss_and_on_a_hit() {
    let server = Server::start();
    let project = server.project();
    for shade in 0..20 {
        let image = server.upload(&project, "a.png", &png([shade * 11, 255 - shade, shade]));
        for kind in ["histogram", "mean_colour", "sharpness"] {
            let body = serde_json::json!({ "kind": kind });
            let analysis = server.send("POST", "ann", &format!("/api/images/{image}/analyses"), &body).json();
            let path = format!("/api/analyses/{}/results", analysis["id"].as_str().unwrap());
            let [miss, hit] = [(); 2].map(|()| server.get("ann", &path).expect(200));
            assert_eq!((miss.source(), hit.source(), &miss.body), ("miss", "hit", &hit.body));
        }
    }
}
