//! The view of an image: metadata, search in them, analyses.

use serde_json::json;

use crate::harness::Answer;
use crate::site::{DEMO, PICTURES_ARE_SHOWN, Site};

const SENT: &str =
    r#"{"ratio":1.10,"10":"ten","2":"two","big":123456789012345678901234567890,"lines":"a\nb"}"#;

/// Puts metadata, digit by digit as written here, to the first sample, and opens its view. Returns the image's path.
fn open_with_metadata(site: &mut Site) -> String {
    let projects = site.server().get(DEMO, "/api/projects").json();
    let listing = format!("/api/projects/{}/images", projects["items"][0]["id"].as_str().unwrap());
    let images = site.server().get(DEMO, &listing).json();
    let path = format!("/api/images/{}", images["items"][0]["id"].as_str().unwrap());
    let headers = [("content-type", "application/json")];
    site.server().request("PUT", &format!("{path}/metadata"), &headers, Some(SENT.as_bytes())).expect(200);
    site.open("/");
    site.tab.click("#gallery li:nth-child(1) a");
    site.tab.until("document.querySelectorAll('#metadata .line').length === 5");
    path
}

fn metadata_of(answer: &Answer) -> String {
    let body = String::from_utf8(answer.body.clone()).unwrap();
    let (_, metadata) = body.split_once("\"metadata\":").unwrap();
    metadata.split_once(",\"uploaded_by\"").unwrap().0.to_owned()
}

#[test]
fn edited_metadata_are_saved_and_found_and_the_rest_keeps_its_digits_and_order() {
    let mut site = Site::with_samples();
    let path = open_with_metadata(&mut site);
    assert_eq!(site.tab.value("document.querySelector('#metadata [type=submit]').disabled"), true);
    site.tab.click_on("Add a line");
    site.tab.fill("#metadata .line:last-child [name=name]", "mood");
    site.tab.fill("#metadata .line:last-child [name=value]", "lazy \"cat\" <b>");
    site.tab.click_on("Save");
    site.tab.until(
        "document.querySelector('#image-dialog .notice').textContent.startsWith('The metadata are saved')",
    );
    let expected =
        SENT.replace("\"lines\":\"a\\nb\"}", "\"lines\":\"a\\nb\",\"mood\":\"lazy \\\"cat\\\" <b>\"}");
    assert_eq!(metadata_of(&site.server().get(DEMO, &path)), expected);
    // Shown anew, not as it was edited.
    site.tab.until(
        "document.querySelectorAll('#metadata .line').length === 6
        && document.querySelector('#metadata [type=submit]').disabled",
    );
    // The line of the first member goes away, and another becomes a number.
    site.tab.click("#metadata .line:nth-child(1) button");
    site.tab.fill("#metadata .line:nth-child(1) [name=value]", "10.0");
    site.tab.choose("#metadata .line:nth-child(1) [name=kind]", "json");
    site.tab.click_on("Save");
    site.tab.until(
        "document.querySelectorAll('#metadata .line').length === 5
        && document.querySelector('#metadata [type=submit]').disabled",
    );
    let expected = expected.replace("\"ratio\":1.10,", "").replace("\"ten\"", "10.0");
    assert_eq!(metadata_of(&site.server().get(DEMO, &path)), expected);
    site.tab.press("Escape");
    site.tab.until("!document.querySelector('dialog[open]')");
    // The search finds what was saved, in any case.
    site.tab.choose("#search [name=field]", "metadata");
    site.tab.fill("#search [name=key]", "mood");
    site.tab.fill("#search [name=value]", "LAZY");
    site.tab.press("Enter");
    site.tab.until("document.querySelector('#count').textContent === '1'");
    assert_eq!(site.tab.value("document.querySelector('#gallery .name').textContent"), "sunset.jpg");
    site.tab.fill("#search [name=value]", "wild");
    site.tab.press("Enter");
    site.tab.until("document.querySelector('#empty').textContent.includes('No picture has wild there.')");
    site.tab.click_on("Clear");
    site.tab.until("document.querySelectorAll('#gallery li').length === 4");
    site.tab.is_clean(&[]);
}

#[test]
fn wrong_metadata_are_not_sent_and_edits_are_not_lost_by_a_key() {
    let mut site = Site::with_samples();
    let path = open_with_metadata(&mut site);
    site.tab.fill("#metadata .line:nth-child(1) [name=value]", "1.1.1");
    site.tab.click_on("Save");
    site.tab
        .until("document.querySelector('#metadata .line:nth-child(1) [name=value]').validity.customError");
    site.tab.press("Escape");
    site.tab.until(
        "document.querySelector('#image-dialog[open] .notice').textContent.includes('save or discard')",
    );
    site.tab.click_on("Discard");
    site.tab.fill("#metadata .line:nth-child(1) [name=name]", "big");
    site.tab.click_on("Save");
    site.tab.until(
        "[...document.querySelectorAll('#metadata [name=name]')].some((it) => it.validity.customError)",
    );
    site.tab.click_on("Discard");
    site.tab.click_on("Close");
    site.tab.until("!document.querySelector('dialog[open]')");
    assert_eq!(metadata_of(&site.server().get(DEMO, &path)), SENT);
    site.tab.is_clean(&[]);
}

#[test]
fn a_text_of_json_is_split_and_joined_without_a_change() {
    let mut site = Site::with_samples();
    let texts = json!([
        "{}",
        r#"{"":""}"#,
        r#"{"a":1.10,"b":-0,"c":1e5,"d":[],"e":{}}"#,
        r#"{"2":[1,{"x":[2,{"y":"}"}]}],"1":null,"__proto__":true}"#,
        r#"{"{\"a\":1}":"[\\\"],:}","\\":"\\"}"#,
        r#"{"é😀":"\n\t","a:b,c":"d:e,f"}"#,
    ]);
    let joined = site.tab.value(&format!(
        "import('/page/json_text.js').then(({{ members, object }}) => {texts}.map((it) => object(members(it))))"
    ));
    assert_eq!(joined, texts);
    let spaced = site.tab.value(
        r#"import('/page/json_text.js').then(({ members }) => members(' { "a" : [ 1 , 2 ] , "b" : "x" } '))"#,
    );
    assert_eq!(spaced, json!([["a", "[ 1 , 2 ]"], ["b", "\"x\""]]));
}

#[test]
fn a_search_stands_in_the_address_and_comes_back_with_the_button_back() {
    let mut site = Site::with_samples();
    site.tab.until(PICTURES_ARE_SHOWN);
    site.tab.fill("#search [name=value]", "TILES");
    site.tab.press("Enter");
    site.tab.until("document.querySelector('#count').textContent === '1'");
    let path = site.tab.value("location.pathname + location.hash");
    site.tab.value("history.back()");
    site.tab.until("document.querySelector('#count').textContent === '4'");
    assert_eq!(site.tab.value("document.querySelector('#search [name=value]').value"), "");
    site.open("/favicon.ico");
    site.open(path.as_str().unwrap());
    site.tab.until("document.querySelector('#count').textContent === '1'");
    assert_eq!(site.tab.value("document.querySelector('#search [name=value]').value"), "TILES");
    site.tab.is_clean(&[404]);
}

#[test]
fn analyses_are_drawn_and_are_there_again_with_a_hit() {
    let mut site = Site::with_samples();
    site.tab.click("#gallery li:nth-child(1) a");
    for (label, count) in [("Histogram", 1), ("Mean colour", 2), ("Sharpness", 3)] {
        site.tab.click_on(label);
        site.tab.until(&format!("document.querySelectorAll('.analysis').length === {count}"));
    }
    assert_eq!(site.tab.value("document.querySelectorAll('svg.histogram path').length"), 4);
    let drawn = site.tab.value("document.querySelector('svg.histogram').getAttribute('aria-label')");
    assert!(drawn.as_str().unwrap().contains("Half of the pixels are darker than"), "{drawn}");
    assert!(
        site.tab.value("document.querySelector('svg.histogram').getBBox().height").as_f64().unwrap() > 50.0
    );
    site.tab.click_on("Picture after");
    site.tab.until("document.querySelector('#image-name').textContent === 'ripples.png'");
    site.tab.until("document.querySelectorAll('.analysis').length === 0");
    site.tab.click_on("Picture before");
    site.tab.until("document.querySelectorAll('.analysis .badge.hit').length === 3");
    let labels = site
        .tab
        .value("[...document.querySelectorAll('.analysis h4')].map((it) => it.firstChild.data.trim())");
    assert_eq!(labels, json!(["Histogram", "Mean colour", "Sharpness"]));
    site.tab.is_clean(&[]);
}
