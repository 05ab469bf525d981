//! A named map in a store: an index, a name, and the engine.
//!
//! ```text
//!   map.reader(&snapshot)      what one commit holds; waits for nobody
//!   map.writer(&session)       edits, then a change of one name
//!   map.loader(&session)       rows in order, then a change of one name
//!                                 │
//!   session.commit(&[a, b, …])    the changes of any number of maps, all or none
//! ```
//!
//! A map is committed under its own name, as it is given: what tells a map from anything else is the
//! kind of the record that the name points to. A writer expects the name to point where its session
//! saw it, so of two that began alike the first wins and the other gets `Conflict`: begin again with
//! a new session. [`Map::update`] does that, and more.
//!
//! ```
//! use std::sync::Arc;
//! use travertine_engine::contract::{Env, Name, Result, Store};
//! use travertine_engine::front::{Engine, Options};
//! use travertine_interfaces::{Map, Tree};
//!
//! # fn run(store: Arc<dyn Store>) -> Result<()> {
//! let engine = Engine::open(store, &Env::system(), Options::default())?;
//! let users = Map::new(Name::new("users")?, Tree::default());
//!
//! let session = engine.session()?;
//! let mut writer = users.writer(&session);
//! writer.put(b"ada", b"1815")?;
//! writer.put(b"alan", b"1912")?;
//! writer.commit(None)?.wait()?;
//!
//! let reader = users.reader(&engine.snapshot()).wait()?;
//! assert_eq!(reader.get(b"ada").wait()?.as_deref(), Some(&b"1815"[..]));
//! assert_eq!(reader.count(), 2);
//! # Ok(())
//! # }
//! ```

use std::sync::Arc;

use travertine_engine::contract::{Error, Level, Name, Op, Reference, Result};
use travertine_engine::front::{Change, Committed, Expect, Session, Snapshot};

use crate::apart;
use crate::edits::check_key;
use crate::index::{Index, Loader, Value};
use crate::journal::Journal;
use crate::reader::Reader;
use crate::records::Source;
use crate::writer::Writer;

/// An index under a name.
#[derive(Debug, Clone)]
pub struct Map<I> {
    name: Name,
    index: I,
}

impl<I: Index> Map<I> {
    /// The map of this name. Nothing is looked at yet.
    pub fn new(name: Name, index: I) -> Self {
        Self { name, index }
    }

    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The index that it is kept in.
    pub fn index(&self) -> &I {
        &self.index
    }

    /// The map as `snapshot` has it; empty if there is no such name.
    pub fn reader(&self, snapshot: &Snapshot) -> Op<Reader<I::View>> {
        let source: Arc<dyn Source> = Arc::new(snapshot.clone());
        let root = snapshot.root(&self.name);
        let view = self.index.view(source.clone(), root);
        view.map(|view| Reader::new(view, source))
    }

    /// Begins a transaction on the map as `session` saw it.
    pub fn writer<'s>(&self, session: &'s Session) -> Turn<'s, I> {
        let root = session.base().root(&self.name);
        Turn {
            session,
            name: self.name.clone(),
            root,
            writer: Writer::of(self.index.clone(), session, root),
        }
    }

    /// Begins a load of sorted rows, which become the map. Refuses with `Invalid` if the map holds
    /// anything.
    pub fn loader<'s>(&self, session: &'s Session) -> Result<Load<'s, I>> {
        let count = self.reader(session.base()).wait()?.count();
        if count > 0 {
            return Err(Error::invalid(format!(
                "{} holds {count} entries already; sorted rows are loaded into an empty map",
                self.name
            )));
        }
        Ok(Load {
            session,
            name: self.name.clone(),
            root: session.base().root(&self.name),
            inline_max: self.index.inline_max(),
            loader: self.index.loader(session),
        })
    }
}

impl<I: Index> Map<Journal<I>> {
    /// Merges all deltas into the index below, as the session saw it, and returns the change to
    /// commit: the same map, quicker to open. `None`: there are no deltas.
    pub fn checkpoint(&self, session: &Session) -> Result<Option<Change>> {
        let root = session.base().root(&self.name);
        let merged = self.index.checkpoint(session, root)?;
        Ok(change(self.name.clone(), root, merged))
    }
}

/// A [`Writer`] on a map of a session; all of the writer's methods are its own.
#[derive(Debug)]
pub struct Turn<'s, I: Index> {
    session: &'s Session,
    name: Name,
    root: Option<Reference>,
    pub(crate) writer: Writer<'s, I>,
}

impl<'s, I: Index> Turn<'s, I> {
    /// Does the edits and returns the change to commit, with those of other maps if need be. `None`:
    /// the edits changed nothing, and there is nothing to commit.
    pub fn finish(self) -> Result<Option<Change>> {
        let root = self.writer.finish()?;
        Ok(change(self.name, self.root, root))
    }

    /// Does the edits and commits them. Edits that change nothing are a commit all the same, so that
    /// an answer says what level everything before has reached.
    pub fn commit(self, level: Option<Level>) -> Result<Op<Committed>> {
        let session = self.session;
        let change = self.finish()?;
        Ok(session.commit(change.as_slice(), level))
    }
}

impl<'s, I: Index> std::ops::Deref for Turn<'s, I> {
    type Target = Writer<'s, I>;

    fn deref(&self) -> &Self::Target {
        &self.writer
    }
}

impl<I: Index> std::ops::DerefMut for Turn<'_, I> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.writer
    }
}

/// A load of sorted rows under way.
#[derive(Debug)]
pub struct Load<'s, I: Index> {
    session: &'s Session,
    name: Name,
    root: Option<Reference>,
    inline_max: usize,
    loader: I::Loader<'s>,
}

impl<I: Index> Load<'_, I> {
    /// Adds an entry. A key not greater than the one before is refused with `Invalid`, naming the
    /// row; the load can go on without it.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        if value.len() <= self.inline_max {
            return self.loader.push(key, Value::Inline(value));
        }
        check_key(key)?;
        let apart = apart::store(self.session, value)?;
        self.loader.push(key, Value::Apart(apart))
    }

    /// Ends the load and returns the change to commit; `None` if there was no row.
    pub fn finish(self) -> Result<Option<Change>> {
        let root = self.loader.finish()?;
        Ok(change(self.name, self.root, root.or(self.root)))
    }

    /// Ends the load and commits it.
    pub fn commit(self, level: Option<Level>) -> Result<Op<Committed>> {
        let session = self.session;
        let changes: Vec<_> = self.finish()?.into_iter().collect();
        Ok(session.commit(&changes, level))
    }
}

pub(crate) fn change(name: Name, old: Option<Reference>, new: Option<Reference>) -> Option<Change> {
    (old != new).then(|| Change {
        name,
        expect: Expect::Is(old.map(|old| old.oid)),
        to: new,
    })
}
