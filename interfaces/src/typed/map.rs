//! A map of typed rows.

use std::borrow::Borrow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeBounds;

use travertine_engine::contract::{Level, Name, Op, Result};
use travertine_engine::front::{Change, Committed, Session, Snapshot};

use super::key::{self, AsKey, Key};
use super::value::{self, Storable};
use crate::Btree;
use crate::index::{Direction, Index, Value, View};
use crate::map::{Map, Turn};
use crate::reader::{Range, Reader};
use crate::report::Report;

/// A map from `K` to `V` under a name.
pub struct TypedMap<K, V, I = Btree> {
    map: Map<I>,
    of: PhantomData<fn() -> (K, V)>,
}

impl<K: Key, V: Storable, I: Index> TypedMap<K, V, I> {
    /// The map of this name. Nothing is looked at yet.
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

    /// The map as `snapshot` has it; empty if there is no such name.
    pub fn reader(&self, snapshot: &Snapshot) -> Op<TypedReader<K, V, I::View>> {
        self.map.reader(snapshot).map(|reader| TypedReader {
            reader,
            of: PhantomData,
        })
    }

    /// Begins a transaction on the map as `session` saw it.
    pub fn writer<'s>(&self, session: &'s Session) -> TypedTurn<'s, K, V, I> {
        TypedTurn {
            turn: self.map.writer(session),
            of: PhantomData,
        }
    }
}

/// A typed map at one commit. Clones are cheap.
pub struct TypedReader<K, V, W> {
    reader: Reader<W>,
    of: PhantomData<fn() -> (K, V)>,
}

impl<K: Key, V: Storable, W: View> TypedReader<K, V, W> {
    /// The value at `key`.
    pub fn get<Q: AsKey + ?Sized>(&self, key: &Q) -> Op<Option<V>>
    where
        K: Borrow<Q>,
    {
        let found = self.reader.get(&key::to_bytes(key));
        found.and_then(|bytes| bytes.map(|bytes| value::from_bytes(&bytes)).transpose())
    }

    /// How many rows there are.
    pub fn count(&self) -> u64 {
        self.reader.count()
    }

    /// All rows, from the least key up.
    pub fn iter(&self) -> Rows<K, V, W> {
        self.range::<K>(..)
    }

    /// The rows whose keys lie within bounds, from the least up.
    pub fn range<Q: AsKey + ?Sized>(&self, bounds: impl RangeBounds<Q>) -> Rows<K, V, W>
    where
        K: Borrow<Q>,
    {
        self.rows(&bounds, Direction::Forward)
    }

    /// The rows whose keys lie within bounds, from the greatest down.
    pub fn range_back<Q: AsKey + ?Sized>(&self, bounds: impl RangeBounds<Q>) -> Rows<K, V, W>
    where
        K: Borrow<Q>,
    {
        self.rows(&bounds, Direction::Back)
    }

    /// Looks at every record. Whether rows are of their types is told by reading them.
    #[must_use]
    pub fn verify(&self) -> Report {
        self.reader.verify()
    }

    /// The same map as bytes.
    pub fn bytes(&self) -> &Reader<W> {
        &self.reader
    }

    fn rows<Q: AsKey + ?Sized>(
        &self,
        bounds: &impl RangeBounds<Q>,
        direction: Direction,
    ) -> Rows<K, V, W> {
        Rows {
            reader: self.reader.clone(),
            range: Some(range(&self.reader, bounds, direction)),
            of: PhantomData,
        }
    }
}

/// A range of a reader between typed bounds.
pub(super) fn range<Q: AsKey + ?Sized, W: View>(
    reader: &Reader<W>,
    bounds: &impl RangeBounds<Q>,
    direction: Direction,
) -> Range<W::Cursor> {
    let from = bounds.start_bound().map(key::to_bytes);
    let to = bounds.end_bound().map(key::to_bytes);
    reader.range(
        from.as_ref().map(|key| &key[..]),
        to.as_ref().map(|key| &key[..]),
        direction,
    )
}

/// Rows in order. After an error there are no further ones: nothing is skipped.
pub struct Rows<K, V, W: View> {
    reader: Reader<W>,
    range: Option<Range<W::Cursor>>,
    of: PhantomData<fn() -> (K, V)>,
}

impl<K: Key, V: Storable, W: View> Rows<K, V, W> {
    fn row(&mut self) -> Result<Option<(K, V)>> {
        let Some(range) = &mut self.range else {
            return Ok(None);
        };
        let Some(entry) = range.next()? else {
            return Ok(None);
        };
        let key = key::from_bytes(entry.key)?;
        let value = match entry.value {
            Value::Inline(bytes) => value::from_bytes(bytes)?,
            apart => value::from_bytes(&self.reader.value(apart).wait()?)?,
        };
        Ok(Some((key, value)))
    }
}

impl<K: Key, V: Storable, W: View> Iterator for Rows<K, V, W> {
    type Item = Result<(K, V)>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.row();
        if !matches!(row, Ok(Some(_))) {
            self.range = None;
        }
        row.transpose()
    }
}

/// Edits to a typed map, seen by itself before they are committed.
pub struct TypedTurn<'s, K, V, I: Index> {
    turn: Turn<'s, I>,
    of: PhantomData<fn() -> (K, V)>,
}

impl<K: Key, V: Storable, I: Index> TypedTurn<'_, K, V, I> {
    /// Sets the value at `key`, whether there was one or not.
    pub fn put<Q: AsKey + ?Sized>(&mut self, key: &Q, value: &V) -> Result<()>
    where
        K: Borrow<Q>,
    {
        self.turn.put(&key::to_bytes(key), &value::to_bytes(value)?)
    }

    /// Removes `key`, whether it was there or not.
    pub fn delete<Q: AsKey + ?Sized>(&mut self, key: &Q) -> Result<()>
    where
        K: Borrow<Q>,
    {
        self.turn.delete(&key::to_bytes(key))
    }

    /// The value at `key` as this turn has it. Blocks where a record must be fetched.
    pub fn get<Q: AsKey + ?Sized>(&mut self, key: &Q) -> Result<Option<V>>
    where
        K: Borrow<Q>,
    {
        let found = self.turn.get(&key::to_bytes(key))?;
        found.map(|bytes| value::from_bytes(&bytes)).transpose()
    }

    /// Puts what `change` makes of the value at `key`; `None` is an absent one. Blocks where a record
    /// must be fetched.
    pub fn update<Q: AsKey + ?Sized>(
        &mut self,
        key: &Q,
        change: impl FnOnce(Option<V>) -> Option<V>,
    ) -> Result<()>
    where
        K: Borrow<Q>,
    {
        match change(self.get(key)?) {
            Some(value) => self.put(key, &value),
            None => self.delete(key),
        }
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

impl<K, V, I: Clone> Clone for TypedMap<K, V, I> {
    fn clone(&self) -> Self {
        Self {
            map: self.map.clone(),
            of: PhantomData,
        }
    }
}

impl<K, V, W: View> Clone for TypedReader<K, V, W> {
    fn clone(&self) -> Self {
        Self {
            reader: self.reader.clone(),
            of: PhantomData,
        }
    }
}

impl<K, V, I: fmt::Debug> fmt::Debug for TypedMap<K, V, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TypedMap({:?})", self.map)
    }
}

impl<K, V, W: fmt::Debug> fmt::Debug for TypedReader<K, V, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TypedReader({:?})", self.reader)
    }
}

impl<K, V, W: View> fmt::Debug for Rows<K, V, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rows({:?})", self.range)
    }
}

impl<K, V, I: Index> fmt::Debug for TypedTurn<'_, K, V, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TypedTurn({:?})", self.turn)
    }
}
