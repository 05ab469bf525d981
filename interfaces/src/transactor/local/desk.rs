//! What decisions are made on: how blocks stand by all that is submitted, and the rows that change.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use travertine_engine::contract::{Error, Reference, Result};

use super::keep::Keep;
use super::rows::{
    Made, Rows, STEPS_MAX, Standing, Waiting, block_key, committed_key, revision_key, standing_key,
};
use crate::block::{Block, BlockId};
use crate::transactor::{ActionId, ActionRev};
use crate::typed::key::to_bytes;

/// Blocks of which it is remembered how they stand, twice: those of before go when this is full.
const REMEMBERED: usize = 4096;
/// And so many bytes of what is pending.
const REMEMBERED_BYTES: usize = 8 << 20;

/// How blocks stand, as far as somebody asked lately: what a decision changed is here before it is in a
/// snapshot.
#[derive(Debug, Default)]
pub(super) struct Standings {
    now: HashMap<BlockId, Standing>,
    before: HashMap<BlockId, Standing>,
    bytes: usize,
    /// The map that they are of.
    root: Option<Reference>,
}

/// A row that changes: one that is `None` goes.
pub(super) type Row = (Vec<u8>, Option<Vec<u8>>);

impl Standings {
    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Forgets everything unless it is of this map: a commit may have failed, or another be somebody
    /// else's.
    pub(super) fn rest_on(&mut self, root: Option<Reference>) {
        if self.root != root {
            self.clear();
            self.root = root;
        }
    }

    /// The map is another one, by what is known here.
    pub(super) fn rest_on_next(&mut self, root: Option<Reference>) {
        self.root = root;
    }

    fn make_room(&mut self) {
        if self.now.len() >= REMEMBERED || self.bytes > REMEMBERED_BYTES {
            self.before = std::mem::take(&mut self.now);
            self.bytes = 0;
        }
    }
}

/// Where decisions are made, one after the other, that are written in one commit.
pub(super) struct Desk<'d> {
    open: &'d dyn Fn() -> Result<Rows>,
    rows: Option<Rows>,
    pub(super) keep: &'d Keep,
    standings: &'d mut Standings,
    pub(super) edits: Vec<Row>,
    /// Blocks of which this decision changes how they stand.
    changed: BTreeSet<BlockId>,
    /// Blocks that earlier decisions changed, whose rows nobody can read yet.
    written: BTreeSet<BlockId>,
    /// Whether a decision wanted to read such rows.
    blind: bool,
}

/// What came of a decision.
pub(super) enum Decided<T> {
    Answer(T),
    /// It is of no effect.
    Failed(Error),
    /// It has to be made again when what was decided before it is written.
    Later,
}

impl<'d> Desk<'d> {
    /// Rows are read by `open`, if any have to be.
    pub(super) fn new(
        open: &'d dyn Fn() -> Result<Rows>,
        keep: &'d Keep,
        standings: &'d mut Standings,
    ) -> Self {
        standings.make_room();
        Self {
            open,
            rows: None,
            keep,
            standings,
            edits: Vec::new(),
            changed: BTreeSet::new(),
            written: BTreeSet::new(),
            blind: false,
        }
    }

    /// Makes one decision, whole or not at all.
    pub(super) fn decide<T>(&mut self, decide: impl FnOnce(&mut Self) -> Result<T>) -> Decided<T> {
        let edits = self.edits.len();
        let decided = decide(self);
        let changed = std::mem::take(&mut self.changed);
        if let Ok(answer) = decided {
            for id in &changed {
                if let Some(standing) = self.standings.now.get(id) {
                    let row = (standing_key(id), Some(standing.to_bytes()));
                    self.edits.push(row);
                }
            }
            self.written.extend(changed);
            return Decided::Answer(answer);
        }
        self.edits.truncate(edits);
        for id in &changed {
            self.standings.now.remove(id);
        }
        let torn = changed.iter().any(|id| self.written.contains(id));
        match decided {
            Err(_) if self.blind || torn => Decided::Later,
            Err(error) => Decided::Failed(error),
            Ok(answer) => Decided::Answer(answer),
        }
    }

    /// The rows of a block.
    pub(super) fn rows(&mut self, id: &BlockId) -> Result<&Rows> {
        if self.written.contains(id) {
            self.blind = true;
            return Err(Error::unavailable("the rows are not written yet"));
        }
        if self.rows.is_none() {
            self.rows = Some((self.open)()?);
        }
        let rows = self.rows.as_ref();
        rows.ok_or_else(|| Error::invalid("rows that were just opened are gone"))
    }

    /// How a block stands.
    pub(super) fn standing(&mut self, id: &BlockId) -> Result<&Standing> {
        if !self.standings.now.contains_key(id) {
            let standing = match self.standings.before.remove(id) {
                Some(standing) => standing,
                None => self.rows(id)?.standing(id)?,
            };
            let pending = standing.pending.iter().map(Waiting::weight);
            self.standings.bytes += pending.sum::<usize>();
            self.standings.now.insert(id.clone(), standing);
        }
        let standing = self.standings.now.get(id);
        standing.ok_or_else(|| Error::invalid("a block that was just put there is gone"))
    }

    /// How a block stands, to be changed.
    pub(super) fn change(&mut self, id: &BlockId) -> Result<&mut Standing> {
        self.standing(id)?;
        self.changed.insert(id.clone());
        let standing = self.standings.now.get_mut(id);
        standing.ok_or_else(|| Error::invalid("a block that was just put there is gone"))
    }

    /// Whether a revision of a block was made by this action.
    pub(super) fn is_made(&mut self, id: &BlockId, by: &ActionRev) -> Result<bool> {
        Ok(match &self.standing(id)?.newest {
            Some((newest, _)) if newest.revision == by.revision => newest == by,
            Some((newest, _)) if newest.revision > by.revision => {
                self.rows(id)?.committed(id, &by.action)? == Some(by.revision)
            }
            _ => false,
        })
    }

    /// One more that is pending.
    pub(super) fn pend(&mut self, id: &BlockId, waiting: Waiting) -> Result<()> {
        self.standings.bytes += waiting.weight();
        let pending = &mut self.change(id)?.pending;
        let place = pending.partition_point(|other| other.action < waiting.action);
        pending.insert(place, waiting);
        Ok(())
    }

    /// One less, if it was.
    pub(super) fn forget(&mut self, id: &BlockId, action: &ActionId) -> Result<()> {
        if self.standing(id)?.of(action).is_some() {
            let pending = &mut self.change(id)?.pending;
            pending.retain(|waiting| waiting.action != *action);
        }
        Ok(())
    }

    /// The rows of a revision, and the block as it made it, if that is kept.
    pub(super) fn write(&mut self, id: &BlockId, made: &Made, kept: Option<&Block>) -> Result<()> {
        let by = &made.by;
        if let Some(block) = kept {
            let row = (block_key(id, by.revision), Some(block.to_bytes()?.to_vec()));
            self.edits.push(row);
        }
        let row = (revision_key(id, by.revision), Some(made.to_bytes()));
        self.edits.push(row);
        let row = (committed_key(id, &by.action), Some(to_bytes(&by.revision)));
        self.edits.push(row);
        Ok(())
    }

    /// `Unavailable`: the newest revisions of a block are not here.
    pub(super) fn check_newest(&mut self, id: &BlockId) -> Result<()> {
        match &self.standing(id)?.ranges {
            Some(ranges) if !ranges.has_newest() => Err(Error::unavailable(format!(
                "the newest revisions of block {id} are not here: nothing rests on it before they are"
            ))),
            _ => Ok(()),
        }
    }

    /// The newest block, to be changed, and its steps.
    pub(super) fn base(&mut self, id: &BlockId) -> Result<(Option<Arc<Block>>, u64)> {
        let Some((by, steps)) = self.standing(id)?.newest.clone() else {
            return Ok((None, STEPS_MAX));
        };
        let keep = self.keep;
        if let Some(known) = keep.take(id, &by) {
            return Ok((known, steps));
        }
        let block = self.rows(id)?.as_of(id, &by, keep)?;
        Ok((block, steps))
    }
}
