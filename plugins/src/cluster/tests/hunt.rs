//! The test of the tests: each mistake that can be planted is found by the seeded runs.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::cluster::planted::{Bug, with};

/// A mistake that takes more seeds than these is as good as not found.
const SEEDS: u64 = 500;

/// A suite: its name, and a run of one seed.
type Suite = (&'static str, fn(u64));

const SUITES: [Suite; 5] = [
    ("turns", turns::run),
    ("storm", storm::run),
    ("damage", damage::run),
    ("wild", wild::run),
    ("short", short::run),
];

fn must_find(bug: Bug) {
    let runs = (0..SEEDS).flat_map(|seed| SUITES.map(|suite| (seed, suite)));
    for (seed, (name, run)) in runs {
        let ended = catch_unwind(AssertUnwindSafe(|| with(bug, || run(seed))));
        let Err(panic) = ended else { continue };
        let what = panic
            .downcast_ref::<String>()
            .map_or("a panic", |what| what);
        let what = what.lines().next().unwrap_or_default();
        println!("{bug:?}: {name}, SEED={seed}: {what}");
        return;
    }
    panic!("{bug:?} was planted, and {SEEDS} seeds of each suite did not find it");
}

macro_rules! must_find {
    ($($test:ident: $bug:ident,)*) => {$(
        #[test]
        fn $test() {
            must_find(Bug::$bug);
        }
    )*};
}

must_find! {
    an_answer_out_of_turn: AnsweredOutOfTurn,
    an_answer_of_too_few: AckTooFew,
    an_answer_of_a_child_without_a_note: VotesUnnoted,
    a_fence_of_too_few: FenceTooSmall,
    a_child_that_is_not_fenced: FencingSkipped,
    the_longest_chain_chosen: RankedByEnd,
    the_newest_promise_chosen: RankedByPromise,
    a_note_before_the_chain: NotedTooEarly,
    a_child_that_goes_on_from_where_it_is: OwnEndTaken,
    a_batch_left_out: BatchSkipped,
    a_copy_that_counts: CopyCounts,
    a_new_child_that_nobody_noted: SeatedUnnoted,
    a_void_tail_that_is_read: VoidTailRead,
}
