//! `check`: is a stack legal, what does each floor guarantee and why, and may a store that is there be
//! opened through it?

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::derivation::Derivation;
use super::found::{self, hex};
use super::stack_arg::SetArg;
use super::{Failure, Outcome, Run, Terminal, report};
use crate::config::{Overrides, StackFile};
use crate::contract::Level;
use crate::stack::{Change, Floor, Gives, Registry, Verdict};

/// Check that stacks are legal, and show what each floor guarantees
///
/// Runs what opening a stack runs before it touches anything: nothing is opened or made. All errors of
/// a file come at once, each with its line and a hint. Below the floors stands how their guarantees
/// come about: what each requires and from whom, what it adds, and what it drops.
///
/// With --from, every difference from another stack file is judged: whether a store that was written
/// through that one may be opened through this one. With --disk, the directories of the stack are
/// looked at, and what lies there is compared with what this stack would read.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  travertine check examples/stacks/*.toml
  travertine check new.toml --from old.toml      may it take the place of the old one?
  travertine check s.toml --from s.toml --set cache.memory=1GiB --from-set file.path=/old
  travertine check stack.toml --disk             is what lies there of this stack?")]
pub(super) struct Check {
    /// The stack files
    #[arg(value_name = "STACK", required = true)]
    stacks: Vec<PathBuf>,
    #[command(flatten)]
    set: SetArg,
    /// The stack file through which the store was written so far
    #[arg(long, value_name = "STACK")]
    from: Option<PathBuf>,
    /// What was set of the stack of --from when it was written; --set and TRAVERTINE_SET are of the new
    /// ones
    #[arg(
        long = "from-set",
        value_name = "LAYER.OPTION=VALUE",
        requires = "from"
    )]
    from_set: Vec<String>,
    /// Compare with what lies in the directories of the stack
    #[arg(long)]
    disk: bool,
    /// Print one JSON object per stack
    #[arg(long)]
    json: bool,
}

impl Run for Check {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let overrides = self.set.overrides();
        let from = match &self.from {
            Some(path) => {
                let set = Overrides::of("", &self.from_set);
                Some(StackFile::load(path, registry, &set)?)
            }
            None => None,
        };
        let mut outcome = Outcome::Fine;
        for (index, path) in self.stacks.iter().enumerate() {
            let stack = path.display().to_string();
            match StackFile::load(path, registry, &overrides) {
                Ok(file) => {
                    let changes = from.as_ref().map(|from| Changes::new(&file, from));
                    let disk = match self.disk {
                        true => Some(lying(&file)?),
                        false => None,
                    };
                    let legal = Legal::new(&stack, &file, changes, disk);
                    if !legal.opens() {
                        outcome = Outcome::Wrong;
                    }
                    if self.json {
                        terminal.json(&legal)?;
                        continue;
                    }
                    if index > 0 {
                        terminal.say("")?;
                    }
                    legal.tell(&file, terminal)?;
                }
                Err(refusal) => {
                    outcome = Outcome::Wrong;
                    if self.json {
                        terminal.json(&Illegal {
                            stack: &stack,
                            legal: false,
                            errors: report::facts(&refusal),
                        })?;
                    } else {
                        // If nobody reads the reasons, the code still tells.
                        let _ = report::tell(&refusal, terminal);
                    }
                }
            }
        }
        Ok(outcome)
    }
}

#[derive(Serialize)]
struct Legal<'a> {
    stack: &'a str,
    legal: bool,
    level: Level,
    fingerprint: &'a str,
    floors: FloorFacts<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<Changes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk: Option<Vec<Lying>>,
}

impl<'a> Legal<'a> {
    fn new(
        stack: &'a str,
        file: &'a StackFile,
        changes: Option<Changes>,
        disk: Option<Vec<Lying>>,
    ) -> Self {
        let plan = file.plan();
        Self {
            stack,
            legal: true,
            level: plan.level(),
            fingerprint: plan.fingerprint().text(),
            floors: FloorFacts::new(plan.top()),
            changes,
            disk,
        }
    }

    /// Whether what is there may be opened through it, as far as was asked.
    fn opens(&self) -> bool {
        let changes = self.changes.iter().all(|changes| changes.safe);
        changes
            && self
                .disk
                .iter()
                .flatten()
                .all(|lying| lying.refused.is_none())
    }

    fn tell(&self, file: &StackFile, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
        let Self { stack, level, .. } = self;
        terminal.say(format_args!("{stack} is legal; commits reach {level}"))?;
        terminal.bytes(file.plan().to_string().as_bytes())?;
        for (_, floor) in file.plan().top().walk() {
            for (word, properties) in Derivation::of(floor).lines() {
                terminal.say(format_args!("  {} {word} {properties}", floor.title()))?;
            }
        }
        if let Some(changes) = &self.changes {
            changes.tell(stack, terminal)?;
        }
        for lying in self.disk.iter().flatten() {
            lying.tell(terminal)?;
        }
        if self.disk.as_ref().is_some_and(Vec::is_empty) {
            terminal.say("nothing lies in its directories yet")?;
        }
        Ok(())
    }
}

/// What differs from another stack.
#[derive(Serialize)]
struct Changes {
    from: String,
    safe: bool,
    changes: Vec<ChangeFacts>,
}

#[derive(Serialize)]
struct ChangeFacts {
    what: String,
    safe: bool,
    why: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    instead: Option<String>,
    /// File and line where the new stack says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
}

impl Changes {
    fn new(file: &StackFile, from: &StackFile) -> Self {
        let changes = file.plan().changes_from(from.plan());
        Self {
            from: from.path().display().to_string(),
            safe: changes.iter().all(Change::is_safe),
            changes: changes
                .into_iter()
                .map(|change| ChangeFacts::new(change, file))
                .collect(),
        }
    }

    fn tell(&self, stack: &str, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
        let Self { from, changes, .. } = self;
        if changes.is_empty() {
            return terminal.say(format_args!("{stack} is the same stack as {from}"));
        }
        let verdict = match self.safe {
            true => "may be opened through",
            false => "cannot be opened through",
        };
        terminal.say(format_args!("what {from} wrote {verdict} {stack}:"))?;
        for change in changes {
            let verdict = if change.safe { "safe" } else { "refused" };
            let at = change
                .at
                .as_ref()
                .map_or(String::new(), |at| format!(" ({at})"));
            terminal.say(format_args!("  {verdict:<8} {}{at}", change.what))?;
            terminal.say(format_args!("           {}", change.why))?;
            if let Some(instead) = &change.instead {
                terminal.say(format_args!("           {instead}"))?;
            }
        }
        Ok(())
    }
}

impl ChangeFacts {
    fn new(change: Change, file: &StackFile) -> Self {
        let at = change.span.and_then(|span| {
            let source = file.sources().get(span.source.0 as usize)?;
            let (line, _) = source.line_column(span.start);
            Some(format!("{}:{line}", source.name))
        });
        let safe = change.is_safe();
        let (why, instead) = match change.verdict {
            Verdict::Safe(why) => (why, None),
            Verdict::Refused { why, instead } => (why, Some(instead)),
        };
        Self {
            what: change.what,
            safe,
            why,
            instead,
            at,
        }
    }
}

/// A log that lies in a directory of the stack.
#[derive(Serialize)]
struct Lying {
    place: String,
    written_by: Option<String>,
    /// What this stack would write there.
    expected: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

impl Lying {
    fn tell(&self, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
        let Self { place, .. } = self;
        match &self.refused {
            None => terminal.say(format_args!("{place} holds a log of this stack")),
            Some(why) => terminal.say(format_args!("{place}: refused, {why}")),
        }
    }
}

/// What lies in the directories of a stack, compared with what the stack would write.
fn lying(file: &StackFile) -> Result<Vec<Lying>, Failure> {
    let mut lying = Vec::new();
    let mut store = None;
    for (_, place, expected) in file.plan().bottoms() {
        let Some(place) = place else { continue };
        for found in found::logs(&place)? {
            let writer = found.log.writer.as_ref();
            let wrote = writer.ok().and_then(Option::as_ref);
            let wrote = wrote.map(|writer| writer.fingerprint.clone());
            let refused = match (&found.log.identity, writer) {
                (Err(damage), _) | (_, Err(damage)) => Some(damage.to_string()),
                (Ok(identity), Ok(_)) => {
                    let first = *store.get_or_insert(identity.store);
                    let other = || format!("it belongs to store {}", hex(&identity.store));
                    let wrote = wrote.as_deref().unwrap_or_default();
                    let differs = !wrote.is_empty() && wrote != expected.text();
                    let written = || format!("it was written by the stack {wrote}");
                    let differs = differs.then(written);
                    differs.or_else(|| (first != identity.store).then(other))
                }
            };
            lying.push(Lying {
                place: shown(&found.place),
                written_by: wrote,
                expected: expected.text().to_owned(),
                refused,
            });
        }
    }
    Ok(lying)
}

fn shown(place: &Path) -> String {
    place.display().to_string()
}

#[derive(Serialize)]
struct Illegal<'a> {
    stack: &'a str,
    legal: bool,
    errors: Vec<report::Fact<'a>>,
}

#[derive(Serialize)]
struct FloorFacts<'a> {
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(flatten)]
    gives: &'a Gives,
    #[serde(flatten)]
    derivation: Derivation,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    below: Vec<FloorFacts<'a>>,
}

impl<'a> FloorFacts<'a> {
    fn new(floor: &'a Floor) -> Self {
        Self {
            kind: floor.kind().name,
            name: floor.name(),
            gives: floor.gives(),
            derivation: Derivation::of(floor),
            below: floor.below().iter().map(|below| Self::new(below)).collect(),
        }
    }
}
