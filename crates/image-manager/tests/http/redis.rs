//! Two instances over one data directory and one Redis: what one changes is in the next read through the other.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use cache_facade::{Cache, CacheConfig, RedisConfig, config::RedisConfigBuilder};
use serde_json::json;
use tempfile::TempDir;
use testkit::{Mode, RedisServer, Restart, TcpProxy};

use crate::harness::{Field, Server, png, settings};

/// How long what must come about may take on a crowded machine.
const PATIENCE: Duration = Duration::from_secs(30);

struct Site {
    redis: RedisServer,
    one: Server,
    two: Server,
    _directory: TempDir,
}

impl Site {
    /// Instances that no crowded machine drives off Redis.
    fn patient() -> Self {
        Self::with(|redis| redis.timeout(PATIENCE).connect_timeout(PATIENCE))
    }

    fn with(how: impl Fn(RedisConfigBuilder) -> RedisConfigBuilder) -> Self {
        let (redis, directory) = (RedisServer::start().unwrap(), tempfile::tempdir().unwrap());
        let at = || how(RedisConfig::at("127.0.0.1").port(redis.port()));
        let (one, two) = (instance(directory.path(), "one", at()), instance(directory.path(), "two", at()));
        Self { redis, one, two, _directory: directory }
    }
}

fn instance(directory: &Path, name: &str, redis: RedisConfigBuilder) -> Server {
    let config = CacheConfig::builder().directory(directory.join(name)).size_mb(16).redis(redis);
    Server::over(settings(directory), async move || Cache::connect(config.build().unwrap()).await.unwrap())
}

/// A load does not wait until its value is stored: the third read at the latest is a hit.
fn warm(server: &Server, path: &str) {
    let began = Instant::now();
    loop {
        let answer = server.get("ann", path).expect(200);
        if answer.source() == "hit" {
            return assert_eq!(answer.backend(), "redis", "{path}");
        }
        assert!(began.elapsed() < PATIENCE, "{path} never hits");
    }
}

#[test]
fn a_change_through_one_instance_is_in_the_next_read_through_the_other() {
    let site = Site::patient();
    let project = site.one.project();
    let image = site.one.upload(&project, "a.png", &png([1, 1, 1]));
    let own = format!("/api/images/{image}");
    let (thumbnail, listing) = (format!("{own}/thumbnail"), format!("/api/projects/{project}/images"));
    for round in 0..20 {
        let (writer, reader) = if round % 2 == 0 { (&site.one, &site.two) } else { (&site.two, &site.one) };
        for path in [&own, &thumbnail, &listing] {
            warm(writer, path);
            // What one has loaded is there for the other.
            assert_eq!(reader.get("bob", path).expect(200).source(), "hit", "{path}");
        }
        let metadata = json!({"round": round});
        writer.send("PUT", "ann", &format!("{own}/metadata"), &metadata).expect(200);
        assert_eq!(reader.get("ann", &own).expect(200).json()["metadata"], metadata);
        assert_eq!(reader.get("ann", &listing).expect(200).json()["items"][0]["metadata"], metadata);

        let before = reader.get("ann", &thumbnail).expect(200).body;
        let pixels = png([round, 2, 3]);
        let file: Field<'_> = ("file", Some("b.png"), &pixels);
        writer.form("PUT", "ann", &format!("{own}/file"), &[file]).expect(200);
        assert_ne!(reader.get("ann", &thumbnail).expect(200).body, before);

        writer.delete("ann", &own).expect(204);
        reader.get("ann", &own).expect(404);
        reader.get("ann", &thumbnail).expect(404);
        assert_eq!(reader.get("ann", &listing).expect(200).json()["total"], 0);
        reader.post("ann", &format!("{own}/restore")).expect(200);
        assert_eq!(writer.get("ann", &listing).expect(200).json()["total"], 1);
    }
}

#[test]
fn a_member_removed_through_one_instance_gets_403_on_hits_through_both() {
    let site = Site::patient();
    let project = site.one.project();
    let image = site.one.upload(&project, "a.png", &png([1, 1, 1]));
    let paths = [
        format!("/api/projects/{project}/images"),
        format!("/api/images/{image}"),
        format!("/api/images/{image}/thumbnail"),
    ];
    for path in &paths {
        warm(&site.one, path);
        for server in [&site.one, &site.two] {
            assert_eq!(server.get("bob", path).expect(200).source(), "hit", "{path}");
            server.get("eve", path).expect(403);
        }
    }
    let members = format!("/api/projects/{project}/members");
    site.one.send("PUT", "ann", &members, &json!({"members": ["ann"]})).expect(200);
    for path in &paths {
        warm(&site.two, path);
        for server in [&site.one, &site.two] {
            server.get("bob", path).expect(403);
            assert_eq!(server.get("ann", path).expect(200).source(), "hit", "{path}");
        }
    }
}

#[test]
fn a_member_removed_through_an_instance_that_is_cut_off_from_redis_gets_403_on_hits_through_the_other() {
    let (redis, directory) = (RedisServer::start().unwrap(), tempfile::tempdir().unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, redis.port()));
    let mut proxy = runtime.block_on(TcpProxy::start(target)).unwrap();
    let at = |port| RedisConfig::at("127.0.0.1").port(port);
    let patient = at(redis.port()).timeout(PATIENCE).connect_timeout(PATIENCE);
    let one = instance(directory.path(), "one", at(proxy.port()));
    let two = instance(directory.path(), "two", patient);
    let project = one.project();
    let image = one.upload(&project, "a.png", &png([1, 1, 1]));
    let paths = [format!("/api/projects/{project}/images"), format!("/api/images/{image}")];
    for path in &paths {
        warm(&two, path);
        assert_eq!(two.get("bob", path).expect(200).source(), "hit", "{path}");
    }
    runtime.block_on(proxy.set(Mode::Refuse));
    let members = format!("/api/projects/{project}/members");
    one.send("PUT", "ann", &members, &json!({"members": ["ann"]})).expect(200);
    for path in &paths {
        // The other instance has not heard of the change.
        assert_eq!(two.get("ann", path).expect(200).source(), "hit", "{path}");
        two.get("bob", path).expect(403);
        one.get("bob", path).expect(403);
    }
}

#[test]
fn while_redis_is_away_requests_are_answered_and_its_return_is_found() {
    let mut site = Site::with(|redis| redis);
    let project = site.one.project();
    let image = site.one.upload(&project, "a.png", &png([1, 1, 1]));
    let own = format!("/api/images/{image}");
    site.one.get("ann", &own).expect(200);
    site.redis.kill().unwrap();
    for round in 0..20 {
        let metadata = json!({"round": round});
        site.one.send("PUT", "ann", &format!("{own}/metadata"), &metadata).expect(200);
        // The instance that changed it sees it, hit or miss.
        for _ in 0..2 {
            let answer = site.one.get("ann", &own).expect(200);
            assert_eq!(answer.json()["metadata"], metadata);
            site.two.get("ann", &own).expect(200);
        }
    }
    let health = site.one.get("ann", "/api/cache/health").expect(200).json();
    assert_eq!(
        (&health["status"], &health["wanted"], &health["active"]),
        (&json!("degraded"), &json!("redis"), &json!("fallback"))
    );
    assert!(health["cause"].is_string(), "{health}");
    assert!(health["journal_depth"].as_u64().unwrap() > 0, "{health}");
    site.redis.restart(Restart::Empty).unwrap();
    for server in [&site.one, &site.two] {
        let began = Instant::now();
        while server.get("ann", "/api/cache/health").expect(200).json()["status"] != "ok" {
            assert!(began.elapsed() < PATIENCE, "Redis is not found again");
            std::thread::sleep(Duration::from_millis(10));
        }
        let answer = server.get("ann", &own).expect(200);
        assert_eq!(answer.json()["metadata"], json!({"round": 19}));
    }
    let health = site.one.get("ann", "/api/cache/health").expect(200).json();
    assert_eq!((&health["active"], &health["journal_depth"]), (&json!("redis"), &json!(0)));
}
