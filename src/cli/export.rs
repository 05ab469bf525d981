//! `export`: trees as lines of JSON.
//!
//! ```text
//!   {"travertine":"export","format":1,"trees":2}
//!   {"tree":"orders","entries":2}
//!   {"key":"o1","value":"…"}
//!   {"key":"o2","value_b64":"…"}
//!   {"tree":"people","entries":0,"index":"skiplist"}   a B-tree, where nothing else is said
//!   {"end":2}                                    how many entries there were in all
//! ```
//!
//! Nothing in it tells the store it came from, so what was imported is exported with the same bytes. Chains,
//! and names that lead to anything else, are left out, which is told.

use clap::Args;
use serde::{Deserialize, Serialize};

use super::progress::Progress;
use super::tree::{self, AtArg};
use super::{Failure, Outcome, Run, StackArg, Terminal, text};
use crate::contract::Name;
use crate::interfaces::{Any, CursorExt, Value};
use crate::stack::Registry;

/// Print trees as lines of JSON, for `import`
///
/// All trees of one commit, or one of them. Keys and values that are not UTF-8 are base64. Chains are no
/// trees: they are left out, with exit code 1 unless --trees-only says that this is meant. `backup` takes
/// everything along.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  travertine export stack.toml > all.ndjson
  travertine export stack.toml --tree orders | travertine import other.toml")]
pub(super) struct Export {
    #[command(flatten)]
    stack: StackArg,
    /// Only this tree
    #[arg(long, value_name = "NAME")]
    tree: Option<String>,
    /// Leave out what is no tree
    #[arg(long)]
    trees_only: bool,
    #[command(flatten)]
    at: AtArg,
}

/// What an export is called in its first line.
pub(super) const EXPORT: &str = "export";
/// The newest format of exports.
pub(super) const FORMAT: u32 = 1;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    pub(super) travertine: String,
    pub(super) format: u32,
    pub(super) trees: u64,
}

/// The line before the entries of a tree.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TreeLine {
    pub(super) tree: String,
    pub(super) entries: u64,
    /// What its index is called, if it is no B-tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) index: Option<String>,
}

/// The last line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndLine {
    pub(super) end: u64,
}

impl Run for Export {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let wanted = self.tree.map(Name::new).transpose()?;
        let opened = self.stack.open_to_read(registry, terminal)?;
        let snapshot = self.at.snapshot(&opened.engine)?;
        let (mut names, mut left_out) = (tree::names(&snapshot)?, Vec::new());
        match wanted {
            Some(name) if snapshot.root(&name).is_none() => {
                return Err(tree::absent(&snapshot, &name)?);
            }
            Some(name) => {
                tree::refuse_chain(&snapshot, &name)?;
                names.retain(|(there, _)| *there == name);
            }
            None if self.trees_only => {}
            None => {
                for name in snapshot.names().keys() {
                    if tree::is_chain(&snapshot, name)? {
                        left_out.push(name.to_string());
                    }
                }
            }
        }
        terminal.json(&Head {
            travertine: EXPORT.to_owned(),
            format: FORMAT,
            trees: names.len() as u64,
        })?;
        let (mut line, mut end) = (Vec::new(), 0);
        let progress = Progress::things("exporting", 0);
        progress.show(terminal);
        for (name, index) in &names {
            let Some(reader) = tree::reader(&snapshot, name)? else {
                continue;
            };
            let entries = reader.count();
            progress.of(end + entries);
            terminal.json(&TreeLine {
                tree: name.to_string(),
                entries,
                index: (*index != Any::default()).then(|| index.name().to_owned()),
            })?;
            let mut cursor = reader.cursor();
            while let Some(entry) = cursor.next()? {
                match entry.value {
                    Value::Inline(value) => text::entry(terminal, &mut line, entry.key, value)?,
                    apart @ Value::Apart(_) => {
                        let value = reader.value(apart).wait()?;
                        text::entry(terminal, &mut line, entry.key, &value)?;
                    }
                }
                end += 1;
                if end.is_multiple_of(4096) {
                    progress.at(end);
                }
            }
        }
        progress.finish();
        terminal.json(&EndLine { end })?;
        if left_out.is_empty() {
            return Ok(Outcome::Fine);
        }
        terminal.complain(&format!(
            "chains are left out: {}; --trees-only says that this is meant, and `backup` takes all along",
            left_out.join(", ")
        ))?;
        Ok(Outcome::Fault)
    }
}
