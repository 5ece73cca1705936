//! The list of all laws. A test checks that none is missing.

/// Laws for every store, even one that may fail and forget at any time.
#[doc(hidden)]
#[macro_export]
macro_rules! __laws_of_truth {
    ([$($tests:tt)*] ($($subject:expr)?)) => {
        $($tests)*! {
            ($($subject)?)
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
                an_invalidation_removes_what_was_stored
                an_invalidation_of_nothing_removes_nothing
            ;
            tokens:
                a_miss_hands_out_a_token_that_fills
                a_hit_hands_out_a_token_that_refreshes
                a_set_takes_tokens_away
                a_token_of_another_key_does_not_get_past_an_invalidation
                the_token_never_is_refused
                a_token_of_another_store_is_refused
                a_token_from_before_reopening_is_refused
                a_token_from_before_a_crash_is_refused
                lookups_with_nothing_between_share_a_token
                an_invalidation_changes_the_token
            ;
            neighbours:
                a_group_clears_no_neighbour
                a_key_clears_itself_alone
                a_prefix_clears_whole_segments
                a_glob_clears_what_matches_the_whole_key
                a_scope_is_a_name_space_of_its_own
                a_clear_clears_everything
                many_invalidations_in_one_call_remove_all_they_name
            ;
            values:
                values_of_every_size_come_back_exactly
                an_entry_keeps_its_codec_shape_and_times
                every_key_that_can_be_built_holds_its_own_value
                no_key_gets_another_keys_value
            ;
            expiry:
                an_entry_is_a_miss_from_the_instant_it_expires
                without_a_ttl_an_entry_never_expires
                an_entry_with_a_ttl_of_zero_is_a_miss_at_once
                an_expired_entry_is_refilled_by_token
                a_refill_brings_its_own_ttl
                a_fill_of_an_expired_entry_after_an_invalidation_is_refused
                a_clock_set_forward_expires_entries_with_a_ttl_alone
                a_clock_set_back_lets_no_entry_outlive_its_ttl
                a_clock_set_back_leaves_entries_without_a_ttl_alone
            ;
            many:
                lookup_many_answers_in_order
                lookup_many_hands_out_a_token_for_each_key
                fill_many_goes_by_each_keys_own_token
                get_many_answers_in_order
                set_many_sets_each_key
                get_finds_what_lookup_finds
            ;
            lifetime:
                closing_twice_is_no_error
                after_closing_every_call_says_closed
                what_was_invalidated_never_comes_back
                what_was_invalidated_unknown_never_comes_back
                after_a_crash_a_store_opens_and_holds_no_wrong_value
            ;
        }
    };
}

/// Laws for stores that keep their entries.
#[doc(hidden)]
#[macro_export]
macro_rules! __laws_of_keeping {
    ([$($tests:tt)*] ($($subject:expr)?)) => {
        $($tests)*! {
            ($($subject)?)
            freshness:
                delete_clear_pattern_and_clear_invalidate
                a_dropped_invalidation_still_happens
            ;
            tokens:
                a_set_many_takes_tokens_away
                an_invalidation_takes_few_tokens_of_other_groups
            ;
            expiry:
                an_entry_from_the_future_is_a_miss_and_stays
            ;
            figures:
                a_new_store_is_empty
                derived_figures_follow_from_the_counted_ones
                every_operation_is_counted_once
                count_and_size_follow_the_entries
                an_expired_entry_is_counted_as_expired
                families_add_up_to_the_whole
                a_count_is_what_an_invalidation_removes
            ;
            eviction:
                the_size_stays_within_the_limit
                the_least_recently_used_entry_goes_first
                expired_entries_make_room_before_live_ones
                a_value_over_the_limit_for_one_entry_is_refused_and_evicts_nothing
                an_evicted_entry_does_not_come_back_after_its_invalidation
            ;
            explaining:
                an_explanation_says_what_is_there
                an_explanation_says_what_is_not_there
                an_explanation_says_why_the_last_lookup_missed
                an_explanation_says_that_an_entry_was_evicted
            ;
            counters:
                a_counter_begins_at_zero_and_adds_up
                a_counter_saturates
                a_key_is_claimed_once
                a_reset_counter_begins_at_zero
                counters_have_a_name_space_of_their_own
                no_invalidation_clears_a_counter
                counters_survive_reopening_where_entries_do
            ;
            lifetime:
                a_store_that_works_is_healthy
                reopening_keeps_every_entry
            ;
        }
    };
}

/// Laws of many threads, for every store.
#[doc(hidden)]
#[macro_export]
macro_rules! __laws_of_threads {
    ([$($tests:tt)*] ($($subject:expr)?)) => {
        $($tests)*! {
            ($($subject)?)
            threads:
                readers_of_one_key_never_see_an_old_version
                readers_of_many_keys_never_see_an_old_version
                a_reader_never_sees_half_a_value
            ;
        }
    };
}

/// Laws of many threads, for stores with counters.
#[doc(hidden)]
#[macro_export]
macro_rules! __laws_of_counting_threads {
    ([$($tests:tt)*] ($($subject:expr)?)) => {
        $($tests)*! {
            ($($subject)?)
            threads:
                concurrent_increments_add_up
                one_of_many_claims_wins
            ;
        }
    };
}

#[cfg(test)]
mod tests {
    macro_rules! names {
        (() $($module:ident: $($law:ident)*;)*) => { vec![$($(concat!(stringify!($module), "::", stringify!($law))),*),*] };
    }

    const FILES: &[(&str, &str)] = &[
        ("freshness", include_str!("freshness.rs")),
        ("tokens", include_str!("tokens.rs")),
        ("neighbours", include_str!("neighbours.rs")),
        ("values", include_str!("values.rs")),
        ("expiry", include_str!("expiry.rs")),
        ("many", include_str!("many.rs")),
        ("figures", include_str!("figures.rs")),
        ("eviction", include_str!("eviction.rs")),
        ("explaining", include_str!("explaining.rs")),
        ("counters", include_str!("counters.rs")),
        ("lifetime", include_str!("lifetime.rs")),
        ("threads", include_str!("threads.rs")),
    ];

    #[test]
    fn every_law_is_listed_once() {
        let mut listed = [
            crate::__laws_of_truth! { [names] () },
            crate::__laws_of_keeping! { [names] () },
            crate::__laws_of_threads! { [names] () },
            crate::__laws_of_counting_threads! { [names] () },
        ]
        .concat();
        listed.sort_unstable();
        let mut written: Vec<String> = FILES
            .iter()
            .flat_map(|(module, text)| {
                let laws = text.lines().filter(|line| line.ends_with("(subject: &dyn Subject) {"));
                laws.filter_map(|line| line.strip_prefix("pub async fn ").or(line.strip_prefix("pub fn ")))
                    .filter_map(|line| line.split('(').next())
                    .map(move |law| format!("{module}::{law}"))
            })
            .collect();
        written.sort_unstable();
        assert_eq!(listed, written);
    }
}
