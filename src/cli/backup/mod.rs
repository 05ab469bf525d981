//! `backup`: every commit of a stack with all that it leads to, each record once; what was there before is
//! not written again.
//!
//! ```text
//!   stack    1 ─ 2 ─ 3 ─ 4 ─ 5 ─ 6                backup    run 1: all that 1 to 3 lead to
//!            └ run 1 ┘   └ run 2 ┘                          run 2: what 4 to 6 have besides
//! ```
//!
//! It goes along with [`Follow`](crate::front::Follow), so it takes what is proven and leaves nothing out;
//! records are copied by their reference tables, whatever they mean. Nothing is written to the stack. It
//! refuses to add to the backup of another stack, or of one whose history went another way since.

mod book;
mod chunk;
mod restore;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use self::book::{Adding, Book, CHUNK, Run as RunFacts, Tagged};
pub(super) use self::restore::Restore;
use super::progress::Progress;
use super::roots::time;
use super::text::count;
use super::verify::findings::Findings;
use super::{Failure, Outcome, Run, SetArg, StackArg, Terminal};
use crate::contract::env::in_passing;
use crate::contract::{Changes, Error, Names, RootAt, RootMarker};
use crate::front::{Engine, Followed, Snapshot};
use crate::interfaces::records::check_edge;
use crate::medium::Medium;
use crate::medium::file::FileMedium;
use crate::stack::Registry;

/// Add what is new in a stack to a backup of it
///
/// Every commit with all that it leads to; of what the directory holds already nothing is written again.
/// `restore` makes a stack of it, as of any commit. Nothing that an earlier run finished is touched, so a run
/// that is broken off leaves the backup as it was. Works beside a writer, on what it has proven. Commits
/// that were reclaimed between two runs are told, and missing. Tags come along: those that there are when a
/// run ends. What was written before is not looked at again: that is for --verify.
///
/// Bodies are kept as they were given: the backup of an encrypted stack is not encrypted. Takes at most
/// 80 bytes of memory for each record of the backup.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  travertine backup stack.toml /mnt/backup           everything at first, then what is new
  travertine backup --list /mnt/backup               which commits there are
  travertine backup --verify /mnt/backup             is every byte as it was written?
  travertine restore /mnt/backup new.toml --at 41")]
pub(super) struct Backup {
    /// The stack file
    #[arg(value_name = "STACK", required_unless_present_any = ["list", "verify"])]
    stack: Option<PathBuf>,
    /// The directory of the backup, which holds nothing else; made where it is missing
    #[arg(value_name = "DIR", required_unless_present_any = ["list", "verify"])]
    directory: Option<PathBuf>,
    #[command(flatten)]
    set: SetArg,
    /// Print what a backup holds
    #[arg(long, value_name = "DIR", conflicts_with_all = ["stack", "verify"])]
    list: Option<PathBuf>,
    /// Check every byte, every record and every reference of a backup
    #[arg(long, value_name = "DIR", conflicts_with = "stack")]
    verify: Option<PathBuf>,
    /// Print bare facts as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct VerifyFacts {
    runs: u64,
    commits: u64,
    bytes: u64,
    #[serde(flatten)]
    findings: Findings,
}

impl Run for Backup {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        if let Some(directory) = &self.list {
            return self.list(directory, terminal);
        }
        if let Some(directory) = &self.verify {
            return self.verify(directory, terminal);
        }
        let (Some(path), Some(directory)) = (self.stack, self.directory) else {
            return Err(Failure::wrong(
                "name a stack, and the directory of the backup",
            ));
        };
        let stack = StackArg {
            path,
            set: self.set,
        };
        let opened = stack.open_to_read(registry, terminal)?;
        let medium: Arc<dyn Medium> = Arc::new(FileMedium::new(&directory, 8));
        let progress = Progress::things("backing up", opened.engine.snapshot().sequence());
        progress.show(terminal);
        let mut gone = Vec::new();
        let added = add(&opened.engine, &medium, CHUNK, |event| match event {
            Event::Commit(sequence) => progress.at(sequence),
            Event::Freed(first, last) => gone.push((first, last)),
        });
        progress.finish();
        let added = added?;
        for (first, last) in gone {
            terminal.note(format_args!(
                "commits {first} to {last} were reclaimed before they were backed up"
            ))?;
        }
        match added {
            added if self.json => terminal.json(&added)?,
            None => terminal.say("nothing is new")?,
            Some(run) => tell(&run, terminal)?,
        }
        Ok(Outcome::Fine)
    }
}

impl Backup {
    fn list(&self, directory: &Path, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let book = open(directory)?;
        for run in &book.runs {
            if self.json {
                terminal.json(run)?;
            } else {
                tell(run, terminal)?;
            }
        }
        book.refuse_broken()?;
        Ok(Outcome::Fine)
    }

    fn verify(&self, directory: &Path, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let mut findings = Findings::default();
        let (mut facts, mut left) = ((0, 0, 0), None);
        match open(directory) {
            Ok(book) => {
                facts = (book.runs.len() as u64, book.commits() as u64, book.bytes());
                let progress = Progress::bytes("verifying", facts.2, 0);
                progress.show(terminal);
                let mut read = 0;
                let tick = |bytes| {
                    read += bytes;
                    progress.at(read);
                };
                let done = book.verify(tick, |place, what| findings.add(place, what));
                progress.finish();
                done?;
                let whole = book.runs.last().filter(|_| book.is_broken());
                left = whole.map(|run| run.last);
            }
            // Nothing of it can be reached.
            Err(Failure::Error(error)) if error.kind() == crate::contract::ErrorKind::Corrupt => {
                findings.add(directory.display(), error);
            }
            Err(failure) => return Err(failure),
        }
        let damaged = findings.damaged;
        let (runs, commits, bytes) = facts;
        if self.json {
            terminal.json(&VerifyFacts {
                runs,
                commits,
                bytes,
                findings,
            })?;
        } else {
            terminal.say(format_args!(
                "backup      {} with {}, {bytes} bytes",
                count(runs, "run"),
                count(commits, "commit")
            ))?;
            findings.tell(terminal)?;
            if let Some(last) = left {
                terminal.say(format_args!(
                    "restore --at {last}, or an earlier one, takes what came before the damaged run"
                ))?;
            }
        }
        if damaged == 0 {
            return Ok(Outcome::Fine);
        }
        terminal.complain(&format!("{damaged} things are damaged"))?;
        Ok(Outcome::Fault)
    }
}

fn tell(run: &RunFacts, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let tags = match run.tags.len() {
        0 => String::new(),
        tags => format!(", {}", count(tags as u64, "tag")),
    };
    // Where some were reclaimed before, not all that lie between are there.
    let commits = match run.commits.checked_sub(1) == run.last.checked_sub(run.first) {
        true => format!("commits {} to {}", run.first, run.last),
        false => format!(
            "{} of those from {} to {}",
            count(run.commits, "commit"),
            run.first,
            run.last
        ),
    };
    terminal.say(format_args!(
        "{:>8}  {}  {commits}, {} and {} bytes{tags}",
        run.run,
        time(run.time),
        count(run.records, "record"),
        run.bytes
    ))
}

/// The backup in a directory, which must hold one.
fn open(directory: &Path) -> Result<Book, Failure> {
    let book = Book::open(Arc::new(FileMedium::new(directory, 8)))?;
    if book.runs.is_empty() {
        book.refuse_broken()?;
        return Err(Failure::fault(format!(
            "there is no backup in {}",
            directory.display()
        )));
    }
    Ok(book)
}

/// What a run says while it is at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// So far it has come.
    Commit(u64),
    /// These commits were freed.
    Freed(u64, u64),
}

/// Adds what is proven in a store and not in the backup yet. `None`: nothing.
fn add(
    engine: &Engine,
    medium: &Arc<dyn Medium>,
    chunk: u64,
    tell: impl FnMut(Event),
) -> Result<Option<RunFacts>, Failure> {
    // Before anything is made there.
    book::refuse_foreign(&**medium)?;
    // Two runs at once would write the same chunks. The directory is made here, too.
    medium.lock()?;
    let added = add_locked(engine, medium, chunk, tell);
    medium.unlock();
    added
}

fn add_locked(
    engine: &Engine,
    medium: &Arc<dyn Medium>,
    chunk: u64,
    mut tell: impl FnMut(Event),
) -> Result<Option<RunFacts>, Failure> {
    let mut book = Book::open(medium.clone())?;
    book.refuse_broken()?;
    let stack = engine.status().identity;
    let from = book.runs.last().map_or(1, |run| run.last + 1);
    if let Some(last) = book.runs.last() {
        same(engine, &stack, last)?;
    }
    let mut adding = Adding::begin(&mut book, chunk);
    let mut names = Names::new();
    let mut follow = engine.follow(from);
    while let Some(followed) = follow.ready()? {
        match followed {
            Followed::Commit(snapshot) => {
                commit(engine, &snapshot, &names, &mut adding)?;
                names = snapshot.names().clone();
                tell(Event::Commit(snapshot.sequence()));
            }
            Followed::Freed(freed) => tell(Event::Freed(*freed.start(), *freed.end())),
        }
    }
    let tags = engine.tags()?.into_iter().map(|tag| Tagged {
        tag: tag.name,
        sequence: tag.sequence,
    });
    Ok(adding.finish(&stack, tags.collect())?)
}

/// Refuses a stack that is not the one that was backed up before.
fn same(engine: &Engine, stack: &str, last: &RunFacts) -> Result<(), Failure> {
    let other = |what: String| {
        Failure::wrong(format!(
            "the backup is not one of this stack: {what}. Nothing was written; name another directory"
        ))
    };
    if last.stack != stack {
        return Err(other(format!(
            "it is of {}, this one is {stack}",
            last.stack
        )));
    }
    let newest = engine.snapshot().sequence();
    if newest < last.last {
        return Err(other(format!(
            "it has commit {}, and the newest here is {newest}",
            last.last
        )));
    }
    match engine.at(RootAt::Sequence(last.last))? {
        Some(there) if there.epoch().to_string() != last.epoch || there.time() != last.time => {
            Err(other(format!("its commit {} is another one", last.last)))
        }
        _ => Ok(()),
    }
}

/// Adds a commit and what it leads to.
fn commit(
    engine: &Engine,
    snapshot: &Snapshot,
    before: &Names,
    adding: &mut Adding<'_>,
) -> Result<(), Failure> {
    let mut changes = Changes::new();
    let mut left = Vec::new();
    for (name, to) in snapshot.names() {
        if before.get(name) != Some(to) {
            changes.insert(name.clone(), Some(*to));
            left.push(*to);
        }
    }
    for name in before.keys().filter(|name| snapshot.root(name).is_none()) {
        changes.insert(name.clone(), None);
    }
    while let Some(reference) = left.pop() {
        let oid = reference.oid;
        if adding.has(oid) {
            continue;
        }
        let Some(record) = in_passing(|| engine.read(oid)).wait()? else {
            if reference.weak {
                continue;
            }
            let what = format!("a reference names {oid}, and there is no record");
            return Err(Error::corrupt(what).into());
        };
        check_edge(&reference, &record)?;
        adding.record(oid, &record)?;
        left.extend(record.references().filter(|edge| !adding.has(edge.oid)));
    }
    let marker = RootMarker {
        sequence: snapshot.sequence(),
        epoch: snapshot.epoch(),
        time: snapshot.time(),
        previous: None,
        jump: None,
        proven: None,
        directory: None,
        changes,
        vector: Vec::new(),
    };
    adding.commit(place(snapshot.sequence())?, &marker)?;
    Ok(())
}

/// Commits lie under their numbers, so that two of them never have the same place in a backup.
fn place(sequence: u64) -> Result<crate::contract::Oid, Error> {
    crate::contract::Oid::from_raw(sequence)
        .ok_or_else(|| Error::unsupported(format!("a commit of number {sequence}")))
}
