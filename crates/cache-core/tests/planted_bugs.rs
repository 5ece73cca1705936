//! With the token check switched off, each of these laws must find stale values.
//!
//! `cargo test -p cache-core --features plants --test planted_bugs`
#![cfg(all(feature = "plants", not(feature = "shuttle")))]

mod subjects;

use cache_conformance::model::{self, Steps};
use cache_conformance::{Law, Subject, check, expiry, freshness, lifetime, many, threads, tokens};
use cache_core::plants::{Plant, plant};
use subjects::Memory;

fn finds_it(name: &str, law: impl FnOnce(&Memory) + std::panic::UnwindSafe) {
    plant(Plant::NoFence);
    let found = std::panic::catch_unwind(|| law(&Memory::default()));
    assert!(found.is_err(), "{name} did not find that tokens are not checked");
}

fn law_finds_it(name: &str, law: for<'a> fn(&'a dyn Subject) -> Law<'a>) {
    finds_it(name, |subject| check(subject, law));
}

macro_rules! each_finds_it {
    ($($module:ident: $($law:ident)*;)*) => {
        $($(
            #[test]
            fn $law() {
                law_finds_it(stringify!($law), |subject| Box::pin($module::$law(subject)));
            }
        )*)*
    };
}

each_finds_it! {
    freshness:
        a_fill_after_its_keys_invalidation_is_refused
        a_fill_after_its_groups_invalidation_is_refused
        a_fill_after_a_deeper_prefix_was_cleared_is_refused
        a_fill_after_its_family_was_cleared_is_refused
        a_fill_after_a_glob_within_its_group_is_refused
        a_fill_after_a_glob_over_groups_is_refused
        a_fill_after_a_clear_is_refused
        a_clear_takes_the_tokens_of_every_scope
        a_fill_after_its_scope_was_cleared_is_refused
        a_fill_after_its_scoped_groups_invalidation_is_refused
        a_fill_after_one_of_many_invalidations_is_refused
        the_newer_of_two_fills_around_an_invalidation_stands
        an_old_token_stays_refused_whatever_comes_later
        delete_clear_pattern_and_clear_invalidate
    ;
    tokens:
        a_set_takes_tokens_away
        a_set_many_takes_tokens_away
        a_token_of_another_key_does_not_get_past_an_invalidation
        the_token_never_is_refused
        a_token_of_another_store_is_refused
        a_token_from_before_reopening_is_refused
        a_token_from_before_a_crash_is_refused
    ;
    expiry: a_fill_of_an_expired_entry_after_an_invalidation_is_refused;
    many:
        lookup_many_hands_out_a_token_for_each_key
        fill_many_goes_by_each_keys_own_token
    ;
    lifetime: after_a_crash_a_store_opens_and_holds_no_wrong_value;
}

#[test]
fn readers_of_one_key_never_see_an_old_version() {
    finds_it("the race on one key", |subject| {
        threads::readers_of_one_key_never_see_an_old_version(subject);
    });
}

#[test]
fn readers_of_many_keys_never_see_an_old_version() {
    finds_it("the race on many keys", |subject| {
        threads::readers_of_many_keys_never_see_an_old_version(subject);
    });
}

#[test]
fn every_hit_equals_the_model() {
    finds_it("the model", |_| model::check(Memory::default, Steps::default()));
}
