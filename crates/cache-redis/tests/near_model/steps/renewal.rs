//! A session renews its lease, and follows the log of invalidations.

use super::{Cause, Steps};
use crate::bounds::KEYS;
use crate::mistakes::Mistake;
use crate::state::{Exchange, LateRenewal, LogEntries, Sent, SessionId, State};

impl Steps<'_> {
    /// Sends RENEW, or takes the reply to the XREAD that blocks.
    pub(super) fn renew(&mut self, number: usize, session: SessionId) {
        let processed = self.from.instances[number].processed;
        let mut next = self.from;
        next.instances[number].exchange = Some(Exchange { left: self.bounds.lease, sent: Sent::Renew });
        self.add(
            Cause::Session(number),
            next,
            format_args!("{number}: renews and acknowledges {processed} invalidations"),
        );
        self.hear(number, session);
        // An error of the connection may make the session's task begin anew. The session object stays the current one
        // until the next has registered, with a lease that is over.
        let mut next = self.from;
        next.instances[number].session = None;
        next.instances[number].lease = 0;
        self.add(Cause::Lost, next, format_args!("{number}: gives its session up"));
    }

    /// Entries of the log arrive; the last ones may be on their way.
    fn hear(&mut self, number: usize, session: SessionId) {
        let processed = self.from.instances[number].processed;
        let Some(registry) = self.from.server.registry.filter(|it| it.is_registered(session)) else { return };
        for up_to in processed + 1..=registry.told {
            let Some(keys) = registry.read(processed, up_to) else { return };
            let mut next = self.from;
            next.instances[number].forget_each(keys);
            next.instances[number].processed = up_to;
            self.add(
                Cause::Session(number),
                next,
                format_args!("{number}: hears of {up_to} invalidations and forgets"),
            );
        }
    }

    /// Moves the exchange of a session one step on.
    pub(super) fn exchange(&mut self, number: usize, session: Option<SessionId>, exchange: Exchange) {
        let left = exchange.left;
        match (exchange.sent, session) {
            (Sent::Register, _) => self.registered(number, left),
            (Sent::Registered { session, told }, _) => self.starts_session(number, left, session, told),
            (Sent::Renew, Some(session)) => self.renewed(number, left, session),
            (Sent::Renewed { is_registered, told }, _) => {
                self.extends_lease(number, left, is_registered, told);
            }
            (Sent::ReadLog { told }, Some(session)) => self.log_read(number, left, session, told),
            (Sent::Log { told, entries }, _) => self.catches_up(number, left, told, entries),
            (Sent::Renew | Sent::ReadLog { .. }, None) => {
                unreachable!("a session that is over sends nothing")
            }
        }
        let mut next = self.from;
        next.instances[number].exchange = None;
        self.add(Cause::Lost, next, format_args!("{number}: its request or the reply is lost"));
    }

    /// Carries RENEW out at the server.
    fn renewed(&mut self, number: usize, left: u8, session: SessionId) {
        let mut acknowledged = self.from.instances[number].processed;
        let mut is_registered = self.bounds.makes(Mistake::RenewsUnregistered);
        let (mut next, mut told) = (self.from, 0);
        if let Some(registry) = &mut next.server.registry {
            told = registry.told;
            is_registered |= registry.is_registered(session);
            if self.bounds.makes(Mistake::AcknowledgesFirst) {
                acknowledged = acknowledged.max(told);
            }
            if self.bounds.makes(Mistake::AcknowledgesNothing) {
                acknowledged = 0;
            }
            if is_registered {
                registry.put(session, acknowledged);
            }
        }
        let sent = Sent::Renewed { is_registered, told };
        next.instances[number].exchange = Some(Exchange { left, sent });
        let finds = if is_registered { "registered" } else { "gone" };
        self.add(
            Cause::Session(number),
            next,
            format_args!("redis: renewal of {number}: its session is {finds}, {told} are told"),
        );
        let mut next = self.from;
        let late_renewal = &mut next.instances[number].late_renewal;
        if self.bounds.late_renewals && late_renewal.is_none() {
            *late_renewal = Some(LateRenewal { session, acknowledged });
            next.instances[number].exchange = None;
            self.add(
                Cause::Lost,
                next,
                format_args!("{number}: gives the renewal up, which is still on its way"),
            );
        }
    }

    /// Takes the reply to RENEW.
    fn extends_lease(&mut self, number: usize, left: u8, is_registered: bool, told: u8) {
        let mut next = self.from;
        let instance = &mut next.instances[number];
        instance.exchange = None;
        if !is_registered {
            instance.session = None;
            instance.lease = 0;
            self.add(Cause::Session(number), next, format_args!("{number}: its session is over"));
        } else if instance.processed >= told || self.bounds.makes(Mistake::LeaseThoughBehind) {
            self.holds_lease(number, left, next);
        } else {
            let processed = instance.processed;
            instance.exchange = Some(Exchange { left, sent: Sent::ReadLog { told } });
            self.add(
                Cause::Session(number),
                next,
                format_args!("{number}: is behind, with {processed} of {told} processed"),
            );
        }
    }

    /// Reads the log at the server.
    fn log_read(&mut self, number: usize, left: u8, session: SessionId, told: u8) {
        let mut next = self.from;
        let instance = &mut next.instances[number];
        let registry = self.from.server.registry.filter(|registry| registry.is_registered(session));
        let entries = registry.and_then(|registry| {
            let keys = registry.read(instance.processed, registry.told)?;
            Some(LogEntries { up_to: registry.told, keys })
        });
        instance.exchange = Some(Exchange { left, sent: Sent::Log { told, entries } });
        self.add(Cause::Session(number), next, format_args!("redis: {number} reads the log: {entries:?}"));
    }

    /// Takes the reply with the log, and the lease from the renewal before it.
    fn catches_up(&mut self, number: usize, left: u8, told: u8, entries: Option<LogEntries>) {
        let mut next = self.from;
        let instance = &mut next.instances[number];
        instance.exchange = None;
        if let Some(LogEntries { up_to, keys }) = entries {
            instance.forget_each(keys);
            instance.processed = instance.processed.max(up_to);
        } else {
            // Some invalidations are unknown: they may be of anything.
            if !self.bounds.makes(Mistake::GapPassedOver) {
                instance.forget_each([true; KEYS]);
            }
            instance.processed = instance.processed.max(told);
        }
        self.holds_lease(number, left, next);
    }

    fn holds_lease(&mut self, number: usize, left: u8, mut next: State) {
        let lease = self.granted(left);
        next.instances[number].lease = lease;
        self.add(Cause::Session(number), next, format_args!("{number}: has a lease of {lease}"));
    }
}
