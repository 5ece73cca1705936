//! [`Sentinels`]: the Sentinels of a replicated Redis, which name its master.

use super::redis::Secret;
use super::redis_url;

/// The port of a Sentinel where none is given.
const PORT: u16 = 26379;

/// Accepted form of the list, as errors give it.
pub(super) const FORM: &str = "addresses separated by commas: host or host:port, an IPv6 address in brackets";

/// Settings of Sentinels; none are used where there is no address. Passwords are hidden from `Debug`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sentinels {
    pub(crate) addresses: Vec<(String, u16)>,
    pub(crate) master: Option<String>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Secret>,
}

impl Sentinels {
    /// Whether an address is given.
    pub(crate) fn are_named(&self) -> bool {
        !self.addresses.is_empty()
    }

    /// Describes the Sentinels for logs.
    pub(crate) fn description(&self) -> String {
        let addresses: Vec<_> = self.addresses.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        let master = self.master.as_deref().unwrap_or("the master");
        format!("{master} of the Sentinels {}", addresses.join(" "))
    }
}

/// Parses a list of addresses; `None` for a text of another form.
pub(super) fn addresses(text: &str) -> Option<Vec<(String, u16)>> {
    text.split(',').map(|address| parse(address.trim())).collect()
}

fn parse(address: &str) -> Option<(String, u16)> {
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok().filter(|port| *port != 0)?),
        _ => (address, PORT),
    };
    let is_bare = host.contains(':') && !host.starts_with('[');
    let host = redis_url::without_brackets(host);
    (!is_bare && redis_url::is_host(&host)).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed() {
        let of = |text: &str| addresses(text);
        let one = |host: &str, port| (host.to_owned(), port);
        assert_eq!(of("a"), Some(vec![one("a", PORT)]));
        assert_eq!(of("a:1, b.c:2"), Some(vec![one("a", 1), one("b.c", 2)]));
        assert_eq!(of("[::1]:7,[::2]"), Some(vec![one("::1", 7), one("::2", PORT)]));
        for bad in ["", "a,", "a:", "a:0", "a:x", "a:65536", "::1", "a b"] {
            assert_eq!(of(bad), None, "{bad:?}");
        }
    }
}
