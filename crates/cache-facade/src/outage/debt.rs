//! [`Debt`]: what the owner of a journal has not acknowledged, and which slots say so.

use std::collections::HashSet;

use cache_core::{EpochScope, Invalidation};

use super::slots::{self, Owner, Reason, Record};
use super::table::{Claim, Table};

/// More than this becomes everything: one clear costs the owner less than so many invalidations, and memory is bounded.
const MOST: usize = 5_000;

/// What is owed, and what of it is being told to the owner at the moment.
#[derive(Debug, Default)]
pub(super) struct Debt {
    owed: Ledger,
    being_paid: Ledger,
}

#[derive(Debug, Default)]
struct Ledger {
    what: HashSet<Invalidation>,
    claims: Vec<Claim>,
    /// The slot that still has room, and its text.
    open: Option<(usize, String)>,
}

impl Debt {
    /// What `records` of the file say.
    pub(super) fn inherited<'a>(records: impl Iterator<Item = &'a (usize, Record)>) -> Self {
        let mut debt = Self::default();
        for (number, record) in records {
            debt.owed.what.extend(record.what.iter().cloned());
            debt.owed.claims.push(Claim::Slots(vec![*number]));
        }
        debt
    }

    /// Adds `what`, and puts what is new of it into `table`, where there is one.
    pub(super) fn add(&mut self, what: &[Invalidation], owner: &Owner, table: Option<&mut Table>) {
        let mut new: Vec<_> = what.iter().filter(|what| !self.owed.covers(what)).cloned().collect();
        if new.is_empty() {
            return;
        }
        if self.owed.what.len() + new.len() > MOST {
            new = vec![Invalidation::Everything];
        }
        if let Some(table) = table {
            self.owed.write(&new, owner, table);
        }
        self.owed.what.extend(new);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn len(&self) -> u64 {
        (self.owed.what.len() + self.being_paid.what.len()) as u64
    }

    /// What the owner is to be told now; what is added from here on is not part of it.
    pub(super) fn begin_to_pay(&mut self) -> Vec<Invalidation> {
        let owed = std::mem::take(&mut self.owed);
        self.being_paid.join(owed);
        self.being_paid.what.iter().cloned().collect()
    }

    /// The owner was told, or it was not.
    pub(super) fn end_to_pay(&mut self, is_paid: bool, table: &mut Table) {
        let told = std::mem::take(&mut self.being_paid);
        if is_paid {
            told.claims.into_iter().for_each(|claim| table.release(claim));
        } else {
            self.owed.join(told);
        }
    }
}

impl Ledger {
    /// Whether paying what is in here pays `what` too.
    fn covers(&self, what: &Invalidation) -> bool {
        let group = match what.epoch_scope() {
            EpochScope::Group(group) => cache_core::CacheGroup::parse(group).ok().map(Invalidation::Group),
            EpochScope::All => None,
        };
        self.what.contains(what)
            || self.what.contains(&Invalidation::Everything)
            || group.is_some_and(|group| self.what.contains(&group))
    }

    fn write(&mut self, new: &[Invalidation], owner: &Owner, table: &mut Table) {
        let mut texts = slots::texts(Reason::Owed, owner, new);
        if let [text] = texts.as_slice()
            && let Some((number, held)) = &mut self.open
            && let Some(joined) = slots::joined(held, text)
        {
            // A sector is written whole or not at all: what it held is in the new text too.
            table.extend(*number, joined.clone());
            *held = joined;
            return;
        }
        let last = texts.last().cloned();
        let everything = slots::texts(Reason::Owed, owner, &[Invalidation::Everything]).concat();
        let claim = table.claim(std::mem::take(&mut texts), everything);
        match &claim {
            Claim::Slots(numbers) => self.open = numbers.last().copied().zip(last),
            Claim::Overflow => {
                self.open = None;
                self.what.insert(Invalidation::Everything);
            }
        }
        self.claims.push(claim);
    }

    fn join(&mut self, other: Self) {
        let Self { what, claims, open } = other;
        self.what.extend(what);
        self.claims.extend(claims);
        self.open = self.open.take().or(open);
    }
}
