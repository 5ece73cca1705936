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
    /// The value as its setting has it.
    shown: fn(Lifetime) -> Option<String>,
}

pub(super) const KINDS: [Kind; 5] = [
    Kind {
        default: rules::DEFAULT_TTL.name,
        prefix: "CACHE_TTL_",
        takes: rules::FAMILY_TTL.takes,
        read: |lifetime, text| Some(lifetime.expire(seconds(text)?)),
        shown: |lifetime| lifetime.expire.map(in_seconds),
    },
    Kind {
        default: "CACHE_DEFAULT_JITTER",
        prefix: "CACHE_JITTER_",
        takes: rules::JITTER.takes,
        read: |lifetime, text| Some(lifetime.jitter(share(text)?)),
        shown: |lifetime| lifetime.jitter.map(|share| share.to_string()),
    },
    Kind {
        default: "CACHE_DEFAULT_STALE_WHILE_REVALIDATE",
        prefix: "CACHE_STALE_WHILE_REVALIDATE_",
        takes: rules::FAMILY_TTL.takes,
        read: |lifetime, text| Some(lifetime.stale_while_revalidate(seconds(text)?)),
        shown: |lifetime| lifetime.stale_while_revalidate.map(in_seconds),
    },
    Kind {
        default: "CACHE_DEFAULT_STALE_IF_ERROR",
        prefix: "CACHE_STALE_IF_ERROR_",
        takes: rules::FAMILY_TTL.takes,
        read: |lifetime, text| Some(lifetime.stale_if_error(seconds(text)?)),
        shown: |lifetime| lifetime.stale_if_error.map(in_seconds),
    },
    Kind {
        default: "CACHE_DEFAULT_REFRESH_AHEAD",
        prefix: "CACHE_REFRESH_AHEAD_",
        takes: rules::REFRESH_AHEAD.takes,
        read: |lifetime, text| Some(lifetime.refresh_ahead(share(text)?)),
        shown: |lifetime| lifetime.refresh_ahead.map(|share| share.to_string()),
    },
];

/// Why such a setting may do nothing.
const NO_END: &str = " has no effect on values whose time never ends, unless each load says when";

impl Kind {
    /// The setting for `family`.
    fn of(&self, family: &str) -> String {
        let in_a_name = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        format!("{}{}", self.prefix, family.chars().map(in_a_name).collect::<String>())
    }
}

/// How long values live, by family.
#[derive(Debug, Clone, Default)]
pub(super) struct Lifetimes {
    pub(super) default: Lifetime,
    pub(super) families: BTreeMap<String, Lifetime>,
}

impl Lifetimes {
    /// What holds for `family`.
    pub(super) fn of(&self, family: &str) -> Lifetime {
        let own = self.families.iter().find(|(named, _)| is_same(named, family));
        own.map_or(self.default, |(_, lifetime)| lifetime.or(self.default))
    }

    /// What is said of `family` itself.
    pub(super) fn family(&mut self, family: impl Into<String>) -> &mut Lifetime {
        let family = family.into();
        let known = self.families.keys().find(|named| is_same(named, &family)).cloned();
        self.families.entry(known.unwrap_or(family)).or_default()
    }

    /// Every setting by its name, with its value where it has one: those for all families, and what is set for each.
    pub(super) fn settings(&self) -> Vec<(String, Option<String>)> {
        let mut settings: Vec<_> =
            KINDS.iter().map(|kind| (kind.default.to_owned(), (kind.shown)(self.default))).collect();
        for (family, lifetime) in &self.families {
            let set = KINDS.iter().filter_map(|kind| Some((kind.of(family), Some((kind.shown)(*lifetime)?))));
            settings.extend(set);
        }
        settings
    }

    /// What was set of values' ends where no value has one, one sentence each.
    pub(super) fn idle(&self) -> Vec<String> {
        let ttl = rules::DEFAULT_TTL.name;
        let mut sentences = Vec::new();
        if self.all().all(|lifetime| lifetime.expire.is_none()) {
            let set = KINDS.iter().filter(|kind| (kind.shown)(self.default).is_some());
            sentences.extend(set.map(|kind| format!("{}{NO_END}: set {ttl}", kind.default)));
        }
        for (family, lifetime) in &self.families {
            let [of_family, ..] = &KINDS;
            if self.of(family).expire.is_none() {
                let set = KINDS.iter().filter(|kind| (kind.shown)(*lifetime).is_some());
                let own = of_family.of(family);
                sentences.extend(set.map(|kind| format!("{}{NO_END}: set {own} or {ttl}", kind.of(family))));
            }
        }
        sentences
    }

    /// All that were set.
    pub(super) fn all(&self) -> impl Iterator<Item = Lifetime> {
        self.families.values().copied().chain([self.default])
    }
}

/// Whether two names are of one family: letters and digits alone count, whatever their case, because the name of a setting can
/// say no more. `CACHE_TTL_USER_PROFILE` and `CACHE_TTL_USERPROFILE` are for `userProfile`, `user-profile` and `user_profile`.
fn is_same(one: &str, other: &str) -> bool {
    fn letters(name: &str) -> impl Iterator<Item = u8> {
        name.bytes()
            .filter(|byte| byte.is_ascii_alphanumeric() || !byte.is_ascii())
            .map(|byte| byte.to_ascii_lowercase())
    }
    letters(one).eq(letters(other))
}

/// A whole number of seconds, at least 1.
pub(super) fn seconds(text: &str) -> Option<Duration> {
    super::parse::plain_number(text).filter(|seconds| *seconds > 0).map(Duration::from_secs)
}

fn in_seconds(duration: Duration) -> String {
    duration.as_secs_f64().to_string()
}

fn share(text: &str) -> Option<f64> {
    text.parse().ok().filter(|share| rules::is_share(*share))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_shown_under_the_name_by_which_it_is_set() {
        let mut lifetimes = Lifetimes { default: Lifetime::new().jitter(0.25), ..Lifetimes::default() };
        *lifetimes.family("image") = Lifetime::new().expire(Duration::from_mins(1));
        let set: Vec<_> = lifetimes
            .settings()
            .into_iter()
            .filter_map(|(name, value)| Some(format!("{name}={}", value?)))
            .collect();
        assert_eq!(set, ["CACHE_DEFAULT_JITTER=0.25", "CACHE_TTL_IMAGE=60"]);
    }

    #[test]
    fn what_does_nothing_for_want_of_a_time_to_live_is_named() {
        let stale = Lifetime::new().stale_if_error(Duration::from_mins(1));
        let mut lifetimes = Lifetimes { default: stale, ..Lifetimes::default() };
        *lifetimes.family("image") = stale.jitter(0.5);
        let named = |lifetimes: &Lifetimes| -> Vec<String> {
            let idle = lifetimes.idle().into_iter();
            idle.filter_map(|sentence| sentence.split(' ').next().map(str::to_owned)).collect()
        };
        let all = ["CACHE_DEFAULT_STALE_IF_ERROR", "CACHE_JITTER_IMAGE", "CACHE_STALE_IF_ERROR_IMAGE"];
        assert_eq!(named(&lifetimes), all);
        lifetimes.family("thumbnail").expire = Some(Duration::from_mins(1));
        assert_eq!(named(&lifetimes), all[1..], "thumbnails are served old");
        lifetimes.default.expire = Some(Duration::from_mins(1));
        assert!(named(&lifetimes).is_empty());
    }
}
