//! What is owed to a target that fails in parts.

use super::*;
use crate::durability::zones::Zone;

/// A target of one zone.
impl Journal {
    pub(super) async fn add(&self, what: &[Invalidation]) -> Result<()> {
        self.append(what, ZoneSet::ALL).await
    }

    pub(super) fn take(&self) -> Vec<Invalidation> {
        self.take_batch(ZoneSet::ALL, |_| ZoneSet::ALL).into_iter().map(|(what, _)| what).collect()
    }

    pub(super) fn acknowledge(&self) {
        self.ack(ZoneSet::ALL, |_| ZoneSet::ALL);
    }

    pub(super) fn return_batch(&self) {
        self.ack(ZoneSet::EMPTY, |_| ZoneSet::ALL);
    }

    pub(crate) fn is_drained(&self) -> bool {
        self.owed(|_| ZoneSet::ALL).is_empty()
    }
}

/// The zone of a group is its number.
fn concerns(what: &Invalidation) -> ZoneSet {
    let number = |group: &str| group.strip_prefix("image:").and_then(|number| number.parse().ok());
    match what.epoch_scope() {
        cache_core::EpochScope::Group(group) => Zone::new(number(group).unwrap()).into(),
        cache_core::EpochScope::All => ZoneSet::ALL,
    }
}

fn zones<const N: usize>(numbers: [u8; N]) -> ZoneSet {
    numbers.into_iter().map(Zone::new).collect()
}

fn pattern() -> Invalidation {
    "pattern image:*".parse().unwrap()
}

#[tokio::test]
async fn an_entry_is_erased_when_every_zone_that_it_is_owed_to_has_acknowledged_it() {
    let directory = Directory::new();
    let journal = directory.start_on_redis().await;
    journal.append(&[group(1), group(2), pattern()], zones([1, 2])).await.unwrap();
    assert_eq!(journal.owed(concerns), zones([1, 2]));
    let first = journal.take_batch(zones([1, 7]), concerns);
    assert_eq!(first, [(group(1), zones([1])), (pattern(), zones([1]))], "only what concerns them");
    journal.ack(zones([1, 7]), concerns);
    assert_eq!((journal.owed(concerns), journal.depth()), (zones([2]), 3));
    assert!(journal.take_batch(zones([1]), concerns).is_empty());
    let second = journal.take_batch(ZoneSet::ALL, concerns);
    assert_eq!(second, [(group(2), zones([2])), (pattern(), zones([2]))]);
    journal.ack(ZoneSet::EMPTY, concerns);
    assert_eq!(journal.owed(concerns), zones([2]), "not acknowledged");
    assert_eq!(directory.after_death(&redis()).len(), 3, "the file knows no zones");
    journal.take_batch(zones([2]), concerns);
    journal.ack(zones([2]), concerns);
    assert_eq!((journal.owed(concerns), journal.depth()), (ZoneSet::EMPTY, 0));
    journal.close().await;
    assert!(directory.after_death(&redis()).is_empty());
}

#[tokio::test]
async fn an_invalidation_is_covered_only_by_one_that_is_owed_to_the_same_zones() {
    let journal = Journal::in_memory();
    journal.append(&[pattern()], zones([1])).await.unwrap();
    journal.append(&[pattern()], zones([1])).await.unwrap();
    assert_eq!(journal.depth(), 1);
    journal.append(&[pattern()], zones([1, 2])).await.unwrap();
    assert_eq!((journal.depth(), journal.owed(concerns)), (2, zones([1, 2])));
    journal.append(&[pattern()], zones([2])).await.unwrap();
    assert_eq!(journal.depth(), 2);
}

#[tokio::test]
async fn after_a_crash_an_entry_is_owed_to_every_zone_that_it_concerns() {
    let directory = Directory::new();
    let journal = directory.start_on_redis().await;
    journal.append(&[group(1)], zones([1])).await.unwrap();
    journal.append(&[pattern()], zones([2])).await.unwrap();
    drop(journal);
    while claim_dead(directory.root.path()).unwrap().is_empty() {
        thread::yield_now();
    }
    let journal = directory.start_on_redis().await;
    assert_eq!(journal.owed(concerns), ZoneSet::ALL);
    assert_eq!(journal.take_batch(zones([3]), concerns), [(pattern(), zones([3]))]);
}

#[tokio::test]
async fn too_many_invalidations_for_one_zone_become_a_clear_of_that_zone() {
    let journal = Journal::in_memory();
    let many: Vec<_> = (0..10_000).map(key).collect();
    journal.append(&many, zones([1])).await.unwrap();
    assert_eq!(journal.take_batch(ZoneSet::ALL, concerns), [(Invalidation::Everything, zones([1]))]);
}
