//! What is owed to a target that fails in parts.

use super::*;
use crate::durability::zones::Zone;

/// A target of one zone.
impl Journal {
    pub(super) async fn add(&self, what: &[Invalidation]) -> Result<()> {
        self.append(what, ZoneSet::ALL, true).await
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
    journal.append(&[group(1), group(2), pattern()], zones([1, 2]), true).await.unwrap();
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
    journal.append(&[pattern()], zones([1]), true).await.unwrap();
    journal.append(&[pattern()], zones([1]), true).await.unwrap();
    assert_eq!(journal.depth(), 1);
    journal.append(&[pattern()], zones([1, 2]), true).await.unwrap();
    assert_eq!((journal.depth(), journal.owed(concerns)), (2, zones([1, 2])));
    journal.append(&[pattern()], zones([2]), true).await.unwrap();
    assert_eq!(journal.depth(), 2);
}

#[tokio::test]
async fn after_a_crash_an_entry_is_owed_to_every_zone_that_it_concerns() {
    let directory = Directory::new();
    let journal = directory.start_on_redis().await;
    journal.append(&[group(1)], zones([1]), true).await.unwrap();
    journal.append(&[pattern()], zones([2]), true).await.unwrap();
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
    journal.append(&many, zones([1]), true).await.unwrap();
    assert_eq!(journal.take_batch(ZoneSet::ALL, concerns), [(Invalidation::Everything, zones([1]))]);
}

#[tokio::test]
async fn pending_invalidations_are_bounded_also_where_each_is_owed_to_other_zones() {
    for directory in [None, Some(Directory::new())] {
        let journal = match &directory {
            Some(directory) => directory.start_on_redis().await,
            None => Journal::in_memory(),
        };
        for bits in 1..8_000 {
            journal.append(&[pattern()], ZoneSet::from_bits(bits), true).await.unwrap();
        }
        assert!(journal.depth() <= 5_001, "{} pending", journal.depth());
        assert_eq!(journal.owed(concerns), ZoneSet::from_bits(8_191));
        journal.take_batch(ZoneSet::ALL, concerns);
        journal.ack(ZoneSet::ALL, concerns);
        assert_eq!(journal.depth(), 0);
        journal.close().await;
        assert!(directory.is_none_or(|directory| directory.after_death(&redis()).is_empty()));
    }
}

#[tokio::test]
async fn a_clear_that_is_in_no_file_covers_nothing_that_has_to_survive_a_crash() {
    let directory = Directory::new();
    let journal = directory.start_on_redis().await;
    // As a cache that is cleared at its start appends it.
    journal.append_recorded(&[Invalidation::Everything]);
    journal.append(&[group(1)], zones([1]), true).await.unwrap();
    assert_eq!(directory.after_death(&redis()), ["group image:1"]);
}

#[tokio::test]
async fn deferred_changes_are_bounded() {
    let directory = Directory::new();
    let journal = directory.start_on_redis().await;
    let what = vec![group(1); 100];
    for _ in 0..100 {
        let mut intent = journal.intend(&what).await.unwrap();
        intent.begin_commit();
        intent.end_commit();
        journal.append(&what, zones([1]), true).await.unwrap();
        intent.finish();
    }
    assert!(journal.depth() <= 5_100, "{}", journal.depth());
    journal.take_batch(ZoneSet::ALL, concerns);
    journal.ack(ZoneSet::ALL, concerns);
    journal.close().await;
    assert!(directory.after_death(&redis()).is_empty());
}

/// Two changes clear the same family while a zone is away, and only the first one has told the zones that are in use.
#[tokio::test]
async fn a_record_that_is_owed_to_some_zones_is_not_taken_from_a_change_that_others_were_not_told() {
    let directory = Directory::new();
    let journal = directory.start_on_redis().await;
    let mut changes = Vec::new();
    for _ in 0..2 {
        let mut intent = journal.intend(&[pattern()]).await.unwrap();
        intent.begin_commit();
        intent.end_commit();
        changes.push(intent);
    }
    for _ in 0..2 {
        journal.append(&[pattern()], zones([1]), false).await.unwrap();
        journal.take_batch(zones([1]), concerns);
        journal.ack(zones([1]), concerns);
    }
    changes.remove(0).finish();
    let other = journal.intend(&[group(9)]).await.unwrap();
    assert_eq!(directory.after_death(&redis()), ["group image:9", "pattern image:*"]);
    changes.remove(0).finish();
    other.finish();
    journal.close().await;
    assert!(directory.after_death(&redis()).is_empty());
}
