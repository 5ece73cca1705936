//! The hit ratio of mixes and traces, beside an exact LRU that holds as many bytes.

use std::collections::HashSet;
use std::sync::Arc;

use cache_core::{CacheBackend, CacheKey, NewEntry};

use crate::Outcome;
use crate::case::{Target, Unit};
use crate::lru::Lru;
use crate::requests::{Mix, Request, by_zipf, of_the_application, with_scans};
use crate::row::Row;
use crate::session::Session;
use crate::stores::{directory, open_ours};
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

/// Measures the rows.
pub fn run(session: &mut Session, trace: Option<&Mix>) -> Outcome<()> {
    let count = if session.quick { 40_000 } else { 200_000 };
    let mut mixes: Vec<Mix> =
        [0.7, 0.8, 0.9, 1.0, 1.1, 1.2].into_iter().map(|by| by_zipf(by, count)).collect();
    mixes.push(with_scans(count));
    mixes.push(of_the_application(count / 4)?);
    mixes.extend(trace.cloned());
    for mix in mixes {
        let name = format!("hit ratio, {}", mix.name);
        session.doing(&name);
        let ours = ask_ours(session, &mix)?;
        let held = ours.held.iter().sum::<u64>() / (ours.held.len() as u64).max(1);
        let exact = ("exact LRU", percent(&ask_lru(&mix, held as usize)));
        let target = Target::Difference(-0.2);
        session.keep(Row::beside(&name, Unit::HitPercent, target, percent(&ours), exact));
    }
    Ok(())
}

fn percent(counted: &Counted) -> f64 {
    counted.hits as f64 * 100.0 / counted.lookups.max(1) as f64
}

fn ask_ours(session: &Session, mix: &Mix) -> Outcome<Counted> {
    let directory = directory()?;
    let ours = open_ours(&session.runtime, directory.path().join("ours"), mix.limit_mb, 32 << 20)?;
    let backend: Arc<dyn CacheBackend> = ours.clone();
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
