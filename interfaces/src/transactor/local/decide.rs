//! What to do with a pend, a commit, a cancel: given all that is submitted, which rows change, and what
//! is the answer.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use travertine_engine::contract::{Error, ErrorKind, Result};

use super::TOLD_MAX;
use super::desk::Desk;
use super::rows::{Claim, Made, PENDING_MAX, STEPS_MAX, Waiting};
use crate::block::{Block, BlockId, Transform, Transforms};
use crate::index::Direction;
use crate::transactor::{
    ActionId, ActionRev, Commit, Committed, Context, Missed, Part, Pend, Pended, Policy, Revision,
    Rival, Stale, Transacted,
};

/// When it is: what was pended before `dead`, and is not held, stands in nobody's way and goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Time {
    pub(super) now: u64,
    pub(super) dead: u64,
}

pub(super) fn pend(desk: &mut Desk<'_>, pend: &Pend, time: Time) -> Result<Pended> {
    let mut found = Found::default();
    found.look(desk, pend, pend.revision, time)?;
    if let Some(stale) = found.stale(pend.policy) {
        return Ok(Pended::Stale(stale));
    }
    if pend.held {
        // Once it is held nothing may refuse it.
        for (id, transform) in pend.transforms.iter() {
            if let Err(why) = make(desk, id, transform)? {
                return Ok(Pended::Stale(Stale::Refused(why)));
            }
        }
    }
    for id in pend.blocks() {
        desk.pend(id, waiting(pend, id, time.now))?;
    }
    for (id, action) in found.dead {
        desk.forget(&id, &action)?;
    }
    Ok(Pended::Done(found.rivals))
}

/// What a pend leaves behind of one of its blocks.
fn waiting(pend: &Pend, id: &BlockId, now: u64) -> Waiting {
    let nothing = Transform::default();
    let (claim, transform) = match (pend.transforms.of(id), pend.reads.get(id)) {
        (Some(transform), _) if pend.held => (Claim::Held, transform),
        (Some(transform), _) => (Claim::Change, transform),
        (None, read) if pend.held => (Claim::HeldRead(*read.unwrap_or(&0)), &nothing),
        (None, read) => (Claim::Read(*read.unwrap_or(&0)), &nothing),
    };
    Waiting::new(pend.action.clone(), now, claim, transform)
}

pub(super) fn commit(desk: &mut Desk<'_>, commit: &Commit) -> Result<Committed> {
    let by = &commit.action;
    let blocks: BTreeSet<_> = commit.blocks.iter().chain(&commit.header).collect();
    // Where its end of the log has it, it is committed: what is left is done, whatever happened since.
    let done = desk.is_made(&commit.tail, by)?;
    let (mut found, mut absent, mut changes) = (Found::default(), Vec::new(), Vec::new());
    for id in blocks.iter().copied() {
        desk.check_newest(id)?;
        let made = desk.is_made(id, by)?;
        let standing = desk.standing(id)?;
        let newest = standing.revision();
        let Some(mine) = standing.of(&by.action).filter(|_| !made) else {
            if !made && !done {
                match newest >= by.revision {
                    true => found.missed.add(desk, id, by.revision, newest)?,
                    false => absent.push(id.to_string()),
                }
            }
            continue;
        };
        let read = mine.claim.read();
        // What has moved on cannot go back.
        if read.is_none() && newest < by.revision {
            changes.push(Change::of(id, by, mine)?);
        }
        if !done {
            let others = standing.pending.iter().filter(|it| it.action != by.action);
            for other in others.filter(|it| bars(it.claim, read.is_some())) {
                found.rival(id, other, Policy::Fail)?;
            }
            let first = read.map_or(by.revision, |read| read.saturating_add(1));
            found.missed.add(desk, id, first, newest)?;
        }
    }
    if let Some(stale) = found.stale(Policy::Fail) {
        return Ok(Committed::Stale(stale));
    }
    if !absent.is_empty() {
        return Err(Error::invalid(format!(
            "action {} has nothing pending of {}: pend it first",
            by.action,
            absent.join(", ")
        )));
    }
    let refused = land(desk, changes)?;
    // If it is refused nothing of it can ever be committed.
    for id in blocks {
        desk.forget(id, &by.action)?;
    }
    Ok(match refused {
        None => Committed::Done,
        Some(why) => Committed::Stale(Stale::Refused(why)),
    })
}

/// Pends and commits at once: nothing is ever pending.
pub(super) fn transact(desk: &mut Desk<'_>, parts: &[Part], time: Time) -> Result<Transacted> {
    let changing = || parts.iter().filter(|part| !part.pend.transforms.is_empty());
    let mut done = 0;
    for part in changing() {
        done += usize::from(desk.is_made(&part.commit.tail, &part.commit.action)?);
    }
    match done {
        0 => {}
        // The same again, whatever happened since.
        some if some == changing().count() => return Ok(Transacted::Done),
        _ => {
            return Err(Error::invalid(
                "a part of this change is committed already, and it is committed once",
            ));
        }
    }
    let (mut found, mut changes) = (Found::default(), Vec::new());
    for part in parts {
        let by = &part.commit.action;
        found.look(desk, &part.pend, Some(by.revision), time)?;
        for (id, transform) in part.pend.transforms.iter() {
            changes.push(Change {
                id,
                by,
                transform: Cow::Borrowed(transform),
                bytes: transform.to_bytes(),
            });
        }
    }
    let distinct: BTreeSet<_> = changes.iter().map(|change| change.id).collect();
    if distinct.len() < changes.len() {
        return Err(Error::invalid("a block is changed by one collection"));
    }
    let policy = parts
        .first()
        .map_or(Policy::default(), |part| part.pend.policy);
    if let Some(stale) = found.stale(policy) {
        return Ok(Transacted::Stale(stale));
    }
    if let Some(why) = land(desk, changes)? {
        return Ok(Transacted::Stale(Stale::Refused(why)));
    }
    for (id, action) in found.dead {
        desk.forget(&id, &action)?;
    }
    for part in parts {
        for id in part.pend.blocks() {
            desk.forget(id, &part.pend.action)?;
        }
    }
    Ok(Transacted::Done)
}

pub(super) fn cancel(desk: &mut Desk<'_>, action: &ActionId, blocks: &[BlockId]) -> Result<()> {
    blocks.iter().try_for_each(|id| desk.forget(id, action))
}

/// Commits what is pending of these blocks although a context says that it is committed: whoever
/// committed the rest of it did not get so far. One action for each block, the oldest; answers whether
/// there was one, and so may be another. Nothing goes back: what is older than the newest revision is
/// left alone.
pub(super) fn promote(desk: &mut Desk<'_>, blocks: &[BlockId], context: &Context) -> Result<bool> {
    let mut committed: Vec<_> = context.committed.iter().collect();
    committed.sort_by_key(|by| by.revision);
    let mut any = false;
    for id in blocks.iter().collect::<BTreeSet<_>>() {
        let standing = desk.standing(id)?.clone();
        let newer = committed
            .iter()
            .filter(|by| by.revision > standing.revision());
        for by in newer {
            let Some(mine) = standing.of(&by.action) else {
                continue;
            };
            if mine.claim.read().is_none() {
                let change = Change::of(id, by, mine)?;
                if let Some(why) = land(desk, vec![change])? {
                    return Err(Error::corrupt(format!(
                        "action {} is committed and cannot be: {why}",
                        by.action
                    )));
                }
            }
            desk.forget(id, &by.action)?;
            any = true;
            break;
        }
    }
    Ok(any)
}

/// A revision of a block that is to be made.
struct Change<'c> {
    id: &'c BlockId,
    by: &'c ActionRev,
    transform: Cow<'c, Transform>,
    /// The transform as it is written.
    bytes: Bytes,
}

impl<'c> Change<'c> {
    /// What is pending.
    fn of(id: &'c BlockId, by: &'c ActionRev, waiting: &Waiting) -> Result<Self> {
        Ok(Self {
            id,
            by,
            transform: Cow::Owned(waiting.transform()?),
            bytes: waiting.transform.clone(),
        })
    }
}

/// Makes revisions, all or none: what is returned says why not.
fn land(desk: &mut Desk<'_>, changes: Vec<Change<'_>>) -> Result<Option<String>> {
    let mut all = Vec::with_capacity(changes.len());
    for change in changes {
        match make(desk, change.id, &change.transform)? {
            Ok((block, steps)) => all.push((change, block, steps)),
            Err(why) => return Ok(Some(why)),
        }
    }
    for (change, block, steps) in all {
        let (id, by) = (change.id, change.by.clone());
        desk.keep.put(id, &by, block.clone());
        match block {
            None => desk.land(id, Made::new(by, 0, Transform::delete().to_bytes()), None)?,
            Some(block) => {
                let kept = (steps == 0 && change.transform.needs_base()).then_some(&*block);
                desk.land(id, Made::new(by, steps, change.bytes), kept)?;
            }
        }
    }
    Ok(None)
}

/// The block that a change makes of it as it stands, and how many steps back to one that needs no earlier
/// one; or why it cannot be done.
fn make(desk: &mut Desk<'_>, id: &BlockId, transform: &Transform) -> Result<Making> {
    let (base, steps) = match transform.needs_base() {
        true => desk.base(id)?,
        false => (None, STEPS_MAX),
    };
    let made = transform.apply(base).and_then(|block| {
        if let Some(block) = &block {
            if block.id() != id {
                let other = format!("it would become block {}", block.id());
                return Err(Error::invalid(other));
            }
            block.check_size()?;
        }
        Ok(block)
    });
    match made {
        Ok(block) => Ok(Ok((
            block,
            if steps + 1 >= STEPS_MAX { 0 } else { steps + 1 },
        ))),
        Err(error) if error.kind() == ErrorKind::Invalid => {
            Ok(Err(format!("block {id}: {}", error.message())))
        }
        Err(error) => Err(error),
    }
}

type Making = std::result::Result<(Option<Arc<Block>>, u64), String>;

/// Whether somebody's claim bars another who changes the block, or only reads it.
fn bars(claim: Claim, reads: bool) -> bool {
    match claim {
        Claim::Held => true,
        Claim::HeldRead(_) => !reads,
        Claim::Change | Claim::Read(_) => false,
    }
}

/// What stands in the way.
#[derive(Default)]
struct Found {
    missed: Missing,
    rivals: Vec<Rival>,
    /// Whether one of them bars.
    barred: bool,
    /// What was pending for too long.
    dead: Vec<(BlockId, ActionId)>,
}

impl Found {
    /// Looks at all blocks of a pend that is to make this revision.
    fn look(
        &mut self,
        desk: &mut Desk<'_>,
        pend: &Pend,
        revision: Option<Revision>,
        time: Time,
    ) -> Result<()> {
        for id in pend.blocks() {
            desk.check_newest(id)?;
            let standing = desk.standing(id)?;
            let newest = standing.revision();
            let transform = pend.transforms.of(id);
            let others = standing.pending.iter();
            let others = others.filter(|it| it.action != pend.action);
            let mut alive = 0;
            for other in others {
                if other.since < time.dead && !other.claim.is_held() {
                    self.dead.push((id.clone(), other.action.clone()));
                    continue;
                }
                alive += 1;
                let bars = bars(other.claim, transform.is_none());
                self.barred |= bars;
                // Who only reads is in nobody's way, and nobody is in theirs.
                if bars || (transform.is_some() && other.claim.read().is_none()) {
                    self.rival(id, other, pend.policy)?;
                }
            }
            self.barred |= alive >= PENDING_MAX;
            let binds = |it: &&Transform| revision.is_some() || it.insert.is_some();
            if newest > 0 && transform.filter(binds).is_some() {
                let from = revision.unwrap_or(newest);
                self.missed.add(desk, id, from, newest)?;
            }
            if let Some(read) = pend.reads.get(id) {
                self.missed.add(desk, id, read.saturating_add(1), newest)?;
            }
        }
        Ok(())
    }

    fn rival(&mut self, id: &BlockId, waiting: &Waiting, policy: Policy) -> Result<()> {
        if self.rivals.len() < TOLD_MAX {
            let told = policy == Policy::Return;
            self.rivals.push(Rival {
                block: id.clone(),
                action: waiting.action.clone(),
                transform: told.then(|| waiting.transform()).transpose()?,
            });
        }
        Ok(())
    }

    /// What is missing goes first; then nothing is said of what is pending.
    fn stale(&mut self, policy: Policy) -> Option<Stale> {
        let missed = std::mem::take(&mut self.missed);
        missed.stale().or_else(|| {
            let stops = self.barred || policy != Policy::Continue && !self.rivals.is_empty();
            stops.then(|| Stale::Pending(std::mem::take(&mut self.rivals)))
        })
    }
}

/// What somebody missed, by action.
#[derive(Default)]
struct Missing(Option<BTreeMap<(Revision, ActionId), Transforms>>);

impl Missing {
    /// What became of a block between two revisions, the oldest first.
    fn add(
        &mut self,
        desk: &mut Desk<'_>,
        id: &BlockId,
        from: Revision,
        to: Revision,
    ) -> Result<()> {
        if from > to {
            return Ok(());
        }
        let all = self.0.get_or_insert_default();
        let past = desk.past(id)?;
        let between = past.revisions(from, to, Direction::Forward, TOLD_MAX)?;
        for made in between {
            let transform = made.transform()?;
            let (action, revision) = (made.by.action, made.by.revision);
            let one = all.entry((revision, action)).or_default();
            one.push(id.clone(), transform)?;
        }
        Ok(())
    }

    fn stale(self) -> Option<Stale> {
        let all = self.0?.into_iter().take(TOLD_MAX);
        let all = all.map(|((revision, action), transforms)| Missed {
            action: ActionRev { action, revision },
            transforms,
        });
        Some(Stale::Missing(all.collect()))
    }
}
