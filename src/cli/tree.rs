//! Trees under their names: what every command on one shares.
//!
//! A name that points to the root record of an index, of whichever kind, journaled or not, is a tree.
//! Names under [`LOADS`] are kept for the positions of loads, so that a tree and how far its load got
//! change in one commit.

use clap::Args;

use super::text::KeyArg;
use super::{Failure, StackArg, Terminal};
use crate::contract::{Error, Name, Record, Reference, Result, RootAt};
use crate::front::{Committed, Engine, Session, Snapshot};
use crate::interfaces::chain::CHAIN_ROOT;
use crate::interfaces::edits::{Edit, EditLog};
use crate::interfaces::map::{Map, Turn};
use crate::interfaces::reader::Reader;
use crate::interfaces::records::{JOURNAL_ROOT, Source};
use crate::interfaces::{Any, Index, Journal, Value, journal};
use crate::stack::Registry;

/// A tree: of the kind that it is already, with journaled commits. A new one is a B-tree.
pub(super) type Tree = Journal<Any>;

/// The reader of a tree.
pub(super) type TreeReader = Reader<<Tree as Index>::View>;

/// What the names of load positions begin with.
pub(super) const LOADS: &str = "load/";

/// A tree of a stack.
#[derive(Debug, Args)]
pub(super) struct TreeArg {
    #[command(flatten)]
    pub(super) stack: StackArg,
    /// The name of the tree
    #[arg(long, value_name = "NAME")]
    pub(super) tree: String,
}

/// Which commit a command reads.
#[derive(Debug, Args)]
pub(super) struct AtArg {
    /// Read the commit of this number, the newest at this time, like 2026-11-21T12:00:00Z, or that of
    /// this tag
    #[arg(long, value_name = "SEQUENCE|TIME|TAG")]
    pub(super) at: Option<String>,
}

impl TreeArg {
    pub(super) fn name(&self) -> Result<Name> {
        name(self.tree.clone())
    }

    /// The tree at the newest commit, or at another one.
    pub(super) fn read(
        &self,
        registry: &Registry,
        at: &AtArg,
        terminal: &mut Terminal<'_>,
    ) -> std::result::Result<(Snapshot, TreeReader), Failure> {
        let name = self.name()?;
        let opened = self.stack.open_to_read(registry, terminal)?;
        let snapshot = at.snapshot(&opened.engine)?;
        match reader(&snapshot, &name)? {
            Some(reader) => Ok((snapshot, reader)),
            None => Err(absent(&snapshot, &name)?),
        }
    }

    /// Does `work` to the tree in one commit and closes the stack.
    pub(super) fn write<T>(
        &self,
        registry: &Registry,
        work: impl FnOnce(&mut Turn<'_, Tree>) -> Result<T>,
    ) -> std::result::Result<(T, Option<Committed>), Failure> {
        let name = self.name()?;
        self.stack.write(registry, |engine| {
            let session = engine.session()?;
            refuse_chain(session.base(), &name)?;
            let mut turn = map(name).writer(&session);
            let done = work(&mut turn)?;
            let Some(change) = turn.finish()? else {
                return Ok((done, None));
            };
            let committed = session.commit(&[change], None).wait()?;
            Ok((done, Some(committed)))
        })
    }
}

impl AtArg {
    pub(super) fn snapshot(&self, engine: &Engine) -> std::result::Result<Snapshot, Failure> {
        let Some(text) = &self.at else {
            return Ok(engine.snapshot());
        };
        let found = match parse_at(text) {
            Ok(at) => engine.at(at)?,
            Err(no_commit) => match engine.at_tag(text) {
                Ok(Some(tagged)) => Some(tagged),
                // What is no name of a tag either was no good try at one.
                _ => return Err(no_commit.into()),
            },
        };
        found.ok_or_else(|| {
            let newest = engine.snapshot().sequence();
            Failure::fault(format!(
                "there is no commit {text}; the newest is number {newest}, and `roots` lists them"
            ))
        })
    }
}

pub(super) fn parse_at(text: &str) -> Result<RootAt> {
    if let Ok(sequence) = text.parse() {
        return Ok(RootAt::Sequence(sequence));
    }
    let time = humantime::parse_rfc3339_weak(text).ok();
    let since = time.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    match since.and_then(|since| u64::try_from(since.as_micros()).ok()) {
        Some(us) => Ok(RootAt::Time(us)),
        None => Err(Error::invalid(format!(
            "{text:?} is neither the number of a commit, nor a tag, nor a time in UTC like \
             2026-11-21T12:00:00Z"
        ))),
    }
}

/// The name of a tree, unless it is kept for something else.
pub(super) fn name(text: String) -> Result<Name> {
    if text.starts_with(LOADS) {
        return Err(Error::invalid(format!(
            "names that begin with {LOADS} are kept for the positions of loads; call the tree \
             something else"
        )));
    }
    Name::new(text)
}

/// The tree of a name.
pub(super) fn map(name: Name) -> Map<Tree> {
    Map::new(name, Tree::default())
}

/// The tree of a name at one commit; `None` if there is no such name.
pub(super) fn reader(snapshot: &Snapshot, name: &Name) -> Result<Option<TreeReader>> {
    if snapshot.root(name).is_none() {
        return Ok(None);
    }
    refuse_chain(snapshot, name)?;
    let reader = map(name.clone()).reader(snapshot).wait();
    reader
        .map(Some)
        .map_err(|error| error.at(format!("tree {name}")))
}

/// Refuses the name of a chain, and says what works with one.
pub(super) fn refuse_chain(snapshot: &Snapshot, name: &Name) -> Result<()> {
    match is_chain(snapshot, name)? {
        false => Ok(()),
        true => Err(Error::invalid(format!(
            "{name} is a chain and no tree: `travertine chain` works with it"
        ))),
    }
}

/// Whether a name leads to a chain.
pub(super) fn is_chain(snapshot: &Snapshot, name: &Name) -> Result<bool> {
    let Some(root) = snapshot.root(name) else {
        return Ok(false);
    };
    Ok(snapshot.read(&root).wait()?.kind() == CHAIN_ROOT)
}

/// The root of a tree without entries: what is left when the only one goes. A skip list has none.
pub(super) fn empty(index: Any, session: &Session) -> Result<Option<Reference>> {
    let one = |edit| {
        let mut edits = EditLog::new();
        edits.push(&[], edit)?;
        Ok::<_, Error>(edits.sorted())
    };
    let root = index.apply(session, None, &one(Edit::Put(Value::Inline(&[])))?)?;
    index.apply(session, root, &one(Edit::Delete)?)
}

/// The names of a snapshot that are trees, in order, each with its index.
pub(super) fn names(snapshot: &Snapshot) -> Result<Vec<(Name, Any)>> {
    let mut trees = Vec::new();
    for (name, reference) in snapshot.names() {
        if let Some(index) = index_of(snapshot, &snapshot.read(reference).wait()?)? {
            trees.push((name.clone(), index));
        }
    }
    Ok(trees)
}

/// The index of a name that points to this record; `None` if that is no tree.
pub(super) fn index_of(source: &dyn Source, record: &Record) -> Result<Option<Any>> {
    let index = Any::default();
    match record.kind() {
        JOURNAL_ROOT => match journal::base_of(record)? {
            Some(base) => Ok(index.of(source.read(&base).wait()?.kind())),
            None => Ok(Some(index)),
        },
        kind => Ok(index.of(kind)),
    }
}

/// What to say of a tree that is not there.
pub(super) fn absent(snapshot: &Snapshot, name: &Name) -> Result<Failure> {
    let there: Vec<_> = names(snapshot)?
        .into_iter()
        .map(|(name, _)| name.to_string())
        .collect();
    let there = match there.as_slice() {
        [] => "there is none yet: `put` and `load` make one".to_owned(),
        some => format!("there are: {}", some.join(", ")),
    };
    Ok(Failure::fault(format!("there is no tree {name}; {there}")))
}

/// What to say of a key that is not there.
pub(super) fn no_key(tree: &str, key: &KeyArg) -> Failure {
    Failure::fault(format!("{tree} has no key {key}"))
}
