//! `takeover`: the writer's role, taken in one step.

use clap::Args;
use serde::Serialize;

use super::text::CommitFacts;
use super::{Failure, Outcome, Run, StackArg, Terminal};
use crate::stack::Registry;

/// Take the writer's role over, in one step
///
/// Takes a new epoch, brings what the last writer had proven to its level, and writes down in a commit
/// where that one ended. From then on every store of the stack refuses whoever wrote before: a writer that
/// still runs is told that it was fenced, and writes nothing more. Nothing that it was acknowledged is
/// lost.
///
/// A stack in directories of this machine has a lock as well: while its writer runs nobody takes it over,
/// so end that one first. Where the floors are elsewhere other commands give way to a writer that runs, and
/// this is how another machine goes on.
#[derive(Debug, Args)]
#[command(after_help = "Example: travertine takeover stack.toml")]
pub(super) struct Takeover {
    #[command(flatten)]
    stack: StackArg,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Facts {
    /// The epoch of the newest commit before.
    before: String,
    #[serde(flatten)]
    committed: CommitFacts,
}

impl Run for Takeover {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let (before, committed) = self.stack.take_over(registry, |engine| {
            let before = engine.snapshot();
            let committed = engine.session()?.commit(&[], None).wait()?;
            Ok((before, committed))
        })?;
        let facts = Facts {
            before: before.epoch().to_string(),
            committed: committed.into(),
        };
        if self.json {
            terminal.json(&facts)?;
        } else {
            terminal.say(format_args!(
                "epoch {} took over from epoch {}: commit {} says so, and reached {}",
                committed.epoch,
                before.epoch(),
                committed.sequence,
                committed.level
            ))?;
        }
        Ok(Outcome::Fine)
    }
}
