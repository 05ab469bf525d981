//! The law above all: every legal stack behaves as the one-file stack.
//!
//! ```text
//!   seed ──> a random legal stack, of any kinds that a registry knows ──> engine ─┐ same step,
//!        └─> the model, which is the one-file stack ───────────────────> engine ─┴ same answer
//! ```
//!
//! A trace is one list of steps, carried out on both sides. Answers are compared step by step up to a
//! renaming of addresses: a record is called by its number in the trace. At a crash the model has to
//! be able to end in the state that the stack was found in: the trace looks for the number of unsynced
//! batches that, had they survived, leave the same newest commit.
//!
//! An error on one side only is a failure, unless the machine was down or a floor failed a call on
//! purpose (it says so by a figure called `faults`): only the run's own faults explain an unknown. Where
//! such an error leaves open what became of a change, the process is ended and the stack opened again,
//! as after a crash. One seed is one run.

mod generate;
mod run;
mod side;
mod step;

pub use generate::random_stack;
pub use run::{Tally, Wrong, run, run_on, run_with_faults_on};
