//! Bugs that tests plant on purpose, to prove that the tests find them.
//!
//! In a build without the feature `plants` no bug can be planted and every check is the constant `false`. In a build
//! with it at most one bug is planted in a process: by `plant`, or by the environment variable `PLANTED_BUG`, which
//! holds the name of a [`Plant`], such as `no-fence`. `cargo xtask test` lists which test finds which bug.

/// A defence that can be switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "plants", derive(serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Plant {
    /// A store inside one process accepts every fill, with any token.
    NoFence,
    /// The disk cache checks the token of a fill before it takes the lock instead of under it.
    CheckOutsideLock,
    /// The disk cache acknowledges an invalidation before it is durable.
    LazyDelete,
    /// The Redis backend stores every fill, with any token.
    NoRedisFence,
    /// The Redis backend does not notice another server or a restarted one.
    OneIncarnation,
    /// The Redis backend does not repeat recent removals at a server that takes over.
    NoReplay,
    /// An invalidation does not wait for instances that keep values in memory.
    NearNoWait,
    /// The lease of a session begins when the reply to its renewal comes.
    NearLeaseFromReply,
    /// A session acknowledges a change before it has forgotten what that concerns.
    NearAckFirst,
    /// An invalidation relies on a registry that it sees for the first time.
    NearTrustsNewRegistry,
    /// A value is kept in memory with a token that was taken when the reply came.
    NearTokenLate,
    /// A caller joins a load in flight by its key alone, with any token.
    JoinByKey,
    /// The breaker closes while an invalidation is being appended to the journal.
    LateAppend,
    /// The fallback store stays when a zone that it has served before is lost again.
    OldOutage,
    /// The journal replays nothing.
    NoJournal,
    /// The key of a stored response does not depend on the viewer.
    ViewerLeftOut,
    /// A response that sets a cookie is stored.
    SetCookieStored,
    /// The `Vary` of a response is not read.
    VaryIgnored,
    /// The console tells a page of any number of events.
    EventsUnlimited,
    /// The console does not tell a page that events were lost.
    LossUnreported,
    /// The console answers what another site asks.
    ForeignReads,
    /// The console lets every viewer change something.
    GuardLeftOut,
    /// A dry run of the console clears.
    DryRunClears,
    /// The disk cache does not count entries that wait for the writer.
    UnwrittenUncounted,
}

#[cfg(feature = "plants")]
mod planted {
    use std::sync::OnceLock;

    use serde::Deserialize;
    use serde::de::IntoDeserializer;
    use serde::de::value::Error;

    use super::Plant;

    static PLANTED: OnceLock<Option<Plant>> = OnceLock::new();

    /// Plants `plant` in this process.
    ///
    /// # Panics
    /// Where another one, or none, was chosen before.
    pub fn plant(plant: Plant) {
        assert_eq!(*PLANTED.get_or_init(|| Some(plant)), Some(plant), "a process has one planted bug");
    }

    /// Whether `plant` is planted in this process.
    #[inline]
    pub fn is_planted(plant: Plant) -> bool {
        *PLANTED.get_or_init(from_environment) == Some(plant)
    }

    fn from_environment() -> Option<Plant> {
        let name = std::env::var("PLANTED_BUG").ok()?;
        let plant = Plant::deserialize(IntoDeserializer::<Error>::into_deserializer(&*name));
        Some(plant.expect("PLANTED_BUG holds the name of a planted bug"))
    }
}

#[cfg(feature = "plants")]
pub use planted::{is_planted, plant};

/// Whether `plant` is planted in this process: never, in a build without the feature `plants`.
#[cfg(not(feature = "plants"))]
#[inline(always)]
#[expect(clippy::inline_always, reason = "the check must cost nothing")]
pub const fn is_planted(_plant: Plant) -> bool {
    false
}
