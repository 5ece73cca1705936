//! The rows of the scoreboard: which tests, how many times.

/// A row.
#[derive(Debug)]
pub(super) struct Row {
    /// What is counted. Tests that count themselves print this name.
    pub(super) name: &'static str,
    /// What is done, and what counts as survived.
    pub(super) what: &'static str,
    pub(super) trials: Trials,
    /// Whether the output of all rows before it is searched for secrets.
    pub(super) searches_all_output: bool,
}

#[derive(Debug)]
pub(super) enum Trials {
    Runs(&'static [Run]),
    /// The builds with a bug on purpose that `cargo xtask test` knows.
    PlantedBugs,
}

/// One call of cargo.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) arguments: &'static str,
    /// Which tests.
    pub(super) tests: &'static str,
    pub(super) counts: Count,
    /// Variables that say how much is tried in a run of usual length.
    pub(super) scaled: &'static [(&'static str, f64)],
    pub(super) needs_redis: bool,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Count {
    /// What the tests count themselves.
    Lines,
    /// The tests.
    Tests,
}

impl Run {
    /// Runs only the tests whose names contain one of these words.
    const fn only(self, tests: &'static str) -> Self {
        Self { tests, ..self }
    }

    const fn with_redis(self) -> Self {
        Self { needs_redis: true, ..self }
    }
}

const fn disk(tests: &'static str, counts: Count, scaled: &'static [(&'static str, f64)]) -> Run {
    Run { counts, ..core("test --locked --package cache-disk --test faults", scaled).only(tests) }
}

const fn core(arguments: &'static str, scaled: &'static [(&'static str, f64)]) -> Run {
    Run { arguments, tests: "", counts: Count::Lines, scaled, needs_redis: false }
}

const fn redis(tests: &'static str, counts: Count, scaled: &'static [(&'static str, f64)]) -> Run {
    let arguments = "test --locked --package cache-redis --features tls --test redis";
    Run { counts, ..core(arguments, scaled).only(tests).with_redis() }
}

const fn facade(tests: &'static str, counts: Count, scaled: &'static [(&'static str, f64)]) -> Run {
    let arguments = "test --locked --package cache-facade --features tls --test redis";
    Run { counts, ..core(arguments, scaled).only(tests).with_redis() }
}

const fn instances(scaled: &'static [(&'static str, f64)]) -> Run {
    core("test --locked --package cache-facade --features redis --test instances", scaled).with_redis()
}

const fn row(name: &'static str, what: &'static str, runs: &'static [Run]) -> Row {
    Row { name, what, trials: Trials::Runs(runs), searches_all_output: false }
}

const TIMES: &str = "RELIABILITY_TIMES";

pub(super) const ROWS: &[Row] = &[
    row(
        "kill -9 cycles",
        "A process that reads, fills and invalidates on disk is killed after 5 to 65 ms; the store is opened again: no \
         value is wrong, no acknowledged invalidation is undone, and it opens within a second.",
        &[disk("kill::killed", Count::Lines, &[("CACHE_DISK_KILLS", 300.0)])],
    ),
    row(
        "simulated power losses",
        "Writes that were not synced are lost, reordered or torn, in a third of the cases again while the store is \
         being opened; also after a sync that failed. No value is wrong and no acknowledged invalidation is undone.",
        &[disk("power::", Count::Lines, &[("CACHE_DISK_POWER_LOSSES", 4000.0)])],
    ),
    row(
        "failed n-th operations",
        "The n-th operation on the file fails, once, or until the disk works again; nothing wrong or stale is \
         served, and the cache is in use again within 5 s.",
        &[disk(
            "io_errors::an_io_error io_errors::a_disk_that_stays",
            Count::Lines,
            &[("CACHE_DISK_IO_STEP", 4.0)],
        )],
    ),
    row(
        "damaged files",
        "Bits flipped, blocks overwritten, zeroed, swapped or cut off, in closed files, in those of killed \
         processes and under a running cache: nothing wrong or stale is served, and the cache is in use again \
         within 5 s.",
        &[disk("damage::", Count::Lines, &[("CACHE_DISK_DAMAGES", 1000.0)])],
    ),
    row(
        "full disk and foreign permissions",
        "No space left at the n-th operation; directories in use, of other users, read-only, or replaced by a \
         symbolic link: the start is refused with the path, or the cache runs without the directory, and no file of \
         another user is changed.",
        &[
            disk("io_errors::a_full_disk", Count::Lines, &[("CACHE_DISK_IO_STEP", 4.0)]),
            disk("directories::", Count::Tests, &[]),
        ],
    ),
    row(
        "samples of space within the limit",
        "Floods of values of shifting sizes, invalidations, clears, kill -9 and lowered limits, while the space on \
         disk is measured every 2 ms.",
        &[disk("limit::", Count::Lines, &[(TIMES, 4.0)])],
    ),
    row(
        "Redis faults",
        "Killed and restarted empty or from an old snapshot, stopped, full, read-only, another password, \
         connections cut, swallowed, garbled or slow, flushed, under load: every request is answered, none stale, \
         and Redis is in use again by itself. The delay is the longest time of any request, including stalls of the \
         machine.",
        &[facade("faults::", Count::Lines, &[(TIMES, 2.0)]), redis("faults::", Count::Tests, &[])],
    ),
    row(
        "stampedes",
        "Ten thousand callers of one missing value over memory, on disk and with Redis away, and five hundred over \
         Redis (for which a request waits 250 ms at most): one load.",
        &[
            core("test --locked --package cache-facade --test handle", &[(TIMES, 20.0)]).only("ten_thousand"),
            facade("stampede::", Count::Lines, &[(TIMES, 20.0)]),
        ],
    ),
    row(
        "schedules",
        "Orders of steps of threads and tasks that shuttle explores, half of them random, half with few preemptions, over \
         fences, single flight, the write queue, fallback and return: none serves an old value or hangs.",
        &[
            core("test --locked --package cache-core --features shuttle --test schedules", &[(TIMES, 2.0)]),
            core("test --locked --package cache-disk --features shuttle --test schedules", &[(TIMES, 1.0)]),
            core(
                "test --locked --package cache-facade --no-default-features --features shuttle --test schedules",
                &[(TIMES, 2.0)],
            ),
            core(
                "test --locked --package cache-facade --no-default-features --features redis,shuttle --lib",
                &[(TIMES, 2.0)],
            )
            .only("schedules"),
        ],
    ),
    row(
        "model sequences",
        "Random sequences of up to 120 operations, reopening and crashes included, on memory, disk and Redis: every hit \
         equals the model's.",
        &[
            core("test --locked --package cache-core --test model_memory", &[(PROPTEST, 10_000.0)]),
            disk("model::", Count::Lines, &[(PROPTEST, 2000.0)]),
            core("test --locked --package cache-redis --test conformance", &[(TIMES, 2.0)])
                .only("redis_agrees")
                .with_redis(),
        ],
    ),
    row(
        "reads checked for staleness, 4 processes",
        "Four processes over one database and one Redis, while the server, the network and the processes fail at random: \
         no read that began after an acknowledged invalidation returned an older value, or one never written.",
        &[instances(&[("INSTANCES_SECONDS", 60.0)]).only("any_instance_is_stale")],
    ),
    row(
        "reads checked for staleness, memory",
        "Four processes, three of which keep values in memory, over one database and one Redis, while the server, the network \
         and the processes fail at random, processes stand still for longer than a lease, and registries and logs are lost.",
        &[instances(&[("INSTANCES_SECONDS", 60.0)]).only("from_memory_is_stale_while")],
    ),
    row(
        "reads checked for staleness, memory and cluster",
        "The same over a cluster of six nodes, while masters are killed, stand still, are replaced as planned and flushed, and \
         slots move.",
        &[instances(&[("INSTANCES_SECONDS", 60.0)]).only("from_memory_is_stale_over")],
    ),
    row(
        "reads checked for staleness, cluster",
        "Four processes over one database and a cluster of six nodes, while masters are killed, stand still, are replaced as \
         planned and flushed, slots move, and processes are killed.",
        &[instances(&[("INSTANCES_SECONDS", 60.0)]).only("no_read_is_stale_over_a_cluster")],
    ),
    row(
        "reads checked for staleness, Sentinel",
        "Four processes over one database and a master with a replica and three Sentinels, while masters are killed or stand \
         still, and processes are killed.",
        &[instances(&[("INSTANCES_SECONDS", 60.0)]).only("behind_sentinels")],
    ),
    row(
        "cluster faults",
        "Three instances with heartbeats of 0.2 and 0.8 s over six nodes: a master killed, hung and awake again, replaced as \
         planned there and back, by force, by takeover, and every slot in use moved: no read returned a value that was \
         invalidated five heartbeats before, or before at all where no deposed master answers. The delay is the longest time \
         of any request.",
        &[core("test --locked --package cache-redis --test cluster", &[]).only("race::").with_redis()],
    ),
    Row {
        name: "planted bugs found",
        what: "The checks above with a defence switched off: the fence, the server epoch, the journal, the lock, \
               the durable delete. Each check must observe the violation; otherwise the rows above prove nothing.",
        trials: Trials::PlantedBugs,
        searches_all_output: false,
    },
    row(
        "bad inputs",
        "Damaged and random bytes as stored entries and payloads, hostile parts of keys and patterns, hostile fields in \
         Redis: none is an entry, panics, or reaches another key.",
        &[
            core("test --locked --package cache-core --test bad_inputs", &[(TIMES, 50.0)]),
            redis("hostile::", Count::Tests, &[]),
        ],
    ),
    row(
        "operations while memory is watched",
        "A mixed load of new keys, failing loads and invalidations: memory, descriptors and tasks do not grow; a \
         leak of 64 bytes an operation is detected. The application under requests while nothing reads its metrics: \
         its memory does not grow.",
        &[
            core("test --locked --package cache-facade --features redis --test memory", &[(TIMES, 15.0)]),
            core("test --locked --package image-manager --test process", &[(TIMES, 15.0)]).only("memory::"),
        ],
    ),
    Row {
        name: "lines without a secret",
        what: "Every log line from TRACE up of a cache with a password during failures, the output of Debug and \
               Display, and the output of the rows above.",
        trials: Trials::Runs(&[facade("secrets::", Count::Lines, &[])]),
        searches_all_output: true,
    },
];

const PROPTEST: &str = "PROPTEST_CASES";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::metadata::Workspace;

    /// cargo runs no test of a target whose features are off.
    #[test]
    fn every_run_turns_on_the_features_of_its_tests() {
        let workspace = Workspace::read().unwrap();
        let mut checked = 0;
        for row in ROWS {
            let Trials::Runs(runs) = &row.trials else { continue };
            for run in *runs {
                let words: Vec<&str> = run.arguments.split(' ').collect();
                let after = |flag| words.iter().skip_while(|word| **word != flag).nth(1).copied();
                let name = after("--package").unwrap();
                let package = workspace.packages.iter().find(|package| package.name() == name).unwrap();
                let mut features: Vec<&str> =
                    after("--features").into_iter().flat_map(|all| all.split(',')).collect();
                if !words.contains(&"--no-default-features") {
                    features.push("default");
                }
                if let Some(test) = after("--test") {
                    let missing = package.missing_for(test, &features);
                    let is_complete = missing.as_ref().is_some_and(BTreeSet::is_empty);
                    assert!(is_complete, "{}: cargo {} lacks {missing:?}", row.name, run.arguments);
                    checked += 1;
                }
            }
        }
        assert!(checked > 15, "only {checked} runs were looked at");
    }
}
