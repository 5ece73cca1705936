//! Parses `REDIS_URL`, and the `REDIS_PORT` that Kubernetes injects.

use super::{RedisConfig, Secret, Tls, values};

/// Accepted form, as errors give it.
pub(super) const FORM: &str = "redis://[user:password@]host[:port][/db], or rediss:// for TLS, with %XX for special characters and no query";

/// Reads `redis://[user[:password]@]host[:port][/db]` over `redis`; an explicit TLS setting is kept. `None` for a text of
/// another form.
pub(super) fn read(url: &str, redis: &RedisConfig) -> Option<RedisConfig> {
    let (scheme, rest) = url.split_once("://")?;
    let tls = match (scheme.to_ascii_lowercase().as_str(), redis.tls) {
        // REDIS_TLS=false beside rediss:// is reported as a contradiction.
        ("redis" | "rediss", said @ Tls::On) | ("rediss", said @ Tls::Off) => said,
        ("redis", _) => Tls::Off,
        ("rediss", Tls::Auto) => Tls::On,
        _ => return None,
    };
    if rest.contains(['?', '#']) || rest.contains(char::is_whitespace) {
        return None;
    }
    // The last `@` ends the credentials, so that a password with an unescaped `@` is still understood.
    let (credentials, location) = match rest.rsplit_once('@') {
        Some((credentials, location)) => (Some(credentials), location),
        None => (None, rest),
    };
    let (address, db) = match location.split_once('/') {
        None | Some((_, "")) => (location.trim_end_matches('/'), 0),
        Some((address, db)) => (address, values::number(db)?),
    };
    let (host, port) = host_and_port(address)?;
    let (username, password) = match credentials.map(|text| text.split_once(':').unwrap_or((text, ""))) {
        None => (None, None),
        Some((user, password)) => (Some(decoded(user)?), Some(decoded(password)?)),
    };
    Some(RedisConfig {
        host,
        port: port.unwrap_or(6379),
        db,
        username: username.filter(|user| !user.is_empty()),
        password: password.filter(|password| !password.is_empty()).map(Secret::new),
        tls,
        ..redis.clone()
    })
}

/// Splits `tcp://10.0.0.5:6379`, which Kubernetes puts into `REDIS_PORT` beside a Service named redis.
pub(super) fn kubernetes_port(value: &str) -> Option<(String, u16)> {
    let (host, port) = host_and_port(value.strip_prefix("tcp://")?)?;
    Some((host, port?))
}

/// Whether the scheme of `url` asks for TLS.
pub(super) fn is_encrypted(url: &str) -> bool {
    url.split_once("://").is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("rediss"))
}

/// Returns `[::1]`, as an address is written beside a port, without the brackets, and any other text unchanged.
pub(super) fn without_brackets(host: &str) -> String {
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inner.filter(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok()).unwrap_or(host).to_owned()
}

/// Whether `host` is a name or an address alone, without scheme, port or path.
pub(super) fn is_host(host: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    is_address || (!host.is_empty() && host.chars().all(is_name))
}

/// Splits `host:port`, `host`, `[::1]:port` or `[::1]`.
fn host_and_port(address: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => match address.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        },
    };
    if !is_host(host) {
        return None;
    }
    let port = match port {
        None => None,
        Some(port) => Some(values::number(port).filter(|port| *port != 0)?),
    };
    Some((host.to_owned(), port))
}

/// Decodes `%XX`; `None` for another `%`, and for bytes that are not UTF-8.
fn decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Parts = (String, u16, u32, Option<String>, Option<String>, Tls);

    fn parsed(url: &str) -> Option<Parts> {
        let redis = read(url, &RedisConfig::default())?;
        let password = redis.password.map(|secret| secret.expose().to_owned());
        Some((redis.host, redis.port, redis.db, redis.username, password, redis.tls))
    }

    #[test]
    fn each_part_of_a_url_is_read() {
        let (user, word) = (Some("me".to_owned()), Some("p@:/ß".to_owned()));
        let full = parsed("rediss://me:p%40%3A%2F%C3%9F@example.org:6380/3").unwrap();
        assert_eq!(full, ("example.org".to_owned(), 6380, 3, user, word.clone(), Tls::On));
        let bare = parsed("redis://localhost").unwrap();
        assert_eq!(bare, ("localhost".to_owned(), 6379, 0, None, None, Tls::Off));
        let no_user = parsed("redis://:p%40%3A%2F%C3%9F@[::1]:1/").unwrap();
        assert_eq!(no_user, ("::1".to_owned(), 1, 0, None, word, Tls::Off));
    }

    #[test]
    fn other_forms_are_refused() {
        for bad in [
            "localhost:6379",
            "http://localhost",
            "redis://",
            "redis://:6379",
            "redis://h:0",
            "redis://h:99999",
            "redis://h:+1",
            "redis://h/one",
            "redis://h/1/2",
            "redis://h?ssl=none",
            "redis://h:1:2",
            "redis://[::1",
            "redis://u:%zz@h",
            "redis://a b",
            "unix:///tmp/redis.sock",
        ] {
            assert!(parsed(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_port_that_kubernetes_injects_is_a_host_and_a_port() {
        assert_eq!(kubernetes_port("tcp://10.0.0.5:6379"), Some(("10.0.0.5".to_owned(), 6379)));
        assert_eq!(kubernetes_port("tcp://[fd00::5]:6379"), Some(("fd00::5".to_owned(), 6379)));
        assert!(kubernetes_port("tcp://10.0.0.5").is_none() && kubernetes_port("6379").is_none());
    }
}
