//! Checks of a cache that runs, from its health and its figures.

use cache_core::{
    BackendKind, CacheStats, Diagnosis, Health, HealthStatus, JournalKind, NearHealth, NearState,
};

use super::Report;

/// Checks a running cache by its `health` and, where the backend has them, its `stats`.
pub(crate) fn running(health: &Health, stats: Option<&CacheStats>) -> Report {
    let mut report = Report::default();
    report.push("state", state(health));
    report.push("journal", journal(health));
    if let Some(near) = &health.near {
        report.push("values in memory", in_memory(near));
    }
    report.push("panics", panics(health));
    let no_figures = || Diagnosis::Wrong {
        found: "the backend gives no figures".to_owned(),
        advice: "see `state`; try again once it works".to_owned(),
    };
    report.push("errors", stats.map_or_else(no_figures, errors));
    report
}

fn state(health: &Health) -> Diagnosis {
    let found = health.to_string();
    match health.status {
        HealthStatus::Ok => Diagnosis::Fine(found),
        HealthStatus::Off => {
            Diagnosis::Doubtful { found, advice: "set CACHE_ENABLED=true to cache".to_owned() }
        }
        HealthStatus::Degraded => {
            let advice = if health.wanted == BackendKind::Redis {
                "make Redis reachable: the cache returns to it by itself"
            } else {
                "remove the cause: the cache recovers by itself, or after a restart"
            };
            Diagnosis::Wrong { found, advice: advice.to_owned() }
        }
    }
}

fn journal(health: &Health) -> Diagnosis {
    let depth = health.journal_depth;
    match health.journal {
        JournalKind::Memory => Diagnosis::Doubtful {
            found: format!("in memory, because no file can be written; {depth} invalidations wait"),
            advice: "make CACHE_DIR writable: the journal is lost with this process".to_owned(),
        },
        JournalKind::File | JournalKind::None if depth > 0 => Diagnosis::Doubtful {
            found: format!("{depth} invalidations wait for {}", health.wanted),
            advice: format!("make {} reachable: they are sent by themselves", health.wanted),
        },
        JournalKind::File => Diagnosis::Fine("in a file, nothing waits".to_owned()),
        JournalKind::None => Diagnosis::Fine("nothing waits".to_owned()),
    }
}

fn in_memory(near: &NearHealth) -> Diagnosis {
    match near.state {
        NearState::Serving => Diagnosis::Fine("served".to_owned()),
        NearState::Off => Diagnosis::Fine("not kept for this store".to_owned()),
        NearState::Lapsed => Diagnosis::Doubtful {
            found: format!(
                "not served: {}",
                near.cause.as_deref().unwrap_or("the store was not heard of in time")
            ),
            advice: "look at the round trip time to the store; reads go to the store meanwhile".to_owned(),
        },
    }
}

fn panics(health: &Health) -> Diagnosis {
    match (&health.last_panic, health.panics) {
        (_, 0) => Diagnosis::Fine("none".to_owned()),
        (last, count) => Diagnosis::Doubtful {
            found: format!("{count} were caught; the last: {}", last.as_deref().unwrap_or("unknown")),
            advice:
                "look for it in the log: a log subscriber, a metrics recorder, a clock or a backend panics"
                    .to_owned(),
        },
    }
}

fn errors(stats: &CacheStats) -> Diagnosis {
    let CacheStats { errors, corrupt, .. } = stats;
    if *errors == 0 && *corrupt == 0 {
        return Diagnosis::Fine("none since the start".to_owned());
    }
    Diagnosis::Doubtful {
        found: format!("{errors} operations failed and {corrupt} entries were damaged since the start"),
        advice: "look for `cache operation failed` in the log; requests were answered without the cache"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use cache_core::Timestamp;

    use super::*;

    #[test]
    fn a_cache_that_works_has_only_good_findings() {
        let stats = CacheStats::empty(BackendKind::Memory);
        let report = running(&Health::ok(BackendKind::Disk, Timestamp::from_millis(0)), Some(&stats));
        let doubtful = |check: &&super::super::Check| {
            // Other tests of this process may have panicked on purpose.
            check.name != "panics" && !matches!(check.diagnosis, Diagnosis::Fine(_))
        };
        assert_eq!(report.checks.iter().find(doubtful), None);
    }

    #[test]
    fn an_outage_is_found_with_what_waits_for_its_end() {
        let health = Health {
            wanted: BackendKind::Redis,
            journal: JournalKind::File,
            journal_depth: 2,
            ..Health::degraded(BackendKind::Fallback, Timestamp::from_millis(0), "connection refused")
        };
        let report = running(&health, None);
        assert!(!report.is_healthy());
        let text = report.to_string();
        for part in
            ["FAIL  state", "connection refused", "-> make Redis reachable", "2 invalidations wait for redis"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
