//! What decisions are made on: how blocks stand by all that is submitted, and the rows that change.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use travertine_engine::contract::{Error, Reference, Result};

use super::keep::Keep;
use super::past::Past;
use super::rows::{
    Made, Rows, STEPS_MAX, Standing, Waiting, block_key, revision_key, standing_key,
};
use crate::block::{Block, BlockId};
use crate::transactor::{ActionId, ActionRev, Revision};

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

/// Rows as they were before all decisions.
struct Sight<'d> {
    open: &'d dyn Fn() -> Result<Rows>,
    rows: Option<Rows>,
    /// Blocks that earlier decisions changed, whose rows nobody can read yet.
    written: BTreeSet<BlockId>,
    /// Whether a decision wanted to read such rows.
    blind: bool,
}

impl Sight<'_> {
    /// The rows of a block.
    fn rows(&mut self, id: &BlockId) -> Result<&Rows> {
        if self.written.contains(id) {
            self.blind = true;
            return Err(Error::unavailable("the rows are not written yet"));
        }
        let rows = match self.rows.take() {
            Some(rows) => rows,
            None => (self.open)()?,
        };
        Ok(self.rows.insert(rows))
    }
}

/// Where decisions are made, one after the other, that are written in one commit.
pub(super) struct Desk<'d> {
    sight: Sight<'d>,
    pub(super) keep: &'d Keep,
    standings: &'d mut Standings,
    /// Rows of revisions; how blocks stand is written once, when all is decided.
    pub(super) edits: Vec<Row>,
    /// Blocks of which this decision changes how they stand, and how those stood that earlier ones changed.
    changed: BTreeMap<BlockId, Option<Standing>>,
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
            sight: Sight {
                open,
                rows: None,
                written: BTreeSet::new(),
                blind: false,
            },
            keep,
            standings,
            edits: Vec::new(),
            changed: BTreeMap::new(),
        }
    }

    /// Makes one decision, whole or not at all.
    pub(super) fn decide<T>(&mut self, decide: impl FnOnce(&mut Self) -> Result<T>) -> Decided<T> {
        let edits = self.edits.len();
        let decided = decide(self);
        let changed = std::mem::take(&mut self.changed);
        let error = match decided {
            Ok(answer) => {
                self.sight.written.extend(changed.into_keys());
                return Decided::Answer(answer);
            }
            Err(error) => error,
        };
        self.edits.truncate(edits);
        for (id, before) in changed {
            match before {
                Some(before) => drop(self.standings.now.insert(id, before)),
                None => drop(self.standings.now.remove(&id)),
            }
        }
        match self.sight.blind {
            true => Decided::Later,
            false => Decided::Failed(error),
        }
    }

    /// The rows that change by all that is decided.
    pub(super) fn into_rows(mut self) -> Vec<Row> {
        for id in &self.sight.written {
            if let Some(standing) = self.standings.now.get(id) {
                self.edits
                    .push((standing_key(id), Some(standing.to_bytes())));
            }
        }
        self.edits
    }

    /// The revisions of a block.
    pub(super) fn past<'s>(&'s mut self, id: &'s BlockId) -> Result<Past<'s>> {
        let folded = self.standing(id)?.folded();
        Ok(self.sight.rows(id)?.past(id, folded))
    }

    /// How a block stands.
    pub(super) fn standing(&mut self, id: &BlockId) -> Result<&Standing> {
        self.found(id).map(|standing| &*standing)
    }

    fn found(&mut self, id: &BlockId) -> Result<&mut Standing> {
        let known = &mut *self.standings;
        match known.now.entry(id.clone()) {
            Entry::Occupied(place) => Ok(place.into_mut()),
            Entry::Vacant(place) => {
                let standing = match known.before.remove(id) {
                    Some(standing) => standing,
                    None => self.sight.rows(id)?.standing(id)?,
                };
                let pending = standing.pending.iter().map(Waiting::weight);
                known.bytes += pending.sum::<usize>();
                Ok(place.insert(standing))
            }
        }
    }

    /// How a block stands, to be changed.
    pub(super) fn change(&mut self, id: &BlockId) -> Result<&mut Standing> {
        if !self.changed.contains_key(id) {
            let before = match self.sight.written.contains(id) {
                true => Some(self.standing(id)?.clone()),
                false => None,
            };
            self.changed.insert(id.clone(), before);
        }
        self.found(id)
    }

    /// Whether a revision of a block was made by this action.
    pub(super) fn is_made(&mut self, id: &BlockId, by: &ActionRev) -> Result<bool> {
        match self.standing(id)?.is_made(by) {
            Some(made) => Ok(made),
            None => self.sight.rows(id)?.is_made(id, by),
        }
    }

    /// One more that is pending; the same again is pending from now on. `Invalid`: it is another change
    /// than the one that the action has pending.
    pub(super) fn pend(&mut self, id: &BlockId, waiting: Waiting) -> Result<()> {
        self.standings.bytes += waiting.weight();
        let pending = &mut self.change(id)?.pending;
        match pending.binary_search_by(|other| other.action.cmp(&waiting.action)) {
            Ok(place) if pending[place].is_like(&waiting) => pending[place] = waiting,
            Ok(_) => {
                return Err(Error::invalid(format!(
                    "action {} has another change of block {id} pending: cancel it, or take a new id",
                    waiting.action
                )));
            }
            Err(place) => pending.insert(place, waiting),
        }
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

    /// A block has a new revision, and is kept as it made it, if that is given. The one before gets a row
    /// of its own.
    pub(super) fn land(&mut self, id: &BlockId, made: Made, kept: Option<&Block>) -> Result<()> {
        if let Some(before) = self.standing(id)?.folded() {
            self.write(id, &before);
        }
        if let Some(block) = kept {
            self.write_block(id, made.by.revision, block)?;
        }
        if !made.folds() {
            self.write(id, &made);
        }
        self.change(id)?.fold(made);
        Ok(())
    }

    /// The row of a revision.
    pub(super) fn write(&mut self, id: &BlockId, made: &Made) {
        let row = (revision_key(id, made.by.revision), Some(made.to_bytes()));
        self.edits.push(row);
    }

    /// The row of a block as a revision made it.
    pub(super) fn write_block(
        &mut self,
        id: &BlockId,
        revision: Revision,
        block: &Block,
    ) -> Result<()> {
        let row = (block_key(id, revision), Some(block.to_bytes()?.to_vec()));
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
        let block = self.past(id)?.as_of(&by, keep)?;
        Ok((block, steps))
    }
}
