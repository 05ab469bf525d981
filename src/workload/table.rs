//! A B-tree with journaled commits under a name: what keyed workloads run against.
//!
//! Writers take turns up to the moment their commit is submitted, and wait for its level apart, so
//! that commits of several threads share a flush. Readers wait for nobody.

use std::ops::Bound;
use std::sync::{Mutex, PoisonError};

use travertine_interfaces::map::Turn;
use travertine_interfaces::reader::{Range, Reader};
use travertine_interfaces::{Direction, Index, Map, Tree, Value, View};

use super::patience::patiently;
use crate::contract::{Env, Level, Name, Op, Result};
use crate::front::{Change, Committed, Engine, Session, Snapshot};

/// The reader of a tree.
pub type TreeReader = Reader<<Tree as Index>::View>;
/// Entries of a tree in order.
pub type TreeRange = Range<<<Tree as Index>::View as View>::Cursor>;

/// A tree of an engine.
#[derive(Debug)]
pub struct Table {
    engine: Engine,
    map: Map<Tree>,
    level: Option<Level>,
    turn: Mutex<()>,
    /// How it waits, if it waits for a stack that lets nothing new begin.
    waits: Option<Env>,
}

impl Table {
    /// The tree called `name`, whose commits are to reach `level`. It need not exist yet.
    pub fn new(engine: &Engine, name: &str, level: Option<Level>) -> Result<Self> {
        Ok(Self {
            engine: engine.clone(),
            map: Map::new(Name::new(name.to_owned())?, Tree::default()),
            level,
            turn: Mutex::new(()),
            waits: None,
        })
    }

    /// The same, waiting for a stack that lets nothing new begin for now: such a transaction is begun
    /// again after the time that the refusal names.
    #[must_use]
    pub fn patient(self, env: &Env) -> Self {
        Self {
            waits: Some(env.clone()),
            ..self
        }
    }

    /// The engine below.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Reads the newest commit.
    pub fn reader(&self) -> Result<TreeReader> {
        self.reader_of(&self.engine.snapshot())
    }

    /// Reads one commit.
    pub fn reader_of(&self, snapshot: &Snapshot) -> Result<TreeReader> {
        self.map.reader(snapshot).wait()
    }

    /// Edits the tree in one transaction. Submitted when the call returns; the op tells when the
    /// commit has reached its level.
    pub fn transact<T>(
        &self,
        mut edit: impl FnMut(&mut Turn<'_, Tree>) -> Result<T>,
    ) -> Result<(T, Op<Committed>)> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut transact = || {
            let session = self.engine.session()?;
            let mut writer = self.map.writer(&session);
            let answer = edit(&mut writer)?;
            let ticket = writer.commit(self.level)?;
            if ticket.is_ready() {
                // It may be a refusal.
                return ticket.wait().map(|committed| (answer, Op::ok(committed)));
            }
            Ok((answer, ticket))
        };
        match &self.waits {
            Some(env) => patiently(env, transact),
            None => transact(),
        }
    }

    /// Merges what small commits left into the nodes of the tree, in a commit of its own, and waits
    /// for it: the next opening is quicker. Nothing happens if there is nothing to merge.
    pub fn checkpoint(&self) -> Result<()> {
        self.change(|session| self.map.checkpoint(session))
    }

    /// Writes the tree anew in the order of its keys, in a commit of its own, and waits for it.
    pub fn compact(&self) -> Result<()> {
        self.change(|session| self.map.compact(session))
    }

    fn change(&self, make: impl FnOnce(&Session) -> Result<Option<Change>>) -> Result<()> {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let session = self.engine.session()?;
        let change = make(&session)?;
        let ticket = change.map(|change| session.commit(&[change], self.level));
        drop(turn);
        ticket.map_or(Ok(()), |ticket| ticket.wait().map(drop))
    }

    /// Builds the tree from rows in the order of their keys, in one commit, and waits for it. `next`
    /// is called until it answers that there are no more, and hands on what it has. A refusal is told,
    /// whoever waits: the rows that were handed on are gone.
    pub fn load(
        &self,
        mut next: impl FnMut(&mut dyn FnMut(&[u8], &[u8]) -> Result<()>) -> Result<bool>,
    ) -> Result<Committed> {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let session = self.engine.session()?;
        let mut load = self.map.loader(&session)?;
        while next(&mut |key, value| load.push(key, value))? {}
        let ticket = load.commit(self.level)?;
        drop(turn);
        ticket.wait()
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
