//! One run as its caller sees it: what decides it, what it brought, and which promise it broke.

use std::fmt;
use std::sync::Arc;

use super::marks::Marks;
use super::run::Run;
use crate::conformance::sim::{Class, SimMedium, Tally};
use crate::contract::{Env, Result, Store};

/// How the store under test is opened on a medium.
pub trait Bottom: Send + Sync {
    /// Opens it. The trial decides on options that a run may vary; it is the same all through a run.
    fn open(
        &self,
        medium: &SimMedium,
        env: &Env,
        read_only: bool,
        trial: Trial,
    ) -> Result<Arc<dyn Store>>;
}

/// Through what a run writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Writer {
    /// The least that follows the rules, for testing a store alone.
    Scribe,
    /// The engine.
    Front,
}

/// One run, decided by its seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    /// Decides everything that is drawn.
    pub seed: u64,
    /// What the disk may do.
    pub class: Class,
    /// Through what it writes.
    pub writer: Writer,
}

/// What a run went through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Branches taken.
    pub marks: Marks,
    /// What the disk was asked, and what it did.
    pub tally: Tally,
    /// Commits acknowledged.
    pub commits: u64,
    /// A hash over every call to the disk and every answer.
    pub trace: u64,
}

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The run.
    pub trial: Trial,
    /// What was broken.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Trial {
            seed,
            class,
            writer,
        } = self.trial;
        write!(
            f,
            "{what}\n  again with: SEED={seed} CLASS={class:?} WRITER={writer:?} \
             cargo test -p travertine-engine --features conformance crash",
            what = self.what
        )
    }
}

impl Trial {
    /// Carries the run out.
    ///
    /// # Errors
    ///
    /// The promise that was broken.
    pub fn run(self, bottom: &dyn Bottom) -> Result<Outcome, Failure> {
        let mut run = Run::new(self, bottom);
        match run.all() {
            Ok(()) => Ok(run.outcome()),
            Err(what) => Err(Failure { trial: self, what }),
        }
    }

    /// Carries the run out and tells what happened, call by call.
    #[must_use]
    pub fn story(self, bottom: &dyn Bottom) -> Vec<String> {
        let mut run = Run::new(self, bottom);
        run.disk.tell();
        let plan = run.disk.plan();
        run.disk.say(|| format!("{plan:?}"));
        let end = run.all();
        run.disk.say(|| format!("{end:?}"));
        run.disk.story()
    }
}
