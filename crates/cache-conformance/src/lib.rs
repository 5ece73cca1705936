//! The conformance suite: one named test per law of the contract, for any backend.
//!
//! Describe the backend by a [`Subject`]; [`conformance_tests!`](crate::conformance_tests) makes one test per law. For a
//! store without a runtime of its own this is all of it:
//!
//! ```
//! use std::sync::Arc;
//!
//! use async_trait::async_trait;
//! use cache_conformance::{Eviction, Figures, Opened, Promises, Subject};
//! use cache_core::{ManualClock, MemoryBackend};
//!
//! #[derive(Debug, Default)]
//! struct Memory {
//!     clock: Arc<ManualClock>,
//! }
//!
//! #[async_trait]
//! impl Subject for Memory {
//!     fn promises(&self) -> Promises {
//!         Promises {
//!             eviction: Eviction::LeastRecentlyUsed,
//!             figures: Figures::Exact,
//!             limit_bytes: Some(8 << 20),
//!             largest_value: Some(1 << 20),
//!             ..Promises::default()
//!         }
//!     }
//!
//!     fn clock(&self) -> &Arc<ManualClock> {
//!         &self.clock
//!     }
//!
//!     async fn open(&self, _place: &str) -> Opened {
//!         Opened::with_atomic(MemoryBackend::new().limit_bytes(8 << 20).clock(self.clock.clone()))
//!     }
//! }
//!
//! cache_conformance::conformance_tests!(Memory::default());
//! ```
//!
//! [`forgetful_conformance_tests!`](crate::forgetful_conformance_tests) makes the tests that hold for a store that may fail
//! and forget at any time: a null store, a cache with outages, or any backend behind [`chaos`].
//!
//! A law that needs more than the subject [promises](Promises) passes at once.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod at_hand;
pub mod chaos;
pub mod counters;
pub mod eviction;
mod expected;
pub mod expiry;
pub mod explaining;
pub mod figures;
pub mod freshness;
pub mod lifetime;
mod list;
pub mod many;
pub mod model;
pub mod neighbours;
mod probe;
mod subject;
pub mod threads;
pub mod tokens;
pub mod values;

pub use at_hand::AtHandFirst;
pub use probe::{Probe, Value, key, noise, what};
pub use subject::{Eviction, Figures, Keeping, Law, Opened, Promises, Subject, block_on};

/// Runs one law on `subject`.
#[doc(hidden)]
pub fn check(subject: &dyn Subject, law: for<'a> fn(&'a dyn Subject) -> Law<'a>) {
    subject.run(law(subject));
}

/// Makes one `#[test]` per law. The expression makes a new [`Subject`](crate::Subject) for each.
#[macro_export]
macro_rules! conformance_tests {
    ($subject:expr) => {
        $crate::__laws_of_truth! { [$crate::__law_tests] ($subject) }
        $crate::__laws_of_keeping! { [$crate::__law_tests] ($subject) }
        $crate::__laws_of_threads! { [$crate::__thread_law_tests] ($subject) }
        $crate::__laws_of_counting_threads! { [$crate::__thread_law_tests] ($subject) }
    };
}

/// Makes one `#[test]` per law that holds for a store that may fail and forget at any time.
#[macro_export]
macro_rules! forgetful_conformance_tests {
    ($subject:expr) => {
        $crate::__laws_of_truth! { [$crate::__law_tests] ($subject) }
        $crate::__laws_of_threads! { [$crate::__thread_law_tests] ($subject) }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __law_tests {
    (($subject:expr) $($module:ident: $($law:ident)*;)*) => {
        $($(
            #[test]
            fn $law() {
                $crate::check(&$subject, |subject| {
                    ::std::boxed::Box::pin($crate::$module::$law(subject))
                });
            }
        )*)*
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __thread_law_tests {
    (($subject:expr) $($module:ident: $($law:ident)*;)*) => {
        $($(
            #[test]
            fn $law() {
                $crate::$module::$law(&$subject);
            }
        )*)*
    };
}

// The code in the README, compiled and run as a documentation test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
