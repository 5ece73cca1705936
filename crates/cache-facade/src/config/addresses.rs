//! Parses lists of addresses: those of Sentinels and of the nodes of a cluster.

use super::redis_url;

/// A host and a port.
pub(crate) type Address = (String, u16);

/// Accepted form of a list, as errors give it.
pub(super) const FORM: &str = "addresses separated by commas: host or host:port, an IPv6 address in brackets";

/// Accepted form of a map, as errors give it.
pub(super) const MAP_FORM: &str =
    "pairs separated by commas: announced=reachable, each host:port, an IPv6 address in brackets";

/// Parses a list of addresses; `None` for a text of another form.
pub(super) fn parse(text: &str, default_port: u16) -> Option<Vec<Address>> {
    text.split(',').map(|address| parse_one(address.trim(), Some(default_port))).collect()
}

/// Parses a map from addresses to addresses; `None` for a text of another form.
pub(super) fn parse_map(text: &str) -> Option<Vec<(Address, Address)>> {
    let pair = |pair: &str| {
        let (from, to) = pair.split_once('=')?;
        Some((parse_one(from.trim(), None)?, parse_one(to.trim(), None)?))
    };
    text.split(',').map(pair).collect()
}

fn parse_one(address: &str, default_port: Option<u16>) -> Option<Address> {
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok().filter(|port| *port != 0)?),
        _ => (address, default_port?),
    };
    let is_bare = host.contains(':') && !host.starts_with('[');
    let host = redis_url::without_brackets(host);
    (!is_bare && redis_url::is_host(&host)).then_some((host, port))
}

/// Returns an address as it is written in settings.
pub(crate) fn shown((host, port): &Address) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Returns a pair of a map as it is written in settings.
pub(super) fn shown_pair((from, to): &(Address, Address)) -> String {
    format!("{}={}", shown(from), shown(to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(host: &str, port: u16) -> Address {
        (host.to_owned(), port)
    }

    #[test]
    fn addresses_are_parsed() {
        let of = |text: &str| parse(text, 26379);
        assert_eq!(of("a"), Some(vec![one("a", 26379)]));
        assert_eq!(of("a:1, b.c:2"), Some(vec![one("a", 1), one("b.c", 2)]));
        assert_eq!(of("[::1]:7,[::2]"), Some(vec![one("::1", 7), one("::2", 26379)]));
        for bad in ["", "a,", "a:", "a:0", "a:x", "a:65536", "::1", "a b"] {
            assert_eq!(of(bad), None, "{bad:?}");
        }
        assert_eq!(shown(&one("::1", 7)), "[::1]:7");
    }

    #[test]
    fn a_map_is_parsed() {
        let expected = vec![(one("10.0.0.1", 6379), one("nat", 7001)), (one("::1", 1), one("::2", 2))];
        assert_eq!(parse_map("10.0.0.1:6379=nat:7001, [::1]:1=[::2]:2"), Some(expected));
        for bad in ["", "a:1", "a=b:1", "a:1=b", "a:1=b:2,", "a:1=b:2=c:3"] {
            assert_eq!(parse_map(bad), None, "{bad:?}");
        }
    }
}
