//! `follow`: commits as they are proven, by a reader beside whoever writes.

use std::ops::RangeInclusive;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::roots::{Changed, time};
use super::rows::Rows;
use super::{Failure, Outcome, Run, StackArg, Terminal, tree};
use crate::contract::{Name, Names, RootAt};
use crate::front::{Engine, Follow as Following, Followed, Snapshot};
use crate::stack::Registry;

/// Longest wait for one commit before it waits again.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// Print commits as they land
///
/// Each proven commit in order, none twice and none left out, with the names that it changed. With --tree
/// only the commits that changed this tree, and the rows that they changed. It goes on until it is
/// stopped; where it ended it goes on again with --from. A writer in another process is followed as it
/// proves its commits: while it writes each one with the next, and the last one once it pauses.
///
/// The rows of a commit come behind it: whoever was cut off in their midst has them whole when the next
/// commit follows them, and else goes on with the commit that was told last.
///
/// Commits that were reclaimed before they were told are said to be gone.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  travertine follow stack.toml                              what lands from now on
  travertine follow stack.toml --from 1 --no-wait           all that there is
  travertine follow stack.toml --tree orders --from 42 --json")]
pub(super) struct Follow {
    #[command(flatten)]
    stack: StackArg,
    /// Begin with the commit of this number; without it: with the one after the newest
    #[arg(long, value_name = "N")]
    from: Option<u64>,
    /// The rows of this tree that changed, too
    #[arg(long, value_name = "NAME")]
    tree: Option<String>,
    /// End after so many commits
    #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
    limit: u64,
    /// End at the newest commit
    #[arg(long)]
    no_wait: bool,
    /// Look this often whether there is more
    #[arg(long, value_name = "TIME", default_value = "200ms", value_parser = humantime::parse_duration)]
    every: Duration,
    /// Print one line of JSON for each commit and each row
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Facts {
    sequence: u64,
    time: String,
    epoch: String,
    /// `None`: what came before it is no longer there to compare with.
    changed: Option<Vec<Changed>>,
}

#[derive(Debug, Serialize)]
struct GoneFacts {
    /// The first and the last commit that were freed.
    freed: [u64; 2],
    /// The oldest commit after them that can be had.
    oldest: u64,
}

impl Run for Follow {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let name = self.tree.clone().map(tree::name).transpose()?;
        if self.stack.is_unwritten(registry)? {
            return Err(Failure::fault(
                "nothing was written to this stack yet; follow it once something is",
            ));
        }
        let opened = self.stack.open_to_read(registry, terminal)?;
        let engine = &opened.engine;
        let from = self.from.unwrap_or(engine.snapshot().sequence() + 1).max(1);
        let newest = engine.snapshot().sequence();
        if self.no_wait && self.from.is_some() && from > newest {
            terminal.note(format_args!(
                "there is no commit {from} yet; the newest is number {newest}"
            ))?;
        }
        let mut follow = engine.follow(from).every(self.every);
        let mut before = Before::of(engine, from)?;
        let mut rows = Rows::new(self.json);
        let mut told = 0;
        while told < self.limit {
            let Some(followed) = self.next(&mut follow, terminal)? else {
                break;
            };
            let snapshot = match followed {
                Followed::Commit(snapshot) => snapshot,
                Followed::Freed(freed) => {
                    self.gone(&freed, terminal)?;
                    continue;
                }
            };
            if self.tell(name.as_ref(), &before, &snapshot, &mut rows, terminal)? {
                told += 1;
            }
            before = Before::Commit(snapshot);
        }
        Ok(Outcome::Fine)
    }
}

impl Follow {
    fn next(
        &self,
        follow: &mut Following,
        terminal: &mut Terminal<'_>,
    ) -> Result<Option<Followed>, Failure> {
        if let Some(ready) = follow.ready()? {
            return Ok(Some(ready));
        }
        if self.no_wait {
            return Ok(None);
        }
        // Whoever reads the output has all that is there.
        terminal.flush()?;
        loop {
            if let Some(told) = follow.wait(PATIENCE)? {
                return Ok(Some(told));
            }
        }
    }

    fn gone(
        &self,
        freed: &RangeInclusive<u64>,
        terminal: &mut Terminal<'_>,
    ) -> Result<(), Failure> {
        let (first, last) = (*freed.start(), *freed.end());
        if self.json {
            return terminal.json(&GoneFacts {
                freed: [first, last],
                oldest: last + 1,
            });
        }
        terminal.say(format_args!(
            "          commits {first} to {last} were reclaimed; the oldest that can be had is {}",
            last + 1
        ))
    }

    /// Prints a commit, unless it is none of those that are wanted.
    fn tell(
        &self,
        name: Option<&Name>,
        before: &Before,
        snapshot: &Snapshot,
        rows: &mut Rows,
        terminal: &mut Terminal<'_>,
    ) -> Result<bool, Failure> {
        if let (Some(name), Some(names)) = (name, before.names())
            && names.get(name) == snapshot.names().get(name)
        {
            return Ok(false);
        }
        let facts = Facts {
            sequence: snapshot.sequence(),
            time: time(snapshot.time()),
            epoch: snapshot.epoch().to_string(),
            changed: before
                .names()
                .map(|names| Changed::between(names, snapshot.names())),
        };
        if self.json {
            terminal.json(&facts)?;
        } else {
            facts.tell(terminal)?;
        }
        let (Some(name), Some(_)) = (name, before.names()) else {
            return Ok(true);
        };
        let map = tree::map(name.clone());
        let new = map.reader(snapshot).wait()?;
        let old = match before {
            Before::Commit(before) => Some(map.reader(before).wait()?),
            _ => None,
        };
        rows.tell(
            terminal,
            Some(facts.sequence),
            (old.as_ref(), &new),
            u64::MAX,
        )?;
        Ok(true)
    }
}

impl Facts {
    fn tell(&self, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
        let names = match &self.changed {
            Some(changed) => changed.iter().map(Changed::text).collect(),
            None => vec!["(what came before is not here any more)".to_owned()],
        };
        terminal.say(format_args!(
            "{:>8}  {}  {}  {}",
            self.sequence,
            self.time,
            self.epoch,
            names.join(" ")
        ))
    }
}

/// What a commit is compared with.
enum Before {
    /// The first commit comes next.
    Nothing(Names),
    Commit(Snapshot),
    /// It was freed.
    Gone,
}

impl Before {
    fn of(engine: &Engine, from: u64) -> Result<Self, Failure> {
        if from == 1 {
            return Ok(Self::Nothing(Names::new()));
        }
        let before = engine.at(RootAt::Sequence(from - 1))?;
        Ok(before.map_or(Self::Gone, Self::Commit))
    }

    fn names(&self) -> Option<&Names> {
        match self {
            Self::Nothing(none) => Some(none),
            Self::Commit(snapshot) => Some(snapshot.names()),
            Self::Gone => None,
        }
    }
}
