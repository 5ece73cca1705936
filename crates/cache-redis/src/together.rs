//! [`Together`]: which fills travel together.

use std::collections::HashMap;

use crate::layout::{Layout, fresh_nonce};
use crate::store::{Store, Stored};

/// The most values and bytes that pass through a script; more are staged beside it, which costs more at first and less for
/// each of them.
const MOST_IN_SCRIPT: usize = 3;
const LARGEST_IN_SCRIPT: usize = 8 << 10;
/// About how many bytes the server takes at a time: others wait meanwhile.
const LARGEST_BATCH: usize = 256 << 10;

/// Fills of one group that the server carries out in one step.
#[derive(Debug)]
pub(crate) struct Together<'a> {
    pub(crate) group: &'a str,
    pub(crate) fills: Vec<&'a Store>,
    /// Where each fill is among all.
    pub(crate) places: Vec<usize>,
    /// Where values wait that do not pass through a script: they are stored all or none.
    pub(crate) staging: Option<String>,
    bytes: usize,
}

impl<'a> Together<'a> {
    fn of(place: usize, fill: &'a Store) -> Self {
        let bytes = fill.envelope.len();
        Self { group: &fill.group, fills: vec![fill], places: vec![place], staging: None, bytes }
    }

    fn add(&mut self, place: usize, fill: &'a Store) {
        self.fills.push(fill);
        self.places.push(place);
        self.bytes += fill.envelope.len();
    }

    /// Notes among all what became of each.
    pub(crate) fn note(&self, said: Vec<Stored>, outcomes: &mut [Stored]) {
        for (place, said) in self.places.iter().zip(said) {
            if let Some(outcome) = outcomes.get_mut(*place) {
                *outcome = said;
            }
        }
    }
}

/// Each group at once, as long as it is not too large for that.
pub(crate) fn all_at_once<'a>(layout: &Layout, fills: &'a [Store]) -> Vec<Together<'a>> {
    let mut batches = by_group(fills.iter().enumerate(), |_| true);
    for batch in &mut batches {
        if batch.fills.len() > MOST_IN_SCRIPT || batch.bytes > LARGEST_IN_SCRIPT {
            batch.staging = Some(layout.staging(batch.group, fresh_nonce()));
        }
    }
    batches
}

/// The fills at `places`, so that each is stored or refused whatever becomes of the others: small ones through scripts,
/// large ones staged alone.
pub(crate) fn each_by_itself<'a>(layout: &Layout, fills: &'a [Store], places: &[usize]) -> Vec<Together<'a>> {
    let is_small = |fill: &Store| fill.envelope.len() <= LARGEST_IN_SCRIPT;
    let fills = places.iter().filter_map(|place| Some((*place, fills.get(*place)?)));
    let mut batches = by_group(fills, is_small);
    for batch in &mut batches {
        if !batch.fills.iter().all(|fill| is_small(fill)) {
            batch.staging = Some(layout.staging(batch.group, fresh_nonce()));
        }
    }
    batches
}

/// Batches of those that may join others, and of one each of those that may not.
fn by_group<'a>(
    fills: impl Iterator<Item = (usize, &'a Store)>,
    may_join: impl Fn(&Store) -> bool,
) -> Vec<Together<'a>> {
    let mut batches: Vec<Together<'a>> = Vec::new();
    // The batch of each group that still has room.
    let mut open: HashMap<&str, usize> = HashMap::new();
    for (place, fill) in fills {
        let joins = may_join(fill);
        let batch = open.get(fill.group.as_str()).and_then(|at| batches.get_mut(*at));
        let has_room = |batch: &&mut Together<'_>| batch.bytes + fill.envelope.len() <= LARGEST_BATCH;
        if let Some(batch) = batch.filter(|batch| joins && has_room(batch)) {
            batch.add(place, fill);
            continue;
        }
        if joins {
            open.insert(&fill.group, batches.len());
        }
        batches.push(Together::of(place, fill));
    }
    batches
}
