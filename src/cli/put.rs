//! `put`: set the value of a key.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;

use clap::Args;

use super::text::{CommitFacts, KeyArg};
use super::tree::{Tree, TreeArg};
use super::{Failure, Outcome, Run, Terminal};
use crate::contract::Error;
use crate::interfaces::apart::WHOLE_MAX;
use crate::interfaces::map::Turn;
use crate::stack::Registry;

/// Set the value of a key of a tree, in a commit of its own
///
/// Makes the tree if there is none of that name. The command ends when the commit has reached the
/// level of the stack.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  travertine put stack.toml --tree orders order-17 '{\"state\":\"sent\"}'
  travertine put stack.toml --tree files logo.png - < logo.png")]
pub(super) struct Put {
    #[command(flatten)]
    tree: TreeArg,
    #[command(flatten)]
    key: KeyArg,
    /// The value; `-` takes the bytes of the standard input
    #[arg(value_name = "VALUE", allow_hyphen_values = true)]
    value: OsString,
    /// Print the commit as JSON
    #[arg(long)]
    json: bool,
}

impl Run for Put {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let key = self.key.bytes()?;
        let value = match self.value.as_bytes() {
            b"-" => standard_input()?,
            value => value.to_vec(),
        };
        let write = |writer: &mut Turn<'_, Tree>| writer.put(&key, &value);
        let ((), committed) = self.tree.write(registry, write)?;
        if self.json {
            terminal.json(&committed.map(CommitFacts::from))?;
        }
        Ok(Outcome::Fine)
    }
}

pub(super) fn standard_input() -> Result<Vec<u8>, Error> {
    let mut value = Vec::new();
    std::io::stdin()
        .lock()
        .take(WHOLE_MAX as u64 + 1)
        .read_to_end(&mut value)
        .map_err(|source| Error::io("reading the standard input", source))?;
    if value.len() > WHOLE_MAX {
        return Err(Error::invalid(format!(
            "a value of more than {WHOLE_MAX} bytes cannot be read whole; store it with `store`"
        )));
    }
    Ok(value)
}
