//! [`Batch`]: many keys in one round trip, a command a group.

use std::collections::HashMap;

use cache_core::CacheKey;

use crate::incarnation::World;
use crate::layout::Layout;

/// Keys by group, and where each of them is there.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    pub(crate) groups: Vec<(String, Vec<&'a str>)>,
    places: Vec<(usize, usize)>,
}

impl<'a> Batch<'a> {
    pub(crate) fn of(layout: &Layout, world: &World, keys: impl Iterator<Item = &'a CacheKey>) -> Self {
        let mut numbers: HashMap<&str, usize> = HashMap::new();
        let mut batch = Self { groups: Vec::new(), places: Vec::new() };
        for key in keys {
            let number = *numbers.entry(key.group()).or_insert_with(|| {
                batch.groups.push((layout.group(world, key.group()), Vec::new()));
                batch.groups.len() - 1
            });
            if let Some((_, fields)) = batch.groups.get_mut(number) {
                batch.places.push((number, fields.len()));
                fields.push(key.rest());
            }
        }
        batch
    }

    /// What was found by group, in the order of the keys; `None` for what was not answered.
    pub(crate) fn in_order<T: Clone>(&self, found: &[Vec<T>]) -> Vec<Option<T>> {
        let at =
            |(group, field): &(usize, usize)| found.get(*group).and_then(|group| group.get(*field)).cloned();
        self.places.iter().map(at).collect()
    }
}
