//! The hit ratio of mixes and traces by every order of eviction, at one limit, beside an exact LRU that holds as many bytes.

use std::collections::HashSet;

use cache_core::{CacheBackend, CacheKey, Eviction, MEGABYTE, NewEntry};
use cache_disk::{DiskBackend, DiskConfig};

use crate::Outcome;
use crate::case::{Target, Unit};
use crate::lru::Lru;
use crate::requests::{Mix, Request, by_zipf, of_the_application, with_scans};
use crate::row::Row;
use crate::session::Session;
use crate::stores::directory;
use crate::workload::Values;

/// After so many requests the writer may catch up.
const EVERY: usize = 500;
/// How often it is looked up how much is held.
const LOOKS: usize = 8;

/// Hits and lookups of the second half, when the cache is full; and how many bytes ours held then.
#[derive(Debug, Default)]
struct Counted {
    hits: usize,
    lookups: usize,
    held: Vec<u64>,
}

/// An order of eviction: its name, its setting, and how many percent more than an exact LRU it has to hit.
type Policy = (&'static str, fn(DiskConfig) -> DiskConfig, f64);

const POLICIES: [Policy; 2] =
    [("LRU", |config| config, -0.2), ("SIEVE", |config| config.eviction(Eviction::Sieve), 0.0)];

/// Measures the rows.
pub fn run(session: &mut Session, trace: Option<&Mix>) -> Outcome<()> {
    let count = if session.quick { 40_000 } else { 200_000 };
    let mut mixes = vec![by_zipf(0.7, count), by_zipf(0.9, count), with_scans(count)];
    mixes.push(of_the_application(count / 4)?);
    mixes.extend(trace.cloned());
    for mix in mixes {
        for (policy, set, target) in POLICIES {
            let name = format!("hit ratio, {}, {policy}", mix.name);
            session.doing(&name);
            let ours = ask_ours(session, &mix, set)?;
            let held = ours.held.iter().sum::<u64>() / (ours.held.len() as u64).max(1);
            let exact = ("exact LRU", percent(&ask_lru(&mix, held as usize)));
            let note = format!("limit {} MB, of which values are {} MB", mix.limit_mb, held / MEGABYTE);
            let row = Row::beside(&name, Unit::PERCENT, Target::Difference(target), percent(&ours), exact);
            session.keep(row.note(note));
        }
    }
    Ok(())
}

fn percent(counted: &Counted) -> f64 {
    counted.hits as f64 * 100.0 / counted.lookups.max(1) as f64
}

fn ask_ours(session: &Session, mix: &Mix, set: fn(DiskConfig) -> DiskConfig) -> Outcome<Counted> {
    let directory = directory()?;
    let config = DiskConfig::new(directory.path().join("ours")).limit_bytes(mix.limit_mb * MEGABYTE);
    let ours = session.runtime.block_on(DiskBackend::open(set(config)))?;
    let backend: &dyn CacheBackend = &ours;
    let noise = Values::new(1 << 20);
    session.runtime.block_on(async {
        let mut counted = Counted::default();
        let keys = distinct(mix);
        let looks = (mix.requests.len() / 2 / LOOKS).max(1);
        for (number, request) in mix.requests.iter().enumerate() {
            let counts = number >= mix.requests.len() / 2;
            if number % EVERY == EVERY - 1 {
                // The writer is not behind: what is counted is the order of eviction, not the machine's speed.
                ours.flush().await?;
            }
            if counts && number.is_multiple_of(looks) {
                let mut held = 0;
                for key in &keys {
                    // Unlike a lookup this leaves the order of eviction alone.
                    held += backend.explain(key).await?.size_bytes.unwrap_or(0);
                }
                counted.held.push(held);
            }
            match request {
                Request::Write(what) => drop(backend.invalidate(what).await?),
                Request::Read(key, size) => {
                    let lookup = backend.lookup(key).await?;
                    counted.lookups += usize::from(counts);
                    counted.hits += usize::from(counts && lookup.entry.is_some());
                    if lookup.entry.is_none() {
                        let noise = noise.of(number);
                        let value = noise.slice(..(*size).min(noise.len()));
                        // One that is too large is refused, and is a miss every time.
                        let _ = backend.fill(key, lookup.token, NewEntry::new(value)).await;
                    }
                }
            }
        }
        Ok(counted)
    })
}

/// Every key that is read.
fn distinct(mix: &Mix) -> HashSet<&CacheKey> {
    let reads = mix.requests.iter().filter_map(|request| match request {
        Request::Read(key, _) => Some(key),
        Request::Write(_) => None,
    });
    reads.collect()
}

fn ask_lru(mix: &Mix, bytes: usize) -> Counted {
    let (mut lru, mut counted) = (Lru::new(bytes), Counted::default());
    for (number, request) in mix.requests.iter().enumerate() {
        let counts = number >= mix.requests.len() / 2;
        match request {
            Request::Write(what) => what.iter().for_each(|what| lru.invalidate(what)),
            Request::Read(key, size) => {
                let is_hit = lru.read(key, *size);
                counted.lookups += usize::from(counts);
                counted.hits += usize::from(counts && is_hit);
            }
        }
    }
    counted
}
