//! Checks the host name of requests.
//!
//! A web page can make its own name lead to a loopback address once it is loaded (DNS rebinding). Its scripts then reach
//! this server as its own origin, and are taken for the local user. Only the name in `Host` tells them from the user's own
//! requests.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{StatusCode, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::error::ApiError;
use crate::settings::Settings;

/// Refuses a request to a host name that this server does not have, and a request without one.
pub(crate) async fn check_host(State(app): State<App>, request: Request, next: Next) -> Response {
    match check(app.settings(), &request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// Paths of probes, which name the address that they ask.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

fn check<B>(settings: &Settings, request: &axum::http::Request<B>) -> Result<(), ApiError> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => Some(host),
        // Browsers speak HTTP/1.1; health checks that speak 1.0 may name no host.
        (None, _) if request.version() < Version::HTTP_11 => None,
        _ => return Err(ApiError::bad_request("a request must have one header Host")),
    };
    let malformed =
        |_| ApiError::bad_request("the header Host must be a name or address, and perhaps a port");
    let host = host.map(|host| Authority::try_from(host.as_bytes())).transpose().map_err(malformed)?;
    // The authority of the request's target counts in place of the header where there is one.
    let named = request.uri().authority().or(host.as_ref());
    // On a loopback address, probes name it; a web page must not read them by a name of its own.
    let is_probe = settings.default_user().is_none() && PROBES.contains(&request.uri().path());
    if is_probe || named.is_none_or(|host| is_ours(settings, host.host())) {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::MISDIRECTED_REQUEST,
        "misdirected",
        "this server has no such host name; add it to ALLOWED_HOSTS if it should",
    ))
}

fn is_ours(settings: &Settings, host: &str) -> bool {
    let is_checked = settings.default_user().is_some() || !settings.allowed_hosts.is_empty();
    let host = host.strip_suffix('.').unwrap_or(host);
    !is_checked
        || is_loopback(host)
        || settings.allowed_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host))
}

/// Returns whether a name or address means this machine by definition (RFC 6761 for names).
fn is_loopback(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = address.parse::<IpAddr>() {
        return address.to_canonical().is_loopback();
    }
    let top = host.rsplit('.').next().unwrap_or(host);
    top.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(pairs: &[(&str, &str)], target: &str, hosts: &[&str]) -> u16 {
        let settings = Settings::read(|name| {
            pairs.iter().find(|(pair, _)| *pair == name).map(|(_, value)| (*value).to_owned())
        });
        let mut request = axum::http::Request::builder().uri(target);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        let result = check(&settings.unwrap(), &request.body(()).unwrap());
        result.map_or_else(|refusal| refusal.status().as_u16(), |()| 200)
    }

    #[test]
    fn a_server_of_this_machine_has_only_names_of_this_machine() {
        let local = |host| status(&[], "/", &[host]);
        for host in [
            "localhost",
            "LocalHost:8080",
            "localhost.",
            "app.localhost:1",
            "127.0.0.1:8080",
            "127.9.9.9",
            "[::1]",
            "[::1]:8080",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert_eq!(local(host), 200, "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "notlocalhost",
            "10.0.0.1",
            "0.0.0.0",
            "[::2]",
            "127.0.0.1@evil.example",
        ] {
            assert_eq!(local(host), 421, "{host}");
        }
        assert_eq!(status(&[], "http://evil.example/", &["localhost"]), 421);
        assert_eq!(status(&[], "http://localhost/", &["localhost"]), 200);
    }

    #[test]
    fn a_request_names_one_host() {
        assert_eq!(status(&[], "/", &[]), 400);
        assert_eq!(status(&[], "/", &["localhost", "localhost"]), 400);
        assert_eq!(status(&[], "/", &["a b"]), 400);
        assert_eq!(status(&[("BIND", "0.0.0.0:80")], "/", &[]), 400);
    }

    #[test]
    fn names_can_be_allowed_and_other_addresses_have_any_name_until_one_is() {
        let public = ("BIND", "0.0.0.0:80");
        assert_eq!(status(&[public], "/", &["images.example"]), 200);
        let allowed = ("ALLOWED_HOSTS", "images.example, Other.example");
        for settings in [&[allowed][..], &[public, allowed]] {
            assert_eq!(status(settings, "/", &["images.example:443"]), 200);
            assert_eq!(status(settings, "/", &["other.EXAMPLE"]), 200);
            assert_eq!(status(settings, "/", &["localhost"]), 200);
            assert_eq!(status(settings, "/", &["evil.example"]), 421);
        }
    }

    #[test]
    fn probes_may_name_the_address_that_they_ask() {
        let settings = [("BIND", "0.0.0.0:80"), ("ALLOWED_HOSTS", "images.example")];
        for path in PROBES {
            assert_eq!(status(&settings, path, &["10.0.0.7:80"]), 200, "{path}");
            assert_eq!(status(&settings[1..], path, &["evil.example"]), 421, "{path}");
        }
        assert_eq!(status(&settings, "/metrics", &["10.0.0.7:80"]), 421);
    }
}
