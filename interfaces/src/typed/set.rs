//! A set of keys: a map whose values are empty.

use std::borrow::Borrow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeBounds;

use travertine_engine::contract::{Level, Name, Op, Result};
use travertine_engine::front::{Change, Committed, Session, Snapshot};

use super::key::{self, AsKey, Key};
use super::map;
use crate::Btree;
use crate::index::{Direction, Index, View};
use crate::map::{Map, Turn};
use crate::reader::{Range, Reader};
use crate::report::Report;

/// A set of `K` under a name.
pub struct Set<K, I = Btree> {
    map: Map<I>,
    of: PhantomData<fn() -> K>,
}

impl<K: Key, I: Index> Set<K, I> {
    /// The set of this name. Nothing is looked at yet.
    pub fn new(name: Name, index: I) -> Self {
        Self {
            map: Map::new(name, index),
            of: PhantomData,
        }
    }

    /// Its name.
    pub fn name(&self) -> &Name {
        self.map.name()
    }

    /// The set as `snapshot` has it; empty if there is no such name.
    pub fn reader(&self, snapshot: &Snapshot) -> Op<SetReader<K, I::View>> {
        self.map.reader(snapshot).map(|reader| SetReader {
            reader,
            of: PhantomData,
        })
    }

    /// Begins a transaction on the set as `session` saw it.
    pub fn writer<'s>(&self, session: &'s Session) -> SetTurn<'s, K, I> {
        SetTurn {
            turn: self.map.writer(session),
            of: PhantomData,
        }
    }
}

/// A set at one commit.
pub struct SetReader<K, W> {
    pub(super) reader: Reader<W>,
    of: PhantomData<fn() -> K>,
}

impl<K: Key, W: View> SetReader<K, W> {
    /// Whether `key` is there.
    pub fn contains<Q: AsKey + ?Sized>(&self, key: &Q) -> Op<bool>
    where
        K: Borrow<Q>,
    {
        self.has(&key::to_bytes(key))
    }

    pub(super) fn has(&self, key: &[u8]) -> Op<bool> {
        let found = self.reader.view().find(key);
        found.map(|found| found.is_some())
    }

    /// How many keys there are.
    pub fn count(&self) -> u64 {
        self.reader.count()
    }

    /// All keys, from the least up.
    pub fn iter(&self) -> Keys<K, W> {
        self.range::<K>(..)
    }

    /// The keys within bounds, from the least up.
    pub fn range<Q: AsKey + ?Sized>(&self, bounds: impl RangeBounds<Q>) -> Keys<K, W>
    where
        K: Borrow<Q>,
    {
        Keys::of(map::range(&self.reader, &bounds, Direction::Forward))
    }

    /// The keys within bounds, from the greatest down.
    pub fn range_back<Q: AsKey + ?Sized>(&self, bounds: impl RangeBounds<Q>) -> Keys<K, W>
    where
        K: Borrow<Q>,
    {
        Keys::of(map::range(&self.reader, &bounds, Direction::Back))
    }

    /// Looks at every record.
    #[must_use]
    pub fn verify(&self) -> Report {
        self.reader.verify()
    }
}

/// Keys in order. After an error there are no further ones: nothing is skipped.
pub struct Keys<K, W: View> {
    range: Option<Range<W::Cursor>>,
    of: PhantomData<fn() -> K>,
}

impl<K: Key, W: View> Keys<K, W> {
    pub(super) fn of(range: Range<W::Cursor>) -> Self {
        Self {
            range: Some(range),
            of: PhantomData,
        }
    }
}

impl<K: Key, W: View> Iterator for Keys<K, W> {
    type Item = Result<K>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.range.as_mut()?.next();
        let key = entry.and_then(|entry| {
            let key = entry.map(|entry| key::from_bytes(entry.key));
            key.transpose()
        });
        if !matches!(key, Ok(Some(_))) {
            self.range = None;
        }
        key.transpose()
    }
}

/// Edits to a set.
pub struct SetTurn<'s, K, I: Index> {
    turn: Turn<'s, I>,
    of: PhantomData<fn() -> K>,
}

impl<K: Key, I: Index> SetTurn<'_, K, I> {
    /// Puts `key` in, whether it was there or not.
    pub fn insert<Q: AsKey + ?Sized>(&mut self, key: &Q) -> Result<()>
    where
        K: Borrow<Q>,
    {
        self.put(&key::to_bytes(key))
    }

    /// Takes `key` out, whether it was there or not.
    pub fn remove<Q: AsKey + ?Sized>(&mut self, key: &Q) -> Result<()>
    where
        K: Borrow<Q>,
    {
        self.delete(&key::to_bytes(key))
    }

    /// Whether `key` is there, as this turn has it. Blocks where a record must be fetched.
    pub fn contains<Q: AsKey + ?Sized>(&mut self, key: &Q) -> Result<bool>
    where
        K: Borrow<Q>,
    {
        Ok(self.turn.get(&key::to_bytes(key))?.is_some())
    }

    pub(super) fn put(&mut self, key: &[u8]) -> Result<()> {
        self.turn.put(key, &[])
    }

    pub(super) fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.turn.delete(key)
    }

    /// See [`Turn::finish`].
    pub fn finish(self) -> Result<Option<Change>> {
        self.turn.finish()
    }

    /// See [`Turn::commit`].
    pub fn commit(self, level: Option<Level>) -> Result<Op<Committed>> {
        self.turn.commit(level)
    }
}

impl<K, I: Clone> Clone for Set<K, I> {
    fn clone(&self) -> Self {
        Self {
            map: self.map.clone(),
            of: PhantomData,
        }
    }
}

impl<K, W: View> Clone for SetReader<K, W> {
    fn clone(&self) -> Self {
        Self {
            reader: self.reader.clone(),
            of: PhantomData,
        }
    }
}

impl<K, I: fmt::Debug> fmt::Debug for Set<K, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Set({:?})", self.map)
    }
}

impl<K, W: fmt::Debug> fmt::Debug for SetReader<K, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SetReader({:?})", self.reader)
    }
}

impl<K, W: View> fmt::Debug for Keys<K, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({:?})", self.range)
    }
}

impl<K, I: Index> fmt::Debug for SetTurn<'_, K, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SetTurn({:?})", self.turn)
    }
}
