//! [`Together`]: which fills travel together.

use std::collections::{HashMap, HashSet};

use crate::layout::{Layout, fresh_nonce};
use crate::store::{Store, Stored};

/// The most values and bytes that pass through scripts; more are staged beside them, which costs more at first and less for
/// each value.
const MOST_IN_SCRIPT: usize = 3;
const LARGEST_IN_SCRIPT: usize = 8 << 10;
/// About how many bytes the server takes at a time: others wait meanwhile.
const LARGEST_BATCH: usize = 256 << 10;

/// Fills that the server carries out in one step.
#[derive(Debug, Default)]
pub(crate) struct Together<'a> {
    pub(crate) groups: Vec<Group<'a>>,
    /// All or none are stored, without passing through a script. If not, there is one group.
    pub(crate) is_staged: bool,
    pub(crate) count: usize,
    bytes: usize,
}

/// Those of one group.
#[derive(Debug)]
pub(crate) struct Group<'a> {
    pub(crate) name: &'a str,
    /// Where the values wait for each other; empty where they pass through a script.
    pub(crate) staging: String,
    pub(crate) fills: Vec<&'a Store>,
    /// Where each fill is among all.
    places: Vec<usize>,
}

impl<'a> Together<'a> {
    fn add(&mut self, place: usize, fill: &'a Store, group: Option<usize>) {
        self.count += 1;
        self.bytes += fill.envelope.len();
        if let Some(group) = group.and_then(|at| self.groups.get_mut(at)) {
            group.fills.push(fill);
            group.places.push(place);
            return;
        }
        let group =
            Group { name: &fill.group, staging: String::new(), fills: vec![fill], places: vec![place] };
        self.groups.push(group);
    }

    fn has_room(&self, fill: &Store) -> bool {
        self.bytes + fill.envelope.len() <= LARGEST_BATCH
    }

    fn staged(mut self, layout: &Layout) -> Self {
        self.is_staged = true;
        for group in &mut self.groups {
            group.staging = layout.staging(group.name, fresh_nonce());
        }
        self
    }

    /// Where each fill is among all, in the order of the groups.
    pub(crate) fn places(&self) -> impl Iterator<Item = usize> {
        self.groups.iter().flat_map(|group| group.places.iter().copied())
    }

    /// Notes among all what became of each.
    pub(crate) fn note(&self, said: Vec<Stored>, outcomes: &mut [Stored]) {
        for (place, said) in self.places().zip(said) {
            if let Some(outcome) = outcomes.get_mut(place) {
                *outcome = said;
            }
        }
    }
}

/// The fills at `places` at once, unless they are too large or too few for that.
pub(crate) fn all_at_once<'a>(layout: &Layout, fills: &'a [Store], places: &[usize]) -> Vec<Together<'a>> {
    let bytes: usize = fills.iter().map(|fill| fill.envelope.len()).sum();
    let mut fields = HashSet::with_capacity(places.len());
    // Of two for one key the first is stored, and its token does not stand for the second.
    let is_any_twice = chosen(fills, places).any(|(_, fill)| !fields.insert((&fill.group, &fill.field)));
    if is_any_twice || (places.len() <= MOST_IN_SCRIPT && bytes <= LARGEST_IN_SCRIPT) {
        return each_by_itself(layout, fills, places);
    }
    let mut batches: Vec<Together<'a>> = vec![Together::default()];
    let mut groups: HashMap<&str, usize> = HashMap::new();
    for (place, fill) in chosen(fills, places) {
        if batches.last().is_some_and(|last| last.count > 0 && !last.has_room(fill)) {
            batches.push(Together::default());
            groups.clear();
        }
        if let Some(last) = batches.last_mut() {
            let next = last.groups.len();
            let group = *groups.entry(&fill.group).or_insert(next);
            last.add(place, fill, Some(group));
        }
    }
    batches.into_iter().map(|batch| batch.staged(layout)).collect()
}

/// The fills at `places`, so that each is stored or refused whatever becomes of the others: small ones through a script a
/// group, large ones staged alone.
pub(crate) fn each_by_itself<'a>(layout: &Layout, fills: &'a [Store], places: &[usize]) -> Vec<Together<'a>> {
    let mut batches: Vec<Together<'a>> = Vec::new();
    // The batch of each group that still has room.
    let mut open: HashMap<&str, usize> = HashMap::new();
    for (place, fill) in chosen(fills, places) {
        if fill.envelope.len() > LARGEST_IN_SCRIPT {
            let mut alone = Together::default();
            alone.add(place, fill, None);
            batches.push(alone.staged(layout));
            continue;
        }
        let batch = open.get(fill.group.as_str()).and_then(|at| batches.get_mut(*at));
        if let Some(batch) = batch.filter(|batch| batch.has_room(fill)) {
            batch.add(place, fill, Some(0));
            continue;
        }
        open.insert(&fill.group, batches.len());
        let mut batch = Together::default();
        batch.add(place, fill, None);
        batches.push(batch);
    }
    batches
}

fn chosen<'a>(fills: &'a [Store], places: &[usize]) -> impl Iterator<Item = (usize, &'a Store)> {
    places.iter().filter_map(|place| Some((*place, fills.get(*place)?)))
}
