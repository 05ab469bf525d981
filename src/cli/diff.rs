//! `diff`: the rows in which two states of a tree differ.

use clap::Args;

use super::rows::Rows;
use super::tree::{self, AtArg, TreeArg};
use super::{Failure, Outcome, Run, Terminal};
use crate::stack::Registry;

/// Print the rows in which two states of a tree differ
///
/// A row that was added has a plus in front, one that was deleted a minus, and one that changed a tilde
/// with both values. A tree that a commit does not have is an empty one. Where neither state has edits
/// left in its journal, what both share is not read; else both are read whole. A value of many bytes that
/// was written anew counts as changed in a B-tree, even with the same bytes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  travertine diff stack.toml --tree orders --from 41 --to 42
  travertine diff stack.toml --tree orders --from year-end            up to the newest commit
  travertine diff stack.toml --tree orders --from 2026-11-21T12:00:00Z --json")]
pub(super) struct Diff {
    #[command(flatten)]
    tree: TreeArg,
    /// The old state: number of a commit, time, or tag
    #[arg(long, value_name = "SEQUENCE|TIME|TAG")]
    from: String,
    /// The new state; without it: the newest commit
    #[arg(long, value_name = "SEQUENCE|TIME|TAG")]
    to: Option<String>,
    /// At most so many rows
    #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
    limit: u64,
    /// Print one line of JSON for each row, with the values whole
    #[arg(long)]
    json: bool,
}

impl Run for Diff {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let name = self.tree.name()?;
        let opened = self.tree.stack.open_to_read(registry, terminal)?;
        let from = AtArg {
            at: Some(self.from),
        };
        let to = AtArg { at: self.to };
        let (old, new) = (from.snapshot(&opened.engine)?, to.snapshot(&opened.engine)?);
        if old.root(&name).is_none() && new.root(&name).is_none() {
            return Err(tree::absent(&new, &name)?);
        }
        tree::refuse_chain(&old, &name)?;
        tree::refuse_chain(&new, &name)?;
        let map = tree::map(name);
        let (old, new) = (map.reader(&old).wait()?, map.reader(&new).wait()?);
        Rows::new(self.json).tell(terminal, None, (Some(&old), &new), self.limit)?;
        Ok(Outcome::Fine)
    }
}
