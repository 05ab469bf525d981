//! How blocks lie in a map, and how they are read from it.
//!
//! ```text
//!   (id, 0, revision)   the block as this revision made it, so that nobody goes back further
//!   (id, 1, action)     the revision that it made
//!   (id, 2, revision)   [action, steps, transform]: what made this revision
//!   (id, 3)             [[revision, action, steps] or [], [[from, to] …] or null, [pending …]]: how it stands
//!   pending             [action, since, claim, transform], since in milliseconds of 1970
//! ```
//!
//! Steps are the revisions back to one that needs no earlier one: an insert, a delete, or one whose block
//! is kept. There are [`STEPS_MAX`] at most, so a block is found in as many steps whatever its age. How a
//! block stands is one row, so that one look tells it, of a block that is not there as well.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use travertine_engine::contract::{Error, Result};

use super::keep::Keep;
use super::ranges::Ranges;
use crate::block::{Block, BlockId, Transform, cbor};
use crate::index::Direction;
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
const STANDING: u8 = 3;

pub(super) fn block_key(id: &BlockId, revision: Revision) -> Vec<u8> {
    to_bytes(&(id.as_str(), BLOCK, revision))
}

pub(super) fn revision_key(id: &BlockId, revision: Revision) -> Vec<u8> {
    to_bytes(&(id.as_str(), REVISION, revision))
}

pub(super) fn committed_key(id: &BlockId, action: &ActionId) -> Vec<u8> {
    to_bytes(&(id.as_str(), COMMITTED, action.as_str()))
}

pub(super) fn standing_key(id: &BlockId) -> Vec<u8> {
    to_bytes(&(id.as_str(), STANDING))
}

fn damaged(error: Error) -> Error {
    Error::corrupt(error.message())
}

/// The block and revision of a row that tells what made it.
pub(super) fn revision_of(key: &[u8]) -> Option<(BlockId, Revision)> {
    let (id, tag, revision) = from_bytes::<(String, u8, Revision)>(key).ok()?;
    let id = BlockId::new(id).ok().filter(|_| tag == REVISION)?;
    Some((id, revision))
}

/// The revision in a key.
fn revision(key: &[u8]) -> Result<Revision> {
    let at = key.len().saturating_sub(size_of::<Revision>());
    from_bytes(&key[at..])
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

    fn write(&self, out: &mut Vec<u8>) {
        cbor::head(out, cbor::Major::List, 4);
        cbor::text(out, self.action.as_str());
        cbor::head(out, cbor::Major::Unsigned, self.since);
        let read = self.claim.read();
        cbor::head(out, cbor::Major::List, 1 + u64::from(read.is_some()));
        cbor::truth(out, self.claim.is_held());
        if let Some(revision) = read {
            cbor::head(out, cbor::Major::Unsigned, revision);
        }
        out.extend_from_slice(&self.transform);
    }

    /// About how many bytes it takes.
    pub(super) fn weight(&self) -> usize {
        self.transform.len() + 128
    }

    fn read(bytes: &Bytes, scan: &mut cbor::Scan<'_>) -> Result<Self> {
        let (4, action, since, parts) =
            (scan.list()?, scan.text()?, scan.unsigned()?, scan.list()?)
        else {
            return Err(Error::corrupt(
                "what is pending of a block is not told as such",
            ));
        };
        let action = ActionId::new(action).map_err(damaged)?;
        let held = scan.truth()?;
        let claim = match (parts, held) {
            (1, false) => Claim::Change,
            (1, true) => Claim::Held,
            (2, false) => Claim::Read(scan.unsigned()?),
            (2, true) => Claim::HeldRead(scan.unsigned()?),
            _ => return Err(Error::corrupt("a claim has one part or two")),
        };
        let transform = bytes.slice_ref(scan.item()?);
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

    pub(super) fn from_bytes(revision: Revision, bytes: &Bytes) -> Result<Self> {
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

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let pending = self.pending.iter().map(Waiting::weight).sum::<usize>();
        let mut out = Vec::with_capacity(pending + 64);
        cbor::head(&mut out, cbor::Major::List, 3);
        match &self.newest {
            None => cbor::head(&mut out, cbor::Major::List, 0),
            Some((by, steps)) => {
                cbor::head(&mut out, cbor::Major::List, 3);
                cbor::head(&mut out, cbor::Major::Unsigned, by.revision);
                cbor::text(&mut out, by.action.as_str());
                cbor::head(&mut out, cbor::Major::Unsigned, *steps);
            }
        }
        match &self.ranges {
            None => cbor::null(&mut out),
            Some(ranges) => ranges.write(&mut out),
        }
        cbor::head(&mut out, cbor::Major::List, self.pending.len() as u64);
        self.pending.iter().for_each(|it| it.write(&mut out));
        out
    }

    fn from_bytes(bytes: &Bytes) -> Result<Self> {
        let mut scan = cbor::Scan::new(bytes);
        let (3, parts) = (scan.list()?, scan.list()?) else {
            return Err(Error::corrupt("it is not told as such how a block stands"));
        };
        let newest = match parts {
            0 => None,
            _ => {
                let (revision, action) = (scan.unsigned()?, scan.text()?);
                let action = ActionId::new(action).map_err(damaged)?;
                let steps = scan.unsigned()?.min(STEPS_MAX);
                Some((ActionRev { action, revision }, steps))
            }
        };
        let ranges = match scan.is_null()? {
            true => None,
            false => Some(Ranges::read(&mut scan)?),
        };
        let pending = (0..scan.list()?).map(|_| Waiting::read(bytes, &mut scan));
        let pending = pending.collect::<Result<_>>()?;
        scan.end()?;
        Ok(Self {
            newest,
            pending,
            ranges,
        })
    }

    /// What an action has pending.
    pub(super) fn of(&self, action: &ActionId) -> Option<&Waiting> {
        self.pending
            .iter()
            .find(|waiting| waiting.action == *action)
    }
}

/// All that is known of blocks at one moment.
pub(super) struct Rows(pub(super) Reader<View>);

type View = <crate::Tree as crate::Index>::View;

impl Rows {
    /// How a block stands.
    pub(super) fn standing(&self, id: &BlockId) -> Result<Standing> {
        let row = self.0.get(&standing_key(id)).wait()?;
        let standing = row.map(|bytes| Standing::from_bytes(&bytes)).transpose()?;
        Ok(standing.unwrap_or_default())
    }

    /// What made a revision of a block, if it has that.
    pub(super) fn made(&self, id: &BlockId, revision: Revision) -> Result<Option<Made>> {
        let row = self.0.get(&revision_key(id, revision)).wait()?;
        let made = row.map(|bytes| Made::from_bytes(revision, &bytes));
        made.transpose()
    }

    /// What made the first revision of a block after this one.
    pub(super) fn after(&self, id: &BlockId, revision: Revision) -> Result<Option<Made>> {
        let from = revision.saturating_add(1);
        let mut made = self.revisions(id, from, Revision::MAX, Direction::Forward, 1)?;
        Ok(made.pop())
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
        let mut found = Vec::new();
        if from > to {
            return Ok(found);
        }
        let (from, to) = (revision_key(id, from), revision_key(id, to));
        self.walk(&from, &to, direction, |reader, key, value| {
            let revision = revision(key)?;
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
        let made = self.made(id, by.revision)?;
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
        let mut back = Vec::new();
        let (from, to) = (revision_key(id, 0), revision_key(id, made.by.revision));
        // What was forgotten ends the way back earlier than the steps say.
        self.walk(&from, &to, Direction::Back, |reader, key, value| {
            let made = Made::from_bytes(revision(key)?, &reader.value(value).wait()?)?;
            back.push(made);
            let first = back.last().is_none_or(|made| made.steps == 0);
            Ok(!first && back.len() as u64 <= STEPS_MAX)
        })?;
        let broken = || {
            Error::corrupt(format!(
                "block {id} cannot be made as of revision {}: what it was made from is not there",
                made.by.revision
            ))
        };
        let first = back.pop().filter(|first| first.steps == 0);
        let first = first.ok_or_else(broken)?;
        let transform = first.transform()?;
        let mut block = match transform.needs_base() {
            false => transform.apply(None)?,
            true => {
                let kept = self.kept(id, first.by.revision)?;
                Some(Arc::new(kept.ok_or_else(broken)?))
            }
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
        mut see: impl FnMut(&Reader<View>, &[u8], crate::Value<'_>) -> Result<bool>,
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
