//! `verify`: looks at everything, and names what is damaged.
//!
//! ```text
//!   batches      every batch of every stream: running checksums, each record's own check
//!   copies       the same of each child of a cluster, and whether the children hold the same
//!   references   every edge from the newest commit on, or from all, blind to what a record means
//!   indexes      what only the index knows: order, counts, bounds, links
//! ```
//!
//! It promises that damage in one place does not hide damage in another, as far as the places can be
//! reached. The states of an index share most of what they are made of: of a history one is looked at whole
//! when about as much was written since the last as looking at it takes. Memory: one bit for each 16 bytes
//! of records that have references; where a writer freed something meanwhile, a few words for each commit;
//! and what the copies take.

pub(super) mod batches;
pub(super) mod findings;
mod indexes;
pub(super) mod reach;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use self::findings::Findings;
use super::cluster::copies::{Copies, Copy};
use super::pace::{Pace, Paced};
use super::progress::Progress;
use super::reclaim::size;
use super::stack_arg::open_probed;
use super::text::count;
use super::{Failure, Outcome, Run, StackArg, Terminal};
use crate::contract::{Env, ErrorKind, Name};
use crate::front::{Engine, Followed, Options, Snapshot};
use crate::interfaces::records::Source;
use crate::interfaces::report::Report;
use crate::stack::{ByteSize, Registry};

/// Check every checksum, every reference and every index of a stack
///
/// Exit code 1 if anything is damaged, with the places; nothing is changed. Works beside a writer, on what
/// it has proven, and with --rate hardly takes anything from it. Every batch that lies on the media is read, of whatever
/// commit, and of a cluster each child's: one that is away, damaged or differs from the others is told. One
/// that is behind is no damage; what a server keeps in a cluster of its own is verified there. References
/// and indexes are followed from the newest commit, with --history references from each, and of the older
/// states of an index so many are looked at that the work stays in proportion to what was written. What the
/// writer frees meanwhile is no damage: then what is left is followed anew.
///
/// What to do about damage: a file that some copy of the directory has whole goes back into its place; what a
/// backup has, `restore` brings into another stack; a child of a cluster is replaced by `cluster replace`.
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
    /// Follow the references of every commit that is left, and check the indexes of older ones too
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
    #[serde(skip_serializing_if = "Vec::is_empty")]
    copies: Vec<Copy>,
    references: reach::Facts,
    trees: Vec<TreeFacts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<HistoryFacts>,
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

/// Older states of indexes.
#[derive(Debug, Default, Serialize)]
struct HistoryFacts {
    states: u64,
    /// Those that were looked at whole.
    looked_at: u64,
}

/// So many bytes are read again for each that was written, to look at older states of indexes.
const AGAIN: u64 = 4;

/// So often a writer may free what is being looked at before what is missing is called damage.
const ATTEMPTS: u32 = 8;

impl Run for Verify {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        self.stack.recover(registry, terminal)?;
        let file = self.stack.load(registry)?;
        let env = Env::system();
        let copies = Copies::all(file.plan());
        let stack = open_probed(&file, copies.probes(), terminal)?;
        let mut facts = Facts::default();
        let progress = Progress::bytes("verifying", 0, 0);
        progress.show(terminal);
        let pace = Arc::new(Pace::new(
            &env.clock,
            self.rate.map(|rate| rate.0),
            progress,
        ));
        let status = stack.store().status();
        let streams: u64 = status.streams.iter().map(|stream| stream.end * 8).sum();
        pace.progress.of(streams + copies.bytes());
        let mut read = 0;
        // Where nobody wrote to the stack yet, an empty one of another shape may stand for it.
        if stack.plan().fingerprint() == file.plan().fingerprint() {
            facts.copies = copies.look(&status, |bytes| {
                read += bytes;
                pace.progress.at(read);
                pace.read(bytes);
            });
        }
        for copy in &facts.copies {
            let place = format!("{}, child {}", copy.cluster, copy.child);
            for trouble in &copy.troubles {
                facts.findings.add(&place, trouble);
            }
        }
        match batches::check(&*stack.store(), read, &mut facts.findings, &pace) {
            Ok(read) => facts.batches = read,
            Err(failure) => {
                return Err(self.short(&facts, failure, terminal)?);
            }
        }
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
                Err(error) => return Err(self.short(&facts, error.into(), terminal)?),
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
        terminal.complain(&format!(
            "{damaged} things are damaged; nothing was changed. Put whole copies of the files in their \
             place, `restore` a backup into another stack, or `cluster replace` a child of a cluster"
        ))?;
        Ok(Outcome::Fault)
    }
}

impl Verify {
    /// Follows the references, and checks the indexes.
    fn follow(&self, engine: &Engine, facts: &mut Facts, pace: &Arc<Pace>) -> Result<(), Failure> {
        let findings = &mut facts.findings;
        facts.references = reach::check(engine, self.history, findings, pace)?;
        facts.trees = trees(&engine.snapshot(), pace, findings);
        if self.history {
            let batches = &facts.batches;
            let share = AGAIN * batches.bytes / batches.commits.max(1);
            facts.history = Some(older(engine, share, pace, findings)?);
        }
        Ok(())
    }

    /// Ends early: where too few children are there, it is said which.
    fn short(
        &self,
        facts: &Facts,
        failure: Failure,
        terminal: &mut Terminal<'_>,
    ) -> Result<Failure, Failure> {
        if !self.json {
            facts.tell_copies(terminal)?;
        }
        Ok(failure)
    }

    /// Whether a commit that was looked at is kept no more, as somebody sees it who looks now.
    fn is_freed(&self, engine: &Engine, now: &Engine) -> Result<bool, Failure> {
        let newest = engine.snapshot().sequence();
        let looked_at = match self.history {
            true => commits(engine),
            false => Ok(BTreeSet::from([newest])),
        };
        let freed = looked_at.and_then(|looked_at| Ok(!looked_at.is_subset(&commits(now)?)));
        match freed {
            // The way back is damaged itself.
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(false),
            freed => Ok(freed?),
        }
    }
}

/// The numbers of all commits that are left.
fn commits(engine: &Engine) -> crate::contract::Result<BTreeSet<u64>> {
    let commits = engine.history().map(|found| Ok(found?.1.sequence));
    commits.collect()
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

/// What it took to look at an index, and what may be read of it since.
#[derive(Debug, Default)]
struct Looked {
    cost: u64,
    credit: u64,
}

/// The indexes of the commits before the newest, each state of each once at most. Every change of a name
/// is worth a `share` of reading; a state is looked at once that has come to what the last one took.
fn older(
    engine: &Engine,
    share: u64,
    pace: &Arc<Pace>,
    findings: &mut Findings,
) -> Result<HistoryFacts, Failure> {
    let mut facts = HistoryFacts::default();
    let mut looked = BTreeMap::<Name, Looked>::new();
    let mut follow = engine.follow(1);
    let newest = engine.snapshot();
    let mut before = newest.names().clone();
    loop {
        let snapshot = match follow.ready() {
            Ok(Some(Followed::Commit(snapshot))) => snapshot,
            Ok(Some(Followed::Freed(_))) => continue,
            Ok(None) => return Ok(facts),
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                let place = format_args!("commit {}", follow.position());
                findings.add(place, error);
                return Ok(facts);
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
            let looked = looked.entry(name.clone()).or_default();
            looked.credit += share;
            if looked.credit < looked.cost {
                facts.states += 1;
                continue;
            }
            let Ok(record) = snapshot.read(reference).wait() else {
                continue;
            };
            let began = pace.total();
            let place = format!("{name} at commit {}", snapshot.sequence());
            match indexes::check(&source, *reference, &record) {
                Some((index, Ok(report))) => {
                    for damage in &report.damage {
                        findings.add(format_args!("{index} {place}"), &damage.what);
                    }
                    findings.damaged += report.damaged - report.damage.len() as u64;
                }
                Some((index, Err(error))) => findings.add(format_args!("{index} {place}"), error),
                None => continue,
            }
            facts.states += 1;
            facts.looked_at += 1;
            *looked = Looked {
                cost: pace.total() - began,
                credit: 0,
            };
        }
        before.clone_from(snapshot.names());
        pace.progress.tick();
    }
}

impl Facts {
    fn tell_copies(&self, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
        for copy in &self.copies {
            terminal.say(format_args!("copy        {}, {copy}", copy.cluster))?;
        }
        Ok(())
    }

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
        self.tell_copies(terminal)?;
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
        if let Some(HistoryFacts { states, looked_at }) = &self.history {
            terminal.say(format_args!(
                "history     {looked_at} of {} of older commits looked at",
                count(*states, "state")
            ))?;
        }
        self.findings.tell(terminal)
    }
}
