//! `verify`: looks at everything, and names what is damaged.
//!
//! ```text
//!   batches      every batch of every stream: running checksums, each record's own check
//!   references   every edge from the newest commit on, floor by floor blind to what a record means
//!   trees        what only the index knows: order, counts, bounds
//! ```
//!
//! It promises that damage in one place does not hide damage in another, as far as the places can be
//! reached. Memory: one bit for each 16 bytes of records that have references, and no more.

mod batches;
mod findings;
pub(super) mod reach;

use clap::Args;
use serde::Serialize;

use self::findings::Findings;
use super::progress::Progress;
use super::stack_arg::open_floors;
use super::text::count;
use super::{Failure, Outcome, Run, StackArg, Terminal, tree};
use crate::contract::{Env, ErrorKind};
use crate::front::{Engine, Options, Snapshot};
use crate::interfaces::report::Report;
use crate::stack::Registry;

/// Check every checksum, every reference and every tree of a stack
///
/// Exit code 1 if anything is damaged, with the places. Works beside a writer, on what it has proven.
#[derive(Debug, Args)]
#[command(after_help = "Example: travertine verify stack.toml")]
pub(super) struct Verify {
    #[command(flatten)]
    stack: StackArg,
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
    entries: u64,
    nodes: u64,
    height: u64,
    bytes: u64,
    apart: u64,
    damaged: u64,
}

impl Run for Verify {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        self.stack.recover(registry, terminal)?;
        let file = self.stack.load(registry)?;
        let env = Env::system();
        let stack = open_floors(&file, terminal)?;
        let mut facts = Facts::default();
        let progress = Progress::bytes("verifying", 0, 0);
        progress.show(terminal);
        let findings = &mut facts.findings;
        facts.batches = batches::check(&*stack.store(), findings, &progress)?;
        match Engine::open(stack.store(), &env, Options::reading()) {
            Ok(engine) => {
                facts.references = reach::check(&engine, findings, &progress)?;
                facts.trees = trees(&engine.snapshot(), findings);
            }
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                findings.add("the newest commit", &error);
            }
            Err(error) => return Err(error.into()),
        }
        progress.finish();
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

/// Every name that is a tree, as its index sees it.
fn trees(snapshot: &Snapshot, findings: &mut Findings) -> Vec<TreeFacts> {
    let mut trees = Vec::new();
    for (name, reference) in snapshot.names() {
        match snapshot.read(reference).wait() {
            Ok(record) => match tree::is_tree(snapshot, &record) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(error) => {
                    findings.add(format_args!("name {name}"), &error);
                    continue;
                }
            },
            // The walk along the references told it.
            Err(_) => continue,
        }
        let report = match tree::reader(snapshot, name) {
            Ok(Some(reader)) => reader.verify(),
            Ok(None) => continue,
            Err(error) => {
                findings.add(format_args!("tree {name}"), &error);
                Report::new()
            }
        };
        for damage in &report.damage {
            let place = damage.oid.map_or_else(String::new, |oid| format!(" {oid}"));
            findings.add(format_args!("tree {name}{place}"), &damage.what);
        }
        findings.damaged += report.damaged - report.damage.len() as u64;
        trees.push(TreeFacts {
            name: name.to_string(),
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
                "tree        {}: {} entries in {} nodes, height {}, {} values apart, {} bytes",
                tree.name, tree.entries, tree.nodes, tree.height, tree.apart, tree.bytes
            ))?;
        }
        self.findings.tell(terminal)
    }
}
