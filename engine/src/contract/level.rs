//! How durable a commit is, and who wrote it.

use std::fmt;

use super::error::{Error, Result};

/// How far bytes have got. A commit names the level it needs; the reply names the level reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// In the memory of this process: survives nothing.
    Memory,
    /// Handed to the operating system: survives a kill of the process.
    Os,
    /// Flushed to a device: survives a power cut, if the device honours a flush.
    Disk,
    /// [`Level::Disk`] on this many distinct children.
    Replicated(u8),
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::Os => f.write_str("os"),
            Self::Disk => f.write_str("disk"),
            Self::Replicated(n) => write!(f, "replicated({n})"),
        }
    }
}

/// One reign of one writer over a stack: a number that only grows, and a random tag that tells two
/// writers apart who took the same number on different children.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Epoch {
    /// Grows with every takeover. Zero: nobody has written yet.
    pub number: u32,
    /// Drawn at random when the epoch is taken.
    pub tag: u64,
}

impl Epoch {
    /// Refuses who may not write where this epoch is in force, and has or has not adopted.
    ///
    /// Errors: `Fenced` (an older one), `Invalid` (one that must fence and adopt first).
    pub fn admit(self, sender: Self, adopted: bool) -> Result<()> {
        if sender < self {
            return Err(Error::fenced(format!(
                "epoch {sender} may not write any more: epoch {self} took over"
            )));
        }
        if sender > self || !adopted {
            return Err(Error::invalid(format!(
                "epoch {sender} must fence and adopt before it writes"
            )));
        }
        Ok(())
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.number, self.tag)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {self}")
    }
}
