//! The files of the page, which are part of the program.

use axum::extract::{OriginalUri, Path};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use axum::response::{IntoResponse, Response};

use super::answer::Refusal;

const INDEX: &str = include_str!("page/index.html");

/// The other files: name, type, content.
const FILES: &[(&str, &str, &str)] = &[
    ("style.css", "text/css; charset=utf-8", include_str!("page/style.css")),
    ("icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
    ("main.js", SCRIPT, include_str!("page/main.js")),
    ("api.js", SCRIPT, include_str!("page/api.js")),
    ("dom.js", SCRIPT, include_str!("page/dom.js")),
    ("format.js", SCRIPT, include_str!("page/format.js")),
    ("chart.js", SCRIPT, include_str!("page/chart.js")),
    ("overview.js", SCRIPT, include_str!("page/overview.js")),
    ("families.js", SCRIPT, include_str!("page/families.js")),
    ("timeline.js", SCRIPT, include_str!("page/timeline.js")),
    ("live.js", SCRIPT, include_str!("page/live.js")),
    ("key.js", SCRIPT, include_str!("page/key.js")),
    ("clear.js", SCRIPT, include_str!("page/clear.js")),
    ("doctor.js", SCRIPT, include_str!("page/doctor.js")),
];

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Answers the path at which the console is mounted: with the page, or with the way to it where the links of the page, which
/// are relative, would lead elsewhere.
pub(super) async fn index(OriginalUri(uri): OriginalUri) -> Response {
    match uri.path().rsplit_once('/') {
        None | Some((_, "")) => page().await,
        // Begins with `./`, so that it cannot name another host.
        Some((_, last)) => {
            (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, format!("./{last}/index.html"))]).into_response()
        }
    }
}

/// Answers with the page.
pub(super) async fn page() -> Response {
    answer("text/html; charset=utf-8", INDEX)
}

/// Answers with another file.
pub(super) async fn file(Path(name): Path<String>) -> Result<Response, Refusal> {
    let found = FILES.iter().find(|(known, ..)| *known == name);
    let (_, kind, content) = found.ok_or_else(|| {
        Refusal::new(StatusCode::NOT_FOUND, "unknown_file", "the page has no such file", "reload the page")
    })?;
    Ok(answer(kind, content))
}

fn answer(kind: &'static str, content: &'static str) -> Response {
    // Asked for anew each time: another version of the program may have other files.
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-cache")], content).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_the_page_asks_for_is_there_and_no_other() {
        let texts = [INDEX].into_iter().chain(FILES.iter().map(|(_, _, content)| *content));
        let asked: Vec<&str> = texts
            .flat_map(|text| text.split(['"', '\'']))
            .filter_map(|word| word.strip_prefix("page/").or(word.strip_prefix("./")))
            .collect();
        for name in &asked {
            assert!(FILES.iter().any(|(known, ..)| known == name), "{name} is missing");
        }
        for (name, ..) in FILES {
            assert!(asked.contains(name), "{name} is not used");
        }
    }

    #[test]
    fn the_page_holds_no_inline_script_or_style_and_no_other_host() {
        for (name, text) in FILES.iter().map(|(name, _, text)| (*name, *text)).chain([("index.html", INDEX)])
        {
            let text = text.replace("http://www.w3.org/2000/svg", "");
            for banned in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "http://",
                "https://",
                "//cdn",
                " style=\"",
                " onclick=",
                " onload=",
                "<style",
                "javascript:",
            ] {
                assert!(!text.contains(banned), "{name} holds {banned}");
            }
        }
    }
}
