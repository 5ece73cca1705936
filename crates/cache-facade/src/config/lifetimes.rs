//! How long values live, by family of keys.

use std::collections::BTreeMap;
use std::time::Duration;

use super::values;
use crate::lifetime::{LONGEST_WAIT, Lifetime};

/// Lifetimes of values by family of keys.
#[derive(Debug, Clone, Default)]
pub(super) struct Lifetimes {
    pub(super) default: Lifetime,
    pub(super) families: BTreeMap<String, Lifetime>,
}

impl Lifetimes {
    /// Returns the lifetime in force for `family`: each field that it leaves unset is the default's.
    pub(super) fn of(&self, family: &str) -> Lifetime {
        let own = self.families.iter().find(|(named, _)| is_same(named, family));
        own.map_or(self.default, |(_, lifetime)| lifetime.or(self.default))
    }

    /// The lifetime set for `family` itself.
    pub(super) fn family(&mut self, family: impl Into<String>) -> &mut Lifetime {
        let family = family.into();
        let known = self.families.keys().find(|named| is_same(named, &family)).cloned();
        self.families.entry(known.unwrap_or(family)).or_default()
    }

    /// Every lifetime that was set.
    pub(super) fn all(&self) -> impl Iterator<Item = Lifetime> {
        self.families.values().copied().chain([self.default])
    }
}

/// A field of a lifetime that a setting is for.
#[derive(Debug)]
pub(super) enum Field<'a> {
    /// Time to live, at least a second.
    Expiry(&'a mut Option<Duration>),
    /// Time after expiry in which an old value may be served.
    Window(&'a mut Option<Duration>),
    /// Share of the time to live, 0 to 1.
    Share(&'a mut Option<f64>),
    /// Time for which a load is put off, in milliseconds.
    Wait(&'a mut Option<Duration>),
}

impl Field<'_> {
    /// Sets the field from text; `None` for a text that is no such value.
    pub(super) fn read(self, text: &str) -> Option<()> {
        match self {
            Self::Expiry(time) | Self::Window(time) => *time = Some(values::seconds(text)?),
            Self::Share(share) => *share = Some(text.parse().ok().filter(|share| values::is_share(*share))?),
            Self::Wait(time) => *time = Some(Duration::from_millis(values::number(text)?)),
        }
        Some(())
    }

    /// The value as its setting would have it.
    pub(super) fn to_text(&self) -> Option<String> {
        match self {
            Self::Expiry(time) | Self::Window(time) => time.map(|time| time.as_secs_f64().to_string()),
            Self::Share(share) => share.map(|share| share.to_string()),
            Self::Wait(time) => time.map(|time| time.as_millis().to_string()),
        }
    }

    pub(super) fn is_valid(&self) -> bool {
        match self {
            Self::Expiry(time) => time.is_none_or(|time| time >= Duration::from_secs(1)),
            Self::Window(_) => true,
            Self::Share(share) => share.is_none_or(values::is_share),
            Self::Wait(time) => time.is_none_or(|time| time <= LONGEST_WAIT),
        }
    }

    /// Whether the field is about the end of a value's time to live.
    pub(super) fn is_about_expiry(&self) -> bool {
        !matches!(self, Self::Wait(_))
    }
}

/// Whether two names are of one family. Only letters and digits count, in any case, because the name of a setting holds
/// no more: `CACHE_TTL_USER_PROFILE` and `CACHE_TTL_USERPROFILE` are for `userProfile`, `user-profile` and `user_profile`.
fn is_same(one: &str, other: &str) -> bool {
    fn letters(name: &str) -> impl Iterator<Item = u8> {
        name.bytes()
            .filter(|byte| byte.is_ascii_alphanumeric() || !byte.is_ascii())
            .map(|byte| byte.to_ascii_lowercase())
    }
    letters(one).eq(letters(other))
}
