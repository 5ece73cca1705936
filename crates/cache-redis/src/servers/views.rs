//! What the views of several nodes of a cluster say together.

use crate::connection::cluster::{ClusterView, Shard};
use crate::protocol::slot::SLOTS;

/// Returns the masters by the views with the highest epoch.
pub(super) fn masters(views: &[ClusterView]) -> Vec<Shard> {
    let newest = views.iter().map(|view| view.current_epoch).max();
    let mut masters: Vec<Shard> = Vec::new();
    for shard in views.iter().filter(|view| Some(view.current_epoch) == newest).flat_map(|view| &view.shards)
    {
        if !masters.iter().any(|known| known.master.id == shard.master.id) {
            masters.push(shard.clone());
        }
    }
    masters
}

/// Returns for each slot the position of the view whose node holds it: of those that say so of themselves, the one with the
/// highest config epoch ("Hash slots configuration propagation" in the Redis Cluster specification).
pub(super) fn holders<'a>(views: impl Iterator<Item = Option<&'a ClusterView>>) -> Vec<Option<usize>> {
    let views = views.enumerate().filter_map(|(position, view)| Some((position, view?)));
    let mut views: Vec<(usize, &ClusterView)> = views.collect();
    views.sort_by_key(|(_, view)| view.epoch);
    let mut holders = vec![None; SLOTS.into()];
    for (position, view) in views {
        for slot in view.own_slots() {
            if let Some(holder) = holders.get_mut(usize::from(slot.0)) {
                *holder = Some(position);
            }
        }
    }
    holders
}

/// Whether another node than `id` names it as a master.
pub(super) fn is_named(id: &str, views: &[ClusterView]) -> bool {
    let names_it = |view: &ClusterView| view.shards.iter().any(|shard| shard.master.id == id);
    views.iter().filter(|view| view.id != id).any(names_it)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::cluster::Node;

    /// A view of the node `id`, in which masters hold ranges.
    fn view(id: &str, epoch: u64, current_epoch: u64, shards: &[(&str, u16, u16)]) -> ClusterView {
        let shard = |(id, first, last): &(&str, u16, u16)| Shard {
            master: Node { id: (*id).to_owned(), host: "h".to_owned(), port: 1 },
            replicas: Vec::new(),
            slots: vec![(*first, *last)],
        };
        let shards = shards.iter().map(shard).collect();
        ClusterView { id: id.to_owned(), epoch, current_epoch, is_ok: true, shards }
    }

    #[test]
    fn the_views_with_the_highest_epoch_name_the_masters() {
        let old = view("a", 1, 7, &[("a", 0, 10)]);
        let views = [old, view("b", 8, 8, &[("b", 0, 10), ("c", 11, 20)]), view("c", 2, 8, &[("c", 11, 20)])];
        let names: Vec<String> = masters(&views).into_iter().map(|shard| shard.master.id).collect();
        assert_eq!(names, ["b", "c"]);
        assert!(is_named("c", &views) && !is_named("a", &views), "its own word does not count");
    }

    #[test]
    fn of_two_nodes_that_claim_a_slot_the_one_with_the_higher_config_epoch_holds_it() {
        let (a, b) = (view("a", 1, 8, &[("a", 0, 10), ("b", 11, 11)]), view("b", 8, 8, &[("b", 5, 12)]));
        let holders = holders([Some(&a), None, Some(&b)].into_iter());
        assert_eq!((holders[4], holders[5], holders[12], holders[13]), (Some(0), Some(2), Some(2), None));
    }
}
