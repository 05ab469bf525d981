//! What decisions are made on: how blocks stand by all that is submitted, and the rows that change.

use std::collections::HashMap;
use std::sync::Arc;

use travertine_engine::contract::{Error, Result};

use super::keep::Keep;
use super::ranges::Ranges;
use super::rows::{
    Made, Rows, STEPS_MAX, Standing, Waiting, block_key, committed_key, pending_key, ranges_key,
    revision_key,
};
use crate::block::{Block, BlockId};
use crate::index::View;
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
}

impl Standings {
    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Forgets how a block stands.
    pub(super) fn forget(&mut self, id: &BlockId) {
        self.now.remove(id);
        self.before.remove(id);
    }

    fn make_room(&mut self) {
        if self.now.len() >= REMEMBERED || self.bytes > REMEMBERED_BYTES {
            self.before = std::mem::take(&mut self.now);
            self.bytes = 0;
        }
    }
}

/// One decision.
pub(super) struct Desk<'d, V: View> {
    pub(super) rows: &'d Rows<V>,
    pub(super) keep: &'d Keep,
    standings: &'d mut Standings,
    pub(super) puts: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) deletes: Vec<Vec<u8>>,
}

impl<'d, V: View> Desk<'d, V> {
    pub(super) fn new(rows: &'d Rows<V>, keep: &'d Keep, standings: &'d mut Standings) -> Self {
        standings.make_room();
        Self {
            rows,
            keep,
            standings,
            puts: Vec::new(),
            deletes: Vec::new(),
        }
    }

    /// How a block stands.
    pub(super) fn standing(&mut self, id: &BlockId) -> Result<&Standing> {
        self.stand(id).map(|standing| &*standing)
    }

    fn stand(&mut self, id: &BlockId) -> Result<&mut Standing> {
        let known = &mut *self.standings;
        if !known.now.contains_key(id) {
            let standing = match known.before.remove(id) {
                Some(standing) => standing,
                None => self.rows.standing(id)?,
            };
            let pending = standing.pending.iter().map(Waiting::weight);
            known.bytes += pending.sum::<usize>();
            known.now.insert(id.clone(), standing);
        }
        let standing = known.now.get_mut(id);
        standing.ok_or_else(|| Error::invalid("a block that was just put there is gone"))
    }

    /// Whether a revision of a block was made by this action.
    pub(super) fn is_made(&mut self, id: &BlockId, by: &ActionRev) -> Result<bool> {
        let standing = self.standing(id)?;
        Ok(match &standing.newest {
            Some((newest, _)) if newest.revision == by.revision => newest == by,
            Some((newest, _)) if newest.revision > by.revision => {
                self.rows.committed(id, &by.action)? == Some(by.revision)
            }
            _ => false,
        })
    }

    /// One more that is pending.
    pub(super) fn pend(&mut self, id: &BlockId, waiting: Waiting) -> Result<()> {
        let row = (pending_key(id, &waiting.action), waiting.to_bytes());
        self.puts.push(row);
        self.standings.bytes += waiting.weight();
        self.stand(id)?.pending.push(waiting);
        Ok(())
    }

    /// One less, if it was.
    pub(super) fn forget(&mut self, id: &BlockId, action: &ActionId) -> Result<()> {
        let standing = self.stand(id)?;
        let before = standing.pending.len();
        standing.pending.retain(|waiting| waiting.action != *action);
        if standing.pending.len() < before {
            self.deletes.push(pending_key(id, action));
        }
        Ok(())
    }

    /// The rows of a revision, and the block as it made it, if that is kept.
    pub(super) fn write(&mut self, id: &BlockId, made: &Made, kept: Option<&Block>) -> Result<()> {
        let by = &made.by;
        if let Some(block) = kept {
            let row = (block_key(id, by.revision), block.to_bytes()?.to_vec());
            self.puts.push(row);
        }
        self.puts
            .push((revision_key(id, by.revision), made.to_bytes()));
        let by = (committed_key(id, &by.action), to_bytes(&by.revision));
        self.puts.push(by);
        Ok(())
    }

    /// Which revisions of a block are here from now on. How it stands is looked at again.
    pub(super) fn set_ranges(&mut self, id: &BlockId, ranges: &Ranges) {
        self.puts.push((ranges_key(id), ranges.to_bytes()));
        self.standings.forget(id);
    }

    /// The block has a new newest revision.
    pub(super) fn landed(&mut self, id: &BlockId, by: ActionRev, steps: u64) -> Result<()> {
        self.stand(id)?.newest = Some((by, steps));
        Ok(())
    }

    /// The newest block, to be changed, and its steps. `Invalid`: there is none to be changed.
    /// `Unavailable`: whether there is one is not known here.
    pub(super) fn base(&mut self, id: &BlockId) -> Result<(Option<Arc<Block>>, u64)> {
        let standing = self.standing(id)?;
        if standing.ranges.as_ref().is_some_and(|it| !it.has_newest()) {
            return Err(Error::unavailable(format!(
                "the newest revisions of block {id} are not here: it cannot be changed before they are"
            )));
        }
        let Some((by, steps)) = standing.newest.clone() else {
            return Ok((None, STEPS_MAX));
        };
        if let Some(known) = self.keep.take(id, &by) {
            return Ok((known, steps));
        }
        let block = self.rows.as_of(id, &by, self.keep)?;
        Ok((block, steps))
    }
}
