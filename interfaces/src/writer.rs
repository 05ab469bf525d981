//! Writing a map: edits gathered in memory, done to the index in one go.
//!
//! Edits are appended to a log and sorted at the end. The first read within the transaction turns
//! the log into an ordered map, which the transaction's own reads look at first; a transaction that
//! only writes never pays for that.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use travertine_engine::contract::{Reference, Result};
use travertine_engine::front::{Session, Snapshot};

use crate::apart;
use crate::edits::{Edit, EditLog, Edits, check_key};
use crate::index::{Cursor, Direction, Entry, Found, Index, Step, Value, View};
use crate::reader::{Range, within};
use crate::records::{Sink, Source};

/// Edits to one map, not yet done. Dropped, it leaves nothing behind but unnamed records of long
/// values.
#[derive(Debug)]
pub struct Writer<'s, I: Index> {
    index: I,
    sink: &'s dyn Sink,
    source: Old<'s>,
    root: Option<Reference>,
    base: Option<I::View>,
    buffer: Buffer,
    /// Bytes that were edited since the buffer became a map, and those before.
    mapped: u64,
}

/// What the map is read from as it was before.
#[derive(Debug)]
enum Old<'s> {
    Source(Arc<dyn Source>),
    /// The base of a session: most writers read nothing.
    Base(&'s Snapshot),
}

impl Old<'_> {
    fn source(&self) -> Arc<dyn Source> {
        match self {
            Self::Source(source) => source.clone(),
            Self::Base(snapshot) => Arc::new((*snapshot).clone()),
        }
    }
}

type Changed = BTreeMap<Bytes, Option<Found>>;

#[derive(Debug)]
enum Buffer {
    Log(EditLog),
    Map(Changed),
}

impl<'s, I: Index> Writer<'s, I> {
    /// A writer on the map at `root`. The old tree is read from `source`; `sink` takes what is new
    /// and can read both.
    pub fn new(
        index: I,
        sink: &'s dyn Sink,
        source: Arc<dyn Source>,
        root: Option<Reference>,
    ) -> Self {
        Self::from(index, sink, Old::Source(source), root)
    }

    /// A writer on the map at `root`, as a session saw it.
    pub(crate) fn of(index: I, session: &'s Session, root: Option<Reference>) -> Self {
        Self::from(index, session, Old::Base(session.base()), root)
    }

    fn from(index: I, sink: &'s dyn Sink, source: Old<'s>, root: Option<Reference>) -> Self {
        Self {
            index,
            sink,
            source,
            root,
            base: None,
            buffer: Buffer::Log(EditLog::new()),
            mapped: 0,
        }
    }

    /// Sets the value at `key`, whether there was one or not. A long value is stored at once.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        check_key(key)?;
        if value.len() > self.index.inline_max() {
            let apart = apart::store(self.sink, value)?;
            return self.edit(key, Edit::Put(Value::Apart(apart)));
        }
        self.edit(key, Edit::Put(Value::Inline(value)))
    }

    /// Removes `key`, whether it was there or not.
    pub fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.edit(key, Edit::Delete)
    }

    /// Removes every key within bounds. Blocks where a record must be fetched; takes memory for the
    /// keys.
    pub fn delete_range(&mut self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Result<()> {
        let base = self.base()?.cursor();
        let mut range = Range::new(base, from, to, Direction::Forward);
        while let Some(entry) = range.next()? {
            self.edit(entry.key, Edit::Delete)?;
        }
        // What this transaction put itself.
        let mine: Vec<Vec<u8>> = match &self.buffer {
            Buffer::Log(log) => log.keys().map(<[u8]>::to_vec).collect(),
            Buffer::Map(map) => map.keys().map(|key| key.to_vec()).collect(),
        };
        for key in mine.iter().filter(|key| within(key, from, to)) {
            self.edit(key, Edit::Delete)?;
        }
        Ok(())
    }

    /// The value at `key` as this transaction has it. Blocks where a record must be fetched.
    pub fn get(&mut self, key: &[u8]) -> Result<Option<Bytes>> {
        let found = match self.changed().get(key) {
            Some(found) => found.clone(),
            None => self.base()?.find(key).wait()?,
        };
        found.map(|found| self.bytes(&found)).transpose()
    }

    /// Sets (`Some`) or removes (`None`) the value at `key` if it is what was expected (`None`:
    /// absent), and tells whether it was. Blocks where a record must be fetched.
    pub fn compare_and_set(
        &mut self,
        key: &[u8],
        expected: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<bool> {
        check_key(key)?;
        if self.get(key)?.as_deref() != expected {
            return Ok(false);
        }
        match new {
            Some(value) => self.put(key, value)?,
            None => self.delete(key)?,
        }
        Ok(true)
    }

    /// A cursor before the first entry, over the map as this transaction has it.
    pub fn cursor(&mut self) -> Result<Overlay<'_, <I::View as View>::Cursor>> {
        let base = self.base()?.cursor();
        Ok(Overlay::new(base, self.changed()))
    }

    /// The bytes of a value that a cursor shows. Blocks where a record must be fetched.
    pub fn value(&self, value: Value<'_>) -> Result<Bytes> {
        match value {
            Value::Inline(bytes) => Ok(Bytes::copy_from_slice(bytes)),
            Value::Apart(apart) => apart::read_blocking(self.sink, &apart),
        }
    }

    /// About how many bytes the edits take in memory. Of several edits to one key, each counts.
    #[must_use]
    pub fn buffered(&self) -> u64 {
        match &self.buffer {
            Buffer::Log(log) => log.bytes(),
            Buffer::Map(_) => self.mapped,
        }
    }

    /// Does the edits and returns the new root, not yet committed. Blocks where a record must be
    /// fetched.
    pub fn finish(self) -> Result<Option<Reference>> {
        let (index, sink, root) = (self.index.clone(), self.sink, self.root);
        let edits = self.into_edits()?;
        match edits.is_empty() {
            true => Ok(root),
            false => index.apply(sink, root, &edits),
        }
    }

    /// The edits, in order.
    pub(crate) fn into_edits(self) -> Result<Edits> {
        let log = match self.buffer {
            Buffer::Log(log) => log,
            Buffer::Map(map) => {
                let mut log = EditLog::new();
                for (key, found) in &map {
                    log.push(key, as_edit(found.as_ref()))?;
                }
                log
            }
        };
        Ok(log.sorted())
    }

    /// Whether the value at `key` is this transaction's own.
    pub(crate) fn owns(&mut self, key: &[u8]) -> bool {
        self.changed().contains_key(key)
    }

    fn edit(&mut self, key: &[u8], edit: Edit<'_>) -> Result<()> {
        match &mut self.buffer {
            Buffer::Log(log) => log.push(key, edit),
            Buffer::Map(map) => {
                check_key(key)?;
                let value = match edit {
                    Edit::Put(Value::Inline(value)) => value.len(),
                    _ => 0,
                };
                self.mapped += (key.len() + value + size_of::<(Bytes, Option<Found>)>()) as u64;
                map.insert(Bytes::copy_from_slice(key), as_change(edit));
                Ok(())
            }
        }
    }

    /// The map as it was before.
    pub(crate) fn base(&mut self) -> Result<&I::View> {
        if self.base.is_none() {
            let view = self.index.view(self.source.source(), self.root).wait()?;
            self.base = Some(view);
        }
        self.base
            .as_ref()
            .ok_or_else(|| travertine_engine::contract::Error::invalid("the view went away"))
    }

    fn changed(&mut self) -> &Changed {
        if let Buffer::Log(log) = &mut self.buffer {
            self.mapped = log.bytes();
            let edits = std::mem::take(log).sorted();
            let change = |(key, edit)| (Bytes::copy_from_slice(key), as_change(edit));
            self.buffer = Buffer::Map(edits.iter().map(change).collect());
        }
        match &self.buffer {
            Buffer::Map(map) => map,
            Buffer::Log(_) => unreachable!("the log was turned into a map above"),
        }
    }

    /// Where new records go, and all can be read.
    pub(crate) fn sink(&self) -> &'s dyn Sink {
        self.sink
    }

    pub(crate) fn bytes(&self, found: &Found) -> Result<Bytes> {
        match found {
            Found::Inline(bytes) => Ok(bytes.clone()),
            Found::Apart(apart) => apart::read_blocking(self.sink, apart),
        }
    }
}

fn as_change(edit: Edit<'_>) -> Option<Found> {
    match edit {
        Edit::Delete => None,
        Edit::Put(Value::Inline(bytes)) => Some(Found::Inline(Bytes::copy_from_slice(bytes))),
        Edit::Put(Value::Apart(apart)) => Some(Found::Apart(apart)),
    }
}

fn as_edit(found: Option<&Found>) -> Edit<'_> {
    found.map_or(Edit::Delete, |found| Edit::Put(as_value(found)))
}

fn as_value(found: &Found) -> Value<'_> {
    match found {
        Found::Inline(bytes) => Value::Inline(bytes),
        Found::Apart(apart) => Value::Apart(*apart),
    }
}

/// A cursor over a map with a transaction's edits laid over it.
#[derive(Debug)]
pub struct Overlay<'w, C> {
    base: C,
    changed: &'w Changed,
    /// The gap: everything below this bound lies behind.
    gap: Gap,
    /// The direction in which `base` has moved over an entry that is not used up yet.
    held: Option<Direction>,
    /// Whether `base` stands at the gap.
    placed: bool,
    shown: Shown,
    key: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Gap {
    Before(Vec<u8>),
    After(Vec<u8>),
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Nothing,
    Base,
    Changed,
}

impl<'w, C: Cursor> Overlay<'w, C> {
    fn new(base: C, changed: &'w Changed) -> Self {
        Self {
            base,
            changed,
            gap: Gap::Before(Vec::new()),
            held: None,
            placed: false,
            shown: Shown::Nothing,
            key: Vec::new(),
        }
    }

    fn go(&mut self, gap: Gap) {
        self.gap = gap;
        self.held = None;
        self.placed = false;
        self.shown = Shown::Nothing;
    }

    /// The change next to the gap.
    fn neighbour(&self, direction: Direction) -> Option<(&'w Bytes, &'w Option<Found>)> {
        let bound: Bound<&[u8]> = match (&self.gap, direction) {
            (Gap::Before(key), Direction::Forward) | (Gap::After(key), Direction::Back) => {
                Bound::Included(key)
            }
            (Gap::Before(key), Direction::Back) | (Gap::After(key), Direction::Forward) => {
                Bound::Excluded(key)
            }
            (Gap::End, Direction::Forward) => return None,
            (Gap::End, Direction::Back) => Bound::Unbounded,
        };
        match direction {
            Direction::Forward => self
                .changed
                .range::<[u8], _>((bound, Bound::Unbounded))
                .next(),
            Direction::Back => self
                .changed
                .range::<[u8], _>((Bound::Unbounded, bound))
                .next_back(),
        }
    }
}

impl<C: Cursor> Cursor for Overlay<'_, C> {
    fn seek(&mut self, key: &[u8]) {
        self.go(Gap::Before(key.to_vec()));
    }

    fn seek_end(&mut self) {
        self.go(Gap::End);
    }

    fn step(&mut self, direction: Direction) -> Result<Step> {
        self.shown = Shown::Nothing;
        loop {
            if self.held.is_some_and(|held| held != direction) {
                self.held = None;
                self.placed = false;
            }
            if !self.placed {
                match &self.gap {
                    Gap::Before(key) => self.base.seek(key),
                    Gap::After(key) => self.base.seek(&[&key[..], &[0]].concat()),
                    Gap::End => self.base.seek_end(),
                }
                self.placed = true;
            }
            if self.held.is_none() {
                match self.base.step(direction)? {
                    Step::Wait(op) => return Ok(Step::Wait(op)),
                    Step::Entry => self.held = Some(direction),
                    Step::End => {}
                }
            }
            let base = match self.held {
                Some(_) => self.base.entry().map(|entry| entry.key),
                None => None,
            };
            let changed = self.neighbour(direction);
            let (use_base, use_changed) = match (base, changed) {
                (None, None) => return Ok(Step::End),
                (Some(_), None) => (true, false),
                (None, Some(_)) => (false, true),
                (Some(base), Some((key, _))) => {
                    let order = match direction {
                        Direction::Forward => base.cmp(key),
                        Direction::Back => key[..].cmp(base),
                    };
                    (order.is_le(), order.is_ge())
                }
            };
            self.key.clear();
            self.key.extend_from_slice(match (changed, base) {
                (Some((key, _)), _) if use_changed => key,
                (_, base) => base.unwrap_or_default(),
            });
            if use_base {
                self.held = None;
            }
            self.gap = match direction {
                Direction::Forward => Gap::After(self.key.clone()),
                Direction::Back => Gap::Before(self.key.clone()),
            };
            match changed {
                Some((_, None)) if use_changed => {}
                Some(_) if use_changed => {
                    self.shown = Shown::Changed;
                    return Ok(Step::Entry);
                }
                _ => {
                    self.shown = Shown::Base;
                    return Ok(Step::Entry);
                }
            }
        }
    }

    fn entry(&self) -> Option<Entry<'_>> {
        match self.shown {
            Shown::Nothing => None,
            Shown::Base => self.base.entry(),
            Shown::Changed => self
                .changed
                .get(&self.key[..])?
                .as_ref()
                .map(|found| Entry {
                    key: &self.key,
                    value: as_value(found),
                }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Btree;
    use crate::records::Heap;

    #[test]
    fn what_is_buffered_is_counted_in_bytes_whether_it_was_read_or_not() {
        let heap = Heap::new();
        let mut writer = Writer::new(Btree::default(), &heap, Arc::new(Heap::new()), None);
        writer.put(b"a", &[7; 1000]).unwrap();
        assert!(writer.buffered() >= 1000);
        assert_eq!(writer.get(b"a").unwrap().as_deref(), Some(&[7; 1000][..]));
        writer.put(b"b", &[7; 1000]).unwrap();
        assert!(writer.buffered() >= 2000);
    }
}
