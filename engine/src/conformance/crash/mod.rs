//! Crashes by seed: a random writer on a disk that fails, a crash, another process, and an oracle
//! that knows what may be left.
//!
//! ```text
//!   work ── crash ── open ── judge ── work ── crash ── open ── crash ── open ── judge ── …
//!    │                │        │                         └ in recovery, and in recovery of that
//!    │ every commit   │        └ the state is one that was submitted, none that was acknowledged or
//!    │ in the line    │          seen is missing, and everything that it reaches reads back right
//!    └ every record in the values
//! ```
//!
//! One seed is one run. What a run may hold its store to depends on the [`Class`] of its disk: on an
//! honest disk nothing acknowledged is ever lost; on one that fails, nothing is acknowledged after a
//! failure; on one that damages bytes, no wrong byte is ever read; on one that lies about its syncs,
//! the state is an older one, or an error. [`Marks`] count which branches a set of runs took.

#[cfg(test)]
mod bottoms;
mod committing;
mod echo;
mod ending;
mod failing;
#[cfg(test)]
mod filled;
#[cfg(test)]
mod flips;
mod front;
mod judging;
mod line;
mod marks;
mod opening;
#[cfg(all(test, planted))]
mod planted;
#[cfg(test)]
mod regressions;
mod run;
mod scribe;
mod subject;
#[cfg(test)]
mod tests;
mod trial;
mod usurping;
mod values;
mod watch;
mod working;

pub use crate::conformance::sim::Class;
pub use marks::{Branch, Marks};
pub use trial::{Bottom, Failure, Outcome, Trial, Writer};
