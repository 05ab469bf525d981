//! `get`: the value of a key.

use std::io::IsTerminal;

use clap::Args;

use super::text::KeyArg;
use super::tree::{AtArg, TreeArg, no_key};
use super::{Failure, Outcome, Run, Terminal};
use crate::stack::Registry;

/// Print the value of a key of a tree
///
/// The value alone is printed, byte for byte; a line break is added only where a terminal shows it.
/// Exit code 1 if the tree has no such key.
#[derive(Debug, Args)]
#[command(after_help = "Example: travertine get stack.toml --tree orders order-17")]
pub(super) struct Get {
    #[command(flatten)]
    tree: TreeArg,
    #[command(flatten)]
    key: KeyArg,
    #[command(flatten)]
    at: AtArg,
}

impl Run for Get {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let key = self.key.bytes()?;
        let (_, reader) = self.tree.read(registry, &self.at, terminal)?;
        let Some(value) = reader.get(&key).wait()? else {
            return Err(no_key(&self.tree.tree, &self.key));
        };
        terminal.bytes(&value)?;
        if terminal.watched && std::io::stdout().is_terminal() {
            terminal.say("")?;
        }
        Ok(Outcome::Fine)
    }
}
