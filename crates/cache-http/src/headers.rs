//! Lists in header values, read as bytes, and the fields that are stored.

use http::header::{
    AGE, CONNECTION, CONTENT_LENGTH, DATE, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};

/// The field in which caches say how they handled a request (RFC 9211).
pub(crate) static CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Fields of one connection (RFC 9110 section 7.6.1, RFC 9111 section 3.1), and those that are made anew for each answer.
static NOT_KEPT: [HeaderName; 14] = [
    AGE,
    HeaderName::from_static("cache-status"),
    CONNECTION,
    CONTENT_LENGTH,
    DATE,
    HeaderName::from_static("keep-alive"),
    PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-authentication-info"),
    PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// The elements of a comma-separated list, without those that are empty.
///
/// A comma inside a quoted string ends an element, too: names of fields and directives have no quotes, and a directive that is
/// seen where there is none only keeps a response from being stored.
pub(crate) fn elements<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let lines = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let elements = lines.flat_map(|line| line.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    elements.filter(|element| !element.is_empty())
}

/// The fields of a response that are kept.
pub(crate) fn kept(headers: &HeaderMap) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    let of_connection: Vec<&[u8]> = elements(headers, &CONNECTION).collect();
    headers.iter().filter(move |(name, _)| {
        let is_named = |field: &&[u8]| name.as_str().as_bytes().eq_ignore_ascii_case(field);
        !NOT_KEPT.contains(name) && !of_connection.iter().any(is_named)
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Headers of these lines.
    pub(crate) fn headers(lines: &[(&str, &[u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    #[test]
    fn fields_of_a_connection_are_not_kept() {
        let all = headers(&[
            ("connection", b"close, X-Hop"),
            ("x-hop", b"1"),
            ("keep-alive", b"timeout=5"),
            ("transfer-encoding", b"chunked"),
            ("content-length", b"5"),
            ("x-kept", b"\xff"),
        ]);
        let kept: Vec<&str> = kept(&all).map(|(name, _)| name.as_str()).collect();
        assert_eq!(kept, ["x-kept"]);
    }
}
