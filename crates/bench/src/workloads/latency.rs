//! How the latencies of single operations spread: half, nine tenths, 99 of a hundred ... take no longer than this.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_core::CacheBackend;
use redis::AsyncCommands;

use crate::Outcome;
use crate::plot::{Axis, Line, Marks, Plot, Whose};
use crate::raw_redb;
use crate::redis::{Rig, hits};
use crate::session::Session;
use crate::stores::{DataSet, Stores};
use crate::workload::{Access, Sequence, Values, image_keys};

/// Operations of one side in a row, before the other's turn.
const TURN: u64 = 200;
const BYTES: usize = 1024;

/// Draws the plots.
pub fn run(session: &mut Session, has_redis: bool) -> Outcome<()> {
    session.doing("latencies");
    let turns = if session.quick { 100 } else { 500 };
    disk(session, turns)?;
    if has_redis { redis(session, turns) } else { Ok(()) }
}

fn disk(session: &mut Session, turns: u64) -> Outcome<()> {
    let stores = Stores::create(&session.runtime, DataSet::new(image_keys(0, 50_000), BYTES))?;
    let mut sequence = Sequence::new(stores.keys.clone(), Access::Zipf, 51);
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..turns {
        let keys = sequence.take(TURN);
        let backend: &dyn CacheBackend = &*stores.ours;
        stores.runtime.block_on(async {
            for key in &keys {
                let started = Instant::now();
                let found = backend.lookup(key).await?;
                ours.push(started.elapsed());
                hits::check(found.entry.map_or(0, |entry| entry.payload.len()), BYTES)?;
            }
            Outcome::Ok(())
        })?;
        for key in &keys {
            let started = Instant::now();
            let found = stores.peer.get(key)?;
            peer.push(started.elapsed());
            hits::check(found.map_or(0, |value| value.len()), BYTES)?;
        }
    }
    draw(session, "Latency of a hit of 1 KB on disk", (ours, peer), raw_redb::NAME);
    Ok(())
}

fn redis(session: &mut Session, turns: u64) -> Outcome<()> {
    let rig = Rig::start(&session.runtime)?;
    let keys: Arc<[_]> = image_keys(0, hits::KEYS as usize).into();
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    session.runtime.block_on(async {
        hits::store(&rig, &keys, &Values::new(BYTES)).await?;
        let mut shared = rig.shared.clone();
        for number in 0..turns * TURN {
            // Turns of both sides alternate.
            if (number / TURN).is_multiple_of(2) {
                let started = Instant::now();
                hits::hit(Arc::clone(&rig.cache), hits::key(&keys, number), BYTES).await?;
                ours.push(started.elapsed());
            } else {
                let started = Instant::now();
                let found: Vec<u8> = shared.get(hits::key(&keys, number).as_str()).await?;
                peer.push(started.elapsed());
                hits::check(found.len(), BYTES)?;
            }
        }
        Outcome::Ok(())
    })?;
    draw(session, "Latency of a hit of 1 KB in Redis", (ours, peer), "redis-rs");
    Ok(())
}

fn draw(session: &mut Session, title: &str, (ours, peer): (Vec<Duration>, Vec<Duration>), peer_name: &str) {
    let operations = ours.len();
    session.draw(Plot {
        title: title.to_owned(),
        note: format!(
            "Lower is better. {operations} operations each, one at a time: at 2 stands the median, at 100 what one of a \
             hundred exceeds."
        ),
        marks: Marks::Lines {
            x: Axis::log("one operation of so many takes longer"),
            y: Axis::log("microseconds"),
            lines: vec![
                Line::new("ours", Whose::Ours, spread(ours)),
                Line::new(peer_name, Whose::Peer, spread(peer)),
            ],
        },
    });
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
