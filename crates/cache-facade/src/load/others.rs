//! Loads that are put off while another instance loads the value.
//!
//! A lookup that misses creates a lease, and one that finds a lease returns a token that
//! [is shared](cache_core::FillToken::is_shared): the caller of the earlier lookup may be loading the value. The load looks up
//! again until the value is stored. What it finds is not stale for a caller that joined it: that caller found the same lease
//! after its call began, so that no invalidation came between the lease and its call.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cache_core::{Entry, FillToken, Lookup};
use twox_hash::XxHash3_64;

use super::flight::Outcome;
use super::leader::{Item, LoadTask};
use crate::encoding::Encode;
use crate::lifetime::shortened;
use crate::observe::events::Event;
use crate::rt;
use crate::time_budget::TimeBudget;

/// The first pause between two lookups; each later one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// The longest pause between two lookups.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

const SLOTS: usize = 1 << 14;

/// Hashes of tokens that no load of this cache waits for: of leases that its lookups created, and of those whose value did
/// not come in time. A later token may take the place of an earlier one, which costs at most another wait.
///
/// Without them a load would wait for another one of its own process:
/// 1. A looks up a key, and creates the lease.
/// 2. B looks up the key, and finds the lease.
/// 3. B leads a load, which waits.
/// 4. A joins the load of B.
///
/// A lease also stays after a load that failed or stored nothing; each later caller would wait for it in vain.
#[derive(Debug, Default)]
pub(crate) struct OwnTokens(OnceLock<Box<[AtomicU64]>>);

impl OwnTokens {
    pub(super) fn add(&self, token: FillToken) {
        let slots = self.0.get_or_init(|| (0..SLOTS).map(|_| AtomicU64::new(0)).collect());
        let (hash, slot) = place(token);
        if let Some(slot) = slots.get(slot) {
            slot.store(hash, Ordering::Relaxed);
        }
    }

    fn contains(&self, token: FillToken) -> bool {
        let (hash, slot) = place(token);
        let slot = self.0.get().and_then(|slots| slots.get(slot));
        slot.is_some_and(|slot| slot.load(Ordering::Relaxed) == hash)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "reduced to 14 bits first")]
fn place(token: FillToken) -> (u64, usize) {
    let hash = XxHash3_64::oneshot(&token.value().to_le_bytes());
    (hash, (hash % SLOTS as u64) as usize)
}

impl<I: Item, T, E, V: Encode<T>> LoadTask<I, T, E, V> {
    /// Waits while another instance may be loading the value, and returns the value that it stores; `None` when this load is
    /// to begin. A load of many values does not wait.
    pub(super) async fn wait_for_others(&mut self) -> Option<HashMap<I, T>> {
        let [led] = &mut self.led[..] else { return None };
        if self.wait.is_zero() {
            return None;
        }
        let Self { engine, encoding, wait, .. } = self;
        let is_awaited = |token: FillToken| token.is_shared() && !engine.own_tokens.contains(token);
        if is_awaited(led.token) {
            engine.count(Event::Awaited, &led.key);
            // It has begun for callers without a token: nothing tells whether what it finds is stale for them.
            led.leader.begin().await;
            led.leader.postpone(*wait);
            let end = rt::now() + *wait;
            let mut pause = FIRST_PAUSE;
            while is_awaited(led.token) && rt::now() < end {
                let Some(timer) = rt::timer(end.min(rt::now() + shortened(pause, Some(0.5)))) else { break };
                timer.await;
                pause = LONGEST_PAUSE.min(2 * pause);
                let Lookup { entry, token, .. } = engine.lookup(&led.key, &mut TimeBudget::new()).await;
                let entry = engine.fresh(entry);
                let stored = entry.clone();
                if let (Some(value), Some(Entry { payload, shape, .. })) =
                    (engine.decode(*encoding, &led.key, entry), stored)
                {
                    led.leader.publish(Outcome::Value(payload, shape));
                    self.span.record("outcome", "waited");
                    return Some(HashMap::from([(led.item.clone(), value)]));
                }
                if token.is_never() {
                    break;
                }
                // An equal token says no more than the first one, which this load got by its own lookup.
                if token != led.token {
                    led.token = token;
                    led.leader.retoken(token);
                }
            }
            engine.count(Event::AwaitedInVain, &led.key);
        }
        engine.own_tokens.add(led.token);
        None
    }
}
