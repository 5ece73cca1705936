//! The distribution of the latencies of single operations.

use std::time::Duration;

use crate::case::Case;
use crate::disk::reads::{self, Reading};
use crate::plot::{Axis, Plot};
use crate::redis::Rig;
use crate::redis::hits::Hits;
use crate::session::Session;
use crate::stores::{DataSet, Stores};
use crate::tasks::Figure;
use crate::workload::{Access, image_keys};
use crate::{Outcome, raw_redb};

/// Operations of one side in a row, before the other's turn.
const TURN: usize = 200;
const BYTES: usize = 1024;

/// Draws the plots.
pub fn run(session: &mut Session, has_redis: bool) -> Outcome<()> {
    session.doing("latencies");
    let stores = Stores::create(&session.runtime, DataSet::new(image_keys(0, 50_000), BYTES))?;
    draw(session, "on disk", raw_redb::NAME, &mut reads::hits(&stores, Access::Zipf, Reading::Each)?)?;
    if has_redis {
        let rig = Rig::start(&session.runtime)?;
        let hits = Hits::store(&rig, BYTES)?;
        draw(session, "in Redis", "redis-rs", &mut hits.beside_shared(1, Figure::Slowest1Percent))?;
    }
    Ok(())
}

/// Measures operations one at a time, in turns.
fn draw(session: &mut Session, place: &str, peer_name: &str, case: &mut dyn Case) -> Outcome<()> {
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..if session.quick { 100 } else { 500 } {
        for _ in 0..TURN {
            ours.push(case.ours(1)?);
        }
        for _ in 0..TURN {
            peer.push(case.peer(1)?);
        }
    }
    session.plots.push(Plot {
        title: format!("Latency of a hit of 1 KB {place}"),
        note: format!(
            "Lower is better. {} operations each, one at a time: at 2 stands the median, at 100 what one of a hundred \
             exceeds.",
            ours.len()
        ),
        x: Axis::Log("one operation of so many takes longer"),
        y: Axis::Log("microseconds"),
        lines: vec![("ours".to_owned(), spread(ours)), (peer_name.to_owned(), spread(peer))],
    });
    Ok(())
}

/// How many operations there are for one that takes longer, and than how many microseconds.
fn spread(mut taken: Vec<Duration>) -> Vec<(f64, f64)> {
    taken.sort_unstable();
    let one_of = (0..=75).map(|step| 10_f64.powf(f64::from(step) / 25.0));
    let at = |one_of: f64| taken.get((taken.len() as f64 * (1.0 - 1.0 / one_of)) as usize);
    one_of.filter_map(|one_of| Some((one_of, at(one_of)?.as_nanos() as f64 / 1e3))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_goes_from_the_fast_to_the_slow() {
        let spread = spread((0..1000).rev().map(Duration::from_micros).collect());
        assert_eq!((spread[0], spread[25]), ((1.0, 0.0), (10.0, 900.0)));
        assert_eq!(spread.last(), Some(&(1000.0, 999.0)));
    }
}
