//! How blocks lie in a map, and how they are read from it.
//!
//! ```text
//!   (id, 0, revision)   the block as this revision made it, so that nobody goes back further
//!   (id, 1, action)     the revision that it made
//!   (id, 2, revision)   [action, steps, transform]: what made this revision
//!   (id, 3, action)     [since, claim, transform]: what is pending, and since when, in milliseconds of 1970
//!   (id, 4)             [[from, to] …]: the revisions that are here, if it is not all of them
//! ```
//!
//! Steps are the revisions back to one that needs no earlier one: an insert, a delete, or one whose block
//! is kept. There are [`STEPS_MAX`] at most, so a block is found in as many steps whatever its age. What
//! is pending stands behind the revisions: one look back from the end tells how a block stands.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use travertine_engine::contract::{Error, Result};

use super::keep::Keep;
use super::ranges::Ranges;
use crate::block::{Block, BlockId, Transform, cbor};
use crate::index::{Direction, View};
use crate::reader::Reader;
use crate::transactor::{ActionId, ActionRev, Revision};
use crate::typed::key::{from_bytes, to_bytes};

/// Revisions after which a block is kept as it is.
pub(super) const STEPS_MAX: u64 = 32;
/// Most changes of one block that are pending at a time.
pub(super) const PENDING_MAX: usize = 256;

const BLOCK: u8 = 0;
const COMMITTED: u8 = 1;
const REVISION: u8 = 2;
const PENDING: u8 = 3;
const RANGES: u8 = 4;

pub(super) fn block_key(id: &BlockId, revision: Revision) -> Vec<u8> {
    to_bytes(&(id.as_str(), BLOCK, revision))
}

pub(super) fn revision_key(id: &BlockId, revision: Revision) -> Vec<u8> {
    to_bytes(&(id.as_str(), REVISION, revision))
}

pub(super) fn pending_key(id: &BlockId, action: &ActionId) -> Vec<u8> {
    to_bytes(&(id.as_str(), PENDING, action.as_str()))
}

pub(super) fn committed_key(id: &BlockId, action: &ActionId) -> Vec<u8> {
    to_bytes(&(id.as_str(), COMMITTED, action.as_str()))
}

pub(super) fn ranges_key(id: &BlockId) -> Vec<u8> {
    to_bytes(&(id.as_str(), RANGES))
}

fn damaged(error: Error) -> Error {
    Error::corrupt(error.message())
}

/// What stands behind the id in a key of this block.
fn tail<'k>(id: &BlockId, key: &'k [u8]) -> Result<(u8, &'k [u8])> {
    // A zero is written as two bytes, and two end a text.
    let zeros = id.as_str().bytes().filter(|byte| *byte == 0).count();
    let tail = key.get(id.as_str().len() + zeros + 2..);
    let split = tail.and_then(|tail| Some((*tail.first()?, tail.get(1..)?)));
    split.ok_or_else(|| Error::corrupt("a row of a block has a key that is too short"))
}

/// What somebody who has something pending asks of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// Nothing: whoever commits first is first.
    Change,
    /// That nobody commits before it.
    Held,
    /// That this revision is still the newest when it is committed.
    Read(Revision),
    /// That nobody makes another revision before it.
    HeldRead(Revision),
}

impl Claim {
    pub(super) fn is_held(self) -> bool {
        matches!(self, Self::Held | Self::HeldRead(_))
    }

    pub(super) fn read(self) -> Option<Revision> {
        match self {
            Self::Read(revision) | Self::HeldRead(revision) => Some(revision),
            Self::Change | Self::Held => None,
        }
    }
}

/// What is pending of a block. Its change stays in bytes: most who ask want to know who it is.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) action: ActionId,
    pub(super) since: u64,
    pub(super) claim: Claim,
    transform: Bytes,
}

impl Waiting {
    pub(super) fn new(action: ActionId, since: u64, claim: Claim, transform: &Transform) -> Self {
        Self {
            action,
            since,
            claim,
            transform: transform.to_bytes(),
        }
    }

    /// What it changes; nothing, where it only reads.
    pub(super) fn transform(&self) -> Result<Transform> {
        Transform::from_bytes(&self.transform)
    }

    /// Whether it is the same, whenever it was pended.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        (self.claim, &self.transform) == (other.claim, &other.transform)
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.transform.len() + 32);
        cbor::head(&mut out, cbor::Major::List, 3);
        cbor::head(&mut out, cbor::Major::Unsigned, self.since);
        let read = self.claim.read();
        cbor::head(&mut out, cbor::Major::List, 1 + u64::from(read.is_some()));
        cbor::truth(&mut out, self.claim.is_held());
        if let Some(revision) = read {
            cbor::head(&mut out, cbor::Major::Unsigned, revision);
        }
        out.extend_from_slice(&self.transform);
        out
    }

    /// About how many bytes it takes.
    pub(super) fn weight(&self) -> usize {
        self.transform.len() + 128
    }

    fn from_bytes(action: ActionId, bytes: &Bytes) -> Result<Self> {
        let mut scan = cbor::Scan::new(bytes);
        let (3, since, parts) = (scan.list()?, scan.unsigned()?, scan.list()?) else {
            return Err(Error::corrupt(
                "what is pending of a block is not told as such",
            ));
        };
        let held = scan.truth()?;
        let claim = match (parts, held) {
            (1, false) => Claim::Change,
            (1, true) => Claim::Held,
            (2, false) => Claim::Read(scan.unsigned()?),
            (2, true) => Claim::HeldRead(scan.unsigned()?),
            _ => return Err(Error::corrupt("a claim has one part or two")),
        };
        let transform = bytes.slice_ref(scan.item()?);
        scan.end()?;
        Ok(Self {
            action,
            since,
            claim,
            transform,
        })
    }
}

/// What made a revision of a block. Its change stays in bytes until it is asked for.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) by: ActionRev,
    pub(super) steps: u64,
    transform: Bytes,
}

impl Made {
    pub(super) fn new(by: ActionRev, steps: u64, transform: &Transform) -> Self {
        Self {
            by,
            steps,
            transform: transform.to_bytes(),
        }
    }

    pub(super) fn transform(&self) -> Result<Transform> {
        Transform::from_bytes(&self.transform)
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.transform.len() + 48);
        cbor::head(&mut out, cbor::Major::List, 3);
        cbor::text(&mut out, self.by.action.as_str());
        cbor::head(&mut out, cbor::Major::Unsigned, self.steps);
        out.extend_from_slice(&self.transform);
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
        let action = ActionId::new(action).map_err(damaged)?;
        let transform = bytes.slice_ref(scan.item()?);
        scan.end()?;
        Ok(Self {
            by: ActionRev { action, revision },
            steps,
            transform,
        })
    }
}

/// A block as it stands.
#[derive(Debug, Clone, Default)]
pub(super) struct Standing {
    /// What made its newest revision, and how many steps back to one that needs no earlier one.
    pub(super) newest: Option<(ActionRev, u64)>,
    /// What is pending, by action.
    pub(super) pending: Vec<Waiting>,
    /// The revisions that are here; `None`: all that there are.
    pub(super) ranges: Option<Ranges>,
}

impl Standing {
    /// The newest revision; 0, if there is none.
    pub(super) fn revision(&self) -> Revision {
        self.newest.as_ref().map_or(0, |(by, _)| by.revision)
    }

    /// What an action has pending.
    pub(super) fn of(&self, action: &ActionId) -> Option<&Waiting> {
        self.pending
            .iter()
            .find(|waiting| waiting.action == *action)
    }
}

/// All that is known of blocks at one moment.
pub(super) struct Rows<V: View>(pub(super) Reader<V>);

impl<V: View> Rows<V> {
    /// How a block stands, in one look.
    pub(super) fn standing(&self, id: &BlockId) -> Result<Standing> {
        let (from, to) = (revision_key(id, 0), ranges_key(id));
        let mut standing = Standing::default();
        self.walk(&from, &to, Direction::Back, |reader, key, value| {
            let bytes = reader.value(value).wait()?;
            match tail(id, key)? {
                (RANGES, _) => standing.ranges = Some(Ranges::from_bytes(&bytes)?),
                (PENDING, action) => {
                    let action = ActionId::new(from_bytes::<String>(action)?).map_err(damaged)?;
                    standing.pending.push(Waiting::from_bytes(action, &bytes)?);
                }
                (_, revision) => {
                    let made = Made::from_bytes(from_bytes(revision)?, &bytes)?;
                    standing.newest = Some((made.by, made.steps));
                    return Ok(false);
                }
            }
            Ok(true)
        })?;
        standing.pending.reverse();
        Ok(standing)
    }

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
            let revision = from_bytes(tail(id, key)?.1)?;
            found.push(Made::from_bytes(revision, &reader.value(value).wait()?)?);
            Ok(found.len() < most)
        })?;
        Ok(found)
    }

    /// A block as a revision made it; what is known of it is not made again.
    pub(super) fn as_of(
        &self,
        id: &BlockId,
        by: &ActionRev,
        keep: &Keep,
    ) -> Result<Option<Arc<Block>>> {
        if let Some(known) = keep.get(id, by) {
            return Ok(known);
        }
        let made = self.newest(id, by.revision)?;
        let made = made.filter(|made| made.by == *by).ok_or_else(|| {
            Error::corrupt(format!(
                "revision {} of block {id} is not there",
                by.revision
            ))
        })?;
        let block = self.make(id, &made)?;
        keep.put(id, by, block.clone());
        Ok(block)
    }

    fn make(&self, id: &BlockId, made: &Made) -> Result<Option<Arc<Block>>> {
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
        let transform = first.transform()?;
        let mut block = match transform.needs_base() {
            false => transform.apply(None)?,
            true => Some(Arc::new(
                self.kept(id, first.by.revision)?.ok_or_else(broken)?,
            )),
        };
        for made in back.iter().rev() {
            block = made.transform()?.apply(block)?;
        }
        Ok(block)
    }

    /// A block that is kept as a revision made it.
    pub(super) fn kept(&self, id: &BlockId, revision: Revision) -> Result<Option<Block>> {
        let kept = self.0.get(&block_key(id, revision)).wait()?;
        kept.map(|bytes| Block::from_bytes(&bytes)).transpose()
    }

    /// The revision of a block that an action made.
    pub(super) fn committed(&self, id: &BlockId, action: &ActionId) -> Result<Option<Revision>> {
        let bytes = self.0.get(&committed_key(id, action)).wait()?;
        bytes.map(|bytes| from_bytes(&bytes)).transpose()
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
