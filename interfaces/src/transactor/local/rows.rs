//! How blocks lie in a map, and how they are read from it.
//!
//! ```text
//!   (id, 0, revision)   the block as this revision made it, so that nobody goes back further
//!   (id, 1, revision)   [action, steps, transform]: what made this revision
//!   (id, 2)             [newest, [[from, to] …] or null, [pending …]]: how it stands
//!   newest              [revision, action, steps, transform?], or [] if there is none
//!   pending             [action, since, claim, transform], since in milliseconds of 1970
//! ```
//!
//! Steps are the revisions back to one that needs no earlier one: an insert, a delete, or one whose block
//! is kept. There are [`STEPS_MAX`] at most, so a block is found in as many steps whatever its age. How a
//! block stands is one row, so that one look tells it, of a block that is not there as well.
//!
//! The newest revision is folded into how the block stands if its change is short, and gets a row of its
//! own when another comes: so a block that was made and never changed is one row. A long change has its own
//! row at once, since how a block stands is written anew with all that is pended.

use bytes::Bytes;
use travertine_engine::contract::{Error, Result};

use super::ranges::Ranges;
use crate::block::{Block, BlockId, Transform, cbor};
use crate::reader::Reader;
use crate::transactor::{ActionId, ActionRev, Revision};
use crate::typed::key::{Key as _, from_bytes, to_bytes};

/// Revisions after which a block is kept as it is.
pub(super) const STEPS_MAX: u64 = 32;
/// Most changes of one block that are pending at a time.
pub(super) const PENDING_MAX: usize = 256;
/// Longest change that is folded into how a block stands, in bytes.
const FOLDED_MAX: usize = 512;

const BLOCK: u8 = 0;
const REVISION: u8 = 1;
const STANDING: u8 = 2;

pub(super) fn block_key(id: &BlockId, revision: Revision) -> Vec<u8> {
    to_bytes(&(id.as_str(), BLOCK, revision))
}

pub(super) fn revision_key(id: &BlockId, revision: Revision) -> Vec<u8> {
    to_bytes(&(id.as_str(), REVISION, revision))
}

pub(super) fn standing_key(id: &BlockId) -> Vec<u8> {
    to_bytes(&(id.as_str(), STANDING))
}

fn damaged(error: Error) -> Error {
    Error::corrupt(error.message())
}

/// What a row is of.
pub(super) enum RowOf {
    /// What made a revision of a block.
    Revision(BlockId, Revision),
    /// How a block stands.
    Standing(BlockId),
}

/// What the row with this key is of, unless it is a block that is kept.
pub(super) fn row_of(mut key: &[u8]) -> Option<RowOf> {
    let id = BlockId::new(String::take(&mut key).ok()?).ok()?;
    match u8::take(&mut key).ok()? {
        REVISION => Some(RowOf::Revision(id, from_bytes(key).ok()?)),
        STANDING => Some(RowOf::Standing(id)),
        _ => None,
    }
}

/// The revision at the end of a key.
pub(super) fn revision_in(key: &[u8]) -> Result<Revision> {
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
    /// What it changes, in bytes.
    pub(super) transform: Bytes,
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
    pub(super) fn new(by: ActionRev, steps: u64, transform: Bytes) -> Self {
        Self {
            by,
            steps,
            transform,
        }
    }

    /// Whether it is folded into how the block stands, as long as it is the newest.
    pub(super) fn folds(&self) -> bool {
        self.transform.len() <= FOLDED_MAX
    }

    /// The same, where the block is kept as it made it.
    pub(super) fn rooted(self) -> Self {
        Self { steps: 0, ..self }
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
    /// The change that made it, in bytes, unless that has a row of its own.
    change: Option<Bytes>,
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

    /// Whether this action made a revision. `None`: what made that has a row, which tells.
    pub(super) fn is_made(&self, by: &ActionRev) -> Option<bool> {
        match &self.newest {
            Some((newest, _)) if newest.revision > by.revision => None,
            newest => Some(newest.as_ref().is_some_and(|(newest, _)| newest == by)),
        }
    }

    /// What made the newest revision, if it is folded.
    pub(super) fn folded(&self) -> Option<Made> {
        let ((by, steps), change) = (self.newest.clone()?, self.change.clone()?);
        Some(Made::new(by, steps, change))
    }

    /// Has another newest revision, folded if its change is.
    pub(super) fn fold(&mut self, newest: Made) {
        // A copy: it stays in memory for longer than the row that it may be a part of.
        let copy = || Bytes::copy_from_slice(&newest.transform);
        self.change = newest.folds().then(copy);
        self.newest = Some((newest.by, newest.steps));
    }

    /// Has another newest revision, which has a row of its own.
    pub(super) fn unfold(&mut self, newest: ActionRev, steps: u64) {
        (self.newest, self.change) = (Some((newest, steps)), None);
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let pending = self.pending.iter().map(Waiting::weight).sum::<usize>();
        let change = self.change.as_deref().unwrap_or_default();
        let mut out = Vec::with_capacity(pending + change.len() + 64);
        cbor::head(&mut out, cbor::Major::List, 3);
        match &self.newest {
            None => cbor::head(&mut out, cbor::Major::List, 0),
            Some((by, steps)) => {
                cbor::head(
                    &mut out,
                    cbor::Major::List,
                    3 + u64::from(!change.is_empty()),
                );
                cbor::head(&mut out, cbor::Major::Unsigned, by.revision);
                cbor::text(&mut out, by.action.as_str());
                cbor::head(&mut out, cbor::Major::Unsigned, *steps);
                out.extend_from_slice(change);
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

    pub(super) fn from_bytes(bytes: &Bytes) -> Result<Self> {
        let mut scan = cbor::Scan::new(bytes);
        let (3, parts @ (0 | 3 | 4)) = (scan.list()?, scan.list()?) else {
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
        // A copy: it stays in memory for longer than what is pending.
        let change = match parts {
            4 => Some(Bytes::copy_from_slice(scan.item()?)),
            _ => None,
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
            change,
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

    /// What made a revision of a block, if that has a row.
    pub(super) fn made(&self, id: &BlockId, revision: Revision) -> Result<Option<Made>> {
        let row = self.0.get(&revision_key(id, revision)).wait()?;
        let made = row.map(|bytes| Made::from_bytes(revision, &bytes));
        made.transpose()
    }

    /// Whether this action made a revision of a block that is not the newest.
    pub(super) fn is_made(&self, id: &BlockId, by: &ActionRev) -> Result<bool> {
        let made = self.made(id, by.revision)?;
        Ok(made.is_some_and(|made| made.by == *by))
    }

    /// A block that is kept as a revision made it.
    pub(super) fn kept(&self, id: &BlockId, revision: Revision) -> Result<Option<Block>> {
        let kept = self.0.get(&block_key(id, revision)).wait()?;
        kept.map(|bytes| Block::from_bytes(&bytes)).transpose()
    }
}
