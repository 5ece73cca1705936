//! Names this server answers to, and what it says of its own machine to strangers.

use cache_facade::{Cache, CacheConfig};
use image_manager::{Diagnostics, Settings};

use crate::harness::{Server, settings};

#[test]
fn a_request_to_another_host_is_refused_while_the_local_user_needs_no_name() {
    let server = Server::start();
    let ask = |method, path: &str, host| server.request(method, path, &[("host", host)], None);
    for host in ["evil.example", "evil.example:8080", "localhost.evil.example", "10.0.0.1"] {
        for (method, path) in
            [("DELETE", "/api/cache"), ("GET", "/api/projects"), ("GET", "/metrics"), ("GET", "/nothing")]
        {
            assert_eq!(ask(method, path, host).expect(421).code(), "misdirected", "{host}");
        }
        let origin = format!("http://{host}");
        let headers = [("host", host), ("origin", origin.as_str())];
        server.request("DELETE", "/api/cache", &headers, None).expect(421);
    }
    for host in ["localhost", "127.0.0.1:9", "[::1]:8080"] {
        ask("DELETE", "/api/cache", host).expect(200);
    }
}

#[test]
fn health_names_hosts_and_metrics_are_read_only_where_the_settings_allow_it() {
    let start = |diagnostics| {
        let directory = tempfile::tempdir().unwrap();
        let settings =
            Settings { bind: "0.0.0.0:8080".parse().unwrap(), diagnostics, ..settings(directory.path()) };
        let cache = directory.path().join("cache");
        let server = Server::over(settings, async move || {
            let pairs = [
                ("REDIS_ENABLED", "true"),
                ("REDIS_HOST", "127.0.0.1"),
                ("REDIS_PORT", "1"),
                ("CACHE_SIZE_MB", "16"),
                ("CACHE_DIR", cache.to_str().unwrap()),
            ];
            Cache::connect(CacheConfig::from_pairs(pairs).unwrap()).await.unwrap()
        });
        (directory, server)
    };
    let (_directory, server) = start(Diagnostics::Admins);
    for path in ["/healthz", "/api/cache/health"] {
        for (user, sees) in [(None, false), (Some("ann"), false), (Some("demo"), true)] {
            let headers: Vec<_> = user.iter().map(|user| ("x-user", *user)).collect();
            let health = server.request("GET", path, &headers, None).expect(200).json();
            assert_eq!(health["status"], "degraded");
            assert_eq!(health["cause"].as_str().unwrap().contains("127.0.0.1"), sees, "{user:?}: {health}");
        }
    }
    server.request("GET", "/metrics", &[], None).expect(403);
    server.get("ann", "/metrics").expect(403);
    server.get("demo", "/metrics").expect(200);
    let (_directory, server) = start(Diagnostics::All);
    server.request("GET", "/metrics", &[], None).expect(200);
    let health = server.request("GET", "/healthz", &[], None).expect(200).json();
    assert!(health["cause"].as_str().unwrap().contains("127.0.0.1"), "{health}");
}
