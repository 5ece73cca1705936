//! [`Map`]: which server holds a slot.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::pool::Pool;
use crate::protocol::slot::{SLOTS, Slot, Zones};

/// The position of no pool.
const NONE: u16 = u16::MAX;
/// The position of the next pool, which is not told yet what it has missed.
const MOVING: u16 = u16::MAX - 1;

/// The servers in use, and the slots of each.
#[derive(Debug, Clone, Default)]
pub(crate) struct Map {
    pools: Vec<Arc<Pool>>,
    /// The position in `pools` by slot; empty for one server, which holds everything.
    owners: Vec<u16>,
    /// The zones of the slots of each pool.
    zones: Vec<Zones>,
    /// The zones of slots that no server holds.
    uncovered: Zones,
    /// The zones of slots that are about to be held by another server.
    moving: Zones,
}

impl Map {
    /// Makes the map of a server without a cluster.
    pub(super) fn of_one(pool: Pool) -> Self {
        Self {
            pools: vec![Arc::new(pool)],
            owners: Vec::new(),
            zones: vec![Slot::default().zones()],
            uncovered: 0,
            moving: 0,
        }
    }

    /// Returns the server that holds `slot`.
    pub(crate) fn owner(&self, slot: Slot) -> Option<&Arc<Pool>> {
        match self.owners.get(usize::from(slot.0)) {
            Some(owner) => self.pools.get(usize::from(*owner)),
            None => self.pools.first(),
        }
    }

    /// Sorts the positions of `slots` by the server that holds each. Each part has one of its slots.
    pub(crate) fn split(&self, slots: impl Iterator<Item = Slot>) -> Vec<(Slot, Vec<usize>)> {
        let mut parts: BTreeMap<u16, (Slot, Vec<usize>)> = BTreeMap::new();
        for (position, slot) in slots.enumerate() {
            let owner = self.owners.get(usize::from(slot.0)).copied().unwrap_or_default();
            parts.entry(owner).or_insert_with(|| (slot, Vec::new())).1.push(position);
        }
        parts.into_values().collect()
    }

    /// Whether `slot` is about to be held by another server.
    pub(crate) fn is_moving(&self, slot: Slot) -> bool {
        self.owners.get(usize::from(slot.0)) == Some(&MOVING)
    }

    pub(crate) fn pools(&self) -> &[Arc<Pool>] {
        &self.pools
    }

    /// Returns this map with `slots` held by `pool`; by the next server, which is not known yet, if there is none.
    pub(super) fn with(&self, slots: &[Slot], pool: Option<&Arc<Pool>>) -> Self {
        let mut map = self.clone();
        map.owners.resize(SLOTS.into(), NONE);
        let position = match pool {
            None => MOVING,
            Some(pool) => {
                let known = map.pools.iter().position(|known| Arc::ptr_eq(known, pool));
                let position = known.unwrap_or(map.pools.len());
                if known.is_none() {
                    map.pools.push(Arc::clone(pool));
                }
                u16::try_from(position).unwrap_or(NONE)
            }
        };
        for slot in slots {
            if let Some(owner) = map.owners.get_mut(usize::from(slot.0)) {
                *owner = position;
            }
        }
        map.zones = vec![0; map.pools.len()];
        (map.uncovered, map.moving) = (0, 0);
        for (slot, owner) in (0..SLOTS).map(Slot).zip(&map.owners) {
            match map.zones.get_mut(usize::from(*owner)) {
                Some(zones) => *zones |= slot.zones(),
                None if *owner == NONE => map.uncovered |= slot.zones(),
                None => map.moving |= slot.zones(),
            }
        }
        map
    }

    /// Returns the zones in which slots are held by no server, or by one that is away.
    pub(crate) fn away(&self) -> Zones {
        let away = self.pools.iter().zip(&self.zones).filter(|(pool, _)| pool.problem.load().is_some());
        away.fold(self.uncovered, |away, (_, zones)| away | zones)
    }

    /// Returns the zones in which slots are about to be held by another server.
    pub(crate) fn moving(&self) -> Zones {
        self.moving
    }

    /// Returns the servers that hold slots of `zones`, each with its zones.
    pub(crate) fn of_zones(&self, zones: Zones) -> Vec<(Arc<Pool>, Zones)> {
        let all = self.pools.iter().cloned().zip(self.zones.iter().copied());
        all.filter(|(_, of_pool)| of_pool & zones != 0).collect()
    }

    /// Returns this map without servers that hold no slot; `None` if there are none.
    pub(super) fn pruned(&self) -> Option<Self> {
        if !self.zones.contains(&0) {
            return None;
        }
        let slots: Vec<_> = self.pools.iter().map(|pool| (pool, self.slots_of(pool))).collect();
        let used = slots.iter().filter(|(_, slots)| !slots.is_empty());
        let pruned = used.fold(Self::default(), |map, (pool, slots)| map.with(slots, Some(pool)));
        (pruned.pools.len() < self.pools.len()).then_some(pruned)
    }

    /// Returns the slots that `pool` holds.
    pub(crate) fn slots_of(&self, pool: &Arc<Pool>) -> Vec<Slot> {
        let is_its = |slot: &Slot| self.owner(*slot).is_some_and(|owner| Arc::ptr_eq(owner, pool));
        (0..SLOTS).map(Slot).filter(is_its).collect()
    }

    /// How many slots no server holds.
    pub(super) fn uncovered(&self) -> usize {
        self.owners.iter().filter(|owner| usize::from(**owner) >= self.pools.len()).count()
    }
}
