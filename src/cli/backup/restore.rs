//! `restore`: a stack of a backup, as of any commit that it holds.
//!
//! Records come in as [`migrate`](super::super::migrate) copies them: each once, what it names before it,
//! every reference named anew. So a stack of any shape can be made, with an identity of its own. Every
//! record is checked on its way; names change in the last commit alone, unless the history comes along.
//! Tags come last, each in a commit of its own.

use std::collections::HashMap;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::super::migrate::{Copy, Originals, changes};
use super::super::progress::Progress;
use super::super::roots::time;
use super::super::text::count;
use super::super::tree::parse_at;
use super::super::{Failure, Outcome, Run, StackArg, Terminal};
use super::book::Book;
use crate::contract::limits::NAMES_PER_COMMIT_MAX;
use crate::contract::{Names, Record, Reference, RootAt};
use crate::front::{Change, Engine};
use crate::stack::Registry;

/// Make a stack of a backup, as it was at any commit
///
/// The stack must be empty; it has an identity of its own, and addresses differ. Without --at: as of the
/// newest commit of the backup. With --history every commit up to there, in the same order, though with
/// numbers and times of their own. Every record is checked on its way; what is damaged is named, and the
/// names are set once all that they lead to is there. The tags of what is restored come along, as the last run
/// of the backup found them. Where a run of the backup is damaged, commits that came before it are restored.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  travertine restore /mnt/backup new.toml
  travertine restore /mnt/backup new.toml --at 41
  travertine restore /mnt/backup new.toml --at before-the-import
  travertine restore /mnt/backup new.toml --at 2026-11-21T12:00:00Z --history")]
pub(in super::super) struct Restore {
    /// The directory of the backup
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    #[command(flatten)]
    stack: StackArg,
    /// The commit of this number, the newest at this time, like 2026-11-21T12:00:00Z, or that of this tag
    #[arg(long, value_name = "SEQUENCE|TIME|TAG")]
    at: Option<String>,
    /// Every commit up to that one
    #[arg(long)]
    history: bool,
    /// Print what was restored as JSON
    #[arg(long)]
    json: bool,
}

/// What was restored.
#[derive(Debug, Serialize)]
pub(super) struct Facts {
    /// The commit of the backup.
    pub(super) sequence: u64,
    time: String,
    commits: u64,
    names: u64,
    records: u64,
    bytes: u64,
    pub(super) tags: u64,
}

impl Run for Restore {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let book = super::open(&self.directory)?;
        let at = match self.at.as_deref() {
            None => RootAt::Newest,
            Some(text) => match book.tags().iter().find(|tag| tag.tag == text) {
                Some(tag) => RootAt::Sequence(tag.sequence),
                None => parse_at(text)?,
            },
        };
        let progress = Progress::things("restoring", 0);
        progress.show(terminal);
        let restored = self.stack.write(registry, |engine| {
            restore(&book, engine, at, self.history, || progress.tick())
        });
        progress.finish();
        let facts = restored?;
        if self.json {
            terminal.json(&facts)?;
        } else {
            terminal.say(format_args!(
                "commit {} of {} restored: {}, {} and {} bytes",
                facts.sequence,
                facts.time,
                count(facts.names, "name"),
                count(facts.records, "record"),
                facts.bytes
            ))?;
            if facts.tags > 0 {
                terminal.say(format_args!("{} restored", count(facts.tags, "tag")))?;
            }
        }
        Ok(Outcome::Fine)
    }
}

/// Copies a commit of a backup, and with `history` all before it, into an empty store.
pub(super) fn restore(
    book: &Book,
    engine: &Engine,
    at: RootAt,
    history: bool,
    tick: impl Fn(),
) -> Result<Facts, Failure> {
    let there = engine.snapshot().sequence();
    if there > 0 {
        return Err(Failure::wrong(format!(
            "the stack holds something else: it has {}. Nothing was written; name an empty one",
            count(there, "commit")
        )));
    }
    let Some(found) = book.find(at)? else {
        return Err(Failure::fault(
            "the backup has no such commit; `backup --list` tells which it has",
        ));
    };
    let marker = book.commit(found)?;
    let mut copy = Copy::new(book, engine.session()?, HashMap::new());
    let (mut names, mut commits) = (Names::new(), 0);
    let mut tagged = Vec::new();
    if history {
        let mut next = Names::new();
        for index in 0..=found {
            let sequence = book.change(index, &mut next)?.sequence;
            commits += commit(&mut copy, &names, &next, true, &tick)?;
            names.clone_from(&next);
            let tags = book.tags().iter().filter(|tag| tag.sequence == sequence);
            tagged.extend(tags.map(|tag| (tag, engine.snapshot())));
        }
    } else {
        let wanted = book.names(found)?;
        commits += commit(&mut copy, &names, &wanted, false, &tick)?;
        names = wanted;
        for tag in book.tags() {
            // A tag is a commit itself, which changes no name: it may be the one that is restored.
            let same = match book.find(RootAt::Sequence(tag.sequence))? {
                Some(index) => index == found || index < found && book.names(index)? == names,
                None => false,
            };
            if same && commits > 0 {
                tagged.push((tag, engine.snapshot()));
            }
        }
    }
    for (tag, snapshot) in &tagged {
        engine.tag(&tag.tag, snapshot)?;
    }
    Ok(Facts {
        sequence: marker.sequence,
        time: time(marker.time),
        commits,
        names: names.len() as u64,
        records: copy.records,
        bytes: copy.bytes,
        tags: tagged.len() as u64,
    })
}

/// Changes the names from those before to those that are wanted, and answers in how many commits.
fn commit(
    copy: &mut Copy<'_, Book>,
    before: &Names,
    wanted: &Names,
    empty: bool,
    tick: &impl Fn(),
) -> Result<u64, Failure> {
    let changes = changes(before, wanted, copy, tick)?;
    let parts: Vec<&[Change]> = match changes.is_empty() {
        // A commit that changed nothing has a number all the same.
        true if empty => vec![&[]],
        _ => changes.chunks(NAMES_PER_COMMIT_MAX).collect(),
    };
    for part in &parts {
        copy.session().commit(part, None).wait()?;
    }
    Ok(parts.len() as u64)
}

impl Originals for Book {
    fn original(&self, reference: &Reference) -> Result<Record, Failure> {
        // The record was checked against the reference when it was backed up, and against its own check now.
        self.read(reference.oid)?.ok_or_else(|| {
            Failure::fault(format!(
                "{}: a reference names it, and the backup does not have it",
                reference.oid
            ))
        })
    }
}
