//! A read from memory: the session, its lease, the value, and only then the token.

use std::fmt::Arguments;

use super::{Cause, Steps};
use crate::mistakes::Mistake;
use crate::state::{Filler, Held, Key, Of, Reader, Version};

impl Steps<'_> {
    pub(super) fn reader(&mut self, number: usize) {
        match self.from.instances[number].reader {
            Reader::Idle => {
                for key in 0..self.bounds.keys {
                    self.begins_read(number, key);
                }
            }
            Reader::Loaded { key, floor, of } => self.looks_at_lease(number, key, floor, of),
            Reader::Leased { key, floor, of } => self.takes_value(number, key, floor, of),
            Reader::Taken { key, floor, version, .. } => self.serves(number, key, floor, version),
            Reader::Compared { key, floor, version } => {
                if self.from.instances[number].lease > 0 {
                    self.serves(number, key, floor, version);
                } else {
                    self.reads_from_redis(number, format_args!("{number}: finds the lease over"));
                }
            }
        }
    }

    /// Begins a read, where that finds something.
    ///
    /// Loading the session and looking at its lease is one step. Another session that became current in between has
    /// ended the lease of the one that was loaded before; and a read that must see what was acknowledged up to the look
    /// at the lease is the most demanding one.
    fn begins_read(&mut self, number: usize, key: Key) {
        let instance = &self.from.instances[number];
        let floor = self.from.acknowledged[usize::from(key)];
        let held = instance.memory[usize::from(key)].filter(|held| held.of == Of::Current);
        let is_free = self.bounds.fills_beside_reads || instance.filler == Filler::Idle;
        // A read that has to see nothing new cannot see too little.
        if floor == 0 || !is_free {
            return;
        }
        let mut next = self.from;
        if self.bounds.makes(Mistake::TokenBeforeLease) {
            let Some(Held { version, .. }) = held else { return };
            next.instances[number].reader = Reader::Compared { key, floor, version };
            self.add(
                Cause::Reader(number),
                next,
                format_args!(
                    "{number}: a read of key {key} from v{floor} on finds v{version} with its token"
                ),
            );
        } else if self.bounds.makes(Mistake::LeaseOfAnotherSession) {
            next.instances[number].reader = Reader::Loaded { key, floor, of: Of::Current };
            let name = format_args!("{number}: a read of key {key} from v{floor} on loads the session");
            self.add(Cause::Reader(number), next, name);
        } else if instance.lease > 0 && (held.is_some() || self.bounds.fills_beside_reads) {
            next.instances[number].reader = Reader::Leased { key, floor, of: Of::Current };
            self.add(
                Cause::Reader(number),
                next,
                format_args!("{number}: a read of key {key} from v{floor} on finds the lease valid"),
            );
        }
    }

    /// Only for `Mistake::LeaseOfAnotherSession`.
    fn looks_at_lease(&mut self, number: usize, key: Key, floor: Version, of: Of) {
        let mut next = self.from;
        if next.instances[number].lease == 0 {
            return self.reads_from_redis(number, format_args!("{number}: finds the lease over"));
        }
        next.instances[number].reader = Reader::Leased { key, floor, of };
        self.add(Cause::Reader(number), next, format_args!("{number}: finds the current lease valid"));
    }

    fn takes_value(&mut self, number: usize, key: Key, floor: Version, of: Of) {
        let mut next = self.from;
        let instance = &mut next.instances[number];
        match instance.memory[usize::from(key)].filter(|held| held.of == of) {
            Some(Held { version, .. }) => {
                instance.reader = Reader::Taken { key, floor, version, of };
                self.add(
                    Cause::Reader(number),
                    next,
                    format_args!("{number}: takes v{version} of key {key} from memory"),
                );
            }
            None => self.reads_from_redis(number, format_args!("{number}: finds nothing in memory")),
        }
    }

    /// Serves a value from memory, whose token stands and whose lease was valid.
    fn serves(&mut self, number: usize, key: Key, floor: Version, version: Version) {
        if version < floor {
            self.violation = Some(format!(
                "{number}: serves v{version} of key {key} from memory to a read that must see v{floor}"
            ));
        }
        self.reads_from_redis(number, format_args!("{number}: serves v{version} of key {key} from memory"));
    }

    /// Ends the read from memory. What it reads from Redis instead is another read, for the filler.
    fn reads_from_redis(&mut self, number: usize, name: Arguments<'_>) {
        let mut next = self.from;
        next.instances[number].reader = Reader::Idle;
        self.add(Cause::Reader(number), next, name);
    }
}
