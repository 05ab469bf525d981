//! Names of things that are ordered: epochs, and marks in the log.

use std::fmt;

/// A writer's turn: a number and a tag that tells apart two writers that took the same number.
///
/// Epochs are ordered by number, then by tag. The tag stands for random bits: in the model it is
/// the writer's own index, and a writer never takes the same number twice, which is what fresh
/// random bits give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch {
    /// How many turns were known of when this one was taken.
    pub number: u8,
    /// Tells apart turns with the same number.
    pub tag: u8,
}

/// The name of one batch: the epoch of its birth and its first position.
///
/// An epoch makes one batch at one position, so the pair names its content. Marks are ordered by
/// epoch first. This is the order in which recovery ranks candidates, and it is *not* the order
/// of positions.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    /// The epoch in which the batch was made. It stays the same however often it is sent on.
    pub epoch: Epoch,
    /// The first position of the batch. Position 0 is none.
    pub base: u8,
}

impl Mark {
    /// No batch: the end of an empty log.
    pub const NONE: Self = Self {
        epoch: Epoch { number: 0, tag: 0 },
        base: 0,
    };

    /// Whether this names no batch.
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}{}",
            self.number,
            if self.tag == 0 { 'x' } else { 'y' }
        )
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_none() {
            f.write_str("-")
        } else {
            write!(f, "{}@{}", self.epoch, self.base)
        }
    }
}

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
