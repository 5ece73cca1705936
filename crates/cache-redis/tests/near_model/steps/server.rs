//! Redis is filled after misses.

use super::{Cause, Steps};

impl Steps<'_> {
    pub(super) fn server(&mut self) {
        if !self.bounds.refills {
            return;
        }
        let mut next = self.from;
        if let Some((key, version)) = self.from.server.load {
            next.server.load = None;
            next.server.values[usize::from(key)] = Some(version);
            self.add(
                Cause::Loader,
                next,
                format_args!("redis: a fill of key {key} with v{version} is stored"),
            );
            return;
        }
        for key in 0..self.bounds.keys {
            if self.from.server.values[usize::from(key)].is_none() {
                let version = self.from.database[usize::from(key)];
                next.server.load = Some((key, version));
                self.add(
                    Cause::Loader,
                    next,
                    format_args!("a load of key {key} begins and reads v{version}"),
                );
            }
        }
    }
}
