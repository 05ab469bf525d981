//! `load`: rows of a file into a tree.
//!
//! ```text
//!   file ──rows──> edits of one batch ──> nodes ──┐
//!                  position behind them ──────────┴──> one commit: tree, load/TREE
//! ```
//!
//! It promises that what is committed and how far the file was read always agree, so that a load goes
//! on after any end. While a commit is on its way to the device, the next batch is read. Memory holds
//! two batches, whatever the length of the file.
//!
//! It refuses rows it cannot read, each by file and line, and a file that is not the one it began on.

mod input;
mod position;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use serde::Serialize;

use self::input::{Next, Rows};
use self::position::{Position, Shape};
use super::progress::Progress;
use super::text;
use super::tree::{self, Tree, TreeArg};
use super::{Failure, Outcome, Run, Terminal};
use crate::contract::{ErrorKind, Name, Op, Reference};
use crate::front::{Change, Committed, Engine, Expect, Session, Snapshot};
use crate::interfaces::{Any, Map};
use crate::stack::Registry;

/// Bytes of edits after which a batch is committed, however few its rows are.
const BATCH_BYTES: u64 = 256 << 20;
/// Most bad rows that are told one by one.
const TOLD_MAX: u64 = 20;

/// Load the rows of a CSV, TSV or NDJSON file into a tree
///
/// The value of an entry is its row as JSON: an object where the file has a header, an array where it
/// has none, and a line of NDJSON as it stands. Of rows with the same key the last counts.
///
/// Rows are committed in batches, each with the position in the file behind it. A load that was
/// interrupted goes on with --resume, and reads no row twice.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  travertine load stack.toml people.csv --tree people --key email
  travertine load stack.toml UnicodeData.txt --tree unicode --key 0 --delimiter ';' --no-header
  travertine load stack.toml events.ndjson --tree events --key id --ack --resume
  travertine load stack.toml stock.csv --tree stock --key sku --index skiplist")]
pub(super) struct Load {
    #[command(flatten)]
    tree: TreeArg,
    /// The file
    file: PathBuf,
    /// The field that is the key: the name of a column, or its number counted from 0
    #[arg(long, value_name = "FIELD")]
    key: String,
    /// What the file holds; else its name tells: .tsv, .ndjson, .jsonl, and CSV for all others
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// What stands between two fields, one byte; else a comma, or a tab in TSV
    #[arg(long, value_name = "BYTE")]
    delimiter: Option<String>,
    /// The first row is a row, not the names of the columns
    #[arg(long)]
    no_header: bool,
    /// Rows in one commit; a large file in no order of its keys is loaded faster, and takes less
    /// room, with 1000000
    #[arg(long, value_name = "N", default_value_t = 100_000,
          value_parser = clap::value_parser!(u64).range(1..))]
    batch: u64,
    /// What a tree that is not there yet becomes; one that is there stays what it is
    #[arg(long, value_name = "INDEX", value_parser = index())]
    index: Option<Any>,
    /// Print `committed N` as soon as the first N rows of the file are durable
    #[arg(long)]
    ack: bool,
    /// What to do about a row that cannot be read
    #[arg(long, value_enum, default_value = "stop")]
    on_bad: OnBad,
    /// Go on where an earlier load of this file ended; begin if there was none
    #[arg(long)]
    resume: bool,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

/// The kinds of indexes, by their names.
fn index() -> impl TypedValueParser<Value = Any> {
    let names = Any::all().map(Any::name);
    PossibleValuesParser::new(names).map(|name| {
        let mut all = Any::all().into_iter();
        all.find(|index| index.name() == name).unwrap_or_default()
    })
}

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    /// Fields between commas, quoted where need be
    Csv,
    /// Fields between tabs, never quoted
    Tsv,
    /// One JSON object or array on each line
    Ndjson,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnBad {
    /// Commit the rows before it, then stop
    Stop,
    /// Tell it and go on
    Skip,
}

/// What a load did.
#[derive(Debug, Serialize)]
struct Facts<'a> {
    tree: &'a str,
    /// What kind of index it is.
    index: &'static str,
    file: String,
    /// Rows of the file that are behind the load, from the file's start.
    rows: u64,
    /// Of these, those that could not be read.
    bad: u64,
    /// Of these, those that took the place of an entry.
    replaced: u64,
    /// Whether the tree was empty when the load began, so that every replaced entry was a row too.
    into_empty: bool,
    /// Rows that this call found behind it when it began.
    resumed_from: u64,
    /// Entries in the tree now.
    entries: u64,
    commits: u64,
    done: bool,
}

impl Run for Load {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let name = self.tree.name()?;
        Position::check_name(&name)?;
        let shape = self.shape()?;
        // Before the stack is opened, and perhaps made: a wrong call leaves nothing behind.
        let rows = Rows::open(&self.file, &shape)?;
        self.tree.stack.write(registry, |engine| {
            let mut loading = Loading::begin(&self, engine, name, shape, rows)?;
            let ended = loading.run(terminal);
            // Also after a failure: what was submitted before it may have been committed.
            let settled = loading.settle(terminal);
            loading.progress.finish();
            match ended.and_then(|ended| settled.map(|()| ended)) {
                Ok(None) => {
                    loading.report(terminal)?;
                    Ok(Outcome::Fine)
                }
                Ok(Some(bad)) => {
                    loading.report(terminal)?;
                    terminal.complain(&format!(
                        "{bad}; the rows before it are committed: mend it and load again, or go \
                         on behind it with --resume --on-bad skip"
                    ))?;
                    Ok(Outcome::Fault)
                }
                Err(failure) => {
                    terminal.note(format_args!(
                        "{} rows of {} are committed; --resume goes on behind them",
                        loading.committed.rows,
                        self.file.display()
                    ))?;
                    Err(failure)
                }
            }
        })
    }
}

impl Load {
    /// What the tree is, or is to become.
    fn index(&self, snapshot: &Snapshot, name: &Name) -> Result<Any, Failure> {
        let Some(record) = snapshot.read_root(name)? else {
            return Ok(self.index.unwrap_or_default());
        };
        // What is no tree at all is refused by whoever reads it.
        let there = tree::index_of(snapshot, &record)?.unwrap_or_default();
        match self.index {
            Some(wanted) if wanted != there => Err(Failure::wrong(format!(
                "{name} is a {there} already, and stays one; load into another tree for a {wanted}"
            ))),
            _ => Ok(there),
        }
    }

    fn shape(&self) -> Result<Shape, Failure> {
        let by_name = || match self.file.extension().and_then(|end| end.to_str()) {
            Some("tsv") => Format::Tsv,
            Some("ndjson" | "jsonl") => Format::Ndjson,
            _ => Format::Csv,
        };
        let format = self.format.unwrap_or_else(by_name);
        let delimiter = match (self.delimiter.as_deref(), format) {
            (None, Format::Tsv) => b'\t',
            (None, _) => b',',
            (Some(_), Format::Ndjson) => {
                return Err(Failure::wrong("NDJSON has no --delimiter"));
            }
            (Some("\\t"), _) => b'\t',
            (Some(text), _) => match text.as_bytes() {
                [byte] if !matches!(byte, b'"' | b'\r' | b'\n') => *byte,
                _ => {
                    return Err(Failure::wrong(format!(
                        "the delimiter {text:?} is not one byte that can stand between fields"
                    )));
                }
            },
        };
        Ok(Shape {
            format,
            delimiter,
            header: !self.no_header && format != Format::Ndjson,
            key: self.key.clone(),
        })
    }
}

/// A load under way.
struct Loading<'a> {
    load: &'a Load,
    engine: &'a Engine,
    name: Name,
    tree: Tree,
    rows: Rows,
    /// Behind the rows that were read.
    read: Position,
    /// Behind the rows that are durable.
    committed: Position,
    /// The commit on its way, and the position it will have reached.
    pending: Option<(Op<Committed>, Position)>,
    /// Entries in the tree after the rows that were read.
    entries: u64,
    resumed_from: u64,
    commits: u64,
    told: u64,
    ack: bool,
    progress: Progress,
}

/// Why a batch ended.
enum Ended {
    Full,
    File,
    Bad(String),
}

impl<'a> Loading<'a> {
    fn begin(
        load: &'a Load,
        engine: &'a Engine,
        name: Name,
        shape: Shape,
        mut rows: Rows,
    ) -> Result<Self, Failure> {
        let session = engine.session()?;
        let tree = Tree::over(load.index(session.base(), &name)?);
        let entries = count(tree, &session, session.base().root(&name))?;
        let earlier = match load.resume {
            true => Position::read(session.base(), &name)?,
            false => None,
        };
        let start = match earlier {
            Some(earlier) => {
                earlier.check_same(&rows.identity, &shape, &load.file)?;
                rows.go_to(&earlier)?;
                earlier
            }
            None => Position::start(rows.identity.clone(), shape, entries == 0),
        };
        let progress = Progress::bytes("loading", rows.identity.bytes, start.byte);
        Ok(Self {
            load,
            engine,
            name,
            tree,
            resumed_from: start.rows,
            rows,
            read: start.clone(),
            committed: start,
            pending: None,
            entries,
            commits: 0,
            told: 0,
            ack: load.ack,
            progress,
        })
    }

    /// Loads to the end of the file, or up to a bad row that ends the load.
    fn run(&mut self, terminal: &mut Terminal<'_>) -> Result<Option<String>, Failure> {
        if self.committed.done {
            return Ok(None);
        }
        self.progress.show(terminal);
        loop {
            let session = self.engine.session()?;
            let (change, ended) = self.batch(&session, terminal)?;
            self.read.done = matches!(ended, Ended::File);
            let position = self.read.store(&session, &self.name)?;
            // One commit on its way at a time: what is in memory stays two batches.
            self.settle(terminal)?;
            let changes: Vec<_> = change.into_iter().chain([position]).collect();
            self.pending = Some((session.commit(&changes, None), self.read.clone()));
            // Asked for once, it is on its way while the next batch is read.
            self.settle_what_is_there(terminal)?;
            match ended {
                Ended::Full => {}
                Ended::File => return Ok(None),
                Ended::Bad(row) => return Ok(Some(row)),
            }
        }
    }

    /// Reads rows until a batch is full, and does them to the tree.
    fn batch(
        &mut self,
        session: &Session,
        terminal: &mut Terminal<'_>,
    ) -> Result<(Option<Change>, Ended), Failure> {
        let mut turn = Map::new(self.name.clone(), self.tree).writer(session);
        let (mut key, mut value) = (Vec::new(), Vec::new());
        let (mut taken, mut put) = (0, 0);
        let ended = loop {
            if taken == self.load.batch || turn.buffered() >= BATCH_BYTES {
                break Ended::Full;
            }
            let bad = match self.rows.next(&mut key, &mut value)? {
                Next::End => break Ended::File,
                Next::Row => match turn.put(&key, &value) {
                    Ok(()) => None,
                    Err(error) if error.kind() == ErrorKind::Invalid => {
                        Some(self.rows.place(error.message()))
                    }
                    Err(error) => return Err(error.into()),
                },
                Next::Bad(what) => Some(self.rows.place(&what)),
            };
            match bad {
                None => put += 1,
                Some(row) if self.load.on_bad == OnBad::Stop => break Ended::Bad(row),
                Some(row) => self.skip(&row, terminal)?,
            }
            taken += 1;
            self.read.rows += 1;
            if self.read.rows.is_multiple_of(4096) {
                self.progress.at(self.rows.byte());
                self.settle_what_is_there(terminal)?;
            }
        };
        // A bad row that ends the load is not behind it.
        if !matches!(ended, Ended::Bad(_)) {
            self.rows.mark(&mut self.read);
        } else {
            self.rows.mark_before(&mut self.read);
        }
        let base = session.base().root(&self.name);
        let mut root = match turn.finish()? {
            Some(change) => change.to,
            None => base,
        };
        if matches!(ended, Ended::File) {
            if root.is_none() {
                // Of a file without rows comes a tree without entries, where there can be one.
                root = tree::empty(self.tree.index, session)?;
            }
            // Whoever opens the tree next finds nothing to be read back.
            root = self.tree.checkpoint(session, root)?;
        }
        let change = (root != base).then(|| Change {
            name: self.name.clone(),
            expect: Expect::Is(base.map(|base| base.oid)),
            to: root,
        });
        let entries = count(self.tree, session, root)?;
        self.read.replaced += put - (entries - self.entries);
        self.entries = entries;
        Ok((change, ended))
    }

    fn skip(&mut self, row: &str, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
        self.read.bad += 1;
        self.told += 1;
        match self.told {
            1..=TOLD_MAX => self
                .progress
                .aside(|| terminal.note(format_args!("skipped: {row}"))),
            n if n == TOLD_MAX + 1 => self
                .progress
                .aside(|| terminal.note("skipped: further rows are only counted")),
            _ => Ok(()),
        }
    }

    /// Waits for the commit on its way and says what it made durable.
    fn settle(&mut self, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
        let Some((op, position)) = self.pending.take() else {
            return Ok(());
        };
        op.wait()?;
        self.settled(position, terminal)
    }

    /// Says what the commit on its way made durable, if it has arrived.
    fn settle_what_is_there(&mut self, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
        let Some((mut op, position)) = self.pending.take() else {
            return Ok(());
        };
        match Pin::new(&mut op).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(committed) => {
                committed?;
                self.settled(position, terminal)
            }
            Poll::Pending => {
                self.pending = Some((op, position));
                Ok(())
            }
        }
    }

    fn settled(&mut self, position: Position, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
        self.commits += 1;
        let news = self.commits == 1 || position.rows > self.committed.rows;
        self.committed = position;
        if self.ack && news {
            let said = terminal
                .say(format_args!("committed {}", self.committed.rows))
                .and_then(|()| terminal.flush());
            match said {
                // Whoever listened is gone; the load was asked for all the same.
                Err(Failure::Pipe) => self.ack = false,
                said => said?,
            }
        }
        Ok(())
    }

    fn report(&self, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
        let Position {
            rows,
            bad,
            replaced,
            into_empty,
            done,
            ..
        } = self.committed;
        let facts = Facts {
            tree: self.name.as_str(),
            index: self.tree.index.name(),
            file: self.load.file.display().to_string(),
            rows,
            bad,
            replaced,
            into_empty,
            resumed_from: self.resumed_from,
            entries: self.entries,
            commits: self.commits,
            done,
        };
        if self.load.json {
            return terminal.json(&facts);
        }
        let doubled = match (replaced, into_empty) {
            (0, _) => "no key was there twice".to_owned(),
            (n, true) => format!("{n} had a key that a later row has too (the last counts)"),
            (n, false) => format!("{n} replaced an entry of the tree or an earlier row"),
        };
        let mut text = format!(
            "{} rows of {} are in {}: {doubled}, {bad} bad; {}, {}",
            rows.saturating_sub(bad),
            facts.file,
            self.name,
            text::count(self.entries, "entry"),
            text::count(self.commits, "commit")
        );
        if self.resumed_from > 0 {
            text.push_str(&format!("; went on behind row {}", self.resumed_from));
        }
        // The output of a load that acknowledges is its acknowledgements.
        if self.load.ack {
            terminal.note(text)
        } else {
            terminal.say(text)
        }
    }
}

fn count(tree: Tree, session: &Session, root: Option<Reference>) -> Result<u64, Failure> {
    use crate::interfaces::{Index, View};
    let source = std::sync::Arc::new(session.base().clone());
    Ok(tree.view(source, root).wait()?.count())
}
