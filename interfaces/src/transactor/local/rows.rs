//! How blocks lie in a map, and how they are read from it.
//!
//! ```text
//!   (id, 0, action)     [since, transform]: what is pending, and since when, in milliseconds of 1970
//!   (id, 1, revision)   [action, steps, transform]: what made this revision
//!   (id, 2, revision)   the block as this revision made it, so that nobody goes back further
//!   (id, 3, action)     the revision that it made
//! ```
//!
//! Steps are the revisions back to one that needs no earlier one: an insert, a delete, or one whose block
//! is kept. There are [`STEPS_MAX`] at most, so a block is found in as many steps whatever its age.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use travertine_engine::contract::{Error, Result};

use crate::block::{Block, BlockId, Transform, cbor};
use crate::index::{Direction, View};
use crate::reader::Reader;
use crate::transactor::{ActionId, ActionRev, Revision};
use crate::typed::key::{from_bytes, to_bytes};

/// Revisions after which a block is kept as it is.
pub(super) const STEPS_MAX: u64 = 32;

const PENDING: u8 = 0;
const REVISION: u8 = 1;
const BLOCK: u8 = 2;
const COMMITTED: u8 = 3;

pub(super) fn pending_key(id: &BlockId, action: &ActionId) -> Vec<u8> {
    to_bytes(&(id.as_str(), PENDING, action.as_str()))
}

pub(super) fn revision_key(id: &BlockId, revision: Revision) -> Vec<u8> {
    to_bytes(&(id.as_str(), REVISION, revision))
}

pub(super) fn block_key(id: &BlockId, revision: Revision) -> Vec<u8> {
    to_bytes(&(id.as_str(), BLOCK, revision))
}

pub(super) fn committed_row(id: &BlockId, by: &ActionRev) -> (Vec<u8>, Vec<u8>) {
    let key = to_bytes(&(id.as_str(), COMMITTED, by.action.as_str()));
    (key, to_bytes(&by.revision))
}

/// What is pending of a block.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) since: u64,
    pub(super) transform: Transform,
}

impl Waiting {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        cbor::head(&mut out, cbor::Major::List, 2);
        cbor::head(&mut out, cbor::Major::Unsigned, self.since);
        out.extend_from_slice(&self.transform.to_bytes());
        out
    }

    fn from_bytes(bytes: &Bytes) -> Result<Self> {
        let mut scan = cbor::Scan::new(bytes);
        let (2, since) = (scan.list()?, scan.unsigned()?) else {
            return Err(Error::corrupt(
                "what is pending of a block is not told as such",
            ));
        };
        let transform = Transform::from_bytes(&bytes.slice_ref(scan.item()?))?;
        scan.end()?;
        Ok(Self { since, transform })
    }
}

/// What made a revision of a block.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) by: ActionRev,
    pub(super) steps: u64,
    pub(super) transform: Transform,
}

impl Made {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        cbor::head(&mut out, cbor::Major::List, 3);
        cbor::text(&mut out, self.by.action.as_str());
        cbor::head(&mut out, cbor::Major::Unsigned, self.steps);
        out.extend_from_slice(&self.transform.to_bytes());
        out
    }

    fn from_bytes(revision: Revision, bytes: &Bytes) -> Result<Self> {
        let mut scan = cbor::Scan::new(bytes);
        let (3, action, steps @ 0..=STEPS_MAX) = (scan.list()?, scan.text()?, scan.unsigned()?)
        else {
            return Err(Error::corrupt(format!(
                "revision {revision} of a block is not told as one"
            )));
        };
        let action = ActionId::new(action).map_err(|error| Error::corrupt(error.message()))?;
        let transform = Transform::from_bytes(&bytes.slice_ref(scan.item()?))?;
        scan.end()?;
        Ok(Self {
            by: ActionRev { action, revision },
            steps,
            transform,
        })
    }
}

/// All that is known of blocks at one moment.
pub(super) struct Rows<V: View>(pub(super) Reader<V>);

impl<V: View> Rows<V> {
    /// What made the newest revision of a block up to this one.
    pub(super) fn newest(&self, id: &BlockId, upto: Revision) -> Result<Option<Made>> {
        let mut made = self.revisions(id, 0, upto, Direction::Back, 1)?;
        Ok(made.pop())
    }

    /// What made the revisions of a block between two, so many of them at most.
    pub(super) fn revisions(
        &self,
        id: &BlockId,
        from: Revision,
        to: Revision,
        direction: Direction,
        most: usize,
    ) -> Result<Vec<Made>> {
        let (from, to) = (revision_key(id, from), revision_key(id, to));
        let mut found = Vec::new();
        self.walk(&from, &to, direction, |reader, key, value| {
            let (_, _, revision) = from_bytes::<(String, u8, Revision)>(key)?;
            found.push(Made::from_bytes(revision, &reader.value(value).wait()?)?);
            Ok(found.len() < most)
        })?;
        Ok(found)
    }

    /// A block as it was made.
    pub(super) fn block(&self, id: &BlockId, made: &Made) -> Result<Option<Arc<Block>>> {
        let steps = usize::try_from(made.steps).unwrap_or(usize::MAX);
        let mut back = match steps {
            0 => vec![made.clone()],
            steps => self.revisions(id, 0, made.by.revision, Direction::Back, steps + 1)?,
        };
        let broken = || {
            Error::corrupt(format!(
                "block {id} cannot be made as of revision {}: what it was made from is not there",
                made.by.revision
            ))
        };
        let first = back
            .pop()
            .filter(|first| first.steps == 0)
            .ok_or_else(broken)?;
        if back.len() != steps {
            return Err(broken());
        }
        let key = block_key(id, first.by.revision);
        let mut block = match self.0.get(&key).wait()? {
            Some(kept) => Some(Arc::new(Block::from_bytes(&kept)?)),
            None if first.transform.needs_base() => return Err(broken()),
            None => first.transform.apply(None)?,
        };
        for made in back.iter().rev() {
            block = made.transform.apply(block)?;
        }
        Ok(block)
    }

    /// What an action has pending of a block.
    pub(super) fn pending(&self, id: &BlockId, action: &ActionId) -> Result<Option<Transform>> {
        let bytes = self.0.get(&pending_key(id, action)).wait()?;
        let waiting = bytes.map(|bytes| Waiting::from_bytes(&bytes)).transpose()?;
        Ok(waiting.map(|waiting| waiting.transform))
    }

    /// The revision of a block that an action made.
    pub(super) fn committed(&self, id: &BlockId, action: &ActionId) -> Result<Option<Revision>> {
        let key = to_bytes(&(id.as_str(), COMMITTED, action.as_str()));
        let bytes = self.0.get(&key).wait()?;
        bytes.map(|bytes| from_bytes(&bytes)).transpose()
    }

    /// Who has changes of a block pending, so many of them at most.
    pub(super) fn rivals(&self, id: &BlockId, most: usize) -> Result<Vec<(ActionId, Waiting)>> {
        let (from, to) = (
            to_bytes(&(id.as_str(), PENDING)),
            to_bytes(&(id.as_str(), REVISION)),
        );
        let mut found = Vec::new();
        self.walk(&from, &to, Direction::Forward, |reader, key, value| {
            let (_, _, action) = from_bytes::<(String, u8, String)>(key)?;
            let action = ActionId::new(action).map_err(|error| Error::corrupt(error.message()))?;
            found.push((action, Waiting::from_bytes(&reader.value(value).wait()?)?));
            Ok(found.len() < most)
        })?;
        Ok(found)
    }

    /// Entries between two keys, both of them too, while the caller wants more.
    fn walk(
        &self,
        from: &[u8],
        to: &[u8],
        direction: Direction,
        mut see: impl FnMut(&Reader<V>, &[u8], crate::Value<'_>) -> Result<bool>,
    ) -> Result<()> {
        let (from, to) = (Bound::Included(from), Bound::Included(to));
        let mut range = self.0.range(from, to, direction);
        while let Some(entry) = range.next()? {
            if !see(&self.0, entry.key, entry.value)? {
                break;
            }
        }
        Ok(())
    }
}
