//! A session registers: the first exchange with the server.

use super::{Cause, Steps};
use crate::mistakes::Mistake;
use crate::state::{Exchange, Registry, Sent, SessionId};

impl Steps<'_> {
    /// Sends REGISTER.
    pub(super) fn register(&mut self, number: usize) {
        if self.from.used.sessions == self.bounds.sessions {
            return;
        }
        let mut next = self.from;
        let instance = &mut next.instances[number];
        if self.bounds.makes(Mistake::TokensBeforeRegistering) {
            instance.begin_session();
        }
        instance.exchange = Some(Exchange { left: self.bounds.lease, sent: Sent::Register });
        self.add(Cause::Session(number), next, format_args!("{number}: registers"));
    }

    /// Carries REGISTER out at the server.
    pub(super) fn registered(&mut self, number: usize, left: u8) {
        if self.from.used.sessions == self.bounds.sessions {
            return;
        }
        let mut next = self.from;
        if next.server.registry.is_none() {
            next.make_registry();
        }
        let session = self.new_session_id(number);
        if session.0 == next.used.sessions {
            next.used.sessions += 1;
        }
        let Some(registry) = &mut next.server.registry else { return };
        let Registry { generation, told, .. } = *registry;
        registry.put(session, told);
        next.instances[number].exchange = Some(Exchange { left, sent: Sent::Registered { session, told } });
        let id = session.0;
        self.add(
            Cause::Session(number),
            next,
            format_args!(
                "redis: registers {number} as session {id} in registry {generation}, where {told} are told"
            ),
        );
    }

    fn new_session_id(&self, number: usize) -> SessionId {
        match self.from.instances[0].session {
            Some(session) if number == 1 && self.bounds.makes(Mistake::SharedSessionId) => session,
            _ => SessionId(self.from.used.sessions),
        }
    }

    /// Takes the reply to REGISTER.
    pub(super) fn starts_session(&mut self, number: usize, left: u8, session: SessionId, told: u8) {
        let mut next = self.from;
        let lease = self.granted(left);
        let instance = &mut next.instances[number];
        instance.exchange = None;
        instance.session = Some(session);
        instance.processed = told;
        instance.lease = lease;
        // Only after the reply: a read that began before the server registered the session may be of a value that was
        // invalidated when nothing told this instance.
        if !self.bounds.makes(Mistake::TokensBeforeRegistering)
            && !self.bounds.makes(Mistake::TokensWithoutSession)
        {
            instance.begin_session();
        }
        self.add(
            Cause::Session(number),
            next,
            format_args!("{number}: begins session {} with a lease of {lease}", session.0),
        );
    }

    /// The lease that a reply grants.
    pub(super) fn granted(&self, left: u8) -> u8 {
        if self.bounds.makes(Mistake::LeaseFromReply) { self.bounds.lease } else { left }
    }
}
