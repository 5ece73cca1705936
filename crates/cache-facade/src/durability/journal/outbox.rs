//! [`Outbox`]: the invalidations that the target of a journal has not acknowledged.
//!
//! A target that fails in parts acknowledges in parts: each entry knows the zones whose servers have not acknowledged it. The
//! file does not; after a crash an entry is sent to every zone that it concerns.

use cache_core::{CacheGroup, EpochScope, Invalidation};

use super::format::{self, Reason, Record, Target};
use super::table::{Claim, Table};
use crate::durability::zones::ZoneSet;

/// More pending invalidations than this become one of everything: it costs the target less, and bounds the memory.
const MOST: usize = 5_000;

/// Invalidations, and the slots that hold them.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) what: Vec<Invalidation>,
    pub(super) claim: Claim,
    /// The zones that have not acknowledged it, as far as it concerns them.
    pub(super) owed: ZoneSet,
}

impl Entry {
    /// Whether it survives a crash, as far as anything can: what a journal of a dead process holds, or nothing but the settings,
    /// is in no slot.
    fn is_held(&self, has_table: bool) -> bool {
        !has_table || !self.claim.0.is_empty()
    }

    /// Each invalidation, with the zones to which it is owed; `concerns` returns those that it concerns.
    fn owed<'a>(
        &'a self,
        concerns: &impl Fn(&Invalidation) -> ZoneSet,
    ) -> impl Iterator<Item = (&'a Invalidation, ZoneSet)> {
        self.what.iter().map(|what| (what, concerns(what) & self.owed))
    }
}

/// The invalidations to send, and the batch that is being sent.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pending: Vec<Entry>,
    in_flight: Vec<Entry>,
}

impl Outbox {
    /// The invalidations of `records` in the file.
    pub(super) fn recovered<'a>(records: impl Iterator<Item = &'a (usize, Record)>) -> Self {
        let entry = |(number, record): &(usize, Record)| Entry {
            what: record.what.clone(),
            claim: Claim(vec![*number]),
            owed: ZoneSet::ALL,
        };
        Self { pending: records.map(entry).collect(), in_flight: Vec::new() }
    }

    /// Adds `what`, which is owed to `owed`, and puts what is new into `table`, if there is one.
    pub(super) fn add(
        &mut self,
        what: &[Invalidation],
        owed: ZoneSet,
        target: &Target,
        table: Option<&mut Table>,
    ) {
        let has_table = table.is_some();
        let is_new = |what: &&Invalidation| !self.covers(what, owed, has_table);
        let mut what: Vec<_> = what.iter().filter(is_new).cloned().collect();
        if what.is_empty() {
            return;
        }
        if self.is_full(what.len()) {
            if let Some(clear) = self.clear(has_table) {
                clear.owed |= owed;
                return;
            }
            what = vec![Invalidation::Everything];
        }
        let mut claim = Claim(Vec::new());
        if let Some(table) = table {
            let texts = format::texts(Reason::Pending, target, &what);
            if let ([text], Some(last)) = (texts.as_slice(), self.pending.last_mut())
                && last.owed == owed
                && table.extend(&last.claim, text)
            {
                last.what.extend(what);
                return;
            }
            claim = table.claim(texts, format::everything(Reason::Pending, target));
            if claim.is_overflow() {
                if let Some(clear) = self.clear(has_table) {
                    clear.owed |= owed;
                    table.release(claim);
                    return;
                }
                what = vec![Invalidation::Everything];
            }
        }
        self.pending.push(Entry { what, claim, owed });
    }

    /// Adds an entry that is in the table already.
    pub(super) fn adopt(&mut self, entry: Entry) {
        self.pending.push(entry);
    }

    /// Whether there would be too many with `more`.
    pub(super) fn is_full(&self, more: usize) -> bool {
        count(&self.pending) + more > MOST
    }

    /// Returns a pending clear, which can be owed to more zones; one that is in the table where there is one.
    fn clear(&mut self, has_table: bool) -> Option<&mut Entry> {
        let is_clear = |entry: &&mut Entry| entry.what == [Invalidation::Everything];
        self.pending.iter_mut().filter(|entry| entry.is_held(has_table)).find(is_clear)
    }

    pub(super) fn len(&self) -> usize {
        count(&self.pending) + count(&self.in_flight)
    }

    /// Returns the zones to which something is owed.
    pub(super) fn owed(&self, concerns: &impl Fn(&Invalidation) -> ZoneSet) -> ZoneSet {
        let entries = self.pending.iter().chain(&self.in_flight);
        entries.flat_map(|entry| entry.owed(concerns)).map(|(_, owed)| owed).collect()
    }

    /// Takes what is owed to `zones`, each with those of them that it is owed to. What is added from now on belongs to the
    /// next batch, even if it is equal.
    pub(super) fn take_batch(
        &mut self,
        zones: ZoneSet,
        concerns: &impl Fn(&Invalidation) -> ZoneSet,
    ) -> Vec<(Invalidation, ZoneSet)> {
        // Left by a caller that was dropped.
        self.pending.append(&mut self.in_flight);
        let is_due = |entry: &mut Entry| entry.owed(concerns).any(|(_, owed)| owed.meets(zones));
        self.in_flight = self.pending.extract_if(.., is_due).collect();
        let owed = self.in_flight.iter().flat_map(|entry| entry.owed(concerns));
        let due = owed.map(|(what, owed)| (what, owed & zones)).filter(|(_, due)| !due.is_empty());
        due.map(|(what, due)| (what.clone(), due)).collect()
    }

    /// Notes that `zones` have acknowledged the batch. What is not owed to any other zone is removed; the rest is pending again.
    pub(super) fn ack(
        &mut self,
        zones: ZoneSet,
        concerns: &impl Fn(&Invalidation) -> ZoneSet,
        table: &mut Table,
    ) {
        for mut entry in self.in_flight.drain(..) {
            entry.owed -= zones;
            if entry.owed(concerns).all(|(_, owed)| owed.is_empty()) {
                table.release(entry.claim);
            } else {
                self.pending.push(entry);
            }
        }
    }

    /// Whether a pending entry covers `what`, and is owed to all of `owed`; one that is in the table where there is one.
    fn covers(&self, what: &Invalidation, owed: ZoneSet, has_table: bool) -> bool {
        let group = match what.epoch_scope() {
            EpochScope::Group(group) => CacheGroup::parse(group).ok().map(Invalidation::Group),
            EpochScope::All => None,
        };
        let entries = self.pending.iter().filter(|entry| entry.is_held(has_table) && entry.owed.covers(owed));
        entries.flat_map(|entry| &entry.what).any(|pending| {
            pending == what || *pending == Invalidation::Everything || Some(pending) == group.as_ref()
        })
    }
}

fn count(entries: &[Entry]) -> usize {
    entries.iter().map(|entry| entry.what.len()).sum()
}
