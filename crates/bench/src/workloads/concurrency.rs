//! Hits a second by how many tasks ask at the same time.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use cache_core::CacheBackend;
use redis::AsyncCommands;

use crate::case::{Pace, Unit};
use crate::interleave::{self, Plan};
use crate::plot::{Axis, Line, Marks, Plot, Whose};
use crate::raw_redb;
use crate::redis::{Rig, hits};
use crate::session::Session;
use crate::stores::{DataSet, Stores};
use crate::tasks::{Figure, Tasks};
use crate::workload::{Values, image_keys};
use crate::{Case, Outcome};

const BYTES: usize = 1024;
const TASKS: [u64; 6] = [1, 4, 16, 64, 256, 1024];
const PACE: Pace = Pace::Slices { most: 1 << 20 };

/// Draws the plots.
pub fn run(session: &mut Session, has_redis: bool) -> Outcome<()> {
    session.doing("throughput by concurrency");
    let slices = if session.quick { 2 } else { 6 };
    let plan = Plan { rounds: 5, slices, slice: Duration::from_millis(25) };
    disk(session, plan)?;
    if has_redis { redis(session, plan) } else { Ok(()) }
}

fn disk(session: &mut Session, plan: Plan) -> Outcome<()> {
    let stores = Arc::new(Stores::create(&session.runtime, DataSet::new(image_keys(0, 20_000), BYTES))?);
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for tasks in TASKS {
        let (one, other) = (Arc::clone(&stores), Arc::clone(&stores));
        let key = |stores: &Stores, number: u64| {
            stores.keys.get(number as usize * 7919 % stores.keys.len()).cloned().ok_or("no keys")
        };
        let mut case = Tasks {
            runtime: Arc::clone(&session.runtime),
            tasks,
            figure: Figure::Throughput,
            ours: move |number| {
                let stores = Arc::clone(&one);
                async move {
                    let found = stores.ours.lookup(&key(&stores, number)?).await?.entry;
                    hits::check(black_box(found).map_or(0, |entry| entry.payload.len()), BYTES)
                }
            },
            peer: move |number| {
                let stores = Arc::clone(&other);
                async move {
                    let found = stores.peer.get(&key(&stores, number)?)?;
                    hits::check(black_box(found).map_or(0, |value| value.len()), BYTES)
                }
            },
        };
        measure(&mut case, plan, tasks, (&mut ours, &mut peer))?;
    }
    let lines = vec![Line::new("ours", Whose::Ours, ours), Line::new(raw_redb::NAME, Whose::Peer, peer)];
    draw(session, "Hits of 1 KB a second on disk, by tasks at a time", lines);
    Ok(())
}

fn redis(session: &mut Session, plan: Plan) -> Outcome<()> {
    let rig = Rig::start(&session.runtime)?;
    let keys: Arc<[_]> = image_keys(0, hits::KEYS as usize).into();
    session.runtime.block_on(hits::store(&rig, &keys, &Values::new(BYTES)))?;
    let (mut ours, mut shared, mut documented) = (Vec::new(), Vec::new(), Vec::new());
    for tasks in TASKS {
        let mut case = hits::beside_shared(&rig, &keys, tasks, Figure::Throughput, BYTES);
        measure(&mut case, plan, tasks, (&mut ours, &mut shared))?;
        let (pool, known, same) = (rig.documented.clone(), Arc::clone(&keys), Arc::clone(&keys));
        let connection = rig.shared.clone();
        let mut case = Tasks {
            runtime: Arc::clone(&session.runtime),
            tasks,
            figure: Figure::Throughput,
            ours: move |number| {
                let (pool, key) = (pool.clone(), hits::key(&known, number));
                async move {
                    let found: Vec<u8> = pool.get().await?.get(key.as_str()).await?;
                    hits::check(black_box(found).len(), BYTES)
                }
            },
            // Only there to be alternated with, as above.
            peer: move |number| {
                let (mut connection, key) = (connection.clone(), hits::key(&same, number));
                async move {
                    let found: Vec<u8> = connection.get(key.as_str()).await?;
                    hits::check(black_box(found).len(), BYTES)
                }
            },
        };
        measure(&mut case, plan, tasks, (&mut documented, &mut Vec::new()))?;
    }
    let lines = vec![
        Line::new("ours", Whose::Ours, ours),
        Line::new("redis-rs, shared", Whose::Peer, shared),
        Line::new("bb8-redis, documented", Whose::OtherPeer, documented),
    ];
    draw(session, "Hits of 1 KB a second in Redis, by tasks at a time", lines);
    Ok(())
}

type Points = Vec<(f64, f64)>;

fn measure(
    case: &mut dyn Case,
    plan: Plan,
    tasks: u64,
    (ours, peer): (&mut Points, &mut Points),
) -> Outcome<()> {
    let measured = interleave::measure(case, PACE, plan)?;
    ours.push((tasks as f64, measured.ours(Unit::PerSecond)));
    peer.push((tasks as f64, measured.peer(Unit::PerSecond)));
    Ok(())
}

fn draw(session: &mut Session, title: &str, lines: Vec<Line>) {
    session.draw(Plot {
        title: title.to_owned(),
        note: "Higher is better. Measured in turns of 25 ms, the median of many.".to_owned(),
        marks: Marks::Lines { x: Axis::log("tasks at a time"), y: Axis::linear("hits a second"), lines },
    });
}
