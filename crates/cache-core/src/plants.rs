//! Bugs that tests plant on purpose, to prove that the tests find them.
//!
//! In a build without the feature `plants` no bug can be planted and every check is the constant `false`. In a build
//! with it at most one bug is planted in a process: by `plant`, or by the environment variable `PLANTED_BUG`, which
//! holds the name of a [`Plant`]. `cargo xtask test` lists which test finds which bug.

/// A defence that can be switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// A store inside one process accepts every fill, whatever its token.
    NoFence,
    /// The disk cache checks the token of a fill before it takes the lock instead of under it.
    CheckOutsideLock,
    /// The disk cache acknowledges an invalidation before it is durable.
    LazyDelete,
    /// The Redis backend stores every fill, whatever its token.
    NoRedisFence,
    /// The Redis backend takes all servers, and all runs of a server, for one.
    OneIncarnation,
    /// A caller joins a load in flight by its key alone, whatever the token.
    JoinByKey,
    /// The breaker closes while an invalidation is on its way into the journal.
    LateAppend,
    /// The journal replays nothing.
    NoJournal,
}

#[cfg(feature = "plants")]
mod planted {
    use std::sync::OnceLock;

    use super::Plant;

    const NAMES: [(&str, Plant); 8] = [
        ("no-fence", Plant::NoFence),
        ("check-outside-lock", Plant::CheckOutsideLock),
        ("lazy-delete", Plant::LazyDelete),
        ("no-redis-fence", Plant::NoRedisFence),
        ("one-incarnation", Plant::OneIncarnation),
        ("join-by-key", Plant::JoinByKey),
        ("late-append", Plant::LateAppend),
        ("no-journal", Plant::NoJournal),
    ];

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
        let known = NAMES.iter().find(|(known, _)| *known == name);
        Some(known.expect("PLANTED_BUG holds the name of a planted bug").1)
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
