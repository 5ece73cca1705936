//! [`Verdict`]: how a request was handled, as `Cache-Status` says it (RFC 9211).

use http::header::HeaderValue;

/// Why a request or a response is not for the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The cache is switched off.
    Disabled,
    /// The key function gave no key, or one that is too long.
    NoKey,
    /// The request has credentials, and no viewer is named.
    Credentials,
    /// The request has content.
    Content,
    /// The request has a range, a condition of another kind, or asks for another protocol.
    Special,
    /// The status is none that is stored.
    Status,
    /// The response sets a cookie.
    SetCookie,
    /// The response has `Cache-Control: no-store`.
    NoStore,
    /// The response has `Cache-Control: private`, and no viewer is named.
    Private,
    /// The response varies by something that is no key.
    Vary,
    /// The response varies by more than responses of the route did before.
    NewVary,
    /// The body is a stream of events.
    Stream,
    /// The body or the header is too large.
    Size,
    /// The body is not what its header says, or has trailers.
    Body,
}

/// How a request was handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Answered from the cache; the time to live that is left in seconds, where there is one.
    Hit(Option<i64>),
    /// Answered from the cache after its time.
    Stale(Option<i64>),
    /// Answered by the handler; the response is stored.
    Stored,
    /// Answered by the handler.
    Miss,
    /// Answered by the handler, which another request has called.
    Collapsed,
    /// Answered by the handler; the response is not stored.
    NotStored(Reason),
    /// Passed on without a look at the cache.
    Bypass(Reason),
    /// Passed on because of the method.
    Method,
    /// Passed on because the request says `no-store`.
    NoStore,
    /// Not answered: the request wants a stored response, and there is none.
    OnlyIfCached,
}

/// Makes the values that are known when this is compiled.
macro_rules! with_detail {
    ($reason:expr, $forward:literal, $($name:ident $detail:literal),+ $(,)?) => {
        match $reason {
            $(Reason::$name => concat!("cache-http; fwd=", $forward, "; detail=", $detail),)+
        }
    };
    ($reason:expr, $forward:literal) => {
        with_detail!(
            $reason,
            $forward,
            Disabled "disabled",
            NoKey "no-key",
            Credentials "credentials",
            Content "content",
            Special "special",
            Status "status",
            SetCookie "set-cookie",
            NoStore "no-store",
            Private "private",
            Vary "vary",
            NewVary "new-vary",
            Stream "stream",
            Size "size",
            Body "body",
        )
    };
}

impl Verdict {
    /// The member of `Cache-Status`.
    pub(crate) fn value(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Hit(Some(left)) | Self::Stale(Some(left)) => return with_ttl(left),
            Self::Hit(None) => "cache-http; hit",
            Self::Stale(None) => "cache-http; hit; detail=stale",
            Self::Stored => "cache-http; fwd=miss; stored",
            Self::Miss => "cache-http; fwd=miss",
            Self::Collapsed => "cache-http; fwd=miss; collapsed",
            Self::NotStored(reason) => with_detail!(reason, "miss"),
            Self::Bypass(reason) => with_detail!(reason, "bypass"),
            Self::Method => "cache-http; fwd=method",
            Self::NoStore => "cache-http; fwd=request; detail=no-store",
            Self::OnlyIfCached => "cache-http; detail=only-if-cached",
        })
    }
}

/// A negative time to live is that of a stale response (RFC 9211 section 2.4).
fn with_ttl(left: i64) -> HeaderValue {
    let text = format!("cache-http; hit; ttl={left}");
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("cache-http; hit"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_members_of_cache_status() {
        assert_eq!(Verdict::Hit(Some(59)).value(), "cache-http; hit; ttl=59");
        assert_eq!(Verdict::Stale(Some(-3)).value(), "cache-http; hit; ttl=-3");
        assert_eq!(Verdict::NotStored(Reason::SetCookie).value(), "cache-http; fwd=miss; detail=set-cookie");
        assert_eq!(
            Verdict::Bypass(Reason::Credentials).value(),
            "cache-http; fwd=bypass; detail=credentials"
        );
    }
}
