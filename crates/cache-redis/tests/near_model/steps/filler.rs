//! A read from Redis that puts the value into memory: first the token, then the request.

use super::{Cause, Steps};
use crate::mistakes::Mistake;
use crate::state::{Filler, Held, Key, Of, Reader};

impl Steps<'_> {
    pub(super) fn filler(&mut self, number: usize) {
        let instance = &self.from.instances[number];
        match instance.filler {
            Filler::Idle => {
                if self.bounds.fills_beside_reads || instance.reader == Reader::Idle {
                    for key in 0..self.bounds.keys {
                        self.asks(number, key);
                    }
                }
            }
            Filler::Asked { key, token } => self.answers(number, key, token),
            Filler::Answered { key, token, version } => {
                let is_sloppy =
                    self.bounds.makes(Mistake::FillWithoutToken) || self.bounds.makes(Mistake::TokenAtReply);
                let token = if is_sloppy { Some(Of::Current) } else { token };
                let mut next = self.from;
                let instance = &mut next.instances[number];
                instance.filler = Filler::Idle;
                // A value whose token does not stand takes the place of another one, too.
                instance.memory[usize::from(key)] = token.map(|of| Held { version, of });
                let stands = if token.is_some() { "stands" } else { "does not stand" };
                self.add(
                    Cause::Reader(number),
                    next,
                    format_args!("{number}: puts v{version} of key {key} into memory; its token {stands}"),
                );
            }
        }
    }

    /// Takes the token and sends the request.
    fn asks(&mut self, number: usize, key: Key) {
        let mut next = self.from;
        next.instances[number].filler = Filler::Asked { key, token: Some(Of::Current) };
        self.add(
            Cause::Reader(number),
            next,
            format_args!("{number}: a read of key {key} takes its token and asks redis"),
        );
    }

    /// Carries the request out at the server.
    fn answers(&mut self, number: usize, key: Key, token: Option<Of>) {
        let mut next = self.from;
        let filler = &mut next.instances[number].filler;
        let Some(version) = self.from.server.values[usize::from(key)] else {
            *filler = Filler::Idle;
            let name = format_args!("redis: answers {number}: no value of key {key}");
            self.add(Cause::Reader(number), next, name);
            return;
        };
        let floor = self.from.acknowledged[usize::from(key)];
        if version < floor {
            self.violation =
                Some(format!("redis: holds v{version} of key {key} after v{floor} was acknowledged"));
        }
        *filler = Filler::Answered { key, token, version };
        self.add(
            Cause::Reader(number),
            next,
            format_args!("redis: answers {number}: v{version} of key {key}"),
        );
    }
}
