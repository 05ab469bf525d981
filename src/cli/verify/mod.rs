//! `verify`: looks at everything, and names what is damaged.
//!
//! ```text
//!   batches      every batch of every stream: running checksums, each record's own check
//!   references   every edge from the newest commit on, floor by floor blind to what a record means
//!   trees        what only the index knows: order, counts, bounds
//!   chains       what only the chain knows: numbers without a gap, links
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
use crate::contract::{Env, ErrorKind, Name, Record, Result};
use crate::front::{Engine, Options, Snapshot};
use crate::interfaces::chain::{self, CHAIN_ROOT, Chain};
use crate::interfaces::report::Report;
use crate::stack::Registry;

/// Check every checksum, every reference, every tree and every chain of a stack
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
    trees: Vec<IndexFacts>,
    chains: Vec<IndexFacts>,
    #[serde(flatten)]
    findings: Findings,
}

/// A tree or a chain.
#[derive(Debug, Serialize)]
struct IndexFacts {
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
                let snapshot = engine.snapshot();
                facts.trees = indexes(&snapshot, &TREES, findings);
                facts.chains = indexes(&snapshot, &CHAINS, findings);
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

/// A kind of index that is looked at as it sees itself.
struct Index {
    is: fn(&Snapshot, &Record) -> Result<bool>,
    word: &'static str,
    verify: fn(&Snapshot, &Name) -> Result<Report>,
}

const TREES: Index = Index {
    is: tree::is_tree,
    word: "tree",
    verify: |snapshot, name| Ok(tree::map(name.clone()).reader(snapshot).wait()?.verify()),
};

const CHAINS: Index = Index {
    is: |_, record| Ok(record.kind() == CHAIN_ROOT),
    word: "chain",
    verify: |snapshot, name| {
        let chain = Chain::new(name.clone(), chain::Options::default());
        Ok(chain.reader(snapshot).wait()?.verify())
    },
};

/// Every name of one kind of index, as the index sees it.
fn indexes(snapshot: &Snapshot, index: &Index, findings: &mut Findings) -> Vec<IndexFacts> {
    let word = index.word;
    let mut found = Vec::new();
    for (name, reference) in snapshot.names() {
        match snapshot.read(reference).wait() {
            Ok(record) => match (index.is)(snapshot, &record) {
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
        let report = (index.verify)(snapshot, name).unwrap_or_else(|error| {
            findings.add(format_args!("{word} {name}"), &error);
            Report::new()
        });
        for damage in &report.damage {
            let place = damage.oid.map_or_else(String::new, |oid| format!(" {oid}"));
            findings.add(format_args!("{word} {name}{place}"), &damage.what);
        }
        findings.damaged += report.damaged - report.damage.len() as u64;
        found.push(IndexFacts {
            name: name.to_string(),
            entries: report.entries,
            nodes: report.nodes,
            height: report.height,
            bytes: report.node_bytes + report.apart_bytes,
            apart: report.apart,
            damaged: report.damaged,
        });
    }
    found
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
        for chain in &self.chains {
            terminal.say(format_args!(
                "chain       {}: {} entries in {} records, {} apart, {} bytes",
                chain.name, chain.entries, chain.nodes, chain.apart, chain.bytes
            ))?;
        }
        self.findings.tell(terminal)
    }
}
