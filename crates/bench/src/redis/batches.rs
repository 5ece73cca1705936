//! Many keys in one call beside `MGET`, and beside one call a key.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_core::{CacheBackend, CacheKey, NewEntry};
use redis::AsyncCommands;

use super::Rig;
use crate::Outcome;
use crate::case::{Case, Pace, Spec, Target, Unit};
use crate::session::Session;
use crate::workload::{Values, listing_keys};

/// Keys of one call.
const KEYS: usize = 100;

/// Whose reads stand beside `get_many`.
#[derive(Debug, Clone, Copy)]
enum Peer {
    Mget,
    OneByOne,
}

/// `get_many` of what is there.
#[derive(Debug)]
struct Batches {
    rig: Arc<Rig>,
    keys: Vec<CacheKey>,
    peer: Peer,
}

impl Case for Batches {
    fn ours(&mut self, operations: u64) -> Outcome<Duration> {
        self.rig.runtime.block_on(async {
            let started = Instant::now();
            for _ in 0..operations {
                let found = black_box(self.rig.cache.get_many(&self.keys).await?);
                if found.iter().any(Option::is_none) {
                    return Err("a hit is not there".into());
                }
            }
            Ok(started.elapsed())
        })
    }

    fn peer(&mut self, operations: u64) -> Outcome<Duration> {
        let mut shared = self.rig.shared.clone();
        let names: Vec<&str> = self.keys.iter().map(CacheKey::as_str).collect();
        self.rig.runtime.block_on(async {
            let started = Instant::now();
            for _ in 0..operations {
                match self.peer {
                    Peer::Mget => {
                        let found: Vec<Vec<u8>> = shared.mget(&names).await?;
                        black_box(found);
                    }
                    Peer::OneByOne => {
                        for key in &self.keys {
                            black_box(self.rig.cache.get(key).await?.ok_or("a hit is not there")?);
                        }
                    }
                }
            }
            Ok(started.elapsed())
        })
    }
}

/// Measures the rows.
pub fn run(session: &mut Session) -> Outcome<()> {
    let rig = Arc::new(Rig::start(&session.runtime)?);
    let values = Values::new(1 << 10);
    for (name, peer_name, groups, peer, target) in [
        ("redis get_many of 100, one group", "MGET", 1, Peer::Mget, 0.85),
        ("redis get_many of 100, ten groups", "MGET", 10, Peer::Mget, 0.85),
        ("redis get_many of 100, beside 100 gets", "get", 1, Peer::OneByOne, 10.0),
    ] {
        let keys = listing_keys(groups, KEYS / groups)?;
        session.runtime.block_on(async {
            let mut shared = rig.shared.clone();
            for (at, key) in keys.iter().enumerate() {
                rig.cache.set(key, NewEntry::new(values.of(at))).await?;
                let () = shared.set(key.as_str(), &values.of(at)[..]).await?;
            }
            Outcome::Ok(())
        })?;
        let unit = Unit::PerSecond;
        let spec =
            Spec { name, peer_name, unit, pace: Pace::Slices { most: 4096 }, target: Target::Ratio(target) };
        session.measure(&spec, &mut Batches { rig: Arc::clone(&rig), keys, peer })?;
    }
    Ok(())
}
