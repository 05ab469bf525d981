//! What may lie on what: a table read off the data of the kinds, without building one stack.
//!
//! ```text
//!             cache   file        a row is the floor above, a column the floor below
//!   cache     yes     yes
//!   sequence  no, 1   yes         1: `sequence` requires `parts`, which `cache` drops
//! ```
//!
//! It promises to say what [`Plan::new`](super::Plan::new) does: a stack whose floors are all drawn from
//! the table, each right over one that it may stand on and over nothing further down that it may never
//! stand over, is legal as far as the kinds go. Options have bounds of their own, and a place has one
//! owner; that is not told here.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use super::guarantee::{Gives, LevelRule, Properties, Property};
use super::legality::{ENGINE_REQUIRES, derive};
use super::options::{OptionRow, OptionType};
use super::plugin::{Arity, PluginKind};
use super::registry::Registry;
use crate::contract::Level;

/// Whether a floor of one kind may stand over a floor of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// Right above it, and further up.
    Yes,
    /// Not right above it: with something between them it may. Why, and what to do.
    NotRightAbove(String),
    /// Nowhere above it. Why, and what to do.
    Never(String),
}

impl Cell {
    /// Why not.
    #[must_use]
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Yes => None,
            Self::NotRightAbove(why) | Self::Never(why) => Some(why),
        }
    }
}

/// The table of a registry. It prints itself as Markdown.
#[derive(Debug, Clone)]
pub struct Matrix {
    /// Floors first, then bottoms.
    kinds: Vec<PluginKind>,
    cells: BTreeMap<(&'static str, &'static str), Cell>,
}

impl Matrix {
    /// Reads the table off the kinds.
    #[must_use]
    pub fn of(registry: &Registry) -> Self {
        let mut kinds: Vec<PluginKind> = registry.kinds().copied().collect();
        kinds.sort_by_key(|kind| kind.arity == Arity::Bottom);
        let ground = ground(&kinds);
        let mut cells = BTreeMap::new();
        for above in kinds.iter().filter(|kind| kind.arity != Arity::Bottom) {
            for below in &kinds {
                let cell = cell(above, below, &ground, &kinds);
                cells.insert((above.name, below.name), cell);
            }
        }
        Self { kinds, cells }
    }

    /// The kinds, floors first, then bottoms.
    #[must_use]
    pub fn kinds(&self) -> &[PluginKind] {
        &self.kinds
    }

    /// Whether `above` may stand over `below`; `None` for kinds that are not known, and for bottoms
    /// above anything.
    #[must_use]
    pub fn cell(&self, above: &str, below: &str) -> Option<&Cell> {
        let found = self.cells.iter().find(|(pair, _)| **pair == (above, below));
        found.map(|(_, cell)| cell)
    }

    /// Whether these kinds, top first, may lie one on the other.
    #[must_use]
    pub fn allows(&self, chain: &[&str]) -> bool {
        chain.iter().enumerate().all(|(index, above)| {
            let below = &chain[index + 1..];
            below
                .iter()
                .enumerate()
                .all(|(gap, below)| match self.cell(above, below) {
                    Some(Cell::Yes) => true,
                    Some(Cell::NotRightAbove(_)) => gap > 0,
                    Some(Cell::Never(_)) | None => false,
                })
        })
    }
}

/// What the best bottom gives: the table is about floors, and a bottom that gives less has a column of
/// its own.
fn ground(kinds: &[PluginKind]) -> Gives {
    let bottoms = kinds.iter().filter(|kind| kind.arity == Arity::Bottom);
    let best = bottoms.max_by_key(|kind| (!kind.test_only, kind.declared.adds.iter().count()));
    best.map_or(
        Gives {
            level: Level::Memory,
            properties: Properties::NONE,
        },
        |kind| gives(kind, &[]),
    )
}

fn gives(kind: &PluginKind, below: &[&Gives]) -> Gives {
    let declared = &kind.declared;
    derive(declared.adds, declared.keeps, declared.level, below)
}

fn cell(above: &PluginKind, below: &PluginKind, ground: &Gives, kinds: &[PluginKind]) -> Cell {
    let (mut near, mut far) = (Vec::new(), Vec::new());
    let downwards = above
        .rules
        .iter()
        .map(|rule| rule.against_below(below.name));
    let upwards = below
        .rules
        .iter()
        .map(|rule| rule.against_above(above.name));
    for offence in downwards.chain(upwards).flatten() {
        let reasons = if offence.however_far {
            &mut far
        } else {
            &mut near
        };
        reasons.push(format!("{}: {}", offence.why, offence.instead));
    }
    let bottom = below.arity == Arity::Bottom;
    let under = if bottom { Vec::new() } else { vec![ground] };
    let given = gives(below, &under);
    let verb = if bottom { "does not give" } else { "drops" };
    for property in above.declared.requires.iter() {
        if !given.properties.has(property) {
            let mut adds = kinds
                .iter()
                .filter(|kind| kind.arity != Arity::Bottom && kind.declared.adds.has(property));
            let reason = format!(
                "`{}` requires `{property}`, which `{}` {verb}",
                above.name, below.name
            );
            let reasons = if adds.next().is_some() {
                &mut near
            } else {
                &mut far
            };
            reasons.push(reason);
        }
    }
    let top = gives(above, &[&given]);
    for property in ENGINE_REQUIRES.iter() {
        if !top.properties.has(property) {
            far.push(format!("the engine requires `{property}`"));
        }
    }
    match (far.is_empty(), near.is_empty()) {
        (true, true) => Cell::Yes,
        (true, false) => Cell::NotRightAbove(near.join("; ")),
        (false, _) => {
            far.extend(near);
            Cell::Never(far.join("; "))
        }
    }
}

/// The table as Markdown: who over whom, the reasons, and what each kind requires and gives.
impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut reasons: Vec<&str> = Vec::new();
        write!(f, "| over |")?;
        for below in &self.kinds {
            write!(f, " `{}` |", below.name)?;
        }
        writeln!(f, "\n| --- |{}", " --- |".repeat(self.kinds.len()))?;
        for above in self.kinds.iter().filter(|kind| kind.arity != Arity::Bottom) {
            write!(f, "| `{}` |", above.name)?;
            for below in &self.kinds {
                let Some(cell) = self.cell(above.name, below.name) else {
                    continue;
                };
                let word = match cell {
                    Cell::Yes => "yes",
                    Cell::NotRightAbove(_) => "not right above",
                    Cell::Never(_) => "never",
                };
                write!(f, " {word}")?;
                if let Some(why) = cell.why() {
                    let number = reasons.iter().position(|reason| *reason == why);
                    let number = number.unwrap_or_else(|| {
                        reasons.push(why);
                        reasons.len() - 1
                    });
                    write!(f, " ({})", number + 1)?;
                }
                write!(f, " |")?;
            }
            writeln!(f)?;
        }
        writeln!(f)?;
        for (index, reason) in reasons.iter().enumerate() {
            writeln!(f, "{}. {reason}.", index + 1)?;
        }
        writeln!(
            f,
            "\n| kind | below it | requires | adds | drops | reaches | the bytes depend on it |"
        )?;
        writeln!(f, "| --- | --- | --- | --- | --- | --- | --- |")?;
        for kind in &self.kinds {
            row(f, kind)?;
        }
        let marked = self.kinds.iter().flat_map(|kind| {
            let mut found = Vec::new();
            topmost(kind.options, "", &mut found);
            found.into_iter().map(|option| (kind.name, option))
        });
        for (index, (kind, option)) in marked.enumerate() {
            if index == 0 {
                writeln!(
                    f,
                    "\nOptions that only the topmost layer of a kind may have:\n"
                )?;
            }
            writeln!(f, "- `{option}` of `{kind}`")?;
        }
        Ok(())
    }
}

fn row(f: &mut fmt::Formatter<'_>, kind: &PluginKind) -> fmt::Result {
    let declared = &kind.declared;
    let below = match kind.arity {
        Arity::Bottom => "nothing".to_owned(),
        Arity::One => "one".to_owned(),
        Arity::Many { min, max } => format!("{min} to {max}"),
    };
    let level = if let LevelRule::At(level) = declared.level {
        format!("`{level}`")
    } else if declared.level == LevelRule::Below {
        "as below".to_owned()
    } else {
        "a copy for each below".to_owned()
    };
    let drops = match kind.arity {
        Arity::Bottom => Properties::NONE,
        _ => Properties::ALL.without(declared.adds.or(declared.keeps)),
    };
    let mut depends = match (kind.structural, kind.stays) {
        (true, _) => "yes",
        (false, Some(_)) => "once it was there",
        (false, None) => "no",
    }
    .to_owned();
    if kind.test_only {
        depends.push_str("; for tests only");
    }
    writeln!(
        f,
        "| `{}` | {below} | {} | {} | {} | {level} | {depends} |",
        kind.name,
        listed(declared.requires),
        listed(declared.adds),
        listed(drops),
    )
}

fn listed(properties: Properties) -> String {
    let mut text = String::new();
    for (index, property) in properties.iter().map(Property::name).enumerate() {
        let comma = if index > 0 { ", " } else { "" };
        // A `String` takes whatever is written.
        let _ = write!(text, "{comma}{property}");
    }
    if text.is_empty() {
        "-".to_owned()
    } else {
        text
    }
}

fn topmost(rows: &[OptionRow], prefix: &str, found: &mut Vec<String>) {
    for row in rows {
        if row.topmost {
            found.push(format!("{prefix}{}", row.name));
        }
        if let OptionType::Table { rows } = row.kind {
            topmost(rows, &format!("{prefix}{}.", row.name), found);
        }
    }
}
