//! What clearing a group of a hundred costs among a thousand keys, and among up to a million.

use std::sync::Arc;

use crate::case::{Case, Target, Unit};
use crate::disk::removals::Clears;
use crate::plot::{Axis, Line, Marks, Plot, Whose};
use crate::redis::removals::beside_scan;
use crate::row::Row;
use crate::session::Session;
use crate::stores::{DataSet, Stores};
use crate::workload::listing_keys;
use crate::{Outcome, raw_redb};

const GROUP: usize = 100;
/// Clears of each keyspace by either side, which alternate; the median counts. A thousand keys have as many groups.
const CLEARS: usize = 9;

/// Keys, and the microseconds that a clear took among so many.
type Points = Vec<(f64, f64)>;

/// Measures the rows and draws the plots.
pub fn run(session: &mut Session, has_redis: bool) -> Outcome<()> {
    let on_disk = by_keyspace(session, "on disk", |session, keyspace| {
        let data = DataSet::new(listing_keys(keyspace / GROUP, GROUP)?, 100);
        Ok(Box::new(Clears::new(&Arc::new(Stores::create(&session.runtime, data)?))))
    })?;
    draw(session, "on disk", "Both remove the group durably", raw_redb::NAME, on_disk);
    if has_redis {
        let in_redis = by_keyspace(session, "in Redis", |session, keyspace| {
            Ok(Box::new(beside_scan(session, keyspace)?))
        })?;
        draw(session, "in Redis", "A scan looks at every key", "SCAN and UNLINK", in_redis);
    }
    Ok(())
}

/// Ours and the peer's for each keyspace; the row that says how far ours depends on it.
fn by_keyspace(
    session: &mut Session,
    place: &str,
    create: impl Fn(&Session, usize) -> Outcome<Box<dyn Case>>,
) -> Outcome<(Points, Points)> {
    let keyspaces: &[usize] =
        if session.quick { &[1_000, 10_000, 100_000] } else { &[1_000, 10_000, 100_000, 1_000_000] };
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for &keyspace in keyspaces {
        session.doing(&format!("clearing among {keyspace} keys {place}"));
        let mut case = create(session, keyspace)?;
        let (mut one, mut other) = (Vec::new(), Vec::new());
        for _ in 0..CLEARS {
            one.push(case.ours(1)?);
            other.push(case.peer(1)?);
        }
        for (points, mut taken) in [(&mut ours, one), (&mut peer, other)] {
            taken.sort_unstable();
            let median = taken.get(CLEARS / 2).map_or(f64::NAN, |taken| taken.as_nanos() as f64 / 1e3);
            points.push((keyspace as f64, median));
        }
    }
    if let (Some((few, among_few)), Some((many, among_many))) = (ours.first(), ours.last()) {
        session.keep(Row::beside(
            &format!("clear 100 keys among {many} {place}"),
            Unit::Micros,
            Target::Ratio(3.0),
            *among_many,
            (&format!("the same among {few}"), *among_few),
        ));
    }
    Ok((ours, peer))
}

fn draw(session: &mut Session, place: &str, how: &str, peer_name: &str, (ours, peer): (Points, Points)) {
    session.draw(Plot {
        title: format!("Clearing a group of 100 {place}, by keyspace"),
        note: format!("Lower is better. {how}; what ours costs hardly depends on how much else is there."),
        marks: Marks::Lines {
            x: Axis::log("keys in the cache"),
            y: Axis::log("microseconds"),
            lines: vec![Line::new("ours", Whose::Ours, ours), Line::new(peer_name, Whose::Peer, peer)],
        },
    });
}
