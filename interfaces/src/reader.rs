//! Reading a map: a view of an index with its long values brought in.

use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use bytes::Bytes;
use travertine_engine::contract::{Op, Result};

use crate::apart;
use crate::diff::Diff;
use crate::gather::gather;
use crate::index::{Cursor, CursorExt, Direction, Entry, Found, Value, View};
use crate::records::Source;
use crate::report::Report;

/// A map at one commit. Clones are cheap; a clone may be sent to another thread.
#[derive(Debug, Clone)]
pub struct Reader<V> {
    view: V,
    source: Arc<dyn Source>,
}

impl<V: View> Reader<V> {
    /// A reader of `view`, whose records come from `source`.
    pub fn new(view: V, source: Arc<dyn Source>) -> Self {
        Self { view, source }
    }

    /// The index's own view.
    pub fn view(&self) -> &V {
        &self.view
    }

    /// The value at `key`. A short one is a slice of the bytes it lies in, not a copy: who keeps it keeps those,
    /// a record or at most 128 KiB of deltas.
    pub fn get(&self, key: &[u8]) -> Op<Option<Bytes>> {
        match self.view.find(key).try_ready() {
            Ok(Ok(None)) => Op::ok(None),
            Ok(Ok(Some(Found::Inline(bytes)))) => Op::ok(Some(bytes)),
            Ok(Ok(Some(Found::Apart(apart)))) => apart::read(&self.source, &apart).map(Some),
            Ok(Err(error)) => Op::err(error),
            Err(op) => {
                let source = self.source.clone();
                op.then(move |found| match found {
                    None => Op::ok(None),
                    Some(Found::Inline(bytes)) => Op::ok(Some(bytes)),
                    Some(Found::Apart(apart)) => apart::read(&source, &apart).map(Some),
                })
            }
        }
    }

    /// The values at several keys, in the order of the keys: for many at once cheaper than one by
    /// one, since they are looked for side by side.
    pub fn get_many(&self, keys: &[&[u8]]) -> Op<Vec<Option<Bytes>>> {
        match self.view.find_many(keys).try_ready() {
            // What is here is handed on with nothing counted: threads may share the source.
            Ok(Ok(found)) => bring(&self.source, found),
            Ok(Err(error)) => Op::err(error),
            Err(op) => {
                let source = self.source.clone();
                op.then(move |found| bring(&source, found))
            }
        }
    }

    /// How many entries there are.
    pub fn count(&self) -> u64 {
        self.view.count()
    }

    /// How many keys are less than `key`.
    pub fn rank(&self, key: &[u8]) -> Op<u64> {
        self.view.rank(key)
    }

    /// How many entries lie within bounds.
    pub fn count_between(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Op<u64> {
        // The gap after a key is the gap before the least key that is greater.
        let after = |key: &[u8]| self.view.rank(&[key, &[0]].concat());
        let low = match from {
            Bound::Unbounded => Op::ok(0),
            Bound::Included(key) => self.view.rank(key),
            Bound::Excluded(key) => after(key),
        };
        let high = match to {
            Bound::Unbounded => Op::ok(self.count()),
            Bound::Included(key) => after(key),
            Bound::Excluded(key) => self.view.rank(key),
        };
        gather(vec![low, high]).map(|ranks| ranks[1].saturating_sub(ranks[0]))
    }

    /// The keys at which this map and a newer one differ, in order.
    pub fn diff(&self, newer: &Self) -> Box<dyn Diff> {
        self.view.diff(&newer.view)
    }

    /// A cursor before the first entry.
    pub fn cursor(&self) -> V::Cursor {
        self.view.cursor()
    }

    /// The entries whose keys lie within bounds, from the end that the direction begins at.
    pub fn range(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        direction: Direction,
    ) -> Range<V::Cursor> {
        Range::new(self.view.cursor(), from, to, direction)
    }

    /// The bytes of a value that a cursor shows.
    pub fn value(&self, value: Value<'_>) -> Op<Bytes> {
        match value {
            Value::Inline(bytes) => Op::ok(Bytes::copy_from_slice(bytes)),
            Value::Apart(apart) => apart::read(&self.source, &apart),
        }
    }

    /// Looks at everything.
    #[must_use]
    pub fn verify(&self) -> Report {
        let mut report = Report::new();
        self.view.verify(&mut report);
        report
    }
}

/// The bytes of what was found.
fn bring(source: &Arc<dyn Source>, found: Vec<Option<Found>>) -> Op<Vec<Option<Bytes>>> {
    if found
        .iter()
        .any(|found| matches!(found, Some(Found::Apart(_))))
    {
        let bring = |found| match found {
            None => Op::ok(None),
            Some(Found::Inline(bytes)) => Op::ok(Some(bytes)),
            Some(Found::Apart(apart)) => apart::read(source, &apart).map(Some),
        };
        return gather(found.into_iter().map(bring).collect());
    }
    let here = found.into_iter().map(|found| match found {
        Some(Found::Inline(bytes)) => Some(bytes),
        _ => None,
    });
    Op::ok(here.collect())
}

/// Whether a key lies within bounds.
pub(crate) fn within(key: &[u8], from: Bound<&[u8]>, to: Bound<&[u8]>) -> bool {
    RangeBounds::<[u8]>::contains(&(from, to), key)
}

/// Entries between two bounds, in one direction.
#[derive(Debug)]
pub struct Range<C> {
    cursor: C,
    direction: Direction,
    /// The bound behind, until it was passed; the bound ahead.
    skip: Option<Vec<u8>>,
    stop: Bound<Vec<u8>>,
    ended: bool,
}

impl<C: Cursor> Range<C> {
    /// The entries of `cursor` between bounds, wherever it stood.
    pub fn new(mut cursor: C, from: Bound<&[u8]>, to: Bound<&[u8]>, direction: Direction) -> Self {
        let (start, stop) = match direction {
            Direction::Forward => (from, to),
            Direction::Back => (to, from),
        };
        let mut skip = None;
        match (start, direction) {
            (Bound::Unbounded, Direction::Forward) => cursor.seek(&[]),
            (Bound::Unbounded, Direction::Back) => cursor.seek_end(),
            (Bound::Included(key), Direction::Forward)
            | (Bound::Excluded(key), Direction::Back) => {
                cursor.seek(key);
            }
            (Bound::Excluded(key), Direction::Forward) => {
                cursor.seek(key);
                skip = Some(key.to_vec());
            }
            // The gap after a key is the gap before the least key that is greater.
            (Bound::Included(key), Direction::Back) => cursor.seek(&[key, &[0]].concat()),
        }
        Self {
            cursor,
            direction,
            skip,
            stop: stop.map(<[u8]>::to_vec),
            ended: false,
        }
    }

    /// The next entry; blocks where a record must be fetched.
    #[expect(
        clippy::should_implement_trait,
        reason = "an entry borrows from the range, as no item of an Iterator can"
    )]
    pub fn next(&mut self) -> Result<Option<Entry<'_>>> {
        if self.ended || self.cursor.move_on(self.direction)?.is_none() {
            self.ended = true;
            return Ok(None);
        }
        if let Some(skip) = self.skip.take() {
            let same = self.cursor.entry().is_some_and(|entry| entry.key == skip);
            if same && self.cursor.move_on(self.direction)?.is_none() {
                self.ended = true;
                return Ok(None);
            }
        }
        if matches!(self.stop, Bound::Unbounded) {
            return Ok(self.cursor.entry());
        }
        let within = self
            .cursor
            .entry()
            .is_some_and(|entry| match (&self.stop, self.direction) {
                (Bound::Unbounded, _) => true,
                (Bound::Included(stop), Direction::Forward) => entry.key <= &stop[..],
                (Bound::Excluded(stop), Direction::Forward) => entry.key < &stop[..],
                (Bound::Included(stop), Direction::Back) => entry.key >= &stop[..],
                (Bound::Excluded(stop), Direction::Back) => entry.key > &stop[..],
            });
        self.ended = !within;
        Ok(if within { self.cursor.entry() } else { None })
    }
}
