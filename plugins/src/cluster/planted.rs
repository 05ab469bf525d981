//! Mistakes that can be planted in the rules of the cluster, to see that its seeded runs find them. There
//! is a switch in the tests of this crate alone, and nothing is planted until one of them asks for it.
//!
//! ```text
//!   if planted!(AckTooFew) { … }      usual build: `if false`, gone
//! ```

#[cfg(not(test))]
macro_rules! planted {
    ($bug:ident) => {
        false
    };
}

#[cfg(test)]
macro_rules! planted {
    ($bug:ident) => {
        $crate::cluster::planted::is_planted($crate::cluster::planted::Bug::$bug)
    };
}

#[cfg(test)]
pub(super) use switch::{Bug, is_planted, with};

#[cfg(test)]
mod switch {
    use std::cell::Cell;

    /// What can be planted.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(in crate::cluster) enum Bug {
        /// A round is answered before the one that was sent before it.
        AnsweredOutOfTurn,
        /// One child fewer than `ack` makes an answer.
        AckTooFew,
        /// A child counts that has not noted the epoch.
        VotesUnnoted,
        /// A takeover asks one child fewer than it must.
        FenceTooSmall,
        /// One child is asked how it lies, and not fenced.
        FencingSkipped,
        /// The longest chain is chosen, whatever reign it is of.
        RankedByEnd,
        /// The chain of the child is chosen that promised itself to the newest writer.
        RankedByPromise,
        /// A child notes the epoch before it holds the chosen chain.
        NotedTooEarly,
        /// A child goes on from its own end, whether or not that lies on the line.
        OwnEndTaken,
        /// Catching up leaves out a batch.
        BatchSkipped,
        /// A copy of a child counts as another one.
        CopyCounts,
        /// A new child is made before the others have noted it.
        SeatedUnnoted,
        /// A tail that was cut is still read.
        VoidTailRead,
    }

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Whether this thread planted the bug.
    pub(in crate::cluster) fn is_planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// Runs `work` with a bug, on this thread alone.
    pub(in crate::cluster) fn with<T>(bug: Bug, work: impl FnOnce() -> T) -> T {
        struct Restore(Option<Bug>);
        impl Drop for Restore {
            fn drop(&mut self) {
                PLANTED.set(self.0);
            }
        }
        let _restore = Restore(PLANTED.replace(Some(bug)));
        work()
    }
}
