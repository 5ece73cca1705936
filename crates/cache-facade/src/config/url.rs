//! What `REDIS_URL` and Kubernetes' `REDIS_PORT` hold.

use super::redis::{RedisConfig, Secret, Tls};

/// The form of a URL, as errors give it.
pub(super) const FORM: &str = "redis://[user:password@]host[:port][/db], or rediss:// for TLS, with %XX for special characters and no query";

/// Reads `redis://[user[:password]@]host[:port][/db]` into `redis`; `None` where the text is of another form.
pub(super) fn read(url: &str, redis: RedisConfig) -> Option<RedisConfig> {
    let (scheme, rest) = url.split_once("://")?;
    let tls = match scheme.to_ascii_lowercase().as_str() {
        "redis" => Tls::Off,
        "rediss" => Tls::On,
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
        Some((address, db)) => (address, super::parse::plain_number(db)?),
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
        ..redis
    })
}

/// The host and port of `tcp://10.0.0.5:6379`, which Kubernetes puts into `REDIS_PORT` beside a Service named redis.
pub(super) fn kubernetes_port(value: &str) -> Option<(String, u16)> {
    let (host, port) = host_and_port(value.strip_prefix("tcp://")?)?;
    Some((host, port?))
}

/// `[::1]`, as an address is written beside a port, without the brackets; any other text as it is.
pub(super) fn without_brackets(host: String) -> String {
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match inner.filter(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok()) {
        Some(inner) => inner.to_owned(),
        None => host,
    }
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
        Some(port) => Some(super::parse::plain_number(port).filter(|port| *port != 0)?),
    };
    Some((host.to_owned(), port))
}

/// `text` with `%XX` decoded.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Parts = (String, u16, u32, Option<String>, Option<String>, Tls);

    fn parsed(url: &str) -> Option<Parts> {
        let redis = read(url, RedisConfig::default())?;
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
    fn what_kubernetes_injects_is_a_host_and_a_port() {
        assert_eq!(kubernetes_port("tcp://10.0.0.5:6379"), Some(("10.0.0.5".to_owned(), 6379)));
        assert_eq!(kubernetes_port("tcp://[fd00::5]:6379"), Some(("fd00::5".to_owned(), 6379)));
        assert!(kubernetes_port("tcp://10.0.0.5").is_none() && kubernetes_port("6379").is_none());
    }
}
