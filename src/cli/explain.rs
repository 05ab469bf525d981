//! `explain`: every floor of a stack in words, every option in force, and who set it.

use clap::Args;
use serde::Serialize;

use super::derivation::Derivation;
use super::stack_arg::StackArg;
use super::{Failure, Outcome, Run, Terminal};
use crate::config::{Origin, StackFile};
use crate::contract::Level;
use crate::stack::{ByteSize, Floor, Gives, Preset, Registry, Setting, Time};

/// Explain a stack: what each floor does and costs, every option in force, and who set it
#[derive(Debug, Args)]
#[command(after_help = "Example: travertine explain stack.toml --set file.read=pread")]
pub(super) struct Explain {
    #[command(flatten)]
    stack: StackArg,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Run for Explain {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let file = self.stack.load(registry)?;
        let facts = Facts::new(&file);
        if self.json {
            terminal.json(&facts)?;
        } else {
            terminal.bytes(facts.in_words().as_bytes())?;
        }
        Ok(Outcome::Fine)
    }
}

#[derive(Serialize)]
struct Facts<'a> {
    stack: String,
    level: Level,
    level_note: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    flush_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flush_age_ms: Option<u128>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flush_pressure_percent: Option<u8>,
    /// Which commits stay where space is given back without being asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    reclaim: Option<String>,
    fingerprint: &'a str,
    floors: Vec<FloorFacts<'a>>,
}

#[derive(Serialize)]
struct FloorFacts<'a> {
    depth: usize,
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    does: &'a str,
    costs: &'a str,
    options: Vec<OptionFacts<'a>>,
    gives: &'a Gives,
    #[serde(flatten)]
    derivation: Derivation,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    notes: &'a [String],
}

#[derive(Serialize)]
struct OptionFacts<'a> {
    name: &'a str,
    /// As one would write it.
    value: Option<String>,
    /// Where it came from.
    from: String,
    doc: &'a str,
}

impl<'a> Facts<'a> {
    fn new(file: &'a StackFile) -> Self {
        let plan = file.plan();
        let flush = plan.flush();
        let level = plan.level();
        Self {
            stack: file.path().display().to_string(),
            level,
            level_note: match level {
                Level::Memory => "a commit survives nothing".to_owned(),
                Level::Os => "a commit survives a kill of the process".to_owned(),
                Level::Disk => "a commit survives a power cut".to_owned(),
                Level::Replicated(n) => format!("a commit survives the loss of {} of {n}", n - 1),
            },
            flush_bytes: flush.bytes,
            flush_age_ms: flush.age.map(|age| age.as_millis()),
            flush_pressure_percent: flush.pressure,
            reclaim: file.reclaim().map(|automatic| {
                format!(
                    "{}; looks every {} whether garbage may be {} of what stays, at {} a second",
                    automatic.retention,
                    Time(automatic.every),
                    automatic.garbage,
                    ByteSize(automatic.rate)
                )
            }),
            fingerprint: plan.fingerprint().text(),
            floors: plan
                .top()
                .walk()
                .map(|(depth, floor)| FloorFacts::new(depth, floor, file))
                .collect(),
        }
    }

    fn in_words(&self) -> String {
        let mut text = format!(
            "{}: commits reach {} unless they ask for another level: {}\n",
            self.stack, self.level, self.level_note
        );
        if let Some(reclaim) = &self.reclaim {
            text.push_str(&format!("reclaims by itself: {reclaim}\n"));
        }
        for floor in &self.floors {
            let indent = "   ".repeat(floor.depth);
            let mut line = |words: String| {
                text.push_str(&indent);
                text.push_str(&words);
                text.push('\n');
            };
            let name = floor
                .name
                .map_or(String::new(), |name| format!(" {name:?}"));
            line(format!("\n{indent}{}{name}: {}", floor.kind, floor.does));
            line(format!("  costs   {}", floor.costs));
            let Gives { level, properties } = floor.gives;
            line(format!("  gives   {level}; {properties}"));
            for (word, properties) in floor.derivation.lines() {
                line(format!("  {word:<7} {properties}"));
            }
            for note in floor.notes {
                line(format!("  note    {note}"));
            }
            let widest =
                |of: fn(&OptionFacts<'_>) -> usize| floor.options.iter().map(of).max().unwrap_or(0);
            let names = widest(|option| option.name.len());
            let values = widest(|option| option.shown().chars().count());
            for option in &floor.options {
                line(format!(
                    "  {:names$} = {:values$}   {}",
                    option.name,
                    option.shown(),
                    option.from
                ));
            }
        }
        text
    }
}

impl<'a> FloorFacts<'a> {
    fn new(depth: usize, floor: &'a Floor, file: &StackFile) -> Self {
        let kind = floor.kind();
        Self {
            depth,
            kind: kind.name,
            name: floor.name(),
            does: kind.summary,
            costs: kind.cost,
            options: floor
                .settings()
                .iter()
                .map(|setting| OptionFacts {
                    name: &setting.name,
                    value: setting.value.as_ref().map(ToString::to_string),
                    from: origin(setting, file),
                    doc: setting.row.doc,
                })
                .collect(),
            gives: floor.gives(),
            derivation: Derivation::of(floor),
            notes: floor.notes(),
        }
    }
}

impl OptionFacts<'_> {
    fn shown(&self) -> &str {
        self.value.as_deref().unwrap_or("-")
    }
}

fn origin(setting: &Setting, file: &StackFile) -> String {
    let Some(span) = setting.written else {
        return match setting.row.preset {
            Preset::Unset(meaning) => format!("not set: {meaning}"),
            _ => "default".to_owned(),
        };
    };
    match file.sources().get(span.source.0 as usize) {
        Some(source) if source.origin == Origin::File => {
            let (line, _) = source.line_column(span.start);
            format!("{}:{line}", source.name)
        }
        Some(source) => source.name.clone(),
        None => "default".to_owned(),
    }
}
