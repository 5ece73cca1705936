//! The space on disk while values of shifting sizes are stored without end.

use std::sync::Arc;
use std::time::Instant;

use cache_core::{CacheBackend, CacheKey, MEGABYTE, NewEntry};

use crate::case::Unit;
use crate::plot::{Axis, Plot, Points};
use crate::row::Row;
use crate::session::Session;
use crate::stores::{directory, open_ours};
use crate::workload::Values;
use crate::{Outcome, space};

const LIMIT_MB: u64 = 32;
/// Bytes of values, one phase after the other: metadata, thumbnails, both, metadata again.
const PHASES: [(usize, usize); 4] = [(500, 4_000), (10_000, 200_000), (500, 200_000), (500, 4_000)];

/// Measures the row and draws the plot.
pub fn run(session: &mut Session) -> Outcome<()> {
    session.doing("space over a churn");
    let root = directory()?;
    let cache = open_ours(&session.runtime, root.path().join("ours"), LIMIT_MB, 32 << 20)?;
    let poured = LIMIT_MB * MEGABYTE * if session.quick { 3 } else { 12 };
    let mut live = Vec::new();
    let (samples, ()) = space::during(&root.path().join("ours"), || {
        session.runtime.block_on(pour(&cache, poured, &mut live))
    })?;
    let peak = space::peak(&samples);
    let percent = peak * 100.0 / LIMIT_MB as f64;
    session.keep(Row::counted("peak space on disk over a churn", Unit::SPACE_PERCENT, percent, 100.0));
    let end = samples.last().map_or(0.0, |(at, _)| *at);
    session.plots.push(Plot {
        title: "Space on disk over a churn".to_owned(),
        note: format!(
            "Values of 0.5-4 KB, then 10-200 KB, then both, then small ones again, without end into {LIMIT_MB} MB. The space \
             (st_blocks, looked at every 2 ms: {} times) never reaches the limit: {percent:.1} % at most.",
            samples.len()
        ),
        x: Axis::Linear("seconds"),
        y: Axis::Linear("MB"),
        lines: vec![
            ("space on disk".to_owned(), thinned(&samples)),
            ("live entries, queued too".to_owned(), live),
            ("limit".to_owned(), vec![(0.0, LIMIT_MB as f64), (end, LIMIT_MB as f64)]),
        ],
    });
    Ok(())
}

/// Stores values phase by phase; when and how many MiB of them were live goes into `live`.
async fn pour(cache: &Arc<cache_disk::DiskBackend>, poured: u64, live: &mut Points) -> Outcome<()> {
    let (started, mut random, noise) = (Instant::now(), fastrand::Rng::with_seed(41), Values::new(200_000));
    let mut number = 0_usize;
    for (smallest, largest) in PHASES {
        let mut bytes = 0;
        while bytes < poured / PHASES.len() as u64 {
            number += 1;
            let size = smallest + random.usize(..largest - smallest);
            let key = CacheKey::builder("image", number).part("thumbnail").build()?;
            let token = cache.lookup(&key).await?.token;
            let _ = cache.fill(&key, token, NewEntry::new(noise.of(number).slice(..size))).await?;
            bytes += size as u64;
            if number.is_multiple_of(50) {
                let stats = cache.stats().await?;
                live.push((started.elapsed().as_secs_f64(), stats.size_bytes as f64 / MEGABYTE as f64));
            }
        }
        cache.flush().await?;
    }
    *live = thinned(live);
    Ok(())
}

/// Some hundred of many points: the highest of each stretch, so that no peak is lost.
fn thinned(points: &[(f64, f64)]) -> Points {
    let stretch = points.len().div_ceil(400).max(1);
    let highest = |some: &[(f64, f64)]| some.iter().copied().max_by(|one, other| one.1.total_cmp(&other.1));
    points.chunks(stretch).filter_map(highest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_the_peak() {
        let mut points: Points = (0..5000).map(|at| (f64::from(at), 1.0)).collect();
        points[1234].1 = 9.0;
        let thinned = thinned(&points);
        assert!(thinned.len() <= 400 && thinned.contains(&(1234.0, 9.0)));
    }
}
