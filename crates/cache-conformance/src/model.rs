//! The model test: random operations on a store, compared with a model of its allowed answers.
//!
//! A read may always miss. A hit must be the entry that was stored last, by a valid token, not invalidated since and not
//! expired. Call [`check`] from a test:
//!
//! ```
//! # use std::sync::Arc;
//! # use cache_conformance::{Opened, Promises, Subject};
//! # use cache_core::{ManualClock, MemoryBackend};
//! # #[derive(Debug, Default)]
//! # struct Memory { clock: Arc<ManualClock> }
//! # #[async_trait::async_trait]
//! # impl Subject for Memory {
//! #     fn promises(&self) -> Promises { Promises::default() }
//! #     fn clock(&self) -> &Arc<ManualClock> { &self.clock }
//! #     async fn open(&self, _place: &str) -> Opened {
//! #         Opened::cache(MemoryBackend::new().clock(self.clock.clone()))
//! #     }
//! # }
//! use cache_conformance::model::{self, Steps};
//!
//! model::check(Memory::default, Steps { cases: 20, ..Steps::default() });
//! ```

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, TestRunner};

use super::expected::Expected;
use super::probe::{Probe, key, noise, what};
use super::subject::Subject;
use cache_core::{CacheKey, Clock, ErrorKind, FillOutcome, FillToken, Invalidation, NewEntry};

/// The extent of a model test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// Sequences of operations. Default: 256, or `PROPTEST_CASES`.
    pub cases: u32,
    /// Operations of a sequence at most. Default: 60.
    pub operations: usize,
    /// Whether the store is closed and opened again. Default: true.
    pub reopen: bool,
    /// Whether the process of the store dies. Default: true.
    pub crash: bool,
}

impl Default for Steps {
    fn default() -> Self {
        Self { cases: Config::default().cases, operations: 60, reopen: true, crash: true }
    }
}

/// One operation.
#[derive(Debug, Clone)]
pub enum Operation {
    /// Looks a key up without its token.
    Get(CacheKey),
    /// Looks a key up and keeps the token.
    Lookup(CacheKey),
    /// Fills the key of one of the tokens kept.
    Fill(Index, Stored),
    /// Sets a key.
    Set(CacheKey, Stored),
    /// Invalidates in one call.
    Invalidate(Vec<Invalidation>),
    /// Advances the clock.
    Tick(Duration),
    /// Sets the wall clock forward or back.
    Jump(i64),
    /// Closes the store and opens it again.
    Reopen,
    /// Ends the process of the store and opens it again.
    Crash,
}

/// A value by its number and size, and how long it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Identifies the value.
    pub number: u16,
    /// Its size in bytes.
    pub size: usize,
    /// Its time to live.
    pub expires_in: Option<Duration>,
}

impl Stored {
    fn entry(self) -> NewEntry {
        let entry = NewEntry::new(noise(self.number.into(), self.size));
        NewEntry { expires_in: self.expires_in, ..entry }
    }
}

/// Runs random sequences of operations on stores that `subject` makes, and shrinks a sequence that fails.
///
/// A failing sequence is printed; repeat it with the seed that proptest prints, in `PROPTEST_RNG_SEED`.
///
/// # Panics
/// When a store breaks the contract.
pub fn check<S: Subject>(subject: impl Fn() -> S, steps: Steps) {
    let config = Config { cases: steps.cases, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&vec(operation(steps), 1..=steps.operations), |operations| {
        let subject = subject();
        subject.run(Box::pin(run(&subject, &operations)));
        Ok(())
    });
    if let Err(failure) = outcome {
        // The reason and the shortest sequence that shows it.
        #[expect(clippy::panic, reason = "a test fails by panicking")]
        {
            panic!("{failure}");
        }
    }
}

/// Runs `operations` on one store of `subject` and checks every answer against the model.
///
/// # Panics
/// When the store breaks the contract.
pub async fn run(subject: &dyn Subject, operations: &[Operation]) {
    let mut probe = Probe::open_at(subject, "model").await;
    let mut expected = Expected::default();
    let mut tokens: Vec<(CacheKey, FillToken)> = Vec::new();
    for operation in operations {
        let now = subject.clock().now();
        match operation {
            Operation::Get(key) => {
                if let Some(entry) = probe.accept(probe.cache.get(key).await) {
                    expected.read(key, entry.as_ref(), now);
                }
            }
            Operation::Lookup(key) => {
                let lookup = probe.lookup(key).await;
                expected.read(key, lookup.entry.as_ref(), now);
                expected.handed_out(key, tokens.len());
                tokens.push((key.clone(), lookup.token));
            }
            Operation::Fill(index, value) => {
                if tokens.is_empty() {
                    continue;
                }
                let number = index.index(tokens.len());
                let Some((key, token)) = tokens.get(number) else { continue };
                match probe.cache.fill(key, *token, value.entry()).await {
                    Ok(FillOutcome::Stored) => {
                        expected.filled(key, number);
                        expected.stored(key, value.entry().stored_at(now));
                    }
                    Ok(FillOutcome::Refused) => {}
                    Err(error) if error.kind() == ErrorKind::TooLarge && !must_fit(&probe, *value) => {}
                    Err(error) => {
                        probe.accept::<()>(Err(error));
                        expected.maybe_filled(key, number, value.entry().stored_at(now));
                    }
                }
            }
            Operation::Set(key, value) => {
                if !must_fit(&probe, *value) {
                    continue;
                }
                // In a store that may fail, `set` is repeated until it succeeds.
                probe.set(key, value.entry()).await;
                expected.took_tokens(|other| other == key);
                expected.stored(key, value.entry().stored_at(now));
            }
            Operation::Invalidate(what) => {
                probe.invalidate(what).await;
                expected.invalidated(what);
            }
            Operation::Tick(duration) => subject.clock().advance(*duration),
            Operation::Jump(millis) => subject.clock().jump_wall(*millis),
            Operation::Reopen => {
                probe = probe.reopen(subject).await;
                expected.took_tokens(|_| true);
            }
            Operation::Crash => {
                probe = probe.crash(subject).await;
                expected.took_tokens(|_| true);
                expected.crashed();
            }
        }
        let stats = probe.stats().await;
        assert!(probe.promises.limit_bytes.is_none_or(|limit| stats.size_bytes <= limit), "{stats:?}");
    }
    // Every key once more, so that each sequence ends with a check.
    let now = subject.clock().now();
    for key in keys() {
        expected.read(&key, probe.lookup(&key).await.entry.as_ref(), now);
    }
    probe.close().await;
}

fn must_fit(probe: &Probe, value: Stored) -> bool {
    probe.promises.largest_value.is_none_or(|largest| value.size as u64 <= largest / 2)
}

fn keys() -> Vec<CacheKey> {
    [
        "image:5",
        "image:5:a",
        "image:5:b",
        "image:50:a",
        "image:6:a",
        "image:7:a",
        "thumbnail:5:a",
        "thumbnail:6:a",
        "analysis:5:a",
        "analysis:6:a",
        "[r]image:5:a",
    ]
    .map(key)
    .to_vec()
}

fn invalidations() -> Vec<Invalidation> {
    [
        "key image:5",
        "key image:5:a",
        "key [r]image:5:a",
        "group image:5",
        "group image:6",
        "group [r]image:5",
        "pattern image:5:a",
        "pattern image",
        "pattern image:5*",
        "pattern *:a",
        "pattern [r]",
        "everything",
    ]
    .map(what)
    .to_vec()
}

fn value() -> impl Strategy<Value = Stored> {
    let size = select(vec![0, 1, 300, 4_079, 4_081, 20_000]);
    let expires_in = select(vec![None, None, Some(1), Some(1_000), Some(60_000)]);
    (any::<u16>(), size, expires_in).prop_map(|(number, size, millis)| Stored {
        number,
        size,
        expires_in: millis.map(Duration::from_millis),
    })
}

fn operation(steps: Steps) -> impl Strategy<Value = Operation> {
    let key = || select(keys());
    let removals = vec(select(invalidations()), 1..3);
    prop_oneof![
        4 => key().prop_map(Operation::Get),
        8 => key().prop_map(Operation::Lookup),
        10 => (any::<Index>(), value()).prop_map(|(index, value)| Operation::Fill(index, value)),
        3 => (key(), value()).prop_map(|(key, value)| Operation::Set(key, value)),
        5 => removals.prop_map(Operation::Invalidate),
        2 => select(vec![1, 999, 1_000, 59_000, 60_000]).prop_map(|millis| Operation::Tick(Duration::from_millis(millis))),
        1 => select(vec![-3_600_000, -4_000, 4_000, 3_600_000]).prop_map(Operation::Jump),
        u32::from(steps.reopen) => Just(Operation::Reopen),
        u32::from(steps.crash) => Just(Operation::Crash),
    ]
}
