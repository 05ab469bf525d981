//! The one list of checks, and the macro that makes a test of each.

/// Makes a module with one test for each check of the kit, on the stack that the expression gives: a
/// [`Fixture`](crate::conformance::kit::Fixture), made anew for each test.
#[macro_export]
macro_rules! conformance_suite {
    ($name:ident, $fixture:expr) => {
        $crate::conformance_list!([$crate::conformance_tests]($name, $fixture));
    };
}

/// Hands the list to another macro: where a check stands, its name, what it needs.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_list {
    ([$($with:tt)*] $arguments:tt) => {
        $($with)* ! { $arguments
            objects::every_size_reads_back [];
            objects::references_and_unknown_kinds_read_back [];
            objects::many_records_read_back_in_any_order [];
            objects::what_was_stored_reads_before_its_commit [];
            objects::above_the_tail_is_absent [PROVES];
            objects::inside_a_gap_is_absent [PROVES];
            objects::what_was_absent_is_found_once_it_is_stored [PROVES];
            objects::a_foreign_stream_is_an_error [];
            verbs::the_same_batch_again_is_a_no_op [];
            verbs::other_bytes_at_a_taken_place_are_refused [];
            verbs::a_batch_that_does_not_follow_is_refused [];
            verbs::positions_come_from_below_the_ceiling [];
            verbs::status_agrees_with_what_happened [];
            verbs::a_closed_store_takes_nothing [];
            senders::an_older_sender_may_not_store [FENCES];
            senders::an_older_sender_may_not_commit [FENCES];
            senders::a_sender_that_never_fenced_is_refused [FENCES];
            senders::an_epoch_adopts_before_it_writes [FENCES];
            senders::nobody_fences_nobody [];
            senders::fencing_again_only_reports [FENCES];
            senders::a_fence_reports_how_the_streams_lie [];
            senders::a_new_epoch_goes_on_where_it_adopted [FENCES];
            senders::adopting_voids_what_lies_above [FENCES];
            senders::adopting_below_what_is_durable_is_refused [FENCES];
            scans::a_scan_gives_every_batch_in_order [];
            scans::a_scan_begins_anywhere [];
            scans::a_scan_comes_in_bounded_pieces [];
            reclaims::what_does_not_stay_is_absent_and_all_else_reads_on [];
            reclaims::giving_back_again_changes_nothing_and_more_is_more [];
            reclaims::a_scan_gives_what_a_reclaim_left [];
            reclaims::what_was_given_back_stays_so_through_an_opening [PERSISTS];
            reclaims::a_power_cut_within_a_reclaim_takes_nothing_that_stays [PERSISTS, DISK, PowerCut];
            reclaims::a_decision_out_of_order_is_refused [];
            reclaims::an_older_sender_may_not_reclaim [FENCES];
            roots::the_newest_root_is_the_last_commit [];
            roots::a_root_is_found_by_its_number [];
            roots::a_root_is_found_by_its_time [];
            roots::a_new_store_has_no_root [];
            roots::what_is_named_as_proven_is_told_and_nothing_newer [];
            readers::readers_see_each_commit_once_it_is_proven [Readers];
            readers::readers_see_all_that_a_writer_left [Readers, PERSISTS];
            readers::readers_see_nothing_that_is_not_proven [Readers, DISK];
            levels::more_than_it_can_is_invalid_and_changes_nothing [];
            levels::the_level_reached_is_never_less_than_asked [];
            commits::one_of_many_threads_wins [];
            commits::several_names_change_together_or_not_at_all [];
            commits::a_conflict_leaves_nothing [];
            commits::a_session_reads_its_own_writes [];
            commits::a_snapshot_never_changes [];
            commits::names_are_dropped_and_renamed [];
            commits::history_is_found_by_number_and_time [];
            commits::many_tickets_in_flight_are_answered_in_order [];
            commits::a_thousand_names_are_kept [];
            durability::a_clean_close_opens_as_it_was [PERSISTS];
            durability::closing_and_opening_adds_nothing [PERSISTS];
            durability::a_clean_close_is_reported_as_such [PERSISTS];
            durability::a_kill_loses_no_commit_that_reached_the_system [PERSISTS, OS, Kill];
            durability::a_power_cut_loses_no_commit_that_reached_the_disk [PERSISTS, DISK, PowerCut];
            durability::a_commit_takes_the_earlier_ones_along [PERSISTS, DISK, PowerCut];
            durability::what_a_crash_left_stays_through_the_next [PERSISTS, DISK, PowerCut];
            durability::no_address_is_given_twice [PERSISTS, Kill];
            durability::what_was_not_committed_is_not_shown [PERSISTS, Kill];
            durability::an_unvouched_tail_proves_nothing_absent [PERSISTS, PROVES, Kill];
            durability::a_clean_end_proves_absence [PERSISTS, PROVES];
            durability::batches_chain_through_crashes [PERSISTS, Kill];
            cancel::a_dropped_store_is_whole_or_not_there [];
            cancel::a_dropped_commit_is_whole_or_not_there [];
            cancel::a_dropped_read_harms_nobody [];
            laws::what_is_ready_below_is_ready_above [Prompt];
            laws::nothing_is_held_while_calling_below [];
        }
    };
}

/// One test for each check of the list.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_tests {
    (($suite:ident, $fixture:expr) $($module:ident::$name:ident $needs:tt;)*) => {
        // A function and a module may share a name.
        fn $suite() -> impl $crate::conformance::kit::Fixture {
            $fixture
        }

        mod $suite {
            $(
                #[test]
                fn $name() {
                    $crate::conformance::kit::conduct(stringify!($name), &super::$suite());
                }
            )*
        }
    };
}
