//! Time goes on: all timers move together.

use super::{Cause, Steps};

impl Steps<'_> {
    pub(super) fn time(&mut self) {
        let mut next = self.from;
        for instance in &mut next.instances {
            instance.lease = instance.lease.saturating_sub(1);
            if let Some(exchange) = &mut instance.exchange {
                exchange.left = exchange.left.saturating_sub(1);
            }
        }
        for invalidator in &mut next.invalidators {
            invalidator.wait = invalidator.wait.saturating_sub(1);
            invalidator.distrust = invalidator.distrust.saturating_sub(1);
            invalidator.first_look = invalidator.first_look.map(|left| left.saturating_sub(1));
        }
        next.server.uptime = self.bounds.wait().min(next.server.uptime + 1);
        if next != self.from {
            self.add(Cause::Time, next, format_args!("a tick"));
        }
    }
}
