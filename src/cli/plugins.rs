//! `plugins`: the kinds of floors that this program knows.

use clap::Args;

use super::{Failure, Outcome, Run, Terminal};
use crate::stack::{Arity, LevelRule, Matrix, OptionRow, OptionType, PluginKind, Preset, Registry};

/// List the kinds of floors that this program knows, with their options
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  travertine plugins file
  travertine plugins --table       which kind may lie on which")]
pub(super) struct Plugins {
    /// Only this kind, with all its options
    kind: Option<String>,
    /// Print one JSON object per kind
    #[arg(long)]
    json: bool,
    /// Print which kind may lie on which, and why not, as Markdown
    #[arg(long, conflicts_with_all = ["kind", "json"])]
    table: bool,
}

impl Run for Plugins {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        if self.table {
            terminal.bytes(Matrix::of(registry).to_string().as_bytes())?;
            return Ok(Outcome::Fine);
        }
        let wanted = |kind: &&PluginKind| self.kind.as_deref().is_none_or(|name| kind.name == name);
        let kinds: Vec<&PluginKind> = registry.kinds().filter(wanted).collect();
        if kinds.is_empty() {
            let names: Vec<_> = registry.kinds().map(|kind| kind.name).collect();
            return Err(Failure::wrong(format!(
                "there is no plug-in called `{}`; there are {}",
                self.kind.unwrap_or_default(),
                names.join(", ")
            )));
        }
        let widest = kinds.iter().map(|kind| kind.name.len()).max().unwrap_or(0);
        for (index, kind) in kinds.iter().enumerate() {
            if self.json {
                terminal.json(kind)?;
            } else if self.kind.is_some() {
                terminal.bytes(in_full(kind).as_bytes())?;
            } else {
                if index == 0 {
                    terminal.note("`travertine plugins KIND` tells the options of one")?;
                }
                let tests = if kind.test_only { " (for tests)" } else { "" };
                terminal.say(format_args!(
                    "{:widest$}  {}{tests}",
                    kind.name, kind.summary
                ))?;
            }
        }
        Ok(Outcome::Fine)
    }
}

fn in_full(kind: &PluginKind) -> String {
    let below = match kind.arity {
        Arity::Bottom => "nothing: bytes come to rest here".to_owned(),
        Arity::One => "one stack".to_owned(),
        Arity::Many { min, max } => format!("{min} to {max} stacks"),
    };
    let level = match kind.declared.level {
        LevelRule::Below => "as what lies below".to_owned(),
        LevelRule::At(level) => level.to_string(),
        LevelRule::Copies { .. } => "a copy for each stack below".to_owned(),
    };
    let mut text = format!(
        "{}: {}\n  costs     {}\n  below it  {below}\n  level     {level}\n",
        kind.name, kind.summary, kind.cost
    );
    let declared = &kind.declared;
    for (word, properties) in [
        ("requires", declared.requires),
        ("adds", declared.adds),
        ("keeps", declared.keeps),
    ] {
        if properties.iter().next().is_some() {
            text.push_str(&format!("  {word:8}  {properties}\n"));
        }
    }
    if !kind.doc.is_empty() {
        text.push_str(&format!("\n  {}\n", kind.doc));
    }
    options(kind.options, "", &mut text);
    text
}

fn options(rows: &[OptionRow], prefix: &str, text: &mut String) {
    for row in rows {
        let preset = match row.preset {
            Preset::Required(example) => {
                format!("required, like {}", row.kind.value_of(example))
            }
            Preset::Is(_) if matches!(row.kind, OptionType::Table { .. }) => String::new(),
            Preset::Is(value) => format!("default {}", row.kind.value_of(value)),
            Preset::Unset(meaning) => format!("not set: {meaning}"),
        };
        let takes = row.kind.describe();
        text.push_str(&format!(
            "\n  {prefix}{}   {takes}   {preset}\n      {}\n",
            row.name, row.doc
        ));
        if let OptionType::Table { rows } = row.kind {
            options(rows, &format!("{prefix}{}.", row.name), text);
        }
    }
}
