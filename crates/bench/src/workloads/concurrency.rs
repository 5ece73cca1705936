//! Throughput by the number of tasks that read at a time.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use cache_core::{CacheBackend, CacheKey};

use crate::Outcome;
use crate::case::{Case, Pace, Unit, check};
use crate::interleave::{self, Plan};
use crate::plot::{Axis, Plot, Points};
use crate::raw_redb;
use crate::redis::Rig;
use crate::redis::hits::Hits;
use crate::session::Session;
use crate::stores::{DataSet, Stores};
use crate::tasks::{Figure, in_tasks};
use crate::workload::image_keys;

const BYTES: usize = 1024;
const TASKS: [u64; 6] = [1, 4, 16, 64, 256, 1024];

/// Draws the plots.
pub fn run(session: &mut Session, has_redis: bool) -> Outcome<()> {
    session.doing("throughput by concurrency");
    let stores = Stores::create(&session.runtime, DataSet::new(image_keys(0, 20_000), BYTES))?;
    let (ours, peer) = by_tasks(session, |tasks| {
        let (ours, peer) = (Arc::clone(&stores), Arc::clone(&stores));
        in_tasks(
            &stores.runtime,
            tasks,
            Figure::Throughput,
            move |number| {
                let stores = Arc::clone(&ours);
                async move {
                    let found = stores.ours.lookup(&key(&stores, number)?).await?.entry;
                    check(black_box(found).map(|entry| entry.payload.len()), BYTES)
                }
            },
            move |number| {
                let stores = Arc::clone(&peer);
                async move {
                    let found = stores.peer.get(&key(&stores, number)?)?;
                    check(black_box(found).map(|value| value.len()), BYTES)
                }
            },
        )
    })?;
    draw(session, "on disk", vec![("ours", ours), (raw_redb::NAME, peer)]);
    if has_redis {
        let rig = Rig::start(&session.runtime)?;
        let hits = Hits::store(&rig, BYTES)?;
        let (ours, shared) = by_tasks(session, |tasks| hits.beside_shared(tasks, Figure::Throughput))?;
        let (_, documented) = by_tasks(session, |tasks| hits.beside_documented(tasks))?;
        let peers = [("redis-rs, shared", shared), ("bb8-redis, documented", documented)];
        draw(session, "in Redis", [("ours", ours)].into_iter().chain(peers).collect());
    }
    Ok(())
}

fn key(stores: &Stores, number: u64) -> Outcome<CacheKey> {
    stores.keys.get(number as usize * 7919 % stores.keys.len()).cloned().context("no keys")
}

/// Operations a second of ours and of the peer, by the number of tasks.
fn by_tasks<C: Case>(session: &Session, case: impl Fn(u64) -> C) -> Outcome<(Points, Points)> {
    let slices = if session.quick { 2 } else { 6 };
    let plan = Plan { rounds: 5, slices, slice: Duration::from_millis(25) };
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for tasks in TASKS {
        let measured = interleave::measure(&mut case(tasks), Pace::FREE, plan)?;
        ours.push((tasks as f64, measured.ours(Unit::PerSecond)));
        peer.push((tasks as f64, measured.peer(Unit::PerSecond)));
    }
    Ok((ours, peer))
}

fn draw(session: &mut Session, place: &str, lines: Vec<(&str, Points)>) {
    session.plots.push(Plot {
        title: format!("Hits of 1 KB a second {place}, by tasks at a time"),
        note: "Higher is better. Measured in turns of 25 ms, the median of many.".to_owned(),
        x: Axis::Log("tasks at a time"),
        y: Axis::Linear("hits a second"),
        lines: lines.into_iter().map(|(name, points)| (name.to_owned(), points)).collect(),
    });
}
