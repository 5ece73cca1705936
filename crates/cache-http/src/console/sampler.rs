//! [`Sampler`]: reads the figures of a cache once a second while a page is open.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cache_facade::Cache;
use serde::Serialize;
use tokio::sync::broadcast;
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::history::{History, PERIOD, Point};
use super::overview::{Family, Overview};
use super::reading::Reading;

/// Open pages at most.
const MOST_WATCHERS: usize = 64;

/// Samples that a page may be behind: later ones make earlier ones worthless.
const CAPACITY: usize = 4;

/// Reads the figures of a cache while they are watched, and keeps their history.
pub(super) struct Sampler {
    cache: Cache,
    history: Mutex<History>,
    samples: broadcast::Sender<Arc<str>>,
    watched: Mutex<Watched>,
}

#[derive(Debug, Default)]
struct Watched {
    watchers: usize,
    /// Runs while there are watchers.
    task: Option<AbortHandle>,
}

/// An open page. The sampler ends when the last one is dropped.
pub(super) struct Watcher {
    sampler: Arc<Sampler>,
    pub(super) samples: broadcast::Receiver<Arc<str>>,
}

/// The figures that an open page gets each second.
#[derive(Serialize)]
struct Sample {
    overview: Overview,
    families: Vec<Family>,
    point: Point,
}

impl Sampler {
    pub(super) fn new(cache: Cache) -> Self {
        let samples = broadcast::Sender::new(CAPACITY);
        Self { cache, history: Mutex::default(), samples, watched: Mutex::default() }
    }

    /// The history of what was watched.
    pub(super) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many pages are open.
    pub(super) fn watchers(&self) -> usize {
        self.watched().watchers
    }

    /// Begins to watch, and to read if this is the first; `None` where enough others watch. Must be called in a runtime.
    pub(super) fn watch(self: &Arc<Self>) -> Option<Watcher> {
        let mut watched = self.watched();
        if watched.watchers >= MOST_WATCHERS {
            return None;
        }
        watched.watchers += 1;
        if watched.task.is_none() {
            watched.task = Some(tokio::spawn(Arc::clone(self).run()).abort_handle());
        }
        drop(watched);
        Some(Watcher { sampler: Arc::clone(self), samples: self.samples.subscribe() })
    }

    /// Reads the figures until the task is aborted.
    async fn run(self: Arc<Self>) {
        let mut ticks = interval(PERIOD);
        // A reading that comes late is not made up for.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        let mut before = Reading::take(&self.cache).await;
        loop {
            ticks.tick().await;
            let now = Reading::take(&self.cache).await;
            self.publish(&before, &now);
            before = now;
        }
    }

    fn publish(&self, before: &Reading, now: &Reading) {
        let watchers = self.watchers();
        let mut history = self.history();
        let point = history.add(before, now);
        let overview = Overview::new(now, &history, watchers);
        drop(history);
        let sample = Sample { overview, families: Family::all(now), point };
        if let Ok(text) = serde_json::to_string(&sample) {
            // The last page may have gone meanwhile.
            let _ = self.samples.send(text.into());
        }
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    fn is_running(&self) -> bool {
        self.watched().task.as_ref().is_some_and(|task| !task.is_finished())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut watched = self.sampler.watched();
        watched.watchers -= 1;
        if watched.watchers == 0
            && let Some(task) = watched.task.take()
        {
            task.abort();
        }
    }
}

impl fmt::Debug for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sampler").field("watched", &*self.watched()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_figures_are_read_while_a_page_is_open_and_not_after_it() {
        let sampler = Arc::new(Sampler::new(Cache::memory()));
        assert!(!sampler.is_running());
        let (mut first, second) = (sampler.watch().unwrap(), sampler.watch().unwrap());
        let sample = first.samples.recv().await.unwrap();
        assert!(sample.contains(r#""watchers":2"#), "{sample}");
        drop(second);
        first.samples.recv().await.unwrap();
        assert!(sampler.is_running());
        let points = sampler.history().points().count();
        drop(first);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(Arc::strong_count(&sampler), 1, "the task has ended");
        tokio::time::advance(10 * PERIOD).await;
        assert_eq!((sampler.history().points().count(), sampler.watchers()), (points, 0));
        let mut again = sampler.watch().unwrap();
        again.samples.recv().await.unwrap();
        assert_eq!(sampler.history().points().count(), points + 1, "the time between was not watched");
    }

    #[tokio::test]
    async fn more_pages_than_the_limit_are_refused() {
        let sampler = Arc::new(Sampler::new(Cache::memory()));
        let mut all: Vec<Watcher> = (0..MOST_WATCHERS).map(|_| sampler.watch().unwrap()).collect();
        assert!(sampler.watch().is_none());
        all.pop();
        assert!(sampler.watch().is_some());
    }
}
