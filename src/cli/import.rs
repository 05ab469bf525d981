//! `import`: trees from lines of JSON, as `export` prints them, in one commit.
//!
//! All or nothing: rows are built into new trees as they come, in memory that does not grow with their
//! number, and the names change once the last line has been read.

use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::export::{EXPORT, EndLine, FORMAT, Head, TreeLine};
use super::progress::Progress;
use super::text::EntryLine;
use super::tree;
use super::{Failure, Outcome, Run, StackArg, Terminal};
use crate::contract::limits::NAMES_PER_COMMIT_MAX;
use crate::contract::{Error, ErrorKind};
use crate::front::{Change, Engine};
use crate::interfaces::index::Loader;
use crate::interfaces::{Any, Index, Value, apart};
use crate::stack::Registry;

/// Longest line, in bytes: a value of 1 GiB as base64, and its key.
const LINE_MAX: u64 = 3 << 29;

/// Import trees that `export` printed
///
/// In one commit, all or nothing. A tree that has entries already is left alone, and so is everything
/// else, unless --replace says otherwise.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  travertine import stack.toml all.ndjson
  travertine export stack.toml | travertine import other.toml")]
pub(super) struct Import {
    #[command(flatten)]
    stack: StackArg,
    /// What `export` printed; `-` reads the standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Trees that are there already give way to the imported ones
    #[arg(long)]
    replace: bool,
    /// Print what was imported as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Facts {
    trees: u64,
    entries: u64,
    sequence: Option<u64>,
}

impl Run for Import {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let place = self.file.display().to_string();
        let mut lines = Lines {
            from: self.open()?,
            place,
            number: 0,
            text: Vec::new(),
        };
        // Before the stack is opened, and perhaps made.
        let head: Head = lines.next()?;
        if head.travertine != EXPORT || head.format != FORMAT {
            return Err(lines.wrong(format!(
                "this is {:?} of format {}; this version reads {EXPORT:?} of format {FORMAT}",
                head.travertine, head.format
            )));
        }
        if head.trees > NAMES_PER_COMMIT_MAX as u64 {
            return Err(lines.wrong(format!(
                "{} trees are more than one commit changes, which is {NAMES_PER_COMMIT_MAX}; \
                 export them one by one",
                head.trees
            )));
        }
        let progress = Progress::things("importing", 0);
        progress.show(terminal);
        let facts = self.stack.write(registry, |engine| {
            self.read(engine, &head, &mut lines, &progress)
        })?;
        progress.finish();
        if self.json {
            terminal.json(&facts)?;
        } else {
            terminal.say(format_args!(
                "{} trees with {} entries imported",
                facts.trees, facts.entries
            ))?;
        }
        Ok(Outcome::Fine)
    }
}

impl Import {
    fn open(&self) -> Result<Box<dyn BufRead>, Failure> {
        if self.file.as_os_str() == "-" {
            return Ok(Box::new(BufReader::with_capacity(256 << 10, io::stdin())));
        }
        #[expect(clippy::disallowed_methods, reason = "the file to import is read here")]
        let file = std::fs::File::open(&self.file);
        match file {
            Ok(file) => Ok(Box::new(BufReader::with_capacity(256 << 10, file))),
            Err(error) => Err(Failure::wrong(format!(
                "cannot read {}: {error}",
                self.file.display()
            ))),
        }
    }

    fn read(
        &self,
        engine: &Engine,
        head: &Head,
        lines: &mut Lines,
        progress: &Progress,
    ) -> Result<Facts, Failure> {
        let session = engine.session()?;
        let (mut changes, mut entries) = (Vec::new(), 0_u64);
        for _ in 0..head.trees {
            let TreeLine {
                tree: name,
                entries: count,
                index,
            } = lines.next()?;
            let index = match &index {
                None => Any::default(),
                Some(called) => Any::all()
                    .into_iter()
                    .find(|index| index.name() == called)
                    .ok_or_else(|| lines.wrong(format!("there is no index {called:?} here")))?,
            };
            let name = tree::name(name).map_err(|error| lines.wrong(error.message()))?;
            let there = tree::map(name.clone())
                .reader(session.base())
                .wait()?
                .count();
            if there > 0 && !self.replace {
                return Err(Failure::wrong(format!(
                    "{name} has {there} entries already; nothing was imported, --replace puts the \
                     imported tree in its place"
                )));
            }
            if changes.iter().any(|change: &Change| change.name == name) {
                return Err(lines.wrong(format!("there are two trees {name}")));
            }
            progress.of(entries.saturating_add(count));
            let mut loader = index.loader(&session);
            for row in 0..count {
                let line: EntryLine = lines.next()?;
                let (key, value) = line.bytes().map_err(|what| lines.wrong(what))?;
                let pushed = if value.len() > index.inline_max() {
                    let apart = apart::store(&session, &value)?;
                    loader.push(&key, Value::Apart(apart))
                } else {
                    loader.push(&key, Value::Inline(&value))
                };
                pushed.map_err(|error| match error.kind() {
                    ErrorKind::Invalid => lines.wrong(error.message()),
                    _ => error.into(),
                })?;
                if row.is_multiple_of(4096) {
                    progress.at(entries + row);
                }
            }
            entries += count;
            let base = session.base().root(&name);
            let root = match loader.finish()? {
                // A tree without entries is a tree all the same.
                None => tree::empty(index, &session)?,
                root => root,
            };
            if root != base {
                changes.push(Change {
                    name,
                    expect: crate::front::Expect::Is(base.map(|base| base.oid)),
                    to: root,
                });
            }
        }
        let EndLine { end } = lines.next()?;
        if end != entries {
            return Err(lines.wrong(format!("{entries} entries were read, {end} were written")));
        }
        lines.end()?;
        let committed = match changes.is_empty() {
            true => None,
            false => Some(session.commit(&changes, None).wait()?),
        };
        Ok(Facts {
            trees: head.trees,
            entries,
            sequence: committed.map(|committed| committed.sequence),
        })
    }
}

/// Lines of JSON, each knowing its place.
struct Lines {
    from: Box<dyn BufRead>,
    place: String,
    number: u64,
    text: Vec<u8>,
}

impl Lines {
    fn next<T: DeserializeOwned>(&mut self) -> Result<T, Failure> {
        self.take()?;
        if self.text.is_empty() {
            return Err(self.wrong("the export ends here, before its last line"));
        }
        serde_json::from_slice(&self.text).map_err(|error| {
            let why = error
                .to_string()
                .replace(" at line 1 column ", " at column ");
            self.wrong(why)
        })
    }

    /// Refuses anything after the last line.
    fn end(&mut self) -> Result<(), Failure> {
        self.take()?;
        match self.text.is_empty() {
            true => Ok(()),
            false => Err(self.wrong("the export goes on behind its last line")),
        }
    }

    fn take(&mut self) -> Result<(), Failure> {
        self.text.clear();
        self.number += 1;
        let read = (&mut self.from)
            .take(LINE_MAX)
            .read_until(b'\n', &mut self.text);
        let read = read.map_err(|source| Error::io(format!("reading {}", self.place), source))?;
        if read as u64 == LINE_MAX {
            return Err(self.wrong(format!("a line of more than {LINE_MAX} bytes")));
        }
        Ok(())
    }

    fn wrong(&self, what: impl std::fmt::Display) -> Failure {
        Failure::fault(format!(
            "{}:{}: {what}; nothing was imported",
            self.place, self.number
        ))
    }
}
