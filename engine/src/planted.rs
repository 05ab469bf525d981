//! Bugs that can be planted, to see that the tests find them. There are none in a usual build: only
//! with `--cfg planted` is there a switch, and then nothing is planted until a test asks for it.
//!
//! ```text
//!   if planted!(CommitNotSynced) { … }      usual build: `if false`, gone
//!                                           --cfg planted: whether this thread planted it
//! ```
//!
//! A place that is worth a test of the tests has one such line. The suite that looks for each bug is
//! `conformance::crash::planted`, and the log's own for a reclaim; a bug that it does not find is a hole in the crash runs.

#[cfg(not(planted))]
macro_rules! planted {
    ($bug:ident) => {
        false
    };
}

#[cfg(planted)]
macro_rules! planted {
    ($bug:ident) => {
        $crate::planted::is_planted($crate::planted::Bug::$bug)
    };
}

#[cfg(planted)]
pub(crate) use switch::{Bug, is_planted, with};

#[cfg(planted)]
mod switch {
    use std::cell::Cell;

    macro_rules! bugs {
        ($($(#[$doc:meta])* $bug:ident,)*) => {
            /// What can be planted.
            #[derive(Debug, Clone, Copy, PartialEq, Eq)]
            pub(crate) enum Bug {
                $($(#[$doc])* $bug,)*
            }

            impl Bug {
                /// How many there are.
                pub(crate) const COUNT: usize = [$(Self::$bug,)*].len();
            }
        };
    }

    bugs! {
        /// A commit is answered without a sync.
        CommitNotSynced,
        /// A sync that failed is tried again, and believed.
        SyncRetried,
        /// A write that failed counts, and the tail goes on behind it.
        FailedWriteCounts,
        /// A segment begins, and its name is not synced.
        NamesNotSynced,
        /// A commit is answered while its flush is under way.
        AnsweredBeforeFlush,
        /// A batch counts though its checksum does not hold.
        TornBatchCounts,
        /// A marker counts though a stream lacks what its vector names.
        VectorNotChecked,
        /// The check of a record covers neither its place nor its header.
        CheckWithoutHeader,
        /// Damage among durable bytes is taken for a torn tail.
        CutAtFirstDamage,
        /// Recovery writes the tail again and does not sync it.
        RewriteNotSynced,
        /// What recovery found is served as it lies.
        ServedBeforeSync,
        /// Recovery syncs the tail and does not write it again.
        TailOnlySynced,
        /// Positions are handed out below a ceiling that is not durable.
        CeilingNotDurable,
        /// The next epoch begins where the last batch ended.
        CeilingForgotten,
        /// A writer goes on after another took over.
        StaleEpochWrites,
        /// A batch that was sent again sets the tail back to its end.
        TailFollowsResend,
        /// A clean end is believed because a page says so.
        PageSaysClean,
        /// The unit that holds the end of a commit is written again.
        CommittedUnitReused,
        /// A frame vouches for bytes that no sync has covered.
        VouchedTooEarly,
        /// A commit below the disk is named as proven.
        ProvenTooEarly,
        /// A small file takes its name before its content is synced.
        RenamedBeforeSynced,
        /// A reader beside the writer is shown a commit that is not proven.
        ReaderSeesUnproven,
        /// A reclaim unlinks before the name of what comes in its place is durable.
        UnlinkedBeforeNamed,
        /// Of each segment that a reclaim writes anew the last record that stays is forgotten.
        LastOfASegmentFreed,
    }

    impl Bug {
        /// How many of them lie in the reclaim of a log, whose own tests look for them.
        pub(crate) const IN_RECLAIM: usize = 2;
    }

    thread_local! {
        static PLANTED: Cell<u64> = const { Cell::new(0) };
    }

    /// Whether this thread planted the bug.
    pub(crate) fn is_planted(bug: Bug) -> bool {
        PLANTED.get() & (1 << bug as u64) != 0
    }

    /// Runs `work` with these bugs, on this thread alone.
    pub(crate) fn with<T>(bugs: &[Bug], work: impl FnOnce() -> T) -> T {
        struct Restore(u64);
        impl Drop for Restore {
            fn drop(&mut self) {
                PLANTED.set(self.0);
            }
        }
        let bits = bugs.iter().fold(0, |bits, &bug| bits | 1 << bug as u64);
        let _restore = Restore(PLANTED.replace(bits));
        work()
    }
}
