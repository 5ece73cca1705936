//! [`Lifetime`]: how long values may be served, and what becomes of them when their time is over.

use std::time::Duration;

use cache_core::{Entry, NewEntry, Timestamp, random_nonzero};

/// How long values may be served, and whether an old one may stand in for a new one a little longer.
///
/// All of it concerns time alone: what an invalidation removed is never served again, whatever is said here.
/// Everything is off by default. What a [`LoadOptions`](crate::LoadOptions) leaves open is taken from the settings of its key's
/// family, and what these leave open from the default of all families; see
/// [`CacheConfigBuilder::family_lifetime`](crate::CacheConfigBuilder::family_lifetime).
///
/// ```
/// use cache_facade::Lifetime;
/// use std::time::Duration;
///
/// let rates = Lifetime::new()
///     .expire(Duration::from_secs(60))
///     .jitter(0.1)
///     .stale_while_revalidate(Duration::from_secs(30))
///     .stale_if_error(Duration::from_secs(600));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[must_use]
pub struct Lifetime {
    pub(crate) expire: Option<Duration>,
    pub(crate) jitter: Option<f64>,
    pub(crate) stale_while_revalidate: Option<Duration>,
    pub(crate) stale_if_error: Option<Duration>,
    pub(crate) refresh_ahead: Option<f64>,
}

/// Where a value stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// To be served.
    Fresh,
    /// To be served, and to be refreshed before its time is over.
    Ageing,
    /// Its time is over; to be served once more while it is refreshed.
    Stale,
    /// Its time is over; a miss.
    Over,
}

impl Lifetime {
    /// Nothing said: values live until they are invalidated or evicted.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long a value may be served, counted from when it is stored. Default: until it is invalidated or evicted.
    pub fn expire(self, duration: Duration) -> Self {
        Self { expire: Some(duration), ..self }
    }

    /// Shortens each value's time by a random share of up to `share` (0 to 1) of it, so that what was loaded together is
    /// not loaded again together. Default: 0.
    pub fn jitter(self, share: f64) -> Self {
        Self { jitter: Some(share), ..self }
    }

    /// For how long after its time a value may be served while it is loaded anew in the background
    /// (`stale-while-revalidate` of RFC 5861). Default: not at all.
    pub fn stale_while_revalidate(self, window: Duration) -> Self {
        Self { stale_while_revalidate: Some(window), ..self }
    }

    /// For how long after its time a value may be served when loading it anew failed (`stale-if-error` of RFC 5861).
    /// Default: not at all.
    pub fn stale_if_error(self, window: Duration) -> Self {
        Self { stale_if_error: Some(window), ..self }
    }

    /// Loads a value anew in the background when it is asked for in the last `share` (0 to 1) of its time. Default: 0.
    pub fn refresh_ahead(self, share: f64) -> Self {
        Self { refresh_ahead: Some(share), ..self }
    }

    /// This, and where it says nothing what `other` says.
    pub(crate) fn or(self, other: Self) -> Self {
        let Self { expire, jitter, stale_while_revalidate, stale_if_error, refresh_ahead } = self;
        Self {
            expire: expire.or(other.expire),
            jitter: jitter.or(other.jitter),
            stale_while_revalidate: stale_while_revalidate.or(other.stale_while_revalidate),
            stale_if_error: stale_if_error.or(other.stale_if_error),
            refresh_ahead: refresh_ahead.or(other.refresh_ahead),
        }
    }

    /// The same without a time in which a value is still kept for when it is old.
    pub(crate) fn without_stale(self) -> Self {
        Self { stale_while_revalidate: None, stale_if_error: None, ..self }
    }

    /// `entry` with the times that this gives it.
    pub(crate) fn timed(&self, entry: NewEntry) -> NewEntry {
        let Some(life) = self.expire.map(|life| shortened(life, self.jitter)) else { return entry };
        let window = self.kept();
        NewEntry {
            expires_in: Some(life.saturating_add(window)),
            fresh_for: (!window.is_zero()).then_some(life),
            ..entry
        }
    }

    /// Where `entry` stands at `now` for a caller who reads by this.
    pub(crate) fn standing(&self, entry: &Entry, now: Timestamp) -> Standing {
        let Some(until) = entry.fresh_until.or(entry.expires_at) else { return Standing::Fresh };
        if now >= until {
            let window = self.stale_while_revalidate.unwrap_or_default();
            return if is_within(window, until, now) { Standing::Stale } else { Standing::Over };
        }
        let ahead = part(until.saturating_since(entry.stored_at), self.refresh_ahead);
        if until.saturating_since(now) <= ahead { Standing::Ageing } else { Standing::Fresh }
    }

    /// Whether `entry` may be served at `now` to a caller whose load failed.
    pub(crate) fn rescues(&self, entry: &Entry, now: Timestamp) -> bool {
        let until = entry.fresh_until.or(entry.expires_at);
        until.is_none_or(|until| now < until || is_within(self.kept(), until, now))
    }

    /// How long a value is kept after its time.
    fn kept(&self) -> Duration {
        self.stale_while_revalidate.unwrap_or_default().max(self.stale_if_error.unwrap_or_default())
    }
}

fn is_within(window: Duration, until: Timestamp, now: Timestamp) -> bool {
    now.saturating_since(until) < window
}

/// `life` without a random part of the share that may go.
fn shortened(life: Duration, jitter: Option<f64>) -> Duration {
    // The upper 53 bits are as many as a float holds: a number from 0 to below 1.
    let random = (random_nonzero().get() >> 11) as f64 / (1_u64 << 53) as f64;
    life.saturating_sub(part(life, jitter.map(|share| share.clamp(0.0, 1.0) * random)))
}

/// `share` of `life`, at most all of it.
fn part(life: Duration, share: Option<f64>) -> Duration {
    let seconds = life.as_secs_f64() * share.unwrap_or_default().clamp(0.0, 1.0);
    // What is no number takes nothing away.
    Duration::try_from_secs_f64(seconds).map_or(Duration::ZERO, |part| part.min(life))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn stored(lifetime: Lifetime) -> Entry {
        lifetime.timed(NewEntry::new("x")).stored_at(Timestamp::from_millis(0))
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn a_value_is_fresh_then_ageing_then_stale_then_over() {
        let lifetime = Lifetime::new()
            .expire(MINUTE)
            .refresh_ahead(0.25)
            .stale_while_revalidate(Duration::from_secs(30));
        let entry = stored(lifetime);
        let standings = [0, 44, 45, 59, 60, 89, 90].map(|second| lifetime.standing(&entry, at(second)));
        let expected = {
            use Standing::{Ageing, Fresh, Over, Stale};
            [Fresh, Fresh, Ageing, Ageing, Stale, Stale, Over]
        };
        assert_eq!(standings, expected);
    }

    #[test]
    fn what_does_not_expire_is_always_fresh() {
        let lifetime =
            Lifetime::new().refresh_ahead(1.0).stale_while_revalidate(MINUTE).stale_if_error(MINUTE);
        let entry = stored(lifetime);
        assert_eq!((entry.expires_at, entry.fresh_until), (None, None));
        assert_eq!(lifetime.standing(&entry, at(1 << 40)), Standing::Fresh);
    }

    #[test]
    fn the_reader_says_how_old_a_value_it_takes() {
        let entry = stored(Lifetime::new().expire(MINUTE).stale_if_error(10 * MINUTE));
        assert_eq!(Lifetime::new().standing(&entry, at(60)), Standing::Over);
        assert!(!Lifetime::new().rescues(&entry, at(60)) && Lifetime::new().rescues(&entry, at(59)));
        let tolerant = Lifetime::new().stale_if_error(2 * MINUTE);
        assert!(tolerant.rescues(&entry, at(179)) && !tolerant.rescues(&entry, at(180)));
    }

    #[test]
    fn jitter_only_shortens_and_by_no_more_than_its_share() {
        let lifetime = Lifetime::new().expire(1000 * MINUTE).jitter(0.25);
        let lives: Vec<_> = (0..200).filter_map(|_| lifetime.timed(NewEntry::new("x")).expires_in).collect();
        assert_eq!(lives.len(), 200);
        assert!(lives.iter().all(|life| (750 * MINUTE..=1000 * MINUTE).contains(life)));
        assert!(lives.iter().max() > lives.iter().min().map(|least| *least + 100 * MINUTE).as_ref());
    }

    #[test]
    fn no_share_and_no_time_overflows() {
        for share in [f64::NAN, f64::INFINITY, -1.0, 0.0, 1.0, 7.0] {
            let lifetime = Lifetime::new().expire(Duration::MAX).jitter(share).refresh_ahead(share);
            let lifetime = lifetime.stale_if_error(Duration::MAX).stale_while_revalidate(Duration::MAX);
            lifetime.standing(&stored(lifetime), at(5));
        }
    }

    #[test]
    fn what_is_said_first_counts() {
        let merged = Lifetime::new().jitter(0.5).or(Lifetime::new().jitter(0.1).expire(MINUTE));
        assert_eq!(merged, Lifetime::new().jitter(0.5).expire(MINUTE));
    }
}
