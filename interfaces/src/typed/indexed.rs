//! Rows, and where to find them by something else: two trees that change in one commit.
//!
//! ```text
//!   name            K ──> V               a function of key and value says under which X a row is found
//!   name/by/what    (X, K)                none, one, or several
//! ```

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeBounds;

use travertine_engine::contract::{Error, Level, Name, Op, Result};
use travertine_engine::front::{Change, Committed, Session, Snapshot};

use super::key::{self, AsKey, Key};
use super::map::{TypedMap, TypedReader, TypedTurn};
use super::multi::{MultiMap, MultiReader, MultiTurn, Values};
use super::value::Storable;
use crate::Btree;
use crate::index::{Index, View};
use crate::report::Report;

/// A map from `K` to `V` whose rows are found by `X`, too.
pub struct IndexedMap<K, V, X, I = Btree> {
    rows: TypedMap<K, V, I>,
    index: MultiMap<X, K, I>,
    by: By<K, V, X>,
}

/// Under what a row is found. The same row must always be found under the same.
type By<K, V, X> = fn(&K, &V) -> Vec<X>;

impl<K: Key, V: Storable, X: Key, I: Index> IndexedMap<K, V, X, I> {
    /// The map of this name, its rows found by `what`. Nothing is looked at yet.
    pub fn new(name: Name, what: &str, index: I, by: By<K, V, X>) -> Result<Self> {
        let beside = Name::new(format!("{name}/by/{what}"))?;
        Ok(Self {
            rows: TypedMap::new(name, index.clone()),
            index: MultiMap::new(beside, index),
            by,
        })
    }

    /// The rows alone. To write them past the index is to break it.
    pub fn rows(&self) -> &TypedMap<K, V, I> {
        &self.rows
    }

    /// The name that the index lies under.
    pub fn index_name(&self) -> &Name {
        self.index.name()
    }

    /// Both trees as `snapshot` has them.
    pub fn reader(&self, snapshot: &Snapshot) -> Op<IndexedReader<K, V, X, I::View>> {
        let (index, by) = (self.index.reader(snapshot), self.by);
        self.rows
            .reader(snapshot)
            .then(move |rows| index.map(move |index| IndexedReader { rows, index, by }))
    }

    /// Begins a transaction on both trees as `session` saw them.
    pub fn writer<'s>(&self, session: &'s Session) -> IndexedTurn<'s, K, V, X, I> {
        IndexedTurn {
            session,
            rows: self.rows.writer(session),
            index: self.index.writer(session),
            by: self.by,
        }
    }
}

/// An indexed map at one commit.
pub struct IndexedReader<K, V, X, W> {
    rows: TypedReader<K, V, W>,
    index: MultiReader<X, K, W>,
    by: By<K, V, X>,
}

impl<K: Key, V: Storable, X: Key, W: View> IndexedReader<K, V, X, W> {
    /// The value at `key`.
    pub fn get<Q: AsKey + ?Sized>(&self, key: &Q) -> Op<Option<V>>
    where
        K: Borrow<Q>,
    {
        self.rows.get(key)
    }

    /// The keys of the rows that are found under `what`, in order.
    pub fn keys_by<Q: AsKey + ?Sized>(&self, what: &Q) -> Values<X, K, W>
    where
        X: Borrow<Q>,
    {
        self.index.values(what)
    }

    /// The rows that are found under `what`, in the order of their keys. A row that the index names and
    /// nobody has is damage: an error, with which it ends.
    pub fn by<Q: AsKey + ?Sized>(&self, what: &Q) -> impl Iterator<Item = Result<(K, V)>>
    where
        X: Borrow<Q>,
    {
        let rows = self.rows.clone();
        let mut keys = Some(self.index.values(what));
        std::iter::from_fn(move || {
            let key = keys.as_mut()?.next()?;
            let row = key.and_then(|key| match rows.get(&key).wait()? {
                Some(value) => Ok((key, value)),
                None => Err(Error::corrupt(format!(
                    "the index names {}, which no row has",
                    shown(&key::to_bytes(&key))
                ))),
            });
            if row.is_err() {
                keys = None;
            }
            Some(row)
        })
    }

    /// How many rows there are.
    pub fn count(&self) -> u64 {
        self.rows.count()
    }

    /// The rows alone, to go through them by their keys.
    pub fn rows(&self) -> &TypedReader<K, V, W> {
        &self.rows
    }

    /// The rows within bounds of their keys; see [`TypedReader::range`].
    pub fn range<Q: AsKey + ?Sized>(
        &self,
        bounds: impl RangeBounds<Q>,
    ) -> impl Iterator<Item = Result<(K, V)>>
    where
        K: Borrow<Q>,
    {
        self.rows.range(bounds)
    }

    /// Looks at both trees, and whether they agree: each row is found under all that it should be, and
    /// nothing else is.
    #[must_use]
    pub fn verify(&self) -> Report {
        let mut report = self.rows.verify();
        let index = self.index.verify();
        report.damaged += index.damaged;
        report.damage.extend(index.damage);
        if let Err(error) = self.agree(&mut report) {
            report.add(None, format!("the two trees cannot be compared: {error}"));
        }
        report
    }

    fn agree(&self, report: &mut Report) -> Result<()> {
        let mut wanted = 0_u64;
        for row in self.rows.iter() {
            let (key, value) = row?;
            let pairs = pairs(self.by, &key, &value);
            wanted += pairs.len() as u64;
            for pair in pairs {
                if self.index.has(&pair).wait()? {
                    continue;
                }
                report.add(
                    None,
                    format!("the index lacks {}, of a row that is there", shown(&pair)),
                );
            }
        }
        // All that should be there and no more: then each is one of them.
        if self.index.count() == wanted && report.is_clean() {
            return Ok(());
        }
        for pair in self.index.iter() {
            let (what, key) = pair?;
            let pair = key::to_bytes(&(what, &key));
            let found = match self.rows.get(&key).wait()? {
                Some(value) => pairs(self.by, &key, &value).contains(&pair),
                None => false,
            };
            if !found {
                report.add(
                    None,
                    format!("the index has {}, of no row that is there", shown(&pair)),
                );
            }
        }
        Ok(())
    }
}

/// Edits to an indexed map: whatever they do to a row, they do to the index.
pub struct IndexedTurn<'s, K, V, X, I: Index> {
    session: &'s Session,
    rows: TypedTurn<'s, K, V, I>,
    index: MultiTurn<'s, X, K, I>,
    by: By<K, V, X>,
}

impl<K: Key, V: Storable, X: Key, I: Index> IndexedTurn<'_, K, V, X, I> {
    /// Sets the value at `key`, whether there was one or not. Blocks where a record must be fetched.
    pub fn put(&mut self, key: &K, value: &V) -> Result<()> {
        let old = self.rows.get(key)?;
        self.rows.put(key, value)?;
        self.move_on(key, old.as_ref(), Some(value))
    }

    /// Removes `key`, whether it was there or not. Blocks where a record must be fetched.
    pub fn delete(&mut self, key: &K) -> Result<()> {
        let old = self.rows.get(key)?;
        self.rows.delete(key)?;
        self.move_on(key, old.as_ref(), None)
    }

    /// The value at `key` as this turn has it. Blocks where a record must be fetched.
    pub fn get<Q: AsKey + ?Sized>(&mut self, key: &Q) -> Result<Option<V>>
    where
        K: Borrow<Q>,
    {
        self.rows.get(key)
    }

    /// Puts what `change` makes of the value at `key`; `None` is an absent one. Blocks where a record
    /// must be fetched.
    pub fn update(&mut self, key: &K, change: impl FnOnce(Option<V>) -> Option<V>) -> Result<()> {
        match change(self.get(key)?) {
            Some(value) => self.put(key, &value),
            None => self.delete(key),
        }
    }

    /// Does the edits and returns the changes to commit, with those of others if need be: both or none.
    pub fn finish(self) -> Result<Vec<Change>> {
        let changes = [self.rows.finish()?, self.index.finish()?];
        Ok(changes.into_iter().flatten().collect())
    }

    /// Does the edits and commits them.
    pub fn commit(self, level: Option<Level>) -> Result<Op<Committed>> {
        let session = self.session;
        Ok(session.commit(&self.finish()?, level))
    }

    /// Takes out of the index what a row was found under and is no more, and puts in what is new.
    fn move_on(&mut self, key: &K, old: Option<&V>, new: Option<&V>) -> Result<()> {
        let by = self.by;
        let of = |value: Option<&V>| value.map(|value| pairs(by, key, value)).unwrap_or_default();
        let (old, new) = (of(old), of(new));
        for pair in old.difference(&new) {
            self.index.delete(pair)?;
        }
        for pair in new.difference(&old) {
            self.index.put(pair)?;
        }
        Ok(())
    }
}

/// What the index has of a row.
fn pairs<K: Key, V, X: Key>(by: By<K, V, X>, key: &K, value: &V) -> BTreeSet<Vec<u8>> {
    let found = by(key, value).into_iter();
    found.map(|what| key::to_bytes(&(what, key))).collect()
}

/// The first bytes of a key, for people.
fn shown(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(60)].escape_ascii().to_string()
}

impl<K, V, X, I: Clone> Clone for IndexedMap<K, V, X, I> {
    fn clone(&self) -> Self {
        Self {
            rows: self.rows.clone(),
            index: self.index.clone(),
            by: self.by,
        }
    }
}

impl<K, V, X, I: fmt::Debug> fmt::Debug for IndexedMap<K, V, X, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IndexedMap({:?}, {:?})", self.rows, self.index)
    }
}

impl<K, V, X, W: fmt::Debug> fmt::Debug for IndexedReader<K, V, X, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IndexedReader({:?}, {:?})", self.rows, self.index)
    }
}

impl<K, V, X, I: Index> fmt::Debug for IndexedTurn<'_, K, V, X, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IndexedTurn({:?}, {:?})", self.rows, self.index)
    }
}
