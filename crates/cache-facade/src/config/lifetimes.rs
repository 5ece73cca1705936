//! The settings of how long values may be served: one for all families of keys, and one for each.

use std::collections::BTreeMap;
use std::time::Duration;

use super::rules;
use crate::lifetime::Lifetime;

/// A time or a share that can be set for all families and for each.
pub(super) struct Kind {
    /// The setting for all families.
    pub(super) default: &'static str,
    /// What the name of the setting for one family begins with; the family follows in capitals.
    pub(super) prefix: &'static str,
    /// What the setting for one family takes.
    pub(super) takes: &'static str,
    /// `Lifetime` with the value, if the text is one.
    pub(super) read: fn(Lifetime, &str) -> Option<Lifetime>,
}

pub(super) const KINDS: [Kind; 5] = [
    Kind {
        default: rules::DEFAULT_TTL.name,
        prefix: "CACHE_TTL_",
        takes: rules::FAMILY_TTL.takes,
        read: |lifetime, text| Some(lifetime.expire(seconds(text)?)),
    },
    Kind {
        default: "CACHE_DEFAULT_JITTER",
        prefix: "CACHE_JITTER_",
        takes: rules::JITTER.takes,
        read: |lifetime, text| Some(lifetime.jitter(share(text)?)),
    },
    Kind {
        default: "CACHE_DEFAULT_STALE_WHILE_REVALIDATE",
        prefix: "CACHE_STALE_WHILE_REVALIDATE_",
        takes: rules::FAMILY_TTL.takes,
        read: |lifetime, text| Some(lifetime.stale_while_revalidate(seconds(text)?)),
    },
    Kind {
        default: "CACHE_DEFAULT_STALE_IF_ERROR",
        prefix: "CACHE_STALE_IF_ERROR_",
        takes: rules::FAMILY_TTL.takes,
        read: |lifetime, text| Some(lifetime.stale_if_error(seconds(text)?)),
    },
    Kind {
        default: "CACHE_DEFAULT_REFRESH_AHEAD",
        prefix: "CACHE_REFRESH_AHEAD_",
        takes: rules::REFRESH_AHEAD.takes,
        read: |lifetime, text| Some(lifetime.refresh_ahead(share(text)?)),
    },
];

/// How long values live, by family.
#[derive(Debug, Clone, Default)]
pub(super) struct Lifetimes {
    pub(super) default: Lifetime,
    pub(super) families: BTreeMap<String, Lifetime>,
}

impl Lifetimes {
    /// What holds for `family`.
    pub(super) fn of(&self, family: &str) -> Lifetime {
        match self.families.get(family) {
            Some(lifetime) => lifetime.or(self.default),
            None => self.default,
        }
    }

    /// What is said of `family` itself.
    pub(super) fn family(&mut self, family: impl Into<String>) -> &mut Lifetime {
        self.families.entry(family.into()).or_default()
    }

    /// All that were set.
    pub(super) fn all(&self) -> impl Iterator<Item = Lifetime> {
        self.families.values().copied().chain([self.default])
    }
}

/// A whole number of seconds, at least 1.
pub(super) fn seconds(text: &str) -> Option<Duration> {
    super::parse::plain_number(text).filter(|seconds| *seconds > 0).map(Duration::from_secs)
}

fn share(text: &str) -> Option<f64> {
    text.parse().ok().filter(|share| rules::is_share(*share))
}
