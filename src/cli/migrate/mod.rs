//! `migrate`: everything of one stack into another, record by record, and compared in the end.
//!
//! ```text
//!   from   commit 1 ── commit 2 ── commit 3        to   commit 1 ── commit 2 ── commit 3
//!             │           │           │                    │           │           │
//!          records, each once, with every reference named anew ──────────> the same graph
//! ```
//!
//! References stand in tables of their own, so records of any kind are copied without being understood,
//! between stacks of any shape. What comes out is the same up to addresses and times.
//!
//! It promises to change nothing but the second stack, and nothing there that it did not put there: a
//! target that holds something else is refused. What was broken off is gone on with by the same call:
//! the commits that are there are compared first, and must be those of the source. It refuses stacks that
//! share a directory.

mod compare;
mod copy;

use std::collections::VecDeque;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use self::compare::Comparison;
pub(super) use self::copy::{Copy, Originals};
use super::progress::Progress;
use super::text::count;
use super::{Failure, Opened, Outcome, Run, SetArg, StackArg, Terminal};
use crate::contract::limits::NAMES_PER_COMMIT_MAX;
use crate::contract::{Error, Names, Op, RootAt};
use crate::front::{Change, Committed, Engine, Expect, Snapshot};
use crate::stack::Registry;

/// Most commits that are under way at once.
const COMMITS_MAX: usize = 256;

/// Copy everything of one stack into another, and compare it
///
/// Every name with all that it leads to, of the newest commit; with --history of every commit, in the
/// same order, so that older states can be read in the copy as well. Addresses differ in the copy, and
/// times are those of the copying. Indexes, values and records of any kind are copied alike. The tags of
/// the commits that are copied come last, each in a commit of its own.
///
/// Nothing is written to the first stack, unless its last writer died: then it is recovered first. The
/// second must be empty, or hold what an earlier call that was broken off has copied. In the end it is
/// opened anew and compared with the first, record by record. What became of each record is kept in
/// memory: at most 80 bytes a record, and for moments half as much again, so that 10 million records take
/// up to 1.2 GB.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  travertine migrate solo.toml new.toml
  travertine migrate old.toml new.toml --history")]
pub(super) struct Migrate {
    /// The stack to copy from
    #[arg(value_name = "FROM")]
    from: PathBuf,
    /// The stack to copy to
    #[arg(value_name = "TO")]
    to: PathBuf,
    /// Copy every commit, not only the newest
    #[arg(long)]
    history: bool,
    /// Print what was copied as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Facts {
    commits: u64,
    names: u64,
    records: u64,
    bytes: u64,
    /// Tags of the commits that were copied, and those of others.
    tags: u64,
    tags_left: u64,
    /// Commits that an earlier call had copied.
    there_before: u64,
    compared: bool,
}

impl Run for Migrate {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let stack = |path: &PathBuf| StackArg {
            path: path.clone(),
            set: SetArg { set: Vec::new() },
        };
        let (from, to) = (stack(&self.from), stack(&self.to));
        apart(&from, &to, registry)?;
        let source = from.open_to_read(registry, terminal)?;
        let commits = self.commits(&source.engine)?;
        let progress = Progress::things("copying", commits.len() as u64);
        progress.show(terminal);
        let (there_before, records, bytes) = to.write(registry, |target| {
            self.copy(&source.engine, target, &commits, &progress)
        })?;
        progress.finish();
        let names = commits.last().map_or(0, |last| last.names().len() as u64);
        let progress = Progress::things("comparing", commits.len() as u64);
        progress.show(terminal);
        let target: Opened = to.open_to_read(registry, terminal)?;
        let compared = self.compare(&commits, &self.commits(&target.engine)?, &progress)?;
        progress.finish();
        drop(target);
        let (tags, tags_left) = match source.engine.tags()?.is_empty() {
            true => (0, 0),
            false => to.write(registry, |target| {
                copy_tags(&source.engine, target, &commits, &self.commits(target)?)
            })?,
        };
        let facts = Facts {
            commits: commits.len() as u64,
            names,
            records: compared.records(),
            bytes,
            tags,
            tags_left,
            there_before,
            compared: true,
        };
        if self.json {
            terminal.json(&facts)?;
        } else {
            let before = match there_before {
                0 => String::new(),
                there => format!("; {} had been copied before", count(there, "commit")),
            };
            terminal.say(format_args!(
                "{} with {} and {} copied ({records} written now) and compared{before}",
                count(facts.commits, "commit"),
                count(names, "name"),
                count(facts.records, "record"),
            ))?;
            if tags > 0 {
                terminal.say(format_args!("{} copied", count(tags, "tag")))?;
            }
            if tags_left > 0 {
                let tags = count(tags_left, "tag");
                terminal.say(format_args!(
                    "{tags} of other commits left behind: --history copies them"
                ))?;
            }
        }
        Ok(Outcome::Fine)
    }
}

impl Migrate {
    /// The commits that are copied, oldest first.
    fn commits(&self, engine: &Engine) -> Result<Vec<Snapshot>, Failure> {
        if !self.history {
            let newest = engine.snapshot();
            return Ok(if newest.sequence() == 0 {
                Vec::new()
            } else {
                vec![newest]
            });
        }
        let mut commits = Vec::new();
        for found in engine.history() {
            let (_, marker) = found?;
            let sequence = marker.sequence;
            let snapshot = engine.at(RootAt::Sequence(sequence))?;
            let gone = || Error::corrupt(format!("commit {sequence} is told and not there"));
            commits.push(snapshot.ok_or_else(gone)?);
        }
        commits.reverse();
        if let Some(first) = commits.first()
            && first.names().len() > NAMES_PER_COMMIT_MAX
        {
            return Err(Failure::wrong(format!(
                "the history begins with {} names at once, and one commit changes {NAMES_PER_COMMIT_MAX} \
                 at most: copy it without --history",
                first.names().len()
            )));
        }
        Ok(commits)
    }

    /// Copies what is not there yet. Answers how many commits were there, and the records and bytes that
    /// were written.
    fn copy(
        &self,
        source: &Engine,
        target: &Engine,
        commits: &[Snapshot],
        progress: &Progress,
    ) -> Result<(u64, u64, u64), Failure> {
        let mut there = self.commits(target)?;
        // The commits of tags that an earlier call has copied come after all that it copied.
        let tags = target.tags()?.len();
        if there.len() <= commits.len() + tags {
            there.truncate(commits.len());
        }
        if there.len() > commits.len() {
            return Err(occupied(format!("it has {} commits", there.len())));
        }
        let mut same = Comparison::default();
        let mut names = Names::new();
        for (from, to) in commits.iter().zip(&there) {
            same.commit(from, to, !self.history)
                .map_err(|failure| match failure {
                    Failure::Found(what) => occupied(what),
                    failure => failure,
                })?;
            names = from.names().clone();
            if !self.history {
                // Some of the names may be missing yet.
                names.retain(|name, _| to.root(name).is_some());
            }
        }
        let mut copy = Copy::new(source, target.session()?, same.into_map());
        let done = if self.history { there.len() } else { 0 };
        let mut waiting: VecDeque<Op<Committed>> = VecDeque::new();
        for (index, commit) in commits.iter().enumerate().skip(done) {
            let changes = changes(&names, commit.names(), &mut copy, || progress.tick())?;
            let parts: Vec<&[Change]> = match changes.is_empty() {
                // A commit that changed nothing has a number all the same.
                true if self.history => vec![&[]],
                _ => changes.chunks(NAMES_PER_COMMIT_MAX).collect(),
            };
            for part in parts {
                waiting.push_back(copy.session().commit(part, None));
                if waiting.len() > COMMITS_MAX
                    && let Some(oldest) = waiting.pop_front()
                {
                    oldest.wait()?;
                }
            }
            names = commit.names().clone();
            progress.at(index as u64 + 1);
        }
        for commit in waiting {
            commit.wait()?;
        }
        Ok((there.len() as u64, copy.records, copy.bytes))
    }

    fn compare(
        &self,
        from: &[Snapshot],
        to: &[Snapshot],
        progress: &Progress,
    ) -> Result<Comparison, Failure> {
        // Tags have commits of their own.
        let to = to.get(..from.len()).unwrap_or(to);
        if from.len() != to.len() {
            return Err(Failure::fault(format!(
                "the copy has {} commits, {} were copied",
                to.len(),
                from.len()
            )));
        }
        let mut comparison = Comparison::default();
        for (index, (from, to)) in from.iter().zip(to).enumerate() {
            comparison.commit(from, to, false)?;
            progress.at(index as u64 + 1);
        }
        Ok(comparison)
    }
}

/// Copies the tags of commits that are in the copy. Answers how many are there now, and how many name
/// commits that were not copied.
fn copy_tags(
    source: &Engine,
    target: &Engine,
    from: &[Snapshot],
    to: &[Snapshot],
) -> Result<(u64, u64), Failure> {
    let there = target.tags()?;
    let (mut copied, mut left) = (0, 0);
    for tag in source.tags()? {
        let same = from
            .iter()
            .zip(to)
            .find(|(from, _)| from.sequence() == tag.sequence);
        // The tag of a commit is a commit itself, which changes no name.
        let alike = || -> Result<Option<&Snapshot>, Failure> {
            let tagged = source.at_tag(&tag.name)?;
            let newest = from.last().zip(to.last());
            let newest = newest
                .filter(|(from, _)| tagged.is_some_and(|tagged| tagged.names() == from.names()));
            Ok(newest.map(|(_, to)| to))
        };
        let snapshot = match same {
            Some((_, to)) => Some(to),
            None => alike()?,
        };
        match snapshot {
            Some(_) if there.iter().any(|there| there.name == tag.name) => copied += 1,
            Some(snapshot) => {
                target.tag(&tag.name, snapshot)?;
                copied += 1;
            }
            None => left += 1,
        }
    }
    Ok((copied, left))
}

fn occupied(what: String) -> Failure {
    Failure::wrong(format!(
        "the second stack holds something else: {what}. Nothing was written; name an empty one"
    ))
}

/// What a commit changed, its targets copied.
pub(super) fn changes<S: Originals>(
    before: &Names,
    wanted: &Names,
    copy: &mut Copy<'_, S>,
    tick: impl Fn(),
) -> Result<Vec<Change>, Failure> {
    let mut changes = Vec::new();
    for (name, target) in wanted {
        if before.get(name) != Some(target) {
            let to = copy.graph(*target, &tick)?;
            changes.push(Change::set(name.clone(), to));
        }
    }
    for name in before.keys() {
        if !wanted.contains_key(name) {
            changes.push(Change {
                name: name.clone(),
                expect: Expect::Any,
                to: None,
            });
        }
    }
    Ok(changes)
}

/// Refuses two stacks that share a directory.
fn apart(from: &StackArg, to: &StackArg, registry: &Registry) -> Result<(), Failure> {
    let (from, to) = (from.load(registry)?, to.load(registry)?);
    let places = |file: &crate::config::StackFile| {
        let bottoms = file.plan().bottoms().into_iter();
        bottoms
            .filter_map(|(_, place, _)| place)
            .collect::<Vec<PathBuf>>()
    };
    let (from, to) = (places(&from), places(&to));
    for place in &from {
        let shared = |other: &&PathBuf| other.starts_with(place) || place.starts_with(other);
        if to.iter().any(|other| shared(&other)) {
            return Err(Failure::wrong(format!(
                "both stacks lie in {}: give the second a directory of its own",
                place.display()
            )));
        }
    }
    if to.is_empty() {
        return Err(Failure::wrong(
            "the second stack keeps nothing when it is closed: end it with a bottom that does",
        ));
    }
    Ok(())
}
