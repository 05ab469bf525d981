//! The test of the tests: each bug that can be planted must be found by the runs, within so many
//! seeds, while the same runs without it find nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::bottoms::SmallLogs;
use super::*;
use crate::planted::{Bug, with};

/// A bug that takes more seeds than these is as good as not found.
const SEEDS: u64 = 500;

fn trials(seed: u64) -> impl Iterator<Item = Trial> {
    let writers = [Writer::Scribe, Writer::Front];
    let classes = Class::ALL.into_iter();
    classes.flat_map(move |class| {
        writers.map(|writer| Trial {
            seed,
            class,
            writer,
        })
    })
}

/// The first run that finds these bugs, and what it says.
fn hunt(bugs: &[Bug]) -> Option<(Trial, String)> {
    (0..SEEDS).flat_map(trials).find_map(|trial| {
        let run = || with(bugs, || trial.run(&SmallLogs));
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(Ok(_)) => None,
            Ok(Err(failure)) => Some((trial, failure.what)),
            Err(_) => Some((trial, "a panic".to_owned())),
        }
    })
}

fn must_find(bug: Bug) {
    let Some((trial, what)) = hunt(&[bug]) else {
        panic!("{bug:?} was planted, and {SEEDS} seeds did not find it");
    };
    println!("{bug:?}: {trial:?}: {what}");
    for clean in (0..=trial.seed).flat_map(trials) {
        if let Err(failure) = clean.run(&SmallLogs) {
            panic!("nothing was planted, and yet: {failure}");
        }
    }
}

macro_rules! must_find {
    ($($test:ident: $bug:ident,)*) => {
        /// As many as can be planted, but for those that the tests of a reclaim look for.
        const _: [Bug; Bug::COUNT - Bug::IN_RECLAIM] = [$(Bug::$bug,)*];
        $(
            #[test]
            fn $test() {
                must_find(Bug::$bug);
            }
        )*
    };
}

must_find! {
    a_vector_that_nobody_checks: VectorNotChecked,
    a_ceiling_that_is_not_durable: CeilingNotDurable,
    a_stale_epoch_that_writes: StaleEpochWrites,
    a_batch_taken_twice: TailFollowsResend,
    a_clean_end_on_the_word_of_a_page: PageSaysClean,
    no_sync_on_commit: CommitNotSynced,
    a_sync_retried_after_it_failed: SyncRetried,
    the_offset_advanced_past_a_failed_write: FailedWriteCounts,
    no_sync_of_the_directory_when_a_segment_begins: NamesNotSynced,
    an_answer_before_the_flush: AnsweredBeforeFlush,
    a_torn_batch_that_counts: TornBatchCounts,
    a_check_of_the_body_only: CheckWithoutHeader,
    a_cut_at_the_first_damage: CutAtFirstDamage,
    a_rewrite_without_a_sync: RewriteNotSynced,
    a_root_served_before_it_is_synced: ServedBeforeSync,
    a_tail_synced_and_not_written_again: TailOnlySynced,
    a_ceiling_forgotten: CeilingForgotten,
    a_committed_unit_written_again: CommittedUnitReused,
    a_frame_that_vouches_too_early: VouchedTooEarly,
    a_commit_called_proven_too_early: ProvenTooEarly,
    a_small_file_renamed_before_it_is_synced: RenamedBeforeSynced,
    a_reader_that_sees_what_is_not_proven: ReaderSeesUnproven,
}
