//! Every batch ever made, as a tree: the view from above that no child and no writer has.
//!
//! A running checksum makes a batch stand for the whole chain below it. So a log is named by its
//! last batch, and two logs are compared by walking this tree.

use crate::mark::Mark;

/// One batch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Batch {
    /// Its name: epoch of birth and position.
    pub mark: Mark,
    /// The batch before. In the first batch of an epoch this states the cut.
    pub before: Mark,
    /// Whether it holds a root marker.
    pub is_marker: bool,
    /// Whether its writer closed with it: it holds nothing, and nothing follows in its epoch.
    pub is_last: bool,
    /// The newest marker that its writer knew to be proven when it made the batch.
    pub names: Mark,
    /// Ghost: whether some writer has called it proven. No rule reads this.
    pub was_proven: bool,
}

/// The tree of all batches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct History {
    /// Sorted by mark, so that equal histories are equal values.
    batches: Vec<Batch>,
}

impl History {
    /// Adds a batch.
    pub fn add(&mut self, batch: Batch) {
        let at = self.batches.partition_point(|held| held.mark < batch.mark);
        self.batches.insert(at, batch);
    }

    /// All batches, by mark.
    #[must_use]
    pub fn batches(&self) -> &[Batch] {
        &self.batches
    }

    /// The batch with this mark.
    #[must_use]
    pub fn get(&self, mark: Mark) -> Option<&Batch> {
        self.batches.iter().find(|batch| batch.mark == mark)
    }

    /// The batch before `mark`.
    #[must_use]
    pub fn before(&self, mark: Mark) -> Mark {
        self.get(mark).map_or(Mark::NONE, |batch| batch.before)
    }

    /// The chain that ends with `end`, newest first.
    pub fn back(&self, end: Mark) -> impl Iterator<Item = &Batch> {
        std::iter::successors(self.get(end), |batch| self.get(batch.before))
    }

    /// The chain that ends with `end`, oldest first.
    #[must_use]
    pub fn chain(&self, end: Mark) -> Vec<Mark> {
        let mut chain: Vec<Mark> = self.back(end).map(|batch| batch.mark).collect();
        chain.reverse();
        chain
    }

    /// Whether the chain that ends with `end` holds `mark`. Every chain holds the empty one.
    #[must_use]
    pub fn holds(&self, end: Mark, mark: Mark) -> bool {
        mark.is_none() || self.back(end).any(|batch| batch.mark == mark)
    }

    /// The end of the common prefix of two chains.
    #[must_use]
    pub fn common(&self, left: Mark, right: Mark) -> Mark {
        self.back(left)
            .map(|batch| batch.mark)
            .find(|&mark| self.holds(right, mark))
            .unwrap_or(Mark::NONE)
    }

    /// The batch that follows `mark` on the chain that ends with `end`.
    #[must_use]
    pub fn after(&self, mark: Mark, end: Mark) -> Option<Mark> {
        self.back(end)
            .find(|batch| batch.before == mark)
            .map(|batch| batch.mark)
    }

    /// The newest marker of the chain that ends with `end`.
    #[must_use]
    pub fn newest_marker(&self, end: Mark) -> Mark {
        self.back(end)
            .find(|batch| batch.is_marker)
            .map_or(Mark::NONE, |batch| batch.mark)
    }

    /// The newest proven marker that the chain names.
    #[must_use]
    pub fn newest_named(&self, end: Mark) -> Mark {
        self.back(end)
            .map(|batch| batch.names)
            .max()
            .unwrap_or(Mark::NONE)
    }

    /// Ghost: records that a writer calls every marker of the chain proven.
    pub fn prove(&mut self, end: Mark) {
        for mark in self.chain(end) {
            if let Some(batch) = self.batches.iter_mut().find(|batch| batch.mark == mark) {
                batch.was_proven |= batch.is_marker;
            }
        }
    }
}
