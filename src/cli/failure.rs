//! How a command ended.

use std::io;

use super::Terminal;
use super::report;
use crate::config::Refusal;
use crate::contract::{Error, ErrorKind};

/// A command did its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// And all is well: exit code 0.
    Fine,
    /// And it found a fault, which it told: exit code 1.
    Fault,
    /// And what it was called with is wrong, which it told: exit code 2.
    Wrong,
}

/// A command could not do its work.
#[derive(Debug)]
pub enum Failure {
    /// The stack file was refused.
    Refused(Box<Refusal>),
    /// Something failed; the kind says whether the call was wrong.
    Error(Error),
    /// What was asked for is not there, or the work found a fault: the words say all.
    Found(String),
    /// Whoever read the output went away: nobody is left to tell.
    Pipe,
}

impl Failure {
    /// The call is wrong, and this is why.
    #[must_use]
    pub fn wrong(why: impl Into<String>) -> Self {
        Self::Error(Error::invalid(why))
    }

    /// The work found a fault.
    #[must_use]
    pub fn fault(what: impl Into<String>) -> Self {
        Self::Found(what.into())
    }

    /// Says what went wrong, and answers the exit code.
    pub(super) fn tell(self, terminal: &mut Terminal<'_>) -> u8 {
        let _ = terminal.flush();
        match self {
            Self::Pipe => 0,
            Self::Refused(refusal) => {
                // If nobody reads the reasons, the code still tells.
                let _ = report::tell(&refusal, terminal);
                2
            }
            Self::Found(what) => {
                let _ = terminal.complain(&what);
                1
            }
            Self::Error(error) => {
                let _ = terminal.complain(&error.to_string());
                match error.kind() {
                    ErrorKind::Invalid | ErrorKind::Unsupported => 2,
                    _ => 1,
                }
            }
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<Box<Refusal>> for Failure {
    fn from(refusal: Box<Refusal>) -> Self {
        Self::Refused(refusal)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Pipe,
            _ => Self::Error(Error::io("writing the output", error)),
        }
    }
}
