//! [`ServerInfo`]: what a server says about itself in its reply to `INFO`.

use std::collections::HashMap;
use std::time::Duration;

use cache_core::Timestamp;

use super::cluster::ClusterView;
use crate::config::{RedisConfig, RedisMode};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the server")]
pub(crate) struct ServerInfo {
    pub(crate) run_id: String,
    pub(crate) replication: Replication,
    pub(crate) uptime: Duration,
    pub(crate) is_replica: bool,
    pub(crate) is_cluster: bool,
    /// How the server describes its cluster; asked apart.
    pub(crate) cluster: Option<ClusterView>,
    pub(crate) is_sentinel: bool,
    pub(crate) maxmemory: u64,
    pub(crate) policy: String,
    /// Whether single fields can expire.
    pub(crate) expires_fields: bool,
    /// The server's clock.
    pub(crate) time: Option<Timestamp>,
    /// How many keys the database holds.
    pub(crate) keys: u64,
    /// How many keys the server has removed for want of memory since it started.
    pub(crate) evicted: u64,
    /// How far the clock of this machine is off, if that is too far.
    pub(crate) clock_problem: Option<String>,
}

/// What a server says about its replication stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Replication {
    /// The id of its own stream; another one after a promotion.
    pub(crate) id: String,
    /// How many bytes it has written to the stream.
    pub(crate) offset: i64,
    /// The id of the stream that it followed before.
    pub(crate) previous_id: String,
    /// The offset after the last byte that it has read from that stream; negative for none.
    pub(crate) previous_end: i64,
}

impl ServerInfo {
    /// Parses the reply to `INFO` of a client that uses the database `db`.
    pub(crate) fn parse(text: &str, db: u32) -> Self {
        let fields: HashMap<&str, &str> = text.lines().filter_map(|line| line.split_once(':')).collect();
        let field = |name: &str| fields.get(name).copied().unwrap_or_default();
        let number = |name: &str| field(name).parse().unwrap_or(0);
        let signed = |name: &str, unknown: i64| field(name).parse().unwrap_or(unknown);
        let keys = field(&format!("db{db}")).strip_prefix("keys=").and_then(|text| text.split(',').next());
        // Valkey calls it by its own name.
        let is_in_mode = |mode: &str| [field("redis_mode"), field("server_mode")].contains(&mode);
        let micros: Option<u64> = field("server_time_usec").parse().ok();
        Self {
            run_id: field("run_id").to_owned(),
            replication: Replication {
                id: field("master_replid").to_owned(),
                // Unknown: no successor has followed it any further.
                offset: signed("master_repl_offset", i64::MAX),
                previous_id: field("master_replid2").to_owned(),
                previous_end: signed("second_repl_offset", -1),
            },
            // Negative where the server's clock was set back since it started. Unknown counts as long.
            uptime: field("uptime_in_seconds").parse().map_or(Duration::MAX, Duration::from_secs),
            is_replica: field("role") == "slave",
            is_cluster: is_in_mode("cluster"),
            cluster: None,
            is_sentinel: is_in_mode("sentinel"),
            maxmemory: number("maxmemory"),
            policy: field("maxmemory_policy").to_owned(),
            expires_fields: match field("valkey_version") {
                "" => is_at_least(field("redis_version"), (7, 4)),
                valkey => is_at_least(valkey, (9, 0)),
            },
            time: micros.map(|micros| Timestamp::from_millis(micros / 1000)),
            keys: keys.and_then(|keys| keys.parse().ok()).unwrap_or(0),
            evicted: number("evicted_keys"),
            clock_problem: None,
        }
    }

    /// Returns why the server cannot be used at all.
    pub(crate) fn problem(&self, config: &RedisConfig) -> Option<&'static str> {
        if let Some(problem) = self.problem_of_kind(config) {
            Some(problem)
        } else if self.is_replica {
            Some("is a replica: it may serve removed values; name the primary in REDIS_HOST")
        } else if self.run_id.is_empty() && !config.trust_restart {
            Some("does not report its run_id, so that a restart cannot be detected; allow INFO to this user")
        } else {
            None
        }
    }

    /// Returns why the server is none of the kind that the settings ask for.
    pub(crate) fn problem_of_kind(&self, config: &RedisConfig) -> Option<&'static str> {
        let problem = if self.is_sentinel {
            "is a Sentinel, which holds no data; set REDIS_SENTINELS to its address and those of the others, in place of REDIS_HOST"
        } else if !self.is_cluster && config.mode == RedisMode::Cluster {
            "is no part of a cluster, and REDIS_MODE=cluster; correct REDIS_HOST, or remove REDIS_MODE"
        } else if !self.is_cluster {
            return None;
        } else if config.sentinels.is_some() {
            "is part of a cluster, which needs no Sentinels; set REDIS_HOST to any node, and remove REDIS_SENTINELS"
        } else if config.mode == RedisMode::Single {
            "is part of a cluster, and REDIS_MODE=single; remove REDIS_MODE"
        } else if config.trust_restart {
            "is part of a cluster, in which a failover is no restart; remove REDIS_TRUST_RESTART"
        } else if self.cluster.is_none() {
            "does not describe its cluster as expected (CLUSTER INFO, MYID and SLOTS); name a node of the cluster in REDIS_HOST"
        } else {
            return None;
        };
        Some(problem)
    }

    /// Returns what an operator should change about the server's memory settings, with the line to type.
    pub(crate) fn warning(&self) -> Option<String> {
        const POLICY: &str = "CONFIG SET maxmemory-policy allkeys-lru";
        if self.maxmemory == 0 {
            let problem = "the server has no memory limit and grows until it is killed";
            Some(format!("{problem}; type: CONFIG SET maxmemory 1gb, and {POLICY}"))
        } else if self.policy == "noeviction" || self.policy.starts_with("volatile-") {
            let problem = format!("with maxmemory-policy {} a full cache stores nothing", self.policy);
            Some(format!("{problem}; type: {POLICY}"))
        } else {
            None
        }
    }
}

/// Whether a version such as `7.4.1` is `least` or later.
fn is_at_least(version: &str, least: (u64, u64)) -> bool {
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_is_parsed() {
        let text = "# Server\r\nredis_mode:standalone\r\nrun_id:abc\r\nuptime_in_seconds:12\r\n\
                    # Memory\r\nmaxmemory:1048576\r\nmaxmemory_policy:noeviction\r\n# Replication\r\nrole:slave\r\n\
                    master_replid:ab\r\nmaster_replid2:cd\r\nmaster_repl_offset:7\r\nsecond_repl_offset:-1\r\n\
                    # Keyspace\r\ndb0:keys=1,expires=0\r\ndb3:keys=42,expires=0,avg_ttl=0\r\n";
        let info = ServerInfo::parse(text, 3);
        assert_eq!((info.run_id.as_str(), info.uptime), ("abc", Duration::from_secs(12)));
        assert!(info.is_replica && !info.is_cluster);
        let (id, previous_id) = ("ab".to_owned(), "cd".to_owned());
        assert_eq!(info.replication, Replication { id, offset: 7, previous_id, previous_end: -1 });
        assert_eq!((info.keys, ServerInfo::parse(text, 1).keys), (42, 0));
        assert!(info.warning().is_some());
    }

    #[test]
    fn valkey_names_its_mode_otherwise() {
        let info = |text: &str| ServerInfo::parse(text, 0);
        assert!(info("server_mode:cluster").is_cluster && info("server_mode:sentinel").is_sentinel);
        assert!(!info("server_mode:standalone").is_cluster && !info("").is_cluster);
    }

    #[test]
    fn fields_expire_from_a_version_on() {
        let can = |text: &str| ServerInfo::parse(text, 0).expires_fields;
        for old in
            ["", "redis_version:6.2.5", "redis_version:7.2.4", "redis_version:7.2.4\r\nvalkey_version:8.1.0"]
        {
            assert!(!can(old), "{old}");
        }
        for new in
            ["redis_version:7.4.0", "redis_version:8.2.2", "redis_version:7.2.4\r\nvalkey_version:9.1.0"]
        {
            assert!(can(new), "{new}");
        }
    }

    #[test]
    fn a_warning_says_what_to_type() {
        let warns = |maxmemory: u64, policy: &str| {
            ServerInfo { maxmemory, policy: policy.to_owned(), ..ServerInfo::default() }.warning()
        };
        assert!(warns(0, "noeviction").unwrap().contains("CONFIG SET maxmemory 1gb"));
        assert!(warns(1, "noeviction").unwrap().contains("CONFIG SET maxmemory-policy allkeys-lru"));
        assert!(warns(1, "volatile-lru").unwrap().contains("allkeys-lru"));
        assert_eq!(warns(1, "allkeys-lfu"), None);
    }
}
