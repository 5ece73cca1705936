//! An exhaustive search of a model of the lease protocol within small bounds: two readers, a writer, messages that arrive
//! late, eviction and expiry, in every order. No read is older than the invalidations acknowledged before it began; without
//! any one rule of the protocol the search finds a read that is.

use std::collections::HashSet;

/// The rule that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    /// A fill compares its token with the nonce in the slot.
    Fence,
    /// A repeated LEASE has another nonce.
    FreshNonceEachTime,
    /// A nonce is random, so it is not used again after a removal.
    RandomNonces,
    /// An expired value is replaced by its nonce, not by any token.
    NonceOfTheExpired,
    /// The token of a reader comes from a reply.
    TokensFromReplies,
}

type Nonce = u8;
type Version = u8;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Slot {
    Empty,
    Lease(Nonce),
    Value { nonce: Nonce, version: Version, is_expired: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Reader {
    Idle,
    /// Sends HGET; a value must be of this version or a later one.
    Reading(Version),
    Leasing(Version, Nonce),
    Holding(Nonce),
    Loaded(Nonce, Version),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Writer {
    Idle,
    /// The change is in the database.
    Committed,
    /// The server has removed the slot; the reply is on its way.
    Removed,
}

/// A request that arrives after its sender timed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Late {
    Lease(Nonce),
    Fill(Nonce, Version),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    slot: Slot,
    readers: [(Reader, u8); 2],
    writer: (Writer, u8),
    database: Version,
    acknowledged: Version,
    late: Vec<Late>,
    timeouts: u8,
    evictions: u8,
    expiries: u8,
}

impl State {
    fn start() -> Self {
        Self {
            slot: Slot::Empty,
            readers: [(Reader::Idle, 2), (Reader::Idle, 2)],
            writer: (Writer::Idle, 2),
            database: 0,
            acknowledged: 0,
            late: Vec::new(),
            timeouts: 2,
            evictions: 1,
            expiries: 1,
        }
    }

    fn fresh(&mut self, without: Without) -> Nonce {
        if without == Without::RandomNonces {
            return 1;
        }
        // A nonce that is stored nowhere any more counts as fresh.
        let mut known = HashSet::new();
        self.clone().each_nonce(|nonce| {
            known.insert(*nonce);
        });
        (1..=Nonce::MAX).find(|nonce| !known.contains(nonce)).expect("few are known")
    }

    fn each_nonce(&mut self, mut see: impl FnMut(&mut Nonce)) {
        if let Slot::Lease(nonce) | Slot::Value { nonce, .. } = &mut self.slot {
            see(nonce);
        }
        for (reader, _) in &mut self.readers {
            if let Reader::Leasing(_, nonce) | Reader::Holding(nonce) | Reader::Loaded(nonce, _) = reader {
                see(nonce);
            }
        }
        for late in &mut self.late {
            let (Late::Lease(nonce) | Late::Fill(nonce, _)) = late;
            see(nonce);
        }
    }

    /// Returns the representative of all states that differ only in the names of readers and nonces. 0 keeps its meaning, as
    /// does 1 without random nonces.
    fn canonical(mut self) -> Self {
        self.readers.sort_unstable();
        self.late.sort_unstable();
        let mut names: Vec<Nonce> = Vec::new();
        self.each_nonce(|nonce| {
            if *nonce > 0 {
                let at = names.iter().position(|known| known == nonce).unwrap_or_else(|| {
                    names.push(*nonce);
                    names.len() - 1
                });
                *nonce = Nonce::try_from(at + 1).expect("few are known");
            }
        });
        self
    }

    fn lease(&mut self, nonce: Nonce) {
        if self.slot == Slot::Empty {
            self.slot = Slot::Lease(nonce);
        }
    }

    fn fill(&mut self, token: Nonce, version: Version, without: Without) {
        let stands = match self.slot {
            Slot::Lease(nonce) | Slot::Value { nonce, .. } => nonce == token,
            Slot::Empty => false,
        };
        let nothing_live = matches!(self.slot, Slot::Empty | Slot::Value { is_expired: true, .. });
        let is_stored = stands
            || without == Without::Fence
            // The token of an expired value.
            || without == Without::NonceOfTheExpired && token == 0 && nothing_live;
        if is_stored {
            let nonce = self.fresh(without);
            self.slot = Slot::Value { nonce, version, is_expired: false };
        }
    }

    /// Returns the states after one step; `Err` with a state in which a stale value was read.
    fn steps(&self, without: Without) -> Result<Vec<Self>, Self> {
        let mut next = Vec::new();
        self.reader_steps(without, &mut next)?;
        let [first, second] = self.readers;
        Self { readers: [second, first], ..self.clone() }.reader_steps(without, &mut next)?;
        let (writer, left) = self.writer;
        let mut then = self.clone();
        match writer {
            Writer::Idle if left > 0 => {
                then.database += 1;
                then.writer = (Writer::Committed, left - 1);
                next.push(then);
            }
            Writer::Idle => {}
            Writer::Committed => {
                then.slot = Slot::Empty;
                then.writer.0 = Writer::Removed;
                next.push(then);
            }
            Writer::Removed => {
                then.acknowledged = then.database;
                then.writer.0 = Writer::Idle;
                next.push(then);
            }
        }
        for at in 0..self.late.len() {
            let mut then = self.clone();
            match then.late.remove(at) {
                Late::Lease(nonce) => then.lease(nonce),
                Late::Fill(token, version) => then.fill(token, version, without),
            }
            next.push(then);
        }
        if self.evictions > 0 && self.slot != Slot::Empty {
            next.push(Self { slot: Slot::Empty, evictions: self.evictions - 1, ..self.clone() });
        }
        if let Slot::Value { nonce, version, is_expired: false } = self.slot
            && self.expiries > 0
        {
            let slot = Slot::Value { nonce, version, is_expired: true };
            next.push(Self { slot, expiries: self.expiries - 1, ..self.clone() });
        }
        Ok(next)
    }

    /// Adds the states after one step of the first reader.
    fn reader_steps(&self, without: Without, next: &mut Vec<Self>) -> Result<(), Self> {
        let [(reader, left), other] = self.readers;
        let mut to = |change: &dyn Fn(&mut Self) -> Reader| {
            let mut then = self.clone();
            let reader = change(&mut then);
            let left = left - u8::from(reader == Reader::Idle);
            then.readers = [(reader, left), other];
            next.push(then);
        };
        match reader {
            Reader::Idle if left > 0 => to(&|then| Reader::Reading(then.acknowledged)),
            Reader::Idle => {}
            Reader::Reading(oldest) => match self.slot {
                Slot::Empty => to(&|then| Reader::Leasing(oldest, then.fresh(without))),
                Slot::Lease(nonce) => to(&|_| Reader::Holding(nonce)),
                Slot::Value { version, is_expired: false, .. } if version < oldest => {
                    return Err(self.clone());
                }
                Slot::Value { nonce, is_expired: false, .. } => {
                    to(&|_| Reader::Idle);
                    // A refresh of the value.
                    to(&|_| Reader::Holding(nonce));
                }
                Slot::Value { nonce, is_expired: true, .. } => {
                    let is_blind = without == Without::NonceOfTheExpired;
                    to(&|_| Reader::Holding(if is_blind { 0 } else { nonce }));
                }
            },
            Reader::Leasing(oldest, nonce) => {
                to(&|then| {
                    then.lease(nonce);
                    match then.slot {
                        Slot::Lease(nonce) | Slot::Value { nonce, is_expired: true, .. } => {
                            Reader::Holding(nonce)
                        }
                        Slot::Value { .. } | Slot::Empty => Reader::Reading(oldest),
                    }
                });
                if self.timeouts > 0 {
                    to(&|then| {
                        then.timeouts -= 1;
                        then.late.push(Late::Lease(nonce));
                        match without {
                            Without::FreshNonceEachTime => Reader::Leasing(oldest, nonce),
                            Without::TokensFromReplies => Reader::Holding(nonce),
                            _ => Reader::Leasing(oldest, then.fresh(without)),
                        }
                    });
                }
            }
            Reader::Holding(token) => to(&|then| Reader::Loaded(token, then.database)),
            Reader::Loaded(token, version) => {
                to(&|then| {
                    then.fill(token, version, without);
                    Reader::Idle
                });
                if self.timeouts > 0 {
                    to(&|then| {
                        then.timeouts -= 1;
                        then.late.push(Late::Fill(token, version));
                        Reader::Idle
                    });
                }
            }
        }
        Ok(())
    }
}

/// Counts the reachable states, or returns one in which a stale value is read.
fn search(without: Without) -> Result<usize, State> {
    let mut seen = HashSet::from([State::start()]);
    let mut open = vec![State::start()];
    while let Some(state) = open.pop() {
        for next in state.steps(without)?.into_iter().map(State::canonical) {
            if seen.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    Ok(seen.len())
}

#[test]
fn no_order_of_steps_lets_a_reader_see_a_value_removed_before_it_began() {
    let states = search(Without::Nothing).unwrap_or_else(|state| panic!("stale: {state:?}"));
    println!("{states} states");
    assert!(states > 10_000, "{states} states: the bounds are too small to prove anything");
}

#[test]
fn every_rule_is_needed() {
    for without in [
        Without::Fence,
        Without::FreshNonceEachTime,
        Without::RandomNonces,
        Without::NonceOfTheExpired,
        Without::TokensFromReplies,
    ] {
        assert!(search(without).is_err(), "without {without:?} nothing stale was found");
    }
}
