//! `roots`: the history of commits.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use clap::Args;
use serde::Serialize;

use super::{Failure, Outcome, Run, StackArg, Terminal};
use crate::contract::marker::decode_directory;
use crate::contract::{Error, Name, Names, Reference, Result, RootMarker};
use crate::front::Engine;
use crate::stack::Registry;

/// Print the commits of a stack, the newest first
///
/// Each with its number, its time, the names that it changed, the epoch of its writer and the address
/// of its root marker. A name that was dropped has a minus in front. A tag stands in brackets behind the
/// commit that it names.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  travertine roots stack.toml --limit 3
  travertine get stack.toml --tree orders order-17 --at 41      what a commit had")]
pub(super) struct Roots {
    #[command(flatten)]
    stack: StackArg,
    /// At most so many commits
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Print one line of JSON for each commit
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Facts {
    sequence: u64,
    time: String,
    epoch: String,
    oid: String,
    tags: Vec<String>,
    /// `None`: what came before it is no longer there to compare with.
    changed: Option<Vec<Changed>>,
}

/// A name that points elsewhere than before.
#[derive(Debug, Serialize)]
pub(super) struct Changed {
    name: String,
    /// Where it points now; none if it was dropped.
    to: Option<String>,
}

impl Run for Roots {
    fn run(
        self,
        registry: &Registry,
        terminal: &mut Terminal<'_>,
    ) -> std::result::Result<Outcome, Failure> {
        let opened = self.stack.open_to_read(registry, terminal)?;
        let engine = &opened.engine;
        let tags = engine.tags()?;
        let mut directory = Directory::default();
        let mut history = engine.history();
        let mut next = history.next();
        for _ in 0..self.limit {
            let Some(found) = next else { break };
            let (oid, marker) = found?;
            // What came before only says what changed: this commit is told without it, too.
            next = history.next();
            let before = match &next {
                Some(Ok((_, marker))) => Some(marker),
                _ => None,
            };
            let facts = Facts {
                sequence: marker.sequence,
                time: time(marker.time),
                epoch: marker.epoch.to_string(),
                oid: oid.to_string(),
                tags: tags
                    .iter()
                    .filter(|tag| tag.sequence == marker.sequence)
                    .map(|tag| tag.name.clone())
                    .collect(),
                changed: match before {
                    None if marker.previous.is_some() => None,
                    before => Some(changed(engine, &mut directory, &marker, before)?),
                },
            };
            if self.json {
                terminal.json(&facts)?;
            } else {
                facts.tell(terminal)?;
            }
        }
        Ok(Outcome::Fine)
    }
}

impl Facts {
    fn tell(&self, terminal: &mut Terminal<'_>) -> std::result::Result<(), Failure> {
        let mut names: Vec<_> = match &self.changed {
            Some(changed) => changed.iter().map(Changed::text).collect(),
            None => vec!["(what came before is not here any more)".to_owned()],
        };
        names.extend(self.tags.iter().map(|tag| format!("[{tag}]")));
        terminal.say(format_args!(
            "{:>8}  {}  {}  {}  {}",
            self.sequence,
            self.time,
            self.epoch,
            self.oid,
            names.join(" ")
        ))
    }
}

impl Changed {
    /// The names that differ, in order.
    pub(super) fn between(old: &Names, new: &Names) -> Vec<Self> {
        let set = new
            .iter()
            .filter(|(name, to)| old.get(name) != Some(*to))
            .map(|(name, to)| (name, Some(to)));
        let dropped = old.keys().filter(|name| !new.contains_key(*name));
        let all: BTreeMap<_, _> = set.chain(dropped.map(|name| (name, None))).collect();
        let change = |(name, to): (&Name, Option<&Reference>)| Self {
            name: name.to_string(),
            to: to.map(|to| to.oid.to_string()),
        };
        all.into_iter().map(change).collect()
    }

    /// In words.
    pub(super) fn text(&self) -> String {
        let minus = if self.to.is_some() { "" } else { "-" };
        format!("{minus}{}", self.name)
    }
}

/// A time of the engine, as people write it.
pub(super) fn time(us: u64) -> String {
    humantime::format_rfc3339_micros(UNIX_EPOCH + Duration::from_micros(us)).to_string()
}

/// The directory that was read last: commits one after the other mostly share it.
#[derive(Default)]
struct Directory {
    reference: Option<Reference>,
    names: Names,
}

impl Directory {
    /// Every name of a commit, and where it points.
    fn names(&mut self, engine: &Engine, marker: &RootMarker) -> Result<Names> {
        if self.reference != marker.directory {
            self.names = match &marker.directory {
                None => Names::new(),
                Some(reference) => {
                    let record = engine.read(reference.oid).wait()?.ok_or_else(|| {
                        Error::corrupt(format!("there is no directory at {}", reference.oid))
                    })?;
                    decode_directory(reference.oid, &record)?
                }
            };
            self.reference = marker.directory;
        }
        let mut names = self.names.clone();
        for (name, to) in &marker.changes {
            match to {
                Some(to) => names.insert(name.clone(), *to),
                None => names.remove(name),
            };
        }
        Ok(names)
    }
}

/// What a commit changed against the one before it. A marker says what changed since a directory,
/// which may be many commits back.
fn changed(
    engine: &Engine,
    directory: &mut Directory,
    marker: &RootMarker,
    before: Option<&RootMarker>,
) -> Result<Vec<Changed>> {
    let new = directory.names(engine, marker)?;
    let old = match before {
        Some(before) => directory.names(engine, before)?,
        None => Names::new(),
    };
    Ok(Changed::between(&old, &new))
}
