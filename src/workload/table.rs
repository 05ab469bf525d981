//! A B-tree under a name: what keyed workloads run against.
//!
//! Writers take turns up to the moment their commit is submitted, and wait for its level apart, so
//! that commits of several threads share a flush. Readers wait for nobody.

use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

use travertine_interfaces::index::{Index, Loader};
use travertine_interfaces::reader::{Range, Reader};
use travertine_interfaces::records::{Sink, Source};
use travertine_interfaces::writer::Writer;
use travertine_interfaces::{Btree, Direction, Value, View};

use crate::contract::{Level, Name, NewRecord, Op, Record, Reference, Result};
use crate::front::{Change, Committed, Engine, Hint, Session, Snapshot};

/// The reader of a tree.
pub type TreeReader = Reader<<Btree as Index>::View>;
/// Entries of a tree in order.
pub type TreeRange = Range<<<Btree as Index>::View as View>::Cursor>;

/// A tree of an engine.
#[derive(Debug)]
pub struct Table {
    engine: Engine,
    name: Name,
    index: Btree,
    level: Option<Level>,
    turn: Mutex<()>,
}

impl Table {
    /// The tree called `name`, whose commits are to reach `level`. It need not exist yet.
    pub fn new(engine: &Engine, name: &str, level: Option<Level>) -> Result<Self> {
        Ok(Self {
            engine: engine.clone(),
            name: Name::new(name.to_owned())?,
            index: Btree::default(),
            level,
            turn: Mutex::new(()),
        })
    }

    /// The engine below.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Reads the newest commit.
    pub fn reader(&self) -> Result<TreeReader> {
        self.reader_of(self.engine.snapshot())
    }

    /// Reads one commit.
    pub fn reader_of(&self, snapshot: Snapshot) -> Result<TreeReader> {
        let root = snapshot.root(&self.name);
        let source: Arc<dyn Source> = Arc::new(Past(snapshot));
        let view = self.index.view(source.clone(), root).wait()?;
        Ok(Reader::new(view, source))
    }

    /// Edits the tree in one transaction. Submitted when the call returns; the op tells when the
    /// commit has reached its level.
    pub fn transact<T>(
        &self,
        edit: impl FnOnce(&mut Writer<'_, Btree>) -> Result<T>,
    ) -> Result<(T, Op<Committed>)> {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Now(self.engine.session()?);
        let base = now.0.base().clone();
        let root = base.root(&self.name);
        let mut writer = Writer::new(self.index, &now, Arc::new(Past(base)), root);
        let answer = edit(&mut writer)?;
        let new = writer.finish()?;
        let ticket = self.submit(&now.0, root, new);
        drop(turn);
        Ok((answer, ticket))
    }

    /// Builds the tree from rows in the order of their keys, in one commit, and waits for it.
    /// Replaces what was there.
    pub fn load(
        &self,
        mut next: impl FnMut(&mut dyn FnMut(&[u8], &[u8]) -> Result<()>) -> Result<bool>,
    ) -> Result<Committed> {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Now(self.engine.session()?);
        let mut loader = self.index.loader(&now);
        let mut push = |key: &[u8], value: &[u8]| {
            if value.len() > self.index.inline_max() {
                let apart = travertine_interfaces::apart::store(&now, value)?;
                return loader.push(key, Value::Apart(apart));
            }
            loader.push(key, Value::Inline(value))
        };
        while next(&mut push)? {}
        let root = now.0.base().root(&self.name);
        let new = loader.finish()?;
        let ticket = self.submit(&now.0, root, new);
        drop(turn);
        ticket.wait()
    }

    fn submit(
        &self,
        session: &Session,
        old: Option<Reference>,
        new: Option<Reference>,
    ) -> Op<Committed> {
        let change = match (old, new) {
            (_, Some(new)) => Change::swap(self.name.clone(), old.map(|old| old.oid), new),
            (Some(old), None) => Change::drop(self.name.clone(), old.oid),
            (None, None) => return session.commit(&[], self.level),
        };
        session.commit(&[change], self.level)
    }
}

/// All entries of a reader from `key` on.
pub fn from_key(reader: &TreeReader, key: &[u8]) -> TreeRange {
    reader.range(Bound::Included(key), Bound::Unbounded, Direction::Forward)
}

/// Calls `look` with key and value of each of the next entries, at most `most`, and tells how many
/// there were.
pub fn walk(
    reader: &TreeReader,
    range: &mut TreeRange,
    most: u64,
    mut look: impl FnMut(&[u8], &[u8]) -> Result<()>,
) -> Result<u64> {
    for met in 0..most {
        let Some(entry) = range.next()? else {
            return Ok(met);
        };
        match entry.value {
            Value::Inline(value) => look(entry.key, value)?,
            value @ Value::Apart(_) => look(entry.key, &reader.value(value).wait()?)?,
        }
    }
    Ok(most)
}

/// Records of a commit.
#[derive(Debug)]
struct Past(Snapshot);

impl Source for Past {
    fn read(&self, reference: &Reference) -> Op<Record> {
        self.0.read(reference)
    }
}

/// Records of a session, committed or not.
#[derive(Debug)]
struct Now(Session);

impl Source for Now {
    fn read(&self, reference: &Reference) -> Op<Record> {
        self.0.read(reference)
    }
}

impl Sink for Now {
    fn store(&self, record: &NewRecord<'_>) -> Result<Reference> {
        self.0.store(record, Hint::default())
    }
}
