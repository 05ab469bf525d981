//! One child: a store for one stream, and whether a commit has to ask it.
//!
//! A commit asks a child only if something was stored there that no commit has brought to the child's
//! highest level. The counts may only err on the side of asking: a store counts as begun before the
//! call and as done after its answer, so that one whose answer nobody waits for is asked for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use travertine_engine::contract::{Batch, Commit, Epoch, Level, Op, Store, Stream, Tail};

#[derive(Debug)]
pub(super) struct Child {
    pub(super) stream: Stream,
    pub(super) store: Arc<dyn Store>,
    /// The highest level that it reaches.
    pub(super) level: Level,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    begun: AtomicU64,
    done: AtomicU64,
    /// How many of `done` a commit has settled for good.
    settled: AtomicU64,
}

impl Child {
    pub(super) fn new(stream: Stream, store: Arc<dyn Store>) -> Self {
        let counts = Counts::default();
        // What an earlier process left may be in need of a commit.
        counts.begun.store(1, Ordering::Relaxed);
        counts.done.store(1, Ordering::Relaxed);
        Self {
            stream,
            level: store.status().level,
            store,
            counts: Arc::new(counts),
        }
    }

    /// Whether something lies here that the next commit has to bring to its level.
    pub(super) fn is_dirty(&self) -> bool {
        let settled = self.counts.settled.load(Ordering::Acquire);
        self.counts.begun.load(Ordering::Acquire) != settled
    }

    pub(super) fn store(&self, sender: Epoch, batch: Batch) -> Op<Tail> {
        self.counts.begun.fetch_add(1, Ordering::AcqRel);
        let op = self.store.store(sender, batch);
        if op.is_ready() {
            self.counts.done.fetch_add(1, Ordering::AcqRel);
            return op;
        }
        let counts = self.counts.clone();
        op.shape(move |answer| {
            counts.done.fetch_add(1, Ordering::AcqRel);
            answer
        })
    }

    pub(super) fn commit(&self, commit: Commit) -> Op<Level> {
        let own = u64::from(!commit.last.is_empty());
        self.counts.begun.fetch_add(own, Ordering::AcqRel);
        // What was done by now is what this commit covers, and its own batches.
        let covered = self.counts.done.load(Ordering::Acquire) + own;
        let settles = commit.level >= self.level;
        let counts = self.counts.clone();
        self.store.commit(commit).shape(move |answer| {
            counts.done.fetch_add(own, Ordering::AcqRel);
            if settles && answer.is_ok() {
                counts.settled.fetch_max(covered, Ordering::AcqRel);
            }
            answer
        })
    }
}
