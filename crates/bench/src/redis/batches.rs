//! Many keys in one call beside `MGET`, and beside one call a key.

use std::hint::black_box;
use std::sync::Arc;

use anyhow::{Context, ensure};
use cache_core::{CacheBackend, CacheKey};
use redis::AsyncCommands;

use super::Rig;
use crate::Outcome;
use crate::case::{Case, Pace, Spec, Target, Unit, pair, timed_async};
use crate::session::Session;
use crate::workload::{Values, listing_keys};

/// Keys of one call.
const KEYS: usize = 100;

/// `get_many` of stored keys beside one `MGET`, or beside one `get` of ours for each.
fn batches(rig: &Arc<Rig>, keys: Vec<CacheKey>, one_by_one: bool) -> impl Case + use<> {
    let (ours, peer, keys) = (Arc::clone(rig), Arc::clone(rig), Arc::new(keys));
    let of_ours = Arc::clone(&keys);
    pair(
        move |operations| {
            ours.runtime.block_on(timed_async(0..operations, async |_| {
                let found = black_box(ours.cache.get_many(&of_ours).await?);
                ensure!(found.iter().all(Option::is_some), "a hit is not there");
                Ok(())
            }))
        },
        move |operations| {
            let mut shared = peer.shared.clone();
            let names: Vec<&str> = keys.iter().map(CacheKey::as_str).collect();
            peer.runtime.block_on(timed_async(0..operations, async |_| {
                if one_by_one {
                    for key in &*keys {
                        black_box(peer.cache.get(key).await?.context("a hit is not there")?);
                    }
                } else {
                    let found: Vec<Vec<u8>> = shared.mget(&names).await?;
                    black_box(found);
                }
                Ok(())
            }))
        },
    )
}

/// Measures the rows.
pub fn run(session: &mut Session) -> Outcome<()> {
    let rig = Rig::start(&session.runtime)?;
    for (name, peer_name, groups, target) in [
        ("redis get_many of 100, one group", "MGET", 1, 0.85),
        ("redis get_many of 100, ten groups", "MGET", 10, 0.85),
        ("redis get_many of 100, beside 100 gets", "get", 1, 10.0),
    ] {
        let keys = listing_keys(groups, KEYS / groups)?;
        session.runtime.block_on(rig.store(&keys, &Values::new(1 << 10)))?;
        let pace = Pace::Slices { most: 4096 };
        let one_by_one = "flatters ours: one round trip beside a hundred";
        let note = if peer_name == "get" { one_by_one } else { "" };
        let spec = Spec::new(name, peer_name, Unit::PerSecond, pace, Target::Ratio(target)).note(note);
        session.measure(&spec, &mut batches(&rig, keys, peer_name == "get"))?;
    }
    Ok(())
}
