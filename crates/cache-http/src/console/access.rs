//! Which requests are answered: reads that no other site asks for, and changes that the guard allows and the console's own
//! page sends.
//!
//! A browser tells where a request comes from by `Sec-Fetch-Site` ([Fetch Metadata]), over HTTPS and on the local host, and by
//! `Origin` ([RFC 6454]). Neither can be set by a script of another site.
//!
//! [Fetch Metadata]: https://www.w3.org/TR/fetch-metadata/
//! [RFC 6454]: https://www.rfc-editor.org/rfc/rfc6454#section-7

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use axum::http::header::{CONTENT_TYPE, HOST, HeaderName, ORIGIN};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{StatusCode, Uri};
use cache_core::plants::{Plant, is_planted};

use super::ConsoleState;
use super::answer::Refusal;

/// Whether the sender of a request may clear entries.
pub(super) type Guard = Arc<dyn Fn(&Parts) -> bool + Send + Sync>;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

impl ConsoleState {
    /// Whether the sender of `request` may clear entries.
    pub(super) fn may_change(&self, request: &Parts) -> bool {
        let says_yes = |guard: &Guard| catch_unwind(AssertUnwindSafe(|| guard(request))).unwrap_or(false);
        self.guard.as_ref().is_some_and(says_yes)
    }

    /// Checks that `request`, which changes something, is allowed and comes from the console's own page.
    pub(super) fn check_change(&self, request: &Parts) -> Result<(), Refusal> {
        check_origin(request)?;
        check_content_type(request)?;
        if self.guard.is_none() {
            return Err(forbidden(
                "changes_not_allowed",
                "this console only shows",
                "allow changes where the application mounts it: `Console::allow_changes`",
            ));
        }
        if !self.may_change(request) && !is_planted(Plant::GuardLeftOut) {
            let advice = "ask for the permission that the application's guard requires";
            return Err(forbidden("changes_not_allowed", "you may not clear entries here", advice));
        }
        Ok(())
    }
}

/// Checks that no page of another site sends `request`: its answer could not be read there, but it costs something.
pub(super) fn check_read(request: &Parts) -> Result<(), Refusal> {
    match text(request, &SEC_FETCH_SITE) {
        None | Some("same-origin" | "none") => Ok(()),
        Some(_) if is_planted(Plant::ForeignReads) => Ok(()),
        Some(_) => {
            Err(forbidden("foreign_origin", "another site sent this request", "open the console's own page"))
        }
    }
}

/// Checks that `request` has the origin of the host to which it is sent.
///
/// At least one of the two headers must be there, and neither may say something else.
fn check_origin(request: &Parts) -> Result<(), Refusal> {
    let refuse = |message: String, advice| -> Result<(), Refusal> {
        Err(forbidden("foreign_origin", message, advice))
    };
    let site = text(request, &SEC_FETCH_SITE);
    let is_sent = |name: &HeaderName| request.headers.contains_key(name);
    match site {
        Some("same-origin") => {}
        None if !is_sent(&SEC_FETCH_SITE) => {}
        _ => {
            let advice = "send it from the console's own page";
            return refuse(
                "another site sent this request: Sec-Fetch-Site is not same-origin".to_owned(),
                advice,
            );
        }
    }
    if !is_sent(&ORIGIN) {
        let advice = "send `Origin` or `Sec-Fetch-Site: same-origin`, as a browser does";
        return if site.is_some() {
            Ok(())
        } else {
            refuse("the request does not say where it comes from".to_owned(), advice)
        };
    }
    let origin = text(request, &ORIGIN).unwrap_or_default();
    if is_of_host(origin, request) {
        return Ok(());
    }
    let advice = "open the console under the address to which it sends; a proxy before it must pass the Host header on";
    refuse(format!("the request comes from {origin:?}, and this is another host"), advice)
}

/// Whether `origin` names the host to which `request` is sent, with the default port of its scheme or another one.
fn is_of_host(origin: &str, request: &Parts) -> bool {
    let Ok(origin) = origin.parse::<Uri>() else { return false };
    let default_port = match origin.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => return false,
    };
    let host = text(request, &HOST).and_then(|host| host.parse::<Authority>().ok());
    let Some(host) = host.or_else(|| request.uri.authority().cloned()) else { return false };
    let place = |authority: &Authority| {
        (authority.host().to_ascii_lowercase(), authority.port_u16().unwrap_or(default_port))
    };
    origin.authority().is_some_and(|origin| place(origin) == place(&host))
}

/// Checks that the body is JSON: a form of another site cannot send that.
fn check_content_type(request: &Parts) -> Result<(), Refusal> {
    let essence = text(request, &CONTENT_TYPE).and_then(|value| value.split(';').next()).map(str::trim);
    if essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json")) {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "not_json",
        "the body is not declared as JSON",
        "send `Content-Type: application/json`",
    ))
}

/// The value of a header that is sent once and is text.
fn text<'a>(request: &'a Parts, name: &HeaderName) -> Option<&'a str> {
    let mut values = request.headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

fn forbidden(error: &'static str, message: impl Into<String>, advice: &str) -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, error, message, advice)
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn parts(headers: &[(&str, &str)]) -> Parts {
        let request =
            headers.iter().fold(Request::post("/"), |request, (name, value)| request.header(*name, *value));
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn an_origin_is_the_same_if_host_and_port_are() {
        for (origin, host, is_same) in [
            ("http://cache.example", "cache.example", true),
            ("https://cache.example", "cache.example:443", true),
            ("https://CACHE.example:443", "cache.example", true),
            ("http://127.0.0.1:8080", "127.0.0.1:8080", true),
            ("http://[::1]:8080", "[::1]:8080", true),
            ("http://127.0.0.1:8081", "127.0.0.1:8080", false),
            ("http://cache.example.evil", "cache.example", false),
            ("http://cache.example@evil", "cache.example", false),
            ("https://cache.example", "cache.example:80", false),
            ("file://cache.example", "cache.example", false),
            ("null", "cache.example", false),
            ("", "cache.example", false),
        ] {
            let checked = check_origin(&parts(&[("origin", origin), ("host", host)]));
            assert_eq!(checked.is_ok(), is_same, "{origin} {host}");
        }
    }

    #[test]
    fn one_of_two_headers_must_say_that_the_origin_is_the_same_and_neither_may_deny_it() {
        let (host, same, foreign) = (("host", "a"), ("origin", "http://a"), ("origin", "http://b"));
        let site = |value| ("sec-fetch-site", value);
        assert!(check_origin(&parts(&[host, site("same-origin")])).is_ok());
        assert!(check_origin(&parts(&[host, site("same-origin"), same])).is_ok());
        for refused in [
            &[host][..],
            &[host, site("none")],
            &[host, site("same-site"), same],
            &[host, site("cross-site"), same],
            &[host, site("same-origin"), foreign],
            &[host, site("same-origin"), ("origin", "null")],
            &[host, site("same-origin"), site("same-origin"), same],
            &[host, same, same],
            &[same],
        ] {
            assert!(check_origin(&parts(refused)).is_err(), "{refused:?}");
        }
    }

    #[test]
    fn only_json_is_accepted() {
        for (value, is_json) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("text/plain", false),
            ("text/plain; application/json", false),
            ("application/json-seq", false),
            ("", false),
        ] {
            assert_eq!(check_content_type(&parts(&[("content-type", value)])).is_ok(), is_json, "{value}");
        }
        assert!(check_content_type(&parts(&[])).is_err());
    }
}
