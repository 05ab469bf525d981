//! Revisions of a block that are carried from one store to another, and those that are not here.
//!
//! A store has all revisions of the blocks that were born in it. One that began with an archive has those
//! from there on; what is before, or between, is asked for where somebody [restores](Restore), and is
//! unavailable otherwise: never absent.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;
use travertine_engine::contract::{Error, ErrorKind, Op, Result};

use super::desk::Desk;
use super::ranges::{Range, Ranges, read_range, write_range};
use super::rows::{Made, STEPS_MAX, block_key, revision_key};
use super::{Local, Store, decide};
use crate::block::{Block, BlockId, Transform, cbor};
use crate::index::Direction;
use crate::transactor::{ActionId, ActionRev, Answers, Context, Revision};

/// Most revisions in one archive.
const ARCHIVE_MAX: usize = 1024;

/// Revisions of one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// Which.
    pub block: BlockId,
    /// How the block was is told for each revision from this one on …
    pub from: Revision,
    /// … up to this one, which it is not told for; `None`: and nothing came after them.
    pub to: Option<Revision>,
    /// Those that the block has, the oldest first. The first says how the block was at `from`: its own
    /// revision may be older.
    pub revisions: Vec<Archived>,
}

/// One revision of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archived {
    /// Who made it, and which it is.
    pub by: ActionRev,
    /// What was done.
    pub transform: Transform,
    /// The block as it was then, where it cannot be made from the one before.
    pub block: Option<Arc<Block>>,
}

/// Somebody who has, or finds, what is not here.
pub trait Restore: Debug + Send + Sync {
    /// An archive in which a block is told as it was at a revision, or as it is now. `None`: it is certain
    /// that there is no such block. It is called while nothing else is held.
    fn restore(&self, block: &BlockId, revision: Option<Revision>) -> Op<Option<Archive>>;
}

impl Archive {
    /// Its bytes: `[block, [from, to], [[revision, action, transform, block?] …]]`, canonical.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let mut out = Vec::with_capacity(1024);
        cbor::head(&mut out, cbor::Major::List, 3);
        cbor::text(&mut out, self.block.as_str());
        write_range(&mut out, (self.from, self.to));
        cbor::head(&mut out, cbor::Major::List, self.revisions.len() as u64);
        for revision in &self.revisions {
            let kept = u64::from(revision.block.is_some());
            cbor::head(&mut out, cbor::Major::List, 3 + kept);
            cbor::head(&mut out, cbor::Major::Unsigned, revision.by.revision);
            cbor::text(&mut out, revision.by.action.as_str());
            out.extend_from_slice(&revision.transform.to_bytes());
            if let Some(block) = &revision.block {
                block.write(&mut out);
            }
        }
        out.into()
    }

    /// The archive that has these bytes. `Corrupt`: none has.
    pub fn from_bytes(bytes: &Bytes) -> Result<Self> {
        let damaged = |error: Error| Error::corrupt(error.message());
        let mut scan = cbor::Scan::new(bytes);
        let (3, block) = (scan.list()?, scan.text()?) else {
            return Err(Error::corrupt("an archive does not begin as one"));
        };
        let block = BlockId::new(block).map_err(damaged)?;
        let (from, to) = read_range(&mut scan)?;
        let mut revisions = Vec::new();
        for _ in 0..scan.list()?.min(ARCHIVE_MAX + 1) {
            let (parts @ 3..=4, revision, action) = (scan.list()?, scan.unsigned()?, scan.text()?)
            else {
                return Err(Error::corrupt("a revision has three parts or four"));
            };
            let action = ActionId::new(action).map_err(damaged)?;
            let transform = Transform::from_bytes(&bytes.slice_ref(scan.item()?))?;
            let kept = match parts {
                4 => Some(Arc::new(Block::read(bytes, &mut scan)?)),
                _ => None,
            };
            revisions.push(Archived {
                by: ActionRev { action, revision },
                transform,
                block: kept,
            });
        }
        scan.end()?;
        let archive = Self {
            block,
            from,
            to,
            revisions,
        };
        archive.fold(|_, _| Ok(())).map_err(damaged)?;
        Ok(archive)
    }

    /// Goes over the block as each revision made it. `Invalid`: they do not follow from each other.
    fn fold(
        &self,
        mut see: impl FnMut(&Archived, Option<&Arc<Block>>) -> Result<()>,
    ) -> Result<()> {
        let unfit = |why: &str| Error::invalid(format!("an archive of {}: {why}", self.block));
        if self.revisions.len() > ARCHIVE_MAX {
            return Err(unfit("it has too many revisions"));
        }
        let mut before: Option<Option<Arc<Block>>> = None;
        let mut last = 0;
        for revision in &self.revisions {
            let by = &revision.by;
            let early = before.is_some() && by.revision <= self.from;
            if by.revision <= last || early || self.to.is_some_and(|to| by.revision >= to) {
                return Err(unfit("its revisions do not ascend within its range"));
            }
            last = by.revision;
            let block = match (&revision.block, before.take()) {
                (Some(block), _) => Some(block.clone()),
                (None, Some(before)) => revision.transform.apply(before)?,
                (None, None) if revision.transform.needs_base() => {
                    return Err(unfit("its first revision does not say what the block was"));
                }
                (None, None) => revision.transform.apply(None)?,
            };
            if let Some(block) = &block {
                if *block.id() != self.block {
                    return Err(unfit("it tells of another block"));
                }
                block.check_size()?;
            }
            see(revision, block.as_ref())?;
            before = Some(block);
        }
        Ok(())
    }
}

impl Local {
    /// The revisions of a block from one on, up to another that is not among them, as far as an archive
    /// goes: where it ends says its `to`. `None`: it has none. `Unavailable`: they are not here.
    pub fn archive(
        &self,
        id: &BlockId,
        from: Revision,
        to: Option<Revision>,
    ) -> Result<Option<Archive>> {
        let rows = self.0.rows()?;
        let standing = rows.standing(id)?;
        if standing.newest.is_none() {
            return Ok(None);
        }
        if standing.ranges.as_ref().is_some_and(|it| !it.has(from)) {
            return Err(Error::unavailable(format!(
                "revision {from} of block {id} is not here"
            )));
        }
        let end = standing.ranges.as_ref().and_then(|it| it.end_of(from));
        let to = match (to, end) {
            (Some(to), Some(end)) => Some(to.min(end)),
            (to, end) => to.or(end),
        };
        // What made the block as it was at `from` comes first.
        let past = rows.past(id, standing.folded());
        let first = past.newest(from)?;
        let begin = first.as_ref().map_or(from, |made| made.by.revision);
        let last = to.map_or(Revision::MAX, |to| to.saturating_sub(1));
        let most = ARCHIVE_MAX + 1;
        let mut made = past.revisions(begin, last, Direction::Forward, most)?;
        let more = made.len() == most;
        let to = match made.pop() {
            Some(next) if more => Some(next.by.revision),
            Some(last) => {
                made.push(last);
                to
            }
            None => to,
        };
        let mut revisions = Vec::with_capacity(made.len());
        for (nth, made) in made.into_iter().enumerate() {
            let transform = made.transform()?;
            let block = match nth == 0 && transform.needs_base() {
                true => past.as_of(&made.by, &self.0.keep)?,
                false => None,
            };
            revisions.push(Archived {
                by: made.by,
                transform,
                block,
            });
        }
        Ok(Some(Archive {
            block: id.clone(),
            from,
            to,
            revisions,
        }))
    }

    /// Takes in revisions from elsewhere, and is sure of them when it answers. What is here already stays;
    /// `Conflict`: it tells another history than what is here.
    pub fn adopt(&self, archive: Archive) -> Op<()> {
        self.0.adopt(archive)
    }

    /// Forgets how a block was before a revision, a thousand revisions a call: from there on it stays as it
    /// was.
    pub fn forget(&self, id: &BlockId, before: Revision) -> Op<()> {
        let id = id.clone();
        self.0.call(move |desk| forget(desk, &id, before))
    }
}

impl Store {
    fn adopt(self: &Arc<Self>, archive: Archive) -> Op<()> {
        self.call(move |desk| adopt(desk, &archive))
    }

    pub(super) fn answers(
        self: &Arc<Self>,
        blocks: &[BlockId],
        context: Option<&Context>,
    ) -> Result<Answers> {
        loop {
            let (mut answers, due) = self.look(blocks, context)?;
            let Some(known) = context.filter(|_| due) else {
                self.restore(&mut answers, context)?;
                return Ok(answers);
            };
            let (blocks, known) = (blocks.to_vec(), known.clone());
            let promoted = self.call(move |desk| decide::promote(desk, &blocks, &known));
            promoted.wait()?;
        }
    }

    /// Asks elsewhere for what is not here; who does not know is told of block by block.
    fn restore(self: &Arc<Self>, answers: &mut Answers, context: Option<&Context>) -> Result<()> {
        let Some(restore) = &self.restore else {
            return Ok(());
        };
        let revision = context.map(|context| context.revision);
        let missing = |answer: &Result<crate::transactor::Answer>| match answer {
            Ok(answer) => answer.latest.is_none(),
            Err(error) => error.kind() == ErrorKind::Unavailable,
        };
        let asked = answers.iter().filter(|(_, answer)| missing(answer));
        let asked: Vec<_> = asked.map(|(id, _)| id.clone()).collect();
        let mut found = BTreeMap::new();
        for id in asked {
            let restored = restore.restore(&id, revision).wait();
            let adopted = restored.and_then(|archive| match archive {
                Some(archive) if archive.block != id => Err(Error::corrupt(format!(
                    "block {id} was asked for, and block {} came",
                    archive.block
                ))),
                Some(archive) => self.adopt(archive).wait().map(|()| true),
                None => Ok(false),
            });
            let answer = match adopted {
                Ok(false) => continue,
                Ok(true) => self.look(std::slice::from_ref(&id), context)?.0.remove(&id),
                Err(error) => Some(Err(Error::unavailable(format!(
                    "block {id} could not be restored: {error}"
                )))),
            };
            found.extend(answer.map(|answer| (id, answer)));
        }
        answers.append(&mut found);
        Ok(())
    }
}

fn adopt(desk: &mut Desk<'_>, archive: &Archive) -> Result<()> {
    let id = &archive.block;
    let standing = desk.standing(id)?.clone();
    if standing.newest.is_some() && standing.ranges.is_none() {
        // All of it is here.
        return archive.fold(|_, _| Ok(()));
    }
    let mut ranges = standing.ranges.clone().unwrap_or_default();
    let (mut newest, mut steps) = (None, STEPS_MAX);
    archive.fold(|revision, block| {
        let by = &revision.by;
        if let Some(here) = desk.past(id)?.made(by.revision)? {
            // What is here stays; what comes next may not rest on rows between others.
            steps = STEPS_MAX;
            return match here.by == *by {
                true => Ok(()),
                false => Err(Error::conflict(format!(
                    "revision {} of block {id} was made by another action than {} here",
                    by.revision, by.action
                ))),
            };
        }
        let based = block.is_some() && revision.transform.needs_base();
        steps = if based && steps + 1 < STEPS_MAX {
            steps + 1
        } else {
            0
        };
        let made = match block {
            Some(_) => Made::new(by.clone(), steps, revision.transform.to_bytes()),
            None => Made::new(by.clone(), 0, Transform::delete().to_bytes()),
        };
        if let Some(block) = block.filter(|_| steps == 0 && based) {
            desk.write_block(id, by.revision, block)?;
        }
        desk.write(id, &made);
        if standing.revision() < by.revision {
            newest = Some((by.clone(), steps));
        }
        Ok(())
    })?;
    let range: Range = (archive.from, archive.to);
    ranges.add(range)?;
    if let Some((by, steps)) = newest {
        if let Some(before) = standing.folded() {
            desk.write(id, &before);
        }
        desk.change(id)?.unfold(by, steps);
    }
    desk.change(id)?.ranges = Some(ranges);
    Ok(())
}

fn forget(desk: &mut Desk<'_>, id: &BlockId, before: Revision) -> Result<()> {
    let standing = desk.standing(id)?.clone();
    let keep = desk.keep;
    let past = desk.past(id)?;
    let Some(floor) = past.newest(before.min(standing.revision()))? else {
        return Ok(());
    };
    let block = past.as_of(&floor.by, keep)?;
    let mut gone = Vec::new();
    if let Some(last) = floor.by.revision.checked_sub(1) {
        gone = past.revisions(0, last, Direction::Forward, ARCHIVE_MAX)?;
    }
    let left = gone.len() == ARCHIVE_MAX;
    // What is left may rest on what goes.
    let next = match gone.last().filter(|_| left) {
        Some(last) => past.after(last.by.revision)?,
        None => Some(floor.clone()),
    };
    for made in &gone {
        let revision = made.by.revision;
        for key in [revision_key(id, revision), block_key(id, revision)] {
            desk.edits.push((key, None));
        }
    }
    let Some(next) = next else {
        return Ok(());
    };
    if next.steps > 0 {
        let block = match next.by == floor.by {
            true => block,
            false => desk.past(id)?.as_of(&next.by, keep)?,
        };
        if let Some(block) = block {
            desk.write_block(id, next.by.revision, &block)?;
        }
        desk.write(id, &next.clone().rooted());
        if next.by.revision == standing.revision() {
            desk.change(id)?.unfold(next.by.clone(), 0);
        }
    }
    let mut ranges = standing.ranges.unwrap_or(Ranges::of((0, None)));
    ranges.cut(match left {
        true => next.by.revision,
        false => before.max(floor.by.revision),
    });
    desk.change(id)?.ranges = Some(ranges);
    Ok(())
}
