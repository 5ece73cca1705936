//! [`Outbox`]: the invalidations that the target of a journal has not acknowledged.

use cache_core::{CacheGroup, EpochScope, Invalidation};

use super::format::{self, Reason, Record, Target};
use super::table::{Claim, Table};

/// More pending invalidations than this become one of everything: it costs the target less, and bounds the memory.
const MOST: usize = 5_000;

/// Invalidations, and the slots that hold them.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) what: Vec<Invalidation>,
    pub(super) claim: Claim,
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
        };
        Self { pending: records.map(entry).collect(), in_flight: Vec::new() }
    }

    /// Adds `what`, and puts what is new into `table`, if there is one.
    pub(super) fn add(&mut self, what: &[Invalidation], target: &Target, table: Option<&mut Table>) {
        let mut what: Vec<_> = what.iter().filter(|what| !self.covers(what)).cloned().collect();
        if what.is_empty() {
            return;
        }
        if count(&self.pending) + what.len() > MOST {
            what = vec![Invalidation::Everything];
        }
        let mut claim = Claim(Vec::new());
        if let Some(table) = table {
            let texts = format::texts(Reason::Pending, target, &what);
            if let ([text], Some(last)) = (texts.as_slice(), self.pending.last_mut())
                && table.extend(&last.claim, text)
            {
                last.what.extend(what);
                return;
            }
            claim = table.claim(texts, format::everything(Reason::Pending, target));
            if claim.is_overflow() {
                what = vec![Invalidation::Everything];
            }
        }
        self.pending.push(Entry { what, claim });
    }

    /// Adds an entry that is in the table already.
    pub(super) fn adopt(&mut self, entry: Entry) {
        self.pending.push(entry);
    }

    pub(super) fn len(&self) -> usize {
        count(&self.pending) + count(&self.in_flight)
    }

    /// Takes everything that is pending, to be sent. What is added from now on belongs to the next batch, even if it is equal.
    pub(super) fn take_batch(&mut self) -> Vec<Invalidation> {
        self.in_flight.append(&mut self.pending);
        self.in_flight.iter().flat_map(|entry| entry.what.iter().cloned()).collect()
    }

    /// Removes the batch, which the target has acknowledged.
    pub(super) fn ack(&mut self, table: &mut Table) {
        self.in_flight.drain(..).for_each(|entry| table.release(entry.claim));
    }

    /// Returns the batch, which the target has not acknowledged, to what is pending.
    pub(super) fn nack(&mut self) {
        self.pending.append(&mut self.in_flight);
    }

    /// Whether a pending entry covers `what`.
    fn covers(&self, what: &Invalidation) -> bool {
        let group = match what.epoch_scope() {
            EpochScope::Group(group) => CacheGroup::parse(group).ok().map(Invalidation::Group),
            EpochScope::All => None,
        };
        self.pending.iter().flat_map(|entry| &entry.what).any(|pending| {
            pending == what || *pending == Invalidation::Everything || Some(pending) == group.as_ref()
        })
    }
}

fn count(entries: &[Entry]) -> usize {
    entries.iter().map(|entry| entry.what.len()).sum()
}
