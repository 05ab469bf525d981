//! Which part of a stream a floor is opened for.

use super::batch::End;
use super::oid::Position;

/// Which part of a stream a floor is opened for. Floors pass it on to what lies below them, bottoms
/// obey it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Extent {
    /// All of it.
    #[default]
    Whole,
    /// A run of it. While nothing lies here, an adoption says where it begins: at its cut. A cut at
    /// or below the first batch makes everything here void, as long as none of it is known durable.
    Part {
        /// Where it will begin, or a little before: the first ceiling is announced from here.
        near: Position,
        /// Make it where it is missing. Otherwise that is an error.
        make: bool,
    },
    /// A run of it that has ended, all of it durable. For reading only; nothing past the end is looked
    /// for, and nothing is recovered.
    Sealed {
        /// What its first batch follows on: who finds another run here says so.
        start: End,
        /// Where it ended.
        end: End,
    },
}

impl Extent {
    /// Whether nothing is ever written here again.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        matches!(self, Self::Sealed { .. })
    }
}
