//! [`Lifetime`]: how long values may be served, fresh and stale, and how long a load of them may be put off.

use std::time::Duration;

use cache_core::{Entry, NewEntry, Timestamp, random_nonzero};

/// How long values may be served, and how long stale ones may be served after that.
///
/// It also holds how long a load is put off for one of another instance, the other time that is set by family.
///
/// A lifetime concerns time alone: a value that was invalidated is never served again. Everything is off by default. What
/// [`LoadOptions`](crate::LoadOptions) leave open is taken from the settings of the key's family, and what these leave open
/// from the default of all families; see
/// [`CacheConfigBuilder::family_lifetime`](crate::config::CacheConfigBuilder::family_lifetime).
///
/// ```
/// use cache_facade::Lifetime;
/// use std::time::Duration;
///
/// let rates = Lifetime::new()
///     .ttl(Duration::from_secs(60))
///     .jitter(0.1)
///     .stale_while_revalidate(Duration::from_secs(30))
///     .stale_if_error(Duration::from_secs(600));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[must_use]
pub struct Lifetime {
    pub(crate) ttl: Option<Duration>,
    pub(crate) jitter: Option<f64>,
    pub(crate) stale_while_revalidate: Option<Duration>,
    pub(crate) stale_if_error: Option<Duration>,
    pub(crate) refresh_ahead: Option<f64>,
    pub(crate) wait_for_others: Option<Duration>,
}

/// Longest time for which a load is put off: a lease that is not filled lives as long.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How fresh a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// Served.
    Fresh,
    /// Served, and refreshed ahead of its expiry.
    Ageing,
    /// Expired, and served while it is refreshed.
    Stale,
    /// Expired: a miss.
    Expired,
}

impl Lifetime {
    /// A lifetime without end: values live until they are invalidated or evicted.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how long a value may be served after it was stored. Default: until it is invalidated or evicted.
    pub fn ttl(self, ttl: Duration) -> Self {
        Self { ttl: Some(ttl), ..self }
    }

    /// Shortens each value's time to live by a random share of up to `share` (0 to 1), so that values loaded together do not
    /// expire together. Default: 0.
    pub fn jitter(self, share: f64) -> Self {
        Self { jitter: Some(share), ..self }
    }

    /// Sets how long an expired value may be served while it is loaded anew in the background (`stale-while-revalidate` of
    /// RFC 5861). Default: not at all.
    pub fn stale_while_revalidate(self, window: Duration) -> Self {
        Self { stale_while_revalidate: Some(window), ..self }
    }

    /// Sets how long an expired value may be served when loading it anew failed (`stale-if-error` of RFC 5861). Default: not
    /// at all.
    pub fn stale_if_error(self, window: Duration) -> Self {
        Self { stale_if_error: Some(window), ..self }
    }

    /// Loads a value anew in the background on a hit in the last `share` (0 to 1) of its time to live. Default: 0.
    pub fn refresh_ahead(self, share: f64) -> Self {
        Self { refresh_ahead: Some(share), ..self }
    }

    /// Waits up to `longest`, and at most a minute, for a load of another instance; see
    /// [`LoadOptions::wait_for_others`](crate::LoadOptions::wait_for_others). Default: 0, not at all.
    pub fn wait_for_others(self, longest: Duration) -> Self {
        Self { wait_for_others: Some(longest), ..self }
    }

    /// Fills what this leaves open from `other`.
    pub(crate) fn or(self, other: Self) -> Self {
        let Self { ttl, jitter, stale_while_revalidate, stale_if_error, refresh_ahead, wait_for_others } =
            self;
        Self {
            ttl: ttl.or(other.ttl),
            jitter: jitter.or(other.jitter),
            stale_while_revalidate: stale_while_revalidate.or(other.stale_while_revalidate),
            stale_if_error: stale_if_error.or(other.stale_if_error),
            refresh_ahead: refresh_ahead.or(other.refresh_ahead),
            wait_for_others: wait_for_others.or(other.wait_for_others),
        }
    }

    /// Removes the windows in which a stale value is served.
    pub(crate) fn without_stale(self) -> Self {
        Self { stale_while_revalidate: None, stale_if_error: None, ..self }
    }

    /// Sets the times of `entry`.
    pub(crate) fn timed(&self, entry: NewEntry) -> NewEntry {
        let Some(life) = self.ttl.map(|life| shortened(life, self.jitter)) else { return entry };
        let window = self.kept();
        NewEntry {
            expires_in: Some(life.saturating_add(window)),
            fresh_for: (!window.is_zero()).then_some(life),
            ..entry
        }
    }

    /// How fresh `entry` is at `now` for a caller with this lifetime.
    pub(crate) fn freshness(&self, entry: &Entry, now: Timestamp) -> Freshness {
        let Some(until) = entry.fresh_until.or(entry.expires_at) else { return Freshness::Fresh };
        if now >= until {
            let window = self.stale_while_revalidate.unwrap_or_default();
            return if is_within(window, until, now) { Freshness::Stale } else { Freshness::Expired };
        }
        let ahead = part(until.saturating_since(entry.stored_at), self.refresh_ahead);
        if until.saturating_since(now) <= ahead { Freshness::Ageing } else { Freshness::Fresh }
    }

    /// Whether `entry` may be served at `now` to a caller whose load failed.
    pub(crate) fn serves_on_error(&self, entry: &Entry, now: Timestamp) -> bool {
        let until = entry.fresh_until.or(entry.expires_at);
        until.is_none_or(|until| now < until || is_within(self.kept(), until, now))
    }

    /// How long an expired value is kept.
    fn kept(&self) -> Duration {
        self.stale_while_revalidate.unwrap_or_default().max(self.stale_if_error.unwrap_or_default())
    }
}

fn is_within(window: Duration, until: Timestamp, now: Timestamp) -> bool {
    now.saturating_since(until) < window
}

/// Shortens `life` by a random part of the share `jitter`.
pub(crate) fn shortened(life: Duration, jitter: Option<f64>) -> Duration {
    // The upper 53 bits are as many as a float holds: a number from 0 to below 1.
    let random = (random_nonzero().get() >> 11) as f64 / (1_u64 << 53) as f64;
    life.saturating_sub(part(life, jitter.map(|share| share.clamp(0.0, 1.0) * random)))
}

/// `share` of `life`, at most all of it.
fn part(life: Duration, share: Option<f64>) -> Duration {
    let seconds = life.as_secs_f64() * share.unwrap_or_default().clamp(0.0, 1.0);
    // NaN takes nothing away.
    Duration::try_from_secs_f64(seconds).map_or(Duration::ZERO, |part| part.min(life))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn stored(lifetime: Lifetime) -> Entry {
        lifetime.timed(NewEntry::new("x")).stored_at(Timestamp::from_millis(0))
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn a_value_is_fresh_then_ageing_then_stale_then_expired() {
        let lifetime =
            Lifetime::new().ttl(MINUTE).refresh_ahead(0.25).stale_while_revalidate(Duration::from_secs(30));
        let entry = stored(lifetime);
        let freshness = [0, 44, 45, 59, 60, 89, 90].map(|second| lifetime.freshness(&entry, at(second)));
        let expected = {
            use Freshness::{Ageing, Expired, Fresh, Stale};
            [Fresh, Fresh, Ageing, Ageing, Stale, Stale, Expired]
        };
        assert_eq!(freshness, expected);
    }

    #[test]
    fn a_value_that_does_not_expire_is_always_fresh() {
        let lifetime =
            Lifetime::new().refresh_ahead(1.0).stale_while_revalidate(MINUTE).stale_if_error(MINUTE);
        let entry = stored(lifetime);
        assert_eq!((entry.expires_at, entry.fresh_until), (None, None));
        assert_eq!(lifetime.freshness(&entry, at(1 << 40)), Freshness::Fresh);
    }

    #[test]
    fn the_readers_lifetime_decides_how_old_a_value_is_served() {
        let entry = stored(Lifetime::new().ttl(MINUTE).stale_if_error(10 * MINUTE));
        assert_eq!(Lifetime::new().freshness(&entry, at(60)), Freshness::Expired);
        assert!(
            !Lifetime::new().serves_on_error(&entry, at(60))
                && Lifetime::new().serves_on_error(&entry, at(59))
        );
        let tolerant = Lifetime::new().stale_if_error(2 * MINUTE);
        assert!(tolerant.serves_on_error(&entry, at(179)) && !tolerant.serves_on_error(&entry, at(180)));
    }

    #[test]
    fn jitter_only_shortens_and_by_no_more_than_its_share() {
        let lifetime = Lifetime::new().ttl(1000 * MINUTE).jitter(0.25);
        let lives: Vec<_> = (0..200).filter_map(|_| lifetime.timed(NewEntry::new("x")).expires_in).collect();
        assert_eq!(lives.len(), 200);
        assert!(lives.iter().all(|life| (750 * MINUTE..=1000 * MINUTE).contains(life)));
        assert!(lives.iter().max() > lives.iter().min().map(|least| *least + 100 * MINUTE).as_ref());
    }

    #[test]
    fn no_share_and_no_time_overflows() {
        for share in [f64::NAN, f64::INFINITY, -1.0, 0.0, 1.0, 7.0] {
            let lifetime = Lifetime::new().ttl(Duration::MAX).jitter(share).refresh_ahead(share);
            let lifetime = lifetime.stale_if_error(Duration::MAX).stale_while_revalidate(Duration::MAX);
            lifetime.freshness(&stored(lifetime), at(5));
        }
    }

    #[test]
    fn the_first_lifetime_wins() {
        let merged = Lifetime::new().jitter(0.5).or(Lifetime::new().jitter(0.1).ttl(MINUTE));
        assert_eq!(merged, Lifetime::new().jitter(0.5).ttl(MINUTE));
    }
}
