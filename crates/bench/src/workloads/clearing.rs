//! The cost of clearing a group of a hundred among a thousand keys, and among up to a million.

use crate::case::{Case, Target, Unit};
use crate::disk::removals::clears;
use crate::plot::{Axis, Plot};
use crate::redis::removals::{Peer, Removals};
use crate::row::Row;
use crate::session::Session;
use crate::stores::{DataSet, Stores};
use crate::workload::listing_keys;
use crate::{Outcome, raw_redb};

const GROUP: usize = 100;
/// Clears of each keyspace by either side, which alternate; the median counts. A thousand keys have as many groups.
const CLEARS: usize = 9;

/// Measures the rows and draws the plots.
pub fn run(session: &mut Session, has_redis: bool) -> Outcome<()> {
    let how = "Both remove the group durably";
    by_keyspace(session, "on disk", raw_redb::NAME, how, |session, keyspace| {
        let data = DataSet::new(listing_keys(keyspace / GROUP, GROUP)?, 100);
        Ok(Box::new(clears(&Stores::create(&session.runtime, data)?)))
    })?;
    if has_redis {
        let how = "A scan looks at every key";
        by_keyspace(session, "in Redis", "SCAN and UNLINK", how, |session, keyspace| {
            Ok(Box::new(Removals::start(session, keyspace, Peer::Scan)?))
        })?;
    }
    Ok(())
}

/// Measures ours and the peer's for each keyspace; the row is how far ours depends on it.
fn by_keyspace(
    session: &mut Session,
    place: &str,
    peer_name: &str,
    how: &str,
    create: impl Fn(&Session, usize) -> Outcome<Box<dyn Case>>,
) -> Outcome<()> {
    let most = if session.quick { 100_000 } else { 1_000_000 };
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for keyspace in [1_000, 10_000, 100_000, 1_000_000].into_iter().filter(|keyspace| *keyspace <= most) {
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
        let name = format!("clear 100 keys among {many} {place}");
        let peer = (&*format!("the same among {few}"), *among_few);
        session.keep(Row::beside(&name, Unit::Micros, Target::Ratio(3.0), *among_many, peer));
    }
    session.plots.push(Plot {
        title: format!("Clearing a group of 100 {place}, by keyspace"),
        note: format!("Lower is better. {how}; the cost of ours hardly depends on the number of other keys."),
        x: Axis::Log("keys in the cache"),
        y: Axis::Log("microseconds"),
        lines: vec![("ours".to_owned(), ours), (peer_name.to_owned(), peer)],
    });
    Ok(())
}
