//! [`Sentinels`]: the Sentinels of a replicated Redis, which name its master.

use super::addresses::{self, Address};
use super::redis::Secret;

/// The port of a Sentinel where none is given.
pub(super) const PORT: u16 = 26379;

/// Settings of Sentinels; none are used where there is no address. Passwords are hidden from `Debug`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sentinels {
    pub(crate) addresses: Vec<Address>,
    pub(crate) master: Option<String>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Secret>,
}

impl Sentinels {
    /// Whether an address is given.
    pub(crate) fn are_named(&self) -> bool {
        !self.addresses.is_empty()
    }

    /// Describes the Sentinels for logs.
    pub(crate) fn description(&self) -> String {
        let addresses: Vec<_> = self.addresses.iter().map(addresses::shown).collect();
        let master = self.master.as_deref().unwrap_or("the master");
        format!("{master} of the Sentinels {}", addresses.join(" "))
    }
}
