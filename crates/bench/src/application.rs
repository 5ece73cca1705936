//! The application as a whole: image-manager as a process, with its cache on disk, in Redis, and off, in turns.
//!
//! 32 connections ask for listings of 100 images, metadata, thumbnails of pictures of 12 megapixels, and a mix of them. Every
//! value is in the cache. The client runs on the same processors: each row says how much of their time it took.

mod client;
mod pictures;
mod server;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use fastrand::Rng;
use testkit::RedisServer;

use crate::Outcome;
use crate::case::{Pace, Spec, Target, Unit};
use crate::connection::request;
use crate::interleave::Measured;
use crate::row::Row;
use crate::session::Session;
use crate::stores::directory;
use client::{CONNECTIONS, Requests};
use server::Server;

/// Images of the project.
const IMAGES: usize = 100;

/// What is asked for, as rows name it on disk and in Redis, and how many times as much as without a cache ours has to
/// answer on disk.
const KINDS: [(&str, &str, f64); 4] = [
    ("metadata, cache on disk", "metadata, cache in Redis", 3.0),
    ("listing of 100, cache on disk", "listing of 100, cache in Redis", 5.0),
    ("thumbnail, cache on disk", "thumbnail, cache in Redis", 300.0),
    ("mix, cache on disk", "mix, cache in Redis", 10.0),
];

/// Measures the rows.
pub fn run(session: &mut Session) -> Outcome<()> {
    let Some(program) = program()? else {
        let how = "build it first: cargo build --profile bench -p image-manager";
        session.leave_out("the application", how);
        return Ok(());
    };
    let root = directory()?;
    let start = |name: &str, settings: &[(&str, &str)]| Server::start(&program, root.path(), name, settings);
    session.doing("uploading pictures");
    let off = start("off", &[("CACHE_ENABLED", "false")])?;
    let images = session.runtime.block_on(client::upload(&off, &pictures::some()?, IMAGES))?;
    let redis = RedisServer::start();
    let url = redis.as_ref().map(RedisServer::url);
    let mut sides = vec![(off, "off"), (start("disk", &[])?, "disk")];
    match &url {
        Ok(url) => {
            sides.push((start("redis", &[("REDIS_ENABLED", "true"), ("REDIS_URL", url)])?, "redis"));
        }
        Err(error) => session.leave_out("the application over Redis", &error.to_string()),
    }
    for ((on_disk, in_redis, target), requests) in KINDS.into_iter().zip(kinds(&images)) {
        session.doing(on_disk);
        let rounds = measure(session, &sides, &requests)?;
        for (side, name, target) in [(1, on_disk, target), (2, in_redis, 1.0)] {
            if let Some(row) = row(name, target, &rounds, side) {
                session.keep(row);
            }
        }
    }
    Ok(())
}

/// The program beside this one, if it was built.
fn program() -> Outcome<Option<PathBuf>> {
    let program = std::env::current_exe()?.with_file_name("image-manager");
    Ok(program.is_file().then_some(program))
}

/// The requests of each of [`KINDS`].
fn kinds(images: &client::Images) -> [Requests; 4] {
    let get = |path: String| request("GET", &path, "", b"");
    let metadata: Vec<_> = images.ids.iter().map(|id| get(format!("/api/images/{id}"))).collect();
    let page = |skip| get(format!("/api/projects/{}/images?skip={skip}&limit=100", images.project));
    let listing: Vec<_> = (0..4).map(page).collect();
    let size = "width=256&height=256";
    let thumbnails: Vec<_> =
        images.ids.iter().map(|id| get(format!("/api/images/{id}/thumbnail?{size}"))).collect();
    // As in the mix of the workloads: two fifths metadata, a fifth listings, two fifths thumbnails.
    let mut random = Rng::with_seed(61);
    let mut mix = Vec::new();
    for (metadata, thumbnail) in metadata.iter().zip(&thumbnails) {
        mix.extend([metadata.clone(), thumbnail.clone()]);
        if random.bool() {
            mix.extend(listing.get(random.usize(..listing.len())).cloned());
        }
    }
    [metadata, listing, thumbnails, mix].map(|requests| Requests(Arc::from(requests)))
}

/// What a side answered in one turn.
#[derive(Debug, Clone, Copy)]
struct Turn {
    nanos_a_request: f64,
    /// Processor time of the client and of the server, in ticks of the system.
    client_ticks: u64,
    server_ticks: u64,
}

/// Lets all sides answer in turns; the turns of each, in the order of `sides`.
fn measure(session: &Session, sides: &[(Server, &str)], requests: &Requests) -> Outcome<Vec<Vec<Turn>>> {
    let slice = Duration::from_millis(if session.quick { 250 } else { 1000 });
    let mut random = Rng::with_seed(62);
    let mut turns = vec![Vec::new(); sides.len()];
    session.runtime.block_on(async {
        // Everything is in the cache from now on.
        for (server, _) in sides.iter().filter(|(_, name)| *name != "off") {
            let answered = client::ask_each(server, requests).await?;
            ensure!(answered == requests.0.len(), "not everything was answered");
        }
        for _ in 0..session.plan.rounds {
            let mut order: Vec<usize> = (0..sides.len()).collect();
            random.shuffle(&mut order);
            for side in order {
                let (Some((server, _)), Some(turns)) = (sides.get(side), turns.get_mut(side)) else {
                    continue;
                };
                let before = (server::ticks("self")?, server.ticks()?);
                let (taken, answered) = client::ask_for(server, requests, slice).await?;
                turns.push(Turn {
                    nanos_a_request: taken.as_nanos() as f64 / answered as f64,
                    client_ticks: server::ticks("self")? - before.0,
                    server_ticks: server.ticks()? - before.1,
                });
            }
        }
        Ok(turns)
    })
}

/// The row of a side beside the one without a cache.
fn row(name: &'static str, target: f64, turns: &[Vec<Turn>], side: usize) -> Option<Row> {
    let (off, ours) = (turns.first()?, turns.get(side)?);
    let mut measured = Measured::default();
    for (ours, off) in ours.iter().zip(off) {
        measured.add(ours.nanos_a_request, off.nanos_a_request);
    }
    let spec = Spec::new(name, "cache off", Unit::PerSecond, Pace::FREE, Target::Ratio(target));
    let client: u64 = ours.iter().map(|turn| turn.client_ticks).sum();
    let server: u64 = ours.iter().map(|turn| turn.server_ticks).sum();
    let percent = client as f64 * 100.0 / (client + server).max(1) as f64;
    let limits = if percent > 33.0 { ", which limits ours" } else { "" };
    let note =
        format!("{CONNECTIONS} connections; the client took {percent:.0} % of the processor time{limits}");
    Some(Row::new(&spec, &measured).note(note))
}
