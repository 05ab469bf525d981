//! `del`: remove a key.

use clap::Args;

use super::text::{CommitFacts, KeyArg};
use super::tree::{Tree, TreeArg, no_key};
use super::{Failure, Outcome, Run, Terminal};
use crate::interfaces::map::Turn;
use crate::stack::Registry;

/// Remove a key of a tree, in a commit of its own
///
/// Exit code 1, and no commit, if the tree has no such key.
#[derive(Debug, Args)]
#[command(after_help = "Example: travertine del stack.toml --tree orders order-17")]
pub(super) struct Del {
    #[command(flatten)]
    tree: TreeArg,
    #[command(flatten)]
    key: KeyArg,
    /// Print the commit as JSON
    #[arg(long)]
    json: bool,
}

impl Run for Del {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let key = self.key.bytes()?;
        let delete = |writer: &mut Turn<'_, Tree>| writer.delete(&key);
        let ((), committed) = self.tree.write(registry, delete)?;
        let Some(committed) = committed else {
            return Err(no_key(&self.tree.tree, &self.key));
        };
        if self.json {
            terminal.json(&CommitFacts::from(committed))?;
        }
        Ok(Outcome::Fine)
    }
}
