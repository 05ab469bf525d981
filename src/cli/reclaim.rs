//! `reclaim`: gives back the space of what nobody keeps, and says who keeps the rest.

use std::ops::ControlFlow;

use clap::Args;
use serde::Serialize;

use super::progress::Progress;
use super::roots::time;
use super::text::count;
use super::tree::{self, Tree};
use super::{Failure, Outcome, Run, StackArg, Terminal};
use crate::front::{self, Engine, Holder, Reclaiming, Report, Retention, Who};
use crate::interfaces::Map;
use crate::stack::{ByteSize, Registry};

/// Free what no name, tag or kept commit leads to
///
/// The policy says which commits stay, besides the newest and those that are tagged. `all 1h` keeps every
/// commit of the last hour; `hourly 2d`, `daily 30d`, `weekly 1y` and `monthly forever` the last of each
/// hour, day, week or month, of UTC, as far back as they say; `last 100` the newest hundred. All other
/// commits can no longer be read afterwards.
///
/// This command writes, so nobody else may write to the stack meanwhile. A process that writes all the time,
/// like `serve`, gives space back by itself, beside its readers and writers, if the stack file has in it,
/// above the first layer:
///
///   reclaim = { retain = "keep all 1h, hourly 2d, daily 30d" }
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  travertine reclaim stack.toml --retain 'keep all 1h, hourly 2d, daily 30d, tagged forever' --dry-run
  travertine reclaim stack.toml --retain newest --compact
  travertine reclaim stack.toml --retain 'last 100' --rate 32MiB")]
pub(super) struct Reclaim {
    #[command(flatten)]
    stack: StackArg,
    /// Which commits stay
    #[arg(long, value_name = "POLICY")]
    retain: Retention,
    /// Say what would stay and who holds it, and free nothing
    #[arg(long, conflicts_with = "compact")]
    dry_run: bool,
    /// First write every tree anew in the order of its keys: full nodes, read one after the other
    #[arg(long)]
    compact: bool,
    /// Read at most so much in a second while looking for what stays
    #[arg(long, value_name = "SIZE", value_parser = size)]
    rate: Option<ByteSize>,
    /// Take at most so much memory to find what stays: two bytes for most records; freeing then takes
    /// eight for each
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "256MiB")]
    memory: ByteSize,
    /// Print bare facts as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn size(text: &str) -> Result<ByteSize, String> {
    text.parse()
        .map_err(|fault: crate::stack::Fault| fault.to_string())
}

#[derive(Debug, Serialize)]
struct Facts {
    /// In the words in which it is understood.
    retain: String,
    /// The commit that names the decision; none: a dry run, or there is nothing yet.
    decided: Option<u64>,
    commits_kept: u64,
    records_kept: u64,
    bytes_kept: u64,
    bytes_not_kept: u64,
    bytes_not_looked_at: u64,
    freed_bytes: u64,
    /// What is left on the media of what was looked at.
    left_bytes: u64,
    holders: Vec<HolderFacts>,
}

#[derive(Debug, Serialize)]
struct HolderFacts {
    who: String,
    /// When it began to hold, for snapshots and sessions.
    since: Option<String>,
    bytes: u64,
}

impl Run for Reclaim {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let options = Reclaiming {
            dry_run: self.dry_run,
            memory: usize::try_from(self.memory.0).unwrap_or(usize::MAX),
            rate: self.rate.map(|rate| rate.0),
            ..Reclaiming::default()
        };
        let facts = self.stack.write(registry, |engine| {
            if self.compact {
                compact(engine)?;
            }
            let streams = engine.status().streams;
            let length = streams.iter().map(|stream| 8 * stream.end).sum();
            let progress = Progress::bytes("looking for what stays", length, 0);
            progress.show(terminal);
            let mut watch = |now: front::Progress| {
                progress.at(now.bytes);
                ControlFlow::Continue(())
            };
            let report = engine.reclaim_watched(&self.retain, &options, &mut watch);
            progress.finish();
            Ok(Facts::new(&self.retain, &report?))
        })?;
        if self.json {
            terminal.json(&facts)?;
        } else {
            facts.tell(self.dry_run, terminal)?;
        }
        Ok(Outcome::Fine)
    }
}

/// Every tree written anew, as what it is, in one commit.
fn compact(engine: &Engine) -> Result<(), Failure> {
    let session = engine.session()?;
    let mut changes = Vec::new();
    for (name, index) in tree::names(session.base())? {
        let map = Map::new(name, Tree::over(index));
        changes.extend(map.compact(&session)?);
    }
    session.commit(&changes, None).wait()?;
    Ok(())
}

impl Facts {
    fn new(retain: &Retention, report: &Report) -> Self {
        Self {
            retain: retain.to_string(),
            decided: report.decided.map(|decided| decided.sequence),
            commits_kept: report.commits,
            records_kept: report.records,
            bytes_kept: report.alive,
            bytes_not_kept: report.dead,
            bytes_not_looked_at: report.young,
            freed_bytes: report.freed.bytes,
            left_bytes: report.freed.kept,
            holders: report.holders.iter().map(HolderFacts::from).collect(),
        }
    }

    fn tell(&self, dry_run: bool, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
        let bytes = |bytes: u64| format!("{bytes:>15} bytes");
        terminal.say(&self.retain)?;
        terminal.say(format_args!(
            "stays       {}  {} and {}",
            bytes(self.bytes_kept),
            count(self.commits_kept, "commit"),
            count(self.records_kept, "record")
        ))?;
        for holder in &self.holders {
            let since = holder.since.as_ref();
            let since = since.map_or_else(String::new, |since| format!(", since {since}"));
            terminal.say(format_args!(
                "  held      {}  {}{since}",
                bytes(holder.bytes),
                holder.who
            ))?;
        }
        if self.bytes_not_looked_at > 0 {
            terminal.say(format_args!(
                "too young   {}  stored since the oldest session began",
                bytes(self.bytes_not_looked_at)
            ))?;
        }
        if dry_run {
            return terminal.say("nothing was freed: this was a dry run");
        }
        terminal.say(format_args!("freed       {}", bytes(self.freed_bytes)))?;
        terminal.say(format_args!(
            "left        {}  on the media of what was looked at",
            bytes(self.left_bytes)
        ))?;
        if self.decided.is_none() {
            terminal.note("there is no commit yet, and nothing to free")?;
        }
        Ok(())
    }
}

impl From<&Holder> for HolderFacts {
    fn from(holder: &Holder) -> Self {
        let (who, since) = match &holder.who {
            Who::Newest => ("the newest commit".to_owned(), None),
            Who::Tag(name) => (format!("the tag {name}"), None),
            Who::Retention => ("older commits, by the policy".to_owned(), None),
            Who::Pin(pin) => (pin.to_string(), Some(time(pin.since))),
        };
        Self {
            who,
            since,
            bytes: holder.bytes,
        }
    }
}
