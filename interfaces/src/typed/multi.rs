//! Several values for a key: a set of pairs, those of one key side by side.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Bound;

use travertine_engine::contract::{Level, Name, Op, Result};
use travertine_engine::front::{Change, Committed, Session, Snapshot};

use super::key::{self, AsKey, Key};
use super::set::{Keys, Set, SetReader, SetTurn};
use crate::Btree;
use crate::index::{Direction, Index, View};
use crate::report::Report;

/// A map from `K` to any number of `V`, under a name. Values are keys, too: those of one key are in
/// order, and each is there once.
pub struct MultiMap<K, V, I = Btree> {
    pairs: Set<(K, V), I>,
}

impl<K: Key, V: Key, I: Index> MultiMap<K, V, I> {
    /// The map of this name. Nothing is looked at yet.
    pub fn new(name: Name, index: I) -> Self {
        Self {
            pairs: Set::new(name, index),
        }
    }

    /// Its name.
    pub fn name(&self) -> &Name {
        self.pairs.name()
    }

    /// The map as `snapshot` has it; empty if there is no such name.
    pub fn reader(&self, snapshot: &Snapshot) -> Op<MultiReader<K, V, I::View>> {
        let pairs = self.pairs.reader(snapshot);
        pairs.map(|pairs| MultiReader { pairs })
    }

    /// Begins a transaction on the map as `session` saw it.
    pub fn writer<'s>(&self, session: &'s Session) -> MultiTurn<'s, K, V, I> {
        MultiTurn {
            pairs: self.pairs.writer(session),
        }
    }
}

/// A map of several values a key, at one commit.
pub struct MultiReader<K, V, W> {
    pairs: SetReader<(K, V), W>,
}

impl<K: Key, V: Key, W: View> MultiReader<K, V, W> {
    /// Whether `value` is one of those of `key`.
    pub fn contains<Q: AsKey + ?Sized, R: AsKey + ?Sized>(&self, key: &Q, value: &R) -> Op<bool>
    where
        K: Borrow<Q>,
        V: Borrow<R>,
    {
        self.has(&key::to_bytes(&(key, value)))
    }

    pub(super) fn has(&self, pair: &[u8]) -> Op<bool> {
        self.pairs.has(pair)
    }

    /// The values of `key`, from the least up.
    pub fn values<Q: AsKey + ?Sized>(&self, key: &Q) -> Values<K, V, W>
    where
        K: Borrow<Q>,
    {
        let from = key::to_bytes(key);
        let to = key::behind(from.clone());
        let to = to.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let reader = &self.pairs.reader;
        let range = reader.range(Bound::Included(&from), to, Direction::Forward);
        Values {
            pairs: Keys::of(range),
        }
    }

    /// How many pairs there are.
    pub fn count(&self) -> u64 {
        self.pairs.count()
    }

    /// All pairs, from the least key up.
    pub fn iter(&self) -> Keys<(K, V), W> {
        self.pairs.iter()
    }

    /// Looks at every record.
    #[must_use]
    pub fn verify(&self) -> Report {
        self.pairs.verify()
    }
}

/// The values of one key, in order. After an error there are no further ones.
pub struct Values<K, V, W: View> {
    pairs: Keys<(K, V), W>,
}

impl<K: Key, V: Key, W: View> Iterator for Values<K, V, W> {
    type Item = Result<V>;

    fn next(&mut self) -> Option<Self::Item> {
        self.pairs.next().map(|pair| pair.map(|(_, value)| value))
    }
}

/// Edits to a map of several values a key.
pub struct MultiTurn<'s, K, V, I: Index> {
    pairs: SetTurn<'s, (K, V), I>,
}

impl<K: Key, V: Key, I: Index> MultiTurn<'_, K, V, I> {
    /// Puts `value` among those of `key`, whether it was there or not.
    pub fn insert<Q: AsKey + ?Sized, R: AsKey + ?Sized>(&mut self, key: &Q, value: &R) -> Result<()>
    where
        K: Borrow<Q>,
        V: Borrow<R>,
    {
        self.pairs.put(&key::to_bytes(&(key, value)))
    }

    /// Takes `value` from those of `key`, whether it was there or not.
    pub fn remove<Q: AsKey + ?Sized, R: AsKey + ?Sized>(&mut self, key: &Q, value: &R) -> Result<()>
    where
        K: Borrow<Q>,
        V: Borrow<R>,
    {
        self.pairs.delete(&key::to_bytes(&(key, value)))
    }

    pub(super) fn put(&mut self, pair: &[u8]) -> Result<()> {
        self.pairs.put(pair)
    }

    pub(super) fn delete(&mut self, pair: &[u8]) -> Result<()> {
        self.pairs.delete(pair)
    }

    /// See [`Turn::finish`](crate::map::Turn::finish).
    pub fn finish(self) -> Result<Option<Change>> {
        self.pairs.finish()
    }

    /// See [`Turn::commit`](crate::map::Turn::commit).
    pub fn commit(self, level: Option<Level>) -> Result<Op<Committed>> {
        self.pairs.commit(level)
    }
}

impl<K, V, I: Clone> Clone for MultiMap<K, V, I> {
    fn clone(&self) -> Self {
        Self {
            pairs: self.pairs.clone(),
        }
    }
}

impl<K, V, W: View> Clone for MultiReader<K, V, W> {
    fn clone(&self) -> Self {
        Self {
            pairs: self.pairs.clone(),
        }
    }
}

impl<K, V, I: fmt::Debug> fmt::Debug for MultiMap<K, V, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MultiMap({:?})", self.pairs)
    }
}

impl<K, V, W: fmt::Debug> fmt::Debug for MultiReader<K, V, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MultiReader({:?})", self.pairs)
    }
}

impl<K, V, W: View> fmt::Debug for Values<K, V, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Values({:?})", self.pairs)
    }
}

impl<K, V, I: Index> fmt::Debug for MultiTurn<'_, K, V, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MultiTurn({:?})", self.pairs)
    }
}
