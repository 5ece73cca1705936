//! `/` and `/page/{file}`: the page for people, as static files that are compiled in.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, REFERRER_POLICY};
use axum::http::{HeaderMap, HeaderName};
use axum::response::{IntoResponse, Response};
use twox_hash::XxHash3_128;

use super::content::answer_without;
use crate::error::ApiError;
use crate::ranges::precondition;

/// A file of the page.
#[derive(Debug, Clone, Copy)]
struct File {
    name: &'static str,
    bytes: &'static [u8],
}

macro_rules! files {
    ($($name:literal)*) => {
        &[$(File { name: $name, bytes: include_bytes!(concat!("../../page/", $name)) }),*]
    };
}

const INDEX: File = File { name: "index.html", bytes: include_bytes!("../../page/index.html") };

const FILES: &[File] = files!(
    "address.js" "analyses.js" "api.js" "badge.js" "dialog.css" "dom.js" "drawings.js" "gallery.js" "health.js"
    "icon.svg" "image.js" "json_text.js" "main.js" "members.js" "metadata.js" "notice.js" "projects.js" "search.js"
    "send_file.js" "style.css" "thumbnails.js" "upload.js" "viewer.js"
);

/// Scripts and styles come from these files alone, none from markup; pictures also from answers that a script has read. A
/// browser with Trusted Types refuses to read any text as markup.
const POLICY: &str = "default-src 'self'; img-src 'self' blob:; object-src 'none'; base-uri 'none'; \
                      form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
                      trusted-types 'none'";

const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

pub(super) async fn index(headers: HeaderMap) -> Response {
    answer(INDEX, &headers)
}

pub(super) async fn file(
    name: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let found = name.ok().and_then(|Path(name)| FILES.iter().find(|file| file.name == name));
    found.map(|file| answer(*file, &headers)).ok_or_else(|| ApiError::not_found("file"))
}

/// Answers with a file, or 304 to a browser that has it: each use asks, so that no file outlives an update of the server.
fn answer(file: File, headers: &HeaderMap) -> Response {
    let etag = format!("\"{:032x}\"", XxHash3_128::oneshot(file.bytes));
    let status = precondition(headers, &etag);
    let common = [
        (ETAG, etag.as_str()),
        (CACHE_CONTROL, "no-cache"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (OPENER_POLICY, "same-origin"),
    ];
    match status {
        Some(status) => (common, answer_without(status)).into_response(),
        None => (common, [(CONTENT_TYPE, content_type(file.name))], file.bytes).into_response(),
    }
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.') {
        Some((_, "html")) => "text/html; charset=utf-8",
        Some((_, "css")) => "text/css; charset=utf-8",
        Some((_, "js")) => "text/javascript; charset=utf-8",
        Some((_, "svg")) => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(file: File) -> &'static str {
        std::str::from_utf8(file.bytes).unwrap()
    }

    #[test]
    fn every_file_of_the_folder_is_served() {
        let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/page")).unwrap();
        let mut names: Vec<_> =
            folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        let mut served: Vec<_> = FILES.iter().chain([&INDEX]).map(|file| file.name.to_owned()).collect();
        served.sort();
        assert_eq!(served, names);
        assert!(names.iter().all(|name| content_type(name) != "application/octet-stream"), "{names:?}");
    }

    #[test]
    fn every_file_that_is_named_is_served() {
        let is_served = |name: &str| FILES.iter().any(|file| file.name == name);
        let mut named = 0;
        for name in text(INDEX).split("\"/page/").skip(1) {
            let name = name.split('"').next().unwrap();
            assert!(is_served(name), "{name}");
            named += 1;
        }
        for file in FILES {
            for name in text(*file).split("from \"./").skip(1) {
                let name = name.split('"').next().unwrap();
                assert!(is_served(name), "{name} in {}", file.name);
                named += 1;
            }
        }
        assert!(named > FILES.len(), "{named}");
    }

    #[test]
    fn nothing_is_read_as_markup_and_no_script_or_style_stands_in_it() {
        let index = text(INDEX);
        for inline in ["<style", "style=", " onclick", " onload", "javascript:", "http://", "https://"] {
            let known = "http://localhost";
            assert!(!index.replace(known, "").contains(inline), "{inline}");
        }
        assert_eq!(index.matches("<script").count(), index.matches("<script type=\"module\" src=").count());
        for file in FILES.iter().filter(|file| content_type(file.name).starts_with("text/javascript")) {
            for sink in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "setHTML",
                "DOMParser",
                "createContextualFragment",
                "srcdoc",
                "cssText",
            ] {
                assert!(!text(*file).contains(sink), "{sink} in {}", file.name);
            }
        }
    }
}
