//! What clearing a group of a hundred costs among a thousand keys, and among up to a million.

use std::sync::Arc;
use std::time::Duration;

use crate::Outcome;
use crate::case::{Case, Target, Unit};
use crate::disk::removals::Clears;
use crate::plot::{Axis, Line, Marks, Plot, Whose};
use crate::raw_redb;
use crate::row::Row;
use crate::session::Session;
use crate::stores::{DataSet, Stores};
use crate::workload::listing_keys;

const GROUP: usize = 100;
/// Clears of each keyspace; the median counts.
const CLEARS: usize = 7;

fn median_micros(mut run: impl FnMut() -> Outcome<Duration>) -> Outcome<f64> {
    let mut taken = Vec::new();
    for _ in 0..CLEARS {
        taken.push(run()?);
    }
    taken.sort_unstable();
    Ok(taken.get(CLEARS / 2).map_or(f64::NAN, |taken| taken.as_nanos() as f64 / 1e3))
}

/// Measures the row and draws the plot.
pub fn run(session: &mut Session) -> Outcome<()> {
    let keyspaces: &[usize] =
        if session.quick { &[1_000, 10_000, 100_000] } else { &[1_000, 10_000, 100_000, 1_000_000] };
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for &keyspace in keyspaces {
        session.doing(&format!("clearing among {keyspace} keys"));
        let data = DataSet::new(listing_keys(keyspace / GROUP, GROUP)?, 100);
        let stores = Arc::new(Stores::create(&session.runtime, data)?);
        let mut clears = Clears::new(&stores);
        ours.push((keyspace as f64, median_micros(|| clears.ours(1))?));
        peer.push((keyspace as f64, median_micros(|| clears.peer(1))?));
    }
    let (Some((_, among_few)), Some((most, among_many))) = (ours.first().copied(), ours.last().copied())
    else {
        return Ok(());
    };
    session.keep(Row::beside(
        &format!("clear 100 keys among {most}"),
        Unit::Micros,
        Target::Ratio(3.0),
        among_many,
        ("the same among 1,000", among_few),
    ));
    session.draw(Plot {
        title: "Clearing a group of 100, by keyspace".to_owned(),
        note: "Lower is better. Both remove the group durably; what it costs hardly depends on how much else is there."
            .to_owned(),
        marks: Marks::Lines {
            x: Axis::log("keys in the cache"),
            y: Axis::log("microseconds"),
            lines: vec![Line::new("ours", Whose::Ours, ours), Line::new(raw_redb::NAME, Whose::Peer, peer)],
        },
    });
    Ok(())
}
