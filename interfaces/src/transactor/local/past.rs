//! The revisions of a block: those that have rows, and the newest, which may lie in how the block stands.

use std::ops::Bound;
use std::sync::Arc;

use travertine_engine::contract::{Error, Result};

use super::keep::Keep;
use super::rows::{Made, Rows, STEPS_MAX, revision_in, revision_key};
use crate::block::{Block, BlockId};
use crate::index::Direction;
use crate::transactor::{ActionRev, Revision};

/// What made a block, revision by revision.
pub(super) struct Past<'r> {
    rows: &'r Rows,
    id: &'r BlockId,
    /// The newest revision, if it has no row.
    folded: Option<Made>,
}

impl Rows {
    /// The revisions of a block, of which the newest may be folded into how it stands.
    pub(super) fn past<'r>(&'r self, id: &'r BlockId, folded: Option<Made>) -> Past<'r> {
        Past {
            rows: self,
            id,
            folded,
        }
    }
}

impl Past<'_> {
    /// What made a revision, if the block has that.
    pub(super) fn made(&self, revision: Revision) -> Result<Option<Made>> {
        match &self.folded {
            Some(newest) if newest.by.revision == revision => Ok(Some(newest.clone())),
            _ => self.rows.made(self.id, revision),
        }
    }

    /// What made the first revision after this one.
    pub(super) fn after(&self, revision: Revision) -> Result<Option<Made>> {
        let from = revision.saturating_add(1);
        let mut made = self.revisions(from, Revision::MAX, Direction::Forward, 1)?;
        Ok(made.pop())
    }

    /// What made the newest revision up to this one.
    pub(super) fn newest(&self, upto: Revision) -> Result<Option<Made>> {
        let mut made = self.revisions(0, upto, Direction::Back, 1)?;
        Ok(made.pop())
    }

    /// What made the revisions between two, so many of them at most.
    pub(super) fn revisions(
        &self,
        from: Revision,
        to: Revision,
        direction: Direction,
        most: usize,
    ) -> Result<Vec<Made>> {
        let mut found = Vec::new();
        if from > to {
            return Ok(found);
        }
        self.walk(from, to, direction, |made| {
            found.push(made);
            found.len() < most
        })?;
        Ok(found)
    }

    /// The block as a revision made it; what is known of it is not made again.
    pub(super) fn as_of(&self, by: &ActionRev, keep: &Keep) -> Result<Option<Arc<Block>>> {
        if let Some(known) = keep.get(self.id, by) {
            return Ok(known);
        }
        let block = self.make(by)?;
        keep.put(self.id, by, block.clone());
        Ok(block)
    }

    fn make(&self, by: &ActionRev) -> Result<Option<Arc<Block>>> {
        let mut back = Vec::new();
        // What was forgotten ends the way back earlier than the steps say.
        self.walk(0, by.revision, Direction::Back, |made| {
            let first = made.steps == 0;
            back.push(made);
            !first && back.len() as u64 <= STEPS_MAX
        })?;
        if back.first().is_none_or(|made| made.by != *by) {
            return Err(Error::corrupt(format!(
                "revision {} of block {} is not there",
                by.revision, self.id
            )));
        }
        let broken = || {
            Error::corrupt(format!(
                "block {} cannot be made as of revision {}: what it was made from is not there",
                self.id, by.revision
            ))
        };
        let first = back.pop().filter(|first| first.steps == 0);
        let first = first.ok_or_else(broken)?;
        let transform = first.transform()?;
        let mut block = match transform.needs_base() {
            false => transform.apply(None)?,
            true => {
                let kept = self.rows.kept(self.id, first.by.revision)?;
                Some(Arc::new(kept.ok_or_else(broken)?))
            }
        };
        for made in back.iter().rev() {
            block = made.transform()?.apply(block)?;
        }
        Ok(block)
    }

    /// Revisions between two, both of them too, while the caller wants more.
    fn walk(
        &self,
        from: Revision,
        to: Revision,
        direction: Direction,
        mut see: impl FnMut(Made) -> bool,
    ) -> Result<()> {
        let newest = self.folded.as_ref();
        let newest = newest.filter(|made| (from..=to).contains(&made.by.revision));
        let (first, last) = match direction {
            Direction::Back => (newest, None),
            Direction::Forward => (None, newest),
        };
        if first.is_some_and(|made| !see(made.clone())) {
            return Ok(());
        }
        let (from, to) = (revision_key(self.id, from), revision_key(self.id, to));
        let (from, to) = (Bound::Included(&from[..]), Bound::Included(&to[..]));
        let reader = &self.rows.0;
        let mut range = reader.range(from, to, direction);
        while let Some(entry) = range.next()? {
            let revision = revision_in(entry.key)?;
            let made = Made::from_bytes(revision, &reader.value(entry.value).wait()?)?;
            if !see(made) {
                return Ok(());
            }
        }
        last.map(|made| see(made.clone()));
        Ok(())
    }
}
