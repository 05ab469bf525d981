//! `check`: is a stack legal, and what does each floor guarantee?

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::stack_arg::SetArg;
use super::{Failure, Outcome, Run, Terminal, report};
use crate::config::StackFile;
use crate::contract::Level;
use crate::stack::{Floor, Gives, Registry};

/// Check that stacks are legal, and show what each floor guarantees
///
/// Runs what opening a stack runs before it touches anything: nothing is opened or made. All errors of
/// a file come at once, each with its line and a hint.
#[derive(Debug, Args)]
#[command(after_help = "Example: travertine check examples/stacks/*.toml")]
pub(super) struct Check {
    /// The stack files
    #[arg(value_name = "STACK", required = true)]
    stacks: Vec<PathBuf>,
    #[command(flatten)]
    set: SetArg,
    /// Print one JSON object per stack
    #[arg(long)]
    json: bool,
}

impl Run for Check {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let overrides = self.set.overrides();
        let mut outcome = Outcome::Fine;
        for (index, path) in self.stacks.iter().enumerate() {
            let stack = path.display().to_string();
            match StackFile::load(path, registry, &overrides) {
                Ok(file) if self.json => terminal.json(&Legal::new(&stack, &file))?,
                Ok(file) => {
                    if index > 0 {
                        terminal.say("")?;
                    }
                    let level = file.plan().level();
                    terminal.say(format_args!("{stack} is legal; commits reach {level}"))?;
                    terminal.bytes(file.plan().to_string().as_bytes())?;
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
}

impl<'a> Legal<'a> {
    fn new(stack: &'a str, file: &'a StackFile) -> Self {
        let plan = file.plan();
        Self {
            stack,
            legal: true,
            level: plan.level(),
            fingerprint: plan.fingerprint().text(),
            floors: FloorFacts::new(plan.top()),
        }
    }
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
    #[serde(skip_serializing_if = "Vec::is_empty")]
    below: Vec<FloorFacts<'a>>,
}

impl<'a> FloorFacts<'a> {
    fn new(floor: &'a Floor) -> Self {
        Self {
            kind: floor.kind().name,
            name: floor.name(),
            gives: floor.gives(),
            below: floor.below().iter().map(|below| Self::new(below)).collect(),
        }
    }
}
