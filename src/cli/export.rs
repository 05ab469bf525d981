//! `export`: trees as lines of JSON.
//!
//! ```text
//!   {"travertine":"export","format":1,"trees":2}
//!   {"tree":"orders","entries":2}
//!   {"key":"o1","value":"…"}
//!   {"key":"o2","value_b64":"…"}
//!   {"tree":"people","entries":0}
//!   {"end":2}                                    how many entries there were in all
//! ```
//!
//! Nothing in it tells the store it came from, so what was imported is exported with the same bytes.

use clap::Args;
use serde::{Deserialize, Serialize};

use super::progress::Progress;
use super::tree::{self, AtArg};
use super::{Failure, Outcome, Run, StackArg, Terminal, text};
use crate::contract::Name;
use crate::interfaces::{CursorExt, Value};
use crate::stack::Registry;

/// Print trees as lines of JSON, for `import`
///
/// All trees of one commit, or one of them. Keys and values that are not UTF-8 are base64.
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
        let mut names = Vec::new();
        match wanted {
            Some(name) if snapshot.root(&name).is_none() => {
                return Err(tree::absent(&snapshot, &name)?);
            }
            Some(name) => names.push(name),
            None => names.extend(tree::names(&snapshot)?.into_iter().map(|(name, _)| name)),
        }
        terminal.json(&Head {
            travertine: EXPORT.to_owned(),
            format: FORMAT,
            trees: names.len() as u64,
        })?;
        let (mut line, mut end) = (Vec::new(), 0);
        let progress = Progress::things("exporting", 0);
        progress.show(terminal);
        for name in &names {
            let Some(reader) = tree::reader(&snapshot, name)? else {
                continue;
            };
            let entries = reader.count();
            progress.of(end + entries);
            terminal.json(&TreeLine {
                tree: name.to_string(),
                entries,
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
        Ok(Outcome::Fine)
    }
}
