//! `scan`: the entries of a tree in order.

use std::ffi::OsString;
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt;

use clap::Args;

use super::text;
use super::tree::{AtArg, TreeArg};
use super::{Failure, Outcome, Run, Terminal};
use crate::interfaces::{Direction, Value};
use crate::stack::Registry;

/// Print the entries of a tree in the order of their keys
///
/// One line of JSON for each entry, with `key` and `value`, or `key_b64` and `value_b64` where one of
/// them is not UTF-8. The bounds are the same whichever way the entries are printed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  travertine scan stack.toml --tree orders --from order-2 --limit 10
  travertine scan stack.toml --tree orders --reverse --limit 1      the last entry")]
pub(super) struct Scan {
    #[command(flatten)]
    tree: TreeArg,
    /// Only keys that are this or greater
    #[arg(long, value_name = "KEY")]
    from: Option<OsString>,
    /// Only keys that are less than this
    #[arg(long, value_name = "KEY")]
    to: Option<OsString>,
    /// At most so many entries
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// From the greatest key down
    #[arg(long)]
    reverse: bool,
    #[command(flatten)]
    at: AtArg,
}

impl Run for Scan {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let (_, reader) = self.tree.read(registry, &self.at, terminal)?;
        let from = self.from.as_deref().map(OsStrExt::as_bytes);
        let to = self.to.as_deref().map(OsStrExt::as_bytes);
        let direction = if self.reverse {
            Direction::Back
        } else {
            Direction::Forward
        };
        let mut range = reader.range(
            from.map_or(Bound::Unbounded, Bound::Included),
            to.map_or(Bound::Unbounded, Bound::Excluded),
            direction,
        );
        let mut line = Vec::new();
        for _ in 0..self.limit.unwrap_or(u64::MAX) {
            let Some(entry) = range.next()? else { break };
            match entry.value {
                Value::Inline(value) => text::entry(terminal, &mut line, entry.key, value)?,
                apart @ Value::Apart(_) => {
                    let value = reader.value(apart).wait()?;
                    text::entry(terminal, &mut line, entry.key, &value)?;
                }
            }
        }
        Ok(Outcome::Fine)
    }
}
