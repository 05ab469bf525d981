//! `branch`: a second name for what a name leads to, at any commit.

use clap::Args;

use super::text::CommitFacts;
use super::tree::{self, AtArg, TreeArg};
use super::{Failure, Outcome, Run, Terminal};
use crate::contract::Name;
use crate::front::{Change, Expect, Snapshot};
use crate::interfaces::Chain;
use crate::interfaces::chain;
use crate::stack::Registry;

/// Give what a tree was at some commit a name of its own
///
/// The new name has every row that the tree had there, and goes its own way from then on: what is written
/// to the one is not seen in the other. Nothing is copied, whatever the size; both share what they have in
/// common. Works for whatever a name leads to, not only for trees. The consumers of a chain go along, each
/// from where it stood. Tells the number of the commit that it begins with.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  travertine branch stack.toml orders-try --tree orders
  travertine branch stack.toml orders-before --tree orders --at before-the-import
  travertine diff stack.toml --tree orders-try --from 41         what was tried on it since")]
pub(super) struct Branch {
    #[command(flatten)]
    tree: TreeArg,
    /// The new name, which must not be there yet
    #[arg(value_name = "NEW")]
    new: String,
    #[command(flatten)]
    at: AtArg,
    /// Print the commit as JSON
    #[arg(long)]
    json: bool,
}

impl Run for Branch {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let old = Name::new(self.tree.tree.clone())?;
        let new = tree::name(self.new)?;
        let committed = self.tree.stack.write(registry, |engine| {
            let session = engine.session()?;
            // Held until the commit: what it leads to is not freed in between.
            let snapshot = self.at.snapshot(engine)?;
            let Some(root) = snapshot.root(&old) else {
                return Err(tree::absent(&snapshot, &old)?);
            };
            if session.base().root(&new).is_some() {
                return Err(Failure::wrong(format!(
                    "there is a name {new} already; give the branch another one"
                )));
            }
            let mut changes = vec![Change::swap(new.clone(), None, root)];
            if tree::is_chain(&snapshot, &old)? {
                changes.extend(consumers(&snapshot, session.base(), &old, &new)?);
            }
            Ok(session.commit(&changes, None).wait()?)
        })?;
        if self.json {
            terminal.json(&CommitFacts::from(committed))?;
        } else {
            terminal.say(format_args!(
                "{new} begins with commit {}",
                committed.sequence
            ))?;
        }
        Ok(Outcome::Fine)
    }
}

/// What gives the consumers of a chain their positions in its branch.
fn consumers(
    snapshot: &Snapshot,
    base: &Snapshot,
    old: &Name,
    new: &Name,
) -> Result<Vec<Change>, Failure> {
    let chain = |name: &Name| Chain::new(name.clone(), chain::Options::default());
    let (old, new) = (chain(old), chain(new));
    let mut changes = Vec::new();
    for who in old.reader(snapshot).wait()?.consumers()? {
        if let Some(position) = snapshot.root(old.consumer(&who)?.name()) {
            let name = new.consumer(&who)?.name().clone();
            changes.push(Change {
                expect: Expect::Is(base.root(&name).map(|there| there.oid)),
                name,
                to: Some(position),
            });
        }
    }
    Ok(changes)
}
