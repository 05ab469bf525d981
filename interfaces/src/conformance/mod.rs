//! The suite that every index passes, ours and yours.
//!
//! [`index_suite!`](crate::index_suite) turns the one list of [`checks`] into one test for each, so
//! that a failure carries its name; [`check_index`] runs them all. Each check is told a seed, says it
//! when it fails, and does the same for the same seed. Records lie in a
//! [`Heap`](crate::records::Heap); for [crashes](crash), in an engine on a simulated disk, and in
//! whatever stack one hands over. `examples/index.rs` is an index of one's own that passes it.
//!
//! ```ignore
//! travertine_interfaces::index_suite!(mine, MyIndex::default());
//! ```

#![expect(
    clippy::expect_used,
    reason = "a check fails by panicking, with its claim"
)]

mod between;
pub mod clients;
mod contents;
pub mod crash;
mod damage;
mod model;
mod order;
mod records;
mod transaction;

use crate::index::Index;

/// One check of the suite.
pub struct Check<I> {
    /// What it claims.
    pub name: &'static str,
    /// Panics where the claim does not hold.
    pub run: fn(&I, u64),
}

impl<I> std::fmt::Debug for Check<I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Every check of the suite.
#[must_use]
pub fn checks<I: Index>() -> Vec<Check<I>> {
    crate::index_checks!(list)
}

/// Runs every check. Panics at the first claim that does not hold.
pub fn check_index<I: Index>(index: &I, seed: u64) {
    for check in checks::<I>() {
        (check.run)(index, seed);
    }
}

/// Runs one check by its name.
///
/// # Panics
///
/// If there is no such check, or its claim does not hold.
pub fn check_one<I: Index>(name: &str, index: &I, seed: u64) {
    let checks = checks::<I>();
    let Some(check) = checks.iter().find(|check| check.name == name) else {
        panic!("there is no check named {name}; there are {checks:?}");
    };
    (check.run)(index, seed);
}

/// The seed to test with: `TRAVERTINE_SEED`, or a fixed one.
#[must_use]
pub fn seed() -> u64 {
    let given = std::env::var("TRAVERTINE_SEED").ok();
    given
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(20_250_811)
}

/// One `#[test]` for each check of the suite, in a module of this name, for the index that the
/// expression makes. The seed is `TRAVERTINE_SEED`, or a fixed one.
#[macro_export]
macro_rules! index_suite {
    ($suite:ident, $index:expr) => {
        mod $suite {
            use super::*;
            $crate::index_checks!(tests $index);
        }
    };
}

/// The one list of checks.
#[doc(hidden)]
#[macro_export]
macro_rules! index_checks {
    (@ tests [$index:expr] $($module:ident: $($check:ident)*;)*) => {$($(
        #[test]
        fn $check() {
            let seed = $crate::conformance::seed();
            $crate::conformance::check_one(stringify!($check), &$index, seed);
        }
    )*)*};
    (@ list [] $($module:ident: $($check:ident)*;)*) => {
        vec![$($(Check { name: stringify!($check), run: $module::$check::<I> },)*)*]
    };
    ($mode:tt $($index:expr)?) => {
        $crate::index_checks! { @ $mode [$($index)?]
            contents:
                the_empty_map_answers
                random_edits_answer_like_an_ordered_map
                late_answers_change_nothing
                deleted_to_nothing_it_fills_again
                keys_of_any_length_are_kept
                a_long_common_prefix_is_kept
                values_of_any_length_are_kept;
            order:
                any_order_of_arrival_gives_the_same_map
                cursors_go_both_ways_from_anywhere
                ranges_end_where_they_should
                a_snapshot_never_changes
                sorted_rows_load_and_others_are_refused;
            between:
                ranks_and_counts_are_those_of_the_keys
                a_range_is_deleted_and_nothing_beside_it
                a_difference_names_every_change_and_nothing_else;
            records:
                edits_that_change_nothing_keep_the_root
                what_is_stored_is_reachable
                everything_read_is_reachable;
            transaction:
                a_transaction_sees_its_own_writes
                compare_and_set_sets_only_what_was_expected;
            damage:
                hostile_bytes_never_panic
                a_lost_record_is_an_error_and_not_an_absence;
            crash:
                what_was_acknowledged_survives_crashes;
        }
    };
}
