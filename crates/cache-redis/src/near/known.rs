//! [`Known`]: what an instance knows of the registry, to tell when leases that it cannot see have ended.

use cache_core::plants::{Plant, is_planted};
use tokio::time::Instant;

use super::WAIT;

/// The registry that was seen last, and since when it is known.
///
/// A registry that is lost takes the names of its sessions with it, and their leases may last. They have ended when another
/// registry, or none, has been known for [`WAIT`]: a session is renewed at its own registry only. This outlasts a change of
/// servers.
#[derive(Debug, Default)]
pub(super) struct Known {
    registry: Option<String>,
    /// When it was seen first; while none was seen, when a server was asked for one first.
    since: Option<Instant>,
}

impl Known {
    /// Notes the registry that a server had, if any, by a reply that came at `at`. The time of the question
    /// would not do: a registry may have been lost in between.
    pub(super) fn look(&mut self, registry: Option<String>, at: Instant) {
        match registry {
            // Lost: the next change makes another one, and waits.
            None if self.registry.is_some() => {}
            None => drop(self.since.get_or_insert(at)),
            Some(name) => drop(self.saw(name, at)),
        }
    }

    /// Notes the registry in which a change was announced, and when the reply came. Returns from when on it can be relied on.
    pub(super) fn saw(&mut self, registry: String, at: Instant) -> Instant {
        let is_known = self.registry.as_ref() == Some(&registry);
        if is_planted(Plant::NearTrustsNewRegistry) {
            return at;
        }
        let since = self.since.filter(|_| is_known).unwrap_or(at);
        *self = Self { registry: Some(registry), since: Some(since) };
        since + WAIT
    }

    /// Notes that a server had none, by a reply that came at `at`. Returns from when on that can be relied on.
    pub(super) fn saw_none(&mut self, at: Instant) -> Instant {
        *self.since.get_or_insert(at) + WAIT
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_registry_is_relied_on_when_it_was_known_for_long_enough() {
        let (mut known, start) = (Known::default(), Instant::now());
        assert_eq!(known.saw("a".to_owned(), start), start + WAIT);
        let later = start + Duration::from_secs(1);
        assert_eq!(known.saw("a".to_owned(), later), start + WAIT, "known before");
        assert_eq!(known.saw("b".to_owned(), later), later + WAIT, "another one");
        assert_eq!(known.saw("a".to_owned(), later), later + WAIT, "names are not used again");
    }

    #[test]
    fn a_look_that_finds_none_does_not_forget_a_registry() {
        let (mut known, start) = (Known::default(), Instant::now());
        known.look(None, start);
        assert_eq!(known.saw_none(start + WAIT), start + WAIT);
        known.look(Some("a".to_owned()), start + WAIT);
        known.look(None, start + 2 * WAIT);
        assert!(known.registry.is_some());
    }
}
