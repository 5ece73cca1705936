//! Several processes over one Redis and one database, while the server, the network and the processes fail at random: no
//! read that began after an acknowledged invalidation returns an older value.
//!
//! `INSTANCES_SECONDS=600 cargo test -p cache-facade --features redis --test instances` runs for longer. `testkit::history`
//! defines a violation.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]
#![expect(clippy::cast_possible_truncation, reason = "numbers of instances are small")]

#[cfg(feature = "metrics")]
mod broken;
mod database;
mod dice;
mod faults;
mod fleet;
mod instance;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use cache_core::plants::{self, Plant};
use testkit::history::{Promise, Verdict, check, now};
use testkit::reliability::Tally;

use database::Database;
use dice::Dice;
use faults::Redis;
use fleet::Fleet;

const INSTANCES: usize = 4;
const FALLBACK_MAX_AGE: Duration = Duration::from_secs(2);

/// Whether a bug is planted, which must be found; some concern values in memory only.
fn is_planted(has_memory: bool) -> bool {
    let of_memory = [Plant::NearNoWait, Plant::NearTokenLate];
    let others = [Plant::NoRedisFence, Plant::OneIncarnation, Plant::NoJournal];
    let mut bugs = of_memory.into_iter().filter(|_| has_memory).chain(others);
    bugs.any(plants::is_planted)
}

const TEST: &str = "no_read_of_any_instance_is_stale_while_everything_fails_at_random";

#[tokio::test(flavor = "multi_thread")]
async fn no_read_of_any_instance_is_stale_while_everything_fails_at_random() {
    find_planted(TEST, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_read_from_memory_is_stale_while_everything_fails_at_random() {
    find_planted("no_read_from_memory_is_stale_while_everything_fails_at_random", true).await;
}

/// Runs `test` over one server, in this process or in an instance. A planted bug must be found.
async fn find_planted(test: &'static str, has_memory: bool) {
    if let Some(root) = std::env::var_os(instance::ROOT) {
        let number = std::env::var(instance::NUMBER).unwrap().parse().unwrap();
        return instance::run(Path::new(&root), number).await;
    }
    if !has_memory && is_planted(true) && !is_planted(false) {
        return;
    }
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let is_planted = is_planted(has_memory);
    let seconds = number("INSTANCES_SECONDS").unwrap_or(if is_planted { 15 } else { 10 });
    let seed = number("INSTANCES_SEED").unwrap_or(1);
    // Some bugs show only in some runs.
    let mut violations = None;
    for round in 0..if is_planted { 4 } else { 1 } {
        let run = run_with_faults(test, Redis::server(), seconds, seed + round, 1000, has_memory);
        let (verdict, times) = run.await;
        let first: Vec<_> = verdict.violations.iter().take(5).collect();
        if !first.is_empty() {
            violations = Some(format!("{first:#?} while {times:#?}"));
            break;
        }
    }
    assert_eq!(
        violations.is_some(),
        is_planted,
        "{}",
        violations.as_deref().unwrap_or("no violation was found")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_read_is_stale_over_a_cluster_that_fails_at_random() {
    judge("no_read_is_stale_over_a_cluster_that_fails_at_random", Redis::cluster, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_read_from_memory_is_stale_over_a_cluster_that_fails_at_random() {
    judge("no_read_from_memory_is_stale_over_a_cluster_that_fails_at_random", Redis::cluster, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_read_is_stale_behind_sentinels_while_masters_are_killed() {
    judge("no_read_is_stale_behind_sentinels_while_masters_are_killed", Redis::replicated, true).await;
}

/// Runs `test`, in this process or in an instance.
async fn judge(test: &'static str, redis: impl FnOnce() -> Redis, has_memory: bool) {
    if let Some(root) = std::env::var_os(instance::ROOT) {
        let number = std::env::var(instance::NUMBER).unwrap().parse().unwrap();
        return instance::run(Path::new(&root), number).await;
    }
    if is_planted(true) {
        return;
    }
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let (seconds, seed) = (number("INSTANCES_SECONDS").unwrap_or(10), number("INSTANCES_SEED").unwrap_or(3));
    let (verdict, times) = run_with_faults(test, redis(), seconds, seed, 1000, has_memory).await;
    assert!(verdict.violations.is_empty(), "{:#?} while {times:#?}", verdict.violations);
}

#[cfg(feature = "metrics")]
const BROKEN: &str = "no_read_is_stale_either_where_every_log_line_span_and_metric_panics";

/// Runs the test with instances whose log and metrics recorder panic.
#[cfg(feature = "metrics")]
#[tokio::test(flavor = "multi_thread")]
async fn no_read_is_stale_either_where_every_log_line_span_and_metric_panics() {
    if let Some(root) = std::env::var_os(instance::ROOT) {
        let number = std::env::var(instance::NUMBER).unwrap().parse().unwrap();
        broken::install();
        return instance::run(Path::new(&root), number).await;
    }
    if is_planted(true) {
        return;
    }
    // The panics take time.
    let (verdict, times) = run_with_faults(BROKEN, Redis::server(), 15, 2, 100, false).await;
    assert!(verdict.violations.is_empty(), "{:#?} while {times:#?}", verdict.violations);
}

/// The start, the end and the description of each fault.
type Faults = Vec<(Duration, Duration, &'static str)>;

/// Injects faults for `seconds`, and checks the histories of the instances, which must have at least `least` hits in Redis.
async fn run_with_faults(
    test: &'static str,
    mut redis: Redis,
    seconds: u64,
    seed: u64,
    least: usize,
    has_memory: bool,
) -> (Verdict, Faults) {
    let tally = Tally::new(redis.row(has_memory), seed);
    let root = tempfile::tempdir().unwrap();
    Database::create(&root.path().join("database"));
    let mut fleet = Fleet::start_all(root.path(), test, INSTANCES, &redis, has_memory).await;
    let dice = Dice::new(seed);
    let mut faults: BTreeMap<&str, u32> = BTreeMap::new();
    let mut times = Vec::new();
    let until = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(dice.below(600))).await;
        let start = now();
        let what = redis.strike(&dice, &mut fleet).await;
        *faults.entry(what).or_default() += 1;
        times.push((start, now(), what));
    }
    for (number, (end, said)) in fleet.end().into_iter().enumerate() {
        assert!(end.success(), "instance {number} ended with {end}:\n{said}");
    }

    let histories: Vec<_> = (0..INSTANCES).map(|number| Fleet::history(root.path(), number)).collect();
    let promise = Promise { own_for_at_most: FALLBACK_MAX_AGE + Duration::from_millis(250) };
    let verdict = check(&histories, promise);
    println!(
        "{} reads, {} hits, {} of them in Redis, {} in memory, {} invalidations, {} violations; seed {seed}",
        verdict.reads,
        verdict.hits,
        verdict.shared_hits,
        verdict.memory_hits,
        verdict.invalidations,
        verdict.violations.len(),
    );
    tally.attempts(verdict.reads);
    tally.note(format!(
        "{} hits, {} acknowledged invalidations, {} faults, {} violations",
        verdict.hits,
        verdict.invalidations,
        times.len(),
        verdict.violations.len()
    ));
    for (what, times) in &faults {
        println!("{times:4} x {what}");
    }
    let from_memory = if has_memory { verdict.memory_hits } else { usize::MAX };
    let is_enough = verdict.shared_hits > least && from_memory > least && verdict.invalidations > least / 10;
    assert!(is_enough || !verdict.violations.is_empty(), "too few reads and invalidations");
    (verdict, times)
}
