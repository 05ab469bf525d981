//! Read, decide, write: transactions that several threads run on one map at a time.
//!
//! ```text
//!   begin     the map as it is now
//!   work      reads are noted, writes are gathered; nobody is kept from anything
//!   commit    is the map another by now?   no: done
//!                                          yes: does it answer every noted read alike?
//!                                                 yes: the writes are done to the newest map
//!                                                 no:  a conflict; the work begins anew
//! ```
//!
//! So a transaction takes effect as if it had been alone at the moment of its commit. Who touches other
//! keys does not disturb it, and writes without reads never conflict. What is noted is a key with what
//! was there, and a range with what was in it.
//!
//! The work may run several times: it should do nothing but read and write the transaction.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use travertine_engine::contract::{Error, ErrorKind, Level, Op, Reference, Result};
use travertine_engine::front::{Committed, Engine, Session};

use crate::apart;
use crate::edits::Edits;
use crate::index::{Direction, Entry, Found, Index, Value, View};
use crate::map::{Map, change};
use crate::reader::Range;
use crate::records::Source;
use crate::writer::Writer;

/// How often the work is begun at most, and how often edits are done anew to a map that moved on.
pub const TRIES_MAX: usize = 64;

/// One run of a transaction.
#[derive(Debug)]
pub struct Transaction<'s, I: Index> {
    writer: Writer<'s, I>,
    keys: Vec<(Bytes, Option<Found>)>,
    ranges: Vec<Span>,
}

type Span = (Bound<Vec<u8>>, Bound<Vec<u8>>);

impl<I: Index> Map<I> {
    /// Runs `work` as a transaction and commits what it wrote; with what it returned comes the op that
    /// tells when the commit has reached its level. Nothing is written if `work` fails.
    ///
    /// Errors: those of `work`; `Conflict` if others were first [`TRIES_MAX`] times in a row; else as
    /// [`Session::commit`].
    pub fn update<T>(
        &self,
        engine: &Engine,
        level: Option<Level>,
        mut work: impl FnMut(&mut Transaction<'_, I>) -> Result<T>,
    ) -> Result<(T, Op<Committed>)> {
        for _ in 0..TRIES_MAX {
            let session = engine.session()?;
            let mut transaction = Transaction {
                writer: self.writer(&session).writer,
                keys: Vec::new(),
                ranges: Vec::new(),
            };
            let answer = work(&mut transaction)?;
            if let Some(committed) = self.finish(engine, &session, transaction, level)? {
                return Ok((answer, committed));
            }
        }
        Err(Error::conflict(format!(
            "{}: what a transaction read was changed by others {TRIES_MAX} times in a row",
            self.name()
        )))
    }

    /// Commits a transaction; `None` if what it read is no longer so.
    fn finish(
        &self,
        engine: &Engine,
        began: &Session,
        transaction: Transaction<'_, I>,
        level: Option<Level>,
    ) -> Result<Option<Op<Committed>>> {
        let Transaction {
            mut writer,
            keys,
            ranges,
        } = transaction;
        let old = match ranges.is_empty() {
            true => None,
            false => Some(writer.base()?.clone()),
        };
        let edits = writer.into_edits()?;
        let seen = began.base().root(self.name());
        if let Some(committed) = self.submit(began, seen, &edits, level)? {
            return Ok(Some(committed));
        }
        for _ in 1..TRIES_MAX {
            let session = engine.session()?;
            let root = session.base().root(self.name());
            if root != seen {
                let source: Arc<dyn Source> = Arc::new(session.base().clone());
                let new = self.index().view(source, root).wait()?;
                for (key, found) in &keys {
                    if new.find(key).wait()? != *found {
                        return Ok(None);
                    }
                }
                for range in &ranges {
                    if let Some(old) = &old
                        && !alike(old, &new, range)?
                    {
                        return Ok(None);
                    }
                }
            }
            if let Some(committed) = self.submit(&session, root, &edits, level)? {
                return Ok(Some(committed));
            }
        }
        Ok(None)
    }

    /// Does edits to the map at `root` and commits, if the map is still that one.
    fn submit(
        &self,
        session: &Session,
        root: Option<Reference>,
        edits: &Edits,
        level: Option<Level>,
    ) -> Result<Option<Op<Committed>>> {
        let new = match edits.is_empty() {
            true => root,
            false => self.index().apply(session, root, edits)?,
        };
        let change = change(self.name().clone(), root, new);
        let changes: Vec<_> = change.into_iter().collect();
        let committed = session.commit(&changes, level);
        match committed.as_ready() {
            Some(Err(error)) if error.kind() == ErrorKind::Conflict => Ok(None),
            _ => Ok(Some(committed)),
        }
    }
}

impl<I: Index> Transaction<'_, I> {
    /// The value at `key` as this transaction has it. Blocks where a record must be fetched.
    pub fn get(&mut self, key: &[u8]) -> Result<Option<Bytes>> {
        if self.writer.owns(key) {
            return self.writer.get(key);
        }
        let found = self.writer.base()?.find(key).wait()?;
        let value = found.as_ref().map(|found| self.writer.bytes(found));
        self.keys.push((Bytes::copy_from_slice(key), found));
        value.transpose()
    }

    /// Calls `look` with every entry within bounds, in order, as this transaction has them, until it
    /// answers `false`. Blocks where a record must be fetched.
    pub fn scan(
        &mut self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        direction: Direction,
        mut look: impl FnMut(&[u8], &[u8]) -> Result<bool>,
    ) -> Result<()> {
        self.ranges
            .push((from.map(<[u8]>::to_vec), to.map(<[u8]>::to_vec)));
        let sink = self.writer.sink();
        let mut range = Range::new(self.writer.cursor()?, from, to, direction);
        while let Some(Entry { key, value }) = range.next()? {
            let go_on = match value {
                Value::Inline(value) => look(key, value)?,
                Value::Apart(apart) => look(key, &apart::read_blocking(sink, &apart)?)?,
            };
            if !go_on {
                break;
            }
        }
        Ok(())
    }

    /// Sets the value at `key`, whether there was one or not. A long value is stored at once.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.writer.put(key, value)
    }

    /// Removes `key`, whether it was there or not.
    pub fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.writer.delete(key)
    }
}

/// Whether two maps hold the same entries in a range.
fn alike<V: View>(old: &V, new: &V, (from, to): &Span) -> Result<bool> {
    let range = |view: &V| {
        let (from, to) = (from.as_ref(), to.as_ref());
        Range::new(
            view.cursor(),
            from.map(|key| &key[..]),
            to.map(|key| &key[..]),
            Direction::Forward,
        )
    };
    let (mut one, mut two) = (range(old), range(new));
    loop {
        let (one, two) = (one.next()?, two.next()?);
        if one != two {
            return Ok(false);
        }
        if one.is_none() {
            return Ok(true);
        }
    }
}
