//! `cluster check`: whether the children hold the same.

use clap::Args;

use super::super::{Failure, Outcome, Run, StackArg, Terminal};
use super::copies::Copies;
use super::find;
use crate::contract::Env;
use crate::stack::{Opening, Registry};

/// Compare the children of a cluster, batch by batch
///
/// Each child is read on its own. Where two have a batch at the same place, its running checksum, which
/// covers everything before it, must be the same; and so must a record that stayed on both where space
/// was given back, which children do each in their own time. A child that ends earlier is behind, which
/// is no damage. Exit code 1 if children differ, are damaged or are missing.
#[derive(Debug, Args)]
#[command(after_help = "Example: travertine cluster check stack.toml")]
pub(super) struct Check {
    #[command(flatten)]
    stack: StackArg,
    /// The name of the cluster's layer, if the stack has several
    #[arg(long, value_name = "NAME")]
    layer: Option<String>,
    /// Print what was found as JSON
    #[arg(long)]
    json: bool,
}

impl Run for Check {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let file = self.stack.load(registry)?;
        let floor = find(file.plan(), self.layer.as_deref())?;
        let copies = Copies::of(std::iter::once(floor));
        let opening = Opening {
            read_only: true,
            probes: copies.probes(),
            ..Opening::default()
        };
        let stack = file.plan().open(&Env::system(), opening)?;
        let found = copies.look(&stack.store().status(), |_| ());
        stack.close()?;
        if self.json {
            terminal.json(&found)?;
        } else {
            for copy in &found {
                terminal.say(copy)?;
            }
        }
        let wrong = found.iter().filter(|copy| copy.trouble.is_some()).count();
        if wrong == 0 {
            return Ok(Outcome::Fine);
        }
        terminal.complain(&format!(
            "{wrong} of {} children are not whole",
            found.len()
        ))?;
        Ok(Outcome::Fault)
    }
}
