//! `count`: how many entries a tree has.

use clap::Args;
use serde::Serialize;

use super::tree::{AtArg, TreeArg};
use super::{Failure, Outcome, Run, Terminal};
use crate::stack::Registry;

/// Print how many entries a tree has
#[derive(Debug, Args)]
#[command(after_help = "Example: travertine count stack.toml --tree orders")]
pub(super) struct Count {
    #[command(flatten)]
    tree: TreeArg,
    #[command(flatten)]
    at: AtArg,
    /// Print the number as JSON, with the commit that it holds for
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Facts<'a> {
    tree: &'a str,
    count: u64,
    sequence: u64,
}

impl Run for Count {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let (snapshot, reader) = self.tree.read(registry, &self.at, terminal)?;
        let count = reader.count();
        if self.json {
            terminal.json(&Facts {
                tree: &self.tree.tree,
                count,
                sequence: snapshot.sequence(),
            })?;
        } else {
            terminal.say(count)?;
        }
        Ok(Outcome::Fine)
    }
}
