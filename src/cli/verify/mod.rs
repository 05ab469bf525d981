//! `verify`: looks at everything, and names what is damaged.
//!
//! ```text
//!   batches      every batch of every stream: running checksums, each record's own check
//!   references   every edge from the newest commit on, or from all, blind to what a record means
//!   indexes      what only the index knows: order, counts, bounds, links
//! ```
//!
//! It promises that damage in one place does not hide damage in another, as far as the places can be
//! reached. Memory: one bit for each 16 bytes of records that have references, and, where a writer freed
//! something meanwhile, a few words for each commit.

mod batches;
pub(super) mod findings;
mod indexes;
pub(super) mod reach;

use std::collections::BTreeSet;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use self::findings::Findings;
use super::pace::{Pace, Paced};
use super::progress::Progress;
use super::reclaim::size;
use super::stack_arg::open_floors;
use super::text::count;
use super::{Failure, Outcome, Run, StackArg, Terminal};
use crate::contract::{Env, ErrorKind};
use crate::front::{Engine, Followed, Options, Snapshot};
use crate::interfaces::records::Source;
use crate::interfaces::report::Report;
use crate::stack::{ByteSize, Registry};

/// Check every checksum, every reference and every index of a stack
///
/// Exit code 1 if anything is damaged, with the places. Works beside a writer, on what it has proven, and
/// with --rate hardly takes anything from it. Every batch that lies on the media is read, of whatever
/// commit; references and indexes are followed from the newest commit, with --history from each. What
/// the writer frees meanwhile is no damage: then what is left is followed anew.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  travertine verify stack.toml
  travertine verify stack.toml --rate 20MiB            beside a writer
  travertine verify stack.toml --history               from every commit that is left")]
pub(super) struct Verify {
    #[command(flatten)]
    stack: StackArg,
    /// Read at most so much in a second
    #[arg(long, value_name = "SIZE", value_parser = size)]
    rate: Option<ByteSize>,
    /// Follow the references and check the indexes of every commit that is left
    #[arg(long)]
    history: bool,
    /// Print what was checked as JSON
    #[arg(long)]
    json: bool,
}

/// What was checked.
#[derive(Debug, Default, Serialize)]
struct Facts {
    batches: batches::Facts,
    references: reach::Facts,
    trees: Vec<TreeFacts>,
    #[serde(flatten)]
    findings: Findings,
}

#[derive(Debug, Serialize)]
struct TreeFacts {
    name: String,
    index: String,
    entries: u64,
    nodes: u64,
    height: u64,
    bytes: u64,
    apart: u64,
    damaged: u64,
}

/// So often a writer may free what is being looked at before what is missing is called damage.
const ATTEMPTS: u32 = 8;

impl Run for Verify {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        self.stack.recover(registry, terminal)?;
        let file = self.stack.load(registry)?;
        let env = Env::system();
        let stack = open_floors(&file, terminal)?;
        let mut facts = Facts::default();
        let progress = Progress::bytes("verifying", 0, 0);
        progress.show(terminal);
        let pace = Arc::new(Pace::new(
            &env.clock,
            self.rate.map(|rate| rate.0),
            progress,
        ));
        facts.batches = batches::check(&*stack.store(), &mut facts.findings, &pace)?;
        let open = || Engine::open(stack.store(), &env, Options::reading());
        let before = facts.findings.clone();
        for attempt in 1.. {
            facts.findings = before.clone();
            match open() {
                Ok(engine) => {
                    self.follow(&engine, &mut facts, &pace)?;
                    // What a writer freed meanwhile is no damage: what is left now is looked at instead.
                    let found = facts.findings.damaged > before.damaged;
                    if found && attempt < ATTEMPTS && self.is_freed(&engine, &open()?)? {
                        continue;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    facts.findings.add("the newest commit", &error);
                }
                Err(error) => return Err(error.into()),
            }
            break;
        }
        pace.progress.finish();
        let damaged = facts.findings.damaged;
        if self.json {
            terminal.json(&facts)?;
        } else {
            facts.tell(terminal)?;
        }
        if damaged == 0 {
            return Ok(Outcome::Fine);
        }
        terminal.complain(&format!("{damaged} things are damaged"))?;
        Ok(Outcome::Fault)
    }
}

impl Verify {
    /// Follows the references, and checks the indexes.
    fn follow(&self, engine: &Engine, facts: &mut Facts, pace: &Arc<Pace>) -> Result<(), Failure> {
        let findings = &mut facts.findings;
        facts.references = reach::check(engine, self.history, findings, pace)?;
        facts.trees = trees(&engine.snapshot(), pace, findings);
        match self.history {
            true => older(engine, pace, findings),
            false => Ok(()),
        }
    }

    /// Whether a commit that was looked at is kept no more, as somebody sees it who looks now.
    fn is_freed(&self, engine: &Engine, now: &Engine) -> Result<bool, Failure> {
        let newest = engine.snapshot().sequence();
        let looked_at = match self.history {
            true => commits(engine)?,
            false => BTreeSet::from([newest]),
        };
        Ok(!looked_at.is_subset(&commits(now)?))
    }
}

/// The numbers of all commits that are left.
fn commits(engine: &Engine) -> Result<BTreeSet<u64>, Failure> {
    let commits = engine.history().map(|found| Ok(found?.1.sequence));
    commits
        .collect::<crate::contract::Result<_>>()
        .map_err(Failure::from)
}

/// Every name that is an index, as the index sees it.
fn trees(snapshot: &Snapshot, pace: &Arc<Pace>, findings: &mut Findings) -> Vec<TreeFacts> {
    let source: Arc<dyn Source> = Arc::new(Paced {
        snapshot: snapshot.clone(),
        pace: pace.clone(),
    });
    let mut trees = Vec::new();
    for (name, reference) in snapshot.names() {
        // What cannot be read was told by the walk along the references.
        let Ok(record) = snapshot.read(reference).wait() else {
            continue;
        };
        let Some((index, checked)) = indexes::check(&source, *reference, &record) else {
            continue;
        };
        let report = checked.unwrap_or_else(|error| {
            findings.add(format_args!("{index} {name}"), &error);
            Report::new()
        });
        for damage in &report.damage {
            let place = damage.oid.map_or_else(String::new, |oid| format!(" {oid}"));
            findings.add(format_args!("{index} {name}{place}"), &damage.what);
        }
        findings.damaged += report.damaged - report.damage.len() as u64;
        trees.push(TreeFacts {
            name: name.to_string(),
            index,
            entries: report.entries,
            nodes: report.nodes,
            height: report.height,
            bytes: report.node_bytes + report.apart_bytes,
            apart: report.apart,
            damaged: report.damaged,
        });
    }
    trees
}

/// The indexes of the commits before the newest, each state of each once.
fn older(engine: &Engine, pace: &Arc<Pace>, findings: &mut Findings) -> Result<(), Failure> {
    let mut follow = engine.follow(1);
    let newest = engine.snapshot();
    let mut before = newest.names().clone();
    loop {
        let snapshot = match follow.ready() {
            Ok(Some(Followed::Commit(snapshot))) => snapshot,
            Ok(Some(Followed::Freed(_))) => continue,
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                let place = format_args!("commit {}", follow.position());
                findings.add(place, error);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let source: Arc<dyn Source> = Arc::new(Paced {
            snapshot: snapshot.clone(),
            pace: pace.clone(),
        });
        for (name, reference) in snapshot.names() {
            let told = [before.get(name), newest.names().get(name)];
            if told.contains(&Some(reference)) {
                continue;
            }
            let Ok(record) = snapshot.read(reference).wait() else {
                continue;
            };
            let place = format!("{name} at commit {}", snapshot.sequence());
            match indexes::check(&source, *reference, &record) {
                Some((index, Ok(report))) => {
                    for damage in &report.damage {
                        findings.add(format_args!("{index} {place}"), &damage.what);
                    }
                    findings.damaged += report.damaged - report.damage.len() as u64;
                }
                Some((index, Err(error))) => findings.add(format_args!("{index} {place}"), error),
                None => {}
            }
        }
        before.clone_from(snapshot.names());
        pace.progress.tick();
    }
}

impl Facts {
    fn tell(&self, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
        let batches = &self.batches;
        terminal.say(format_args!(
            "batches     {} in {}, with {}, {} and {} bytes",
            batches.batches,
            count(batches.streams, "stream"),
            count(batches.records, "record"),
            count(batches.commits, "commit"),
            batches.bytes
        ))?;
        let references = &self.references;
        terminal.say(format_args!(
            "references  {} followed from commit {}, to {} records",
            references.edges, references.sequence, references.records
        ))?;
        for tree in &self.trees {
            terminal.say(format_args!(
                "{:<12}{}: {} entries in {} nodes, height {}, {} values apart, {} bytes",
                tree.index,
                tree.name,
                tree.entries,
                tree.nodes,
                tree.height,
                tree.apart,
                tree.bytes
            ))?;
        }
        self.findings.tell(terminal)
    }
}
